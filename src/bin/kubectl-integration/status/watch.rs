//! `status --watch`: a line for every change, until it is interrupted.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::output;
use super::table::{Columns, Widths, header, row};
use crate::args::{self, Output};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::paint::Paint;
use crate::words::{chain, printable};

/// Prints what is there, and then every change.
pub(crate) async fn run(cluster: &Cluster, args: &args::Status) -> Result<(), Failure> {
    let api = cluster.guarded(args.all_namespaces);
    let config = match &args.name {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        None => watcher::Config::default(),
    };
    let columns = Columns { namespace: args.all_namespaces, wide: args.output == Some(Output::Wide) };
    let table = matches!(args.output, None | Some(Output::Wide));
    let paint = Paint::of_stdout();
    // Rows that are still to come cannot be measured: columns are as wide as usual names.
    let widths = Widths::usual();
    if table {
        print!("{}", header(columns, &widths, paint));
    }
    let mut shown = BTreeMap::new();
    let mut changes = watcher(api, config).default_backoff().applied_objects().boxed();
    while let Some(change) = changes.next().await {
        let integration = match change {
            Ok(DeserializeGuard(Ok(integration))) => integration,
            Ok(DeserializeGuard(Err(invalid))) => {
                let name = printable(&invalid.metadata.name.unwrap_or_default());
                eprintln!("warning: cannot read integration {name}: {}", invalid.error);
                continue;
            }
            Err(error) if is_final(&error) => return Err(failed(error)),
            // The watch begins anew by itself.
            Err(error) => {
                eprintln!("warning: {}; watching on", chain(&error));
                continue;
            }
        };
        // A list that is read again after a pause brings no news.
        if shown.insert(integration.uid(), integration.resource_version()) == Some(integration.resource_version()) {
            continue;
        }
        match args.output {
            Some(Output::Json) => output::json(&output::object(&integration)?)?,
            Some(Output::Yaml) => {
                println!("---");
                output::yaml(&output::object(&integration)?)?;
            }
            None | Some(Output::Wide) => print!("{}", row(&integration, columns, &widths, Timestamp::now(), paint)),
        }
    }
    Ok(())
}

/// Whether trying again is no use: the kind is not there, or the right to see it.
fn is_final(error: &watcher::Error) -> bool {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(_) => return false,
        watcher::Error::NoResourceVersion => return true,
    };
    matches!(source, kube::Error::Api(status) if [401, 403, 404].contains(&status.code))
}

fn failed(error: watcher::Error) -> Failure {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        watcher::Error::NoResourceVersion => return Failure::refused("the API server gave no resource version"),
    };
    Failure::api("watch", "integrations", source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_missing_right_ends_it_and_a_restart_of_the_api_server_does_not() {
        let answer = |code| kube::Error::Api(Box::new(Status::failure("x", "y").with_code(code)));
        for (code, ends) in [(401, true), (403, true), (404, true), (500, false), (503, false)] {
            assert_eq!(is_final(&watcher::Error::WatchStartFailed(answer(code))), ends, "{code}");
        }
        assert!(!is_final(&watcher::Error::WatchError(Box::new(Status::failure("gone", "Expired").with_code(410)))));
    }
}
