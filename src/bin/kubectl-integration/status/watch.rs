//! `status --watch`: a line for every change, until it is interrupted.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
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
    while let Some(DeserializeGuard(item)) = changes.try_next().await.map_err(failed)? {
        let Ok(integration) = item else { continue };
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
