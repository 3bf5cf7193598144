//! `status`: one integration in words, or several in a table.

pub(crate) mod advice;
pub(crate) mod block;
mod output;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod table;
mod watch;

use integration_operator::api::{ConditionType, ProjectIntegration};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::core::DeserializeGuard;

use crate::args;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::paint::Paint;
use table::Columns;

/// Tells how integrations are.
pub(crate) async fn run(cluster: &Cluster, args: &args::Status) -> Result<(), Failure> {
    if args.watch {
        return watch::run(cluster, args).await;
    }
    if let Some(name) = &args.name {
        let integration = cluster.integration(name).await?;
        return tell_one(&integration, args.output);
    }
    let integrations = list(cluster, args.all_namespaces).await?;
    match args.output {
        Some(args::Output::Json) => output::json(&output::list(&integrations)?),
        Some(args::Output::Yaml) => output::yaml(&output::list(&integrations)?),
        None | Some(args::Output::Wide) => {
            if integrations.is_empty() {
                eprintln!("no integrations {}", place(cluster, args.all_namespaces));
                return Ok(());
            }
            let columns = Columns { namespace: args.all_namespaces, wide: args.output.is_some() };
            print!("{}", table::table(&integrations, columns, Timestamp::now(), Paint::of_stdout()));
            Ok(())
        }
    }
}

fn tell_one(integration: &ProjectIntegration, form: Option<args::Output>) -> Result<(), Failure> {
    match form {
        None => print!("{}", block::block(integration, Timestamp::now(), Paint::of_stdout())),
        Some(args::Output::Json) => output::json(&output::object(integration)?)?,
        Some(args::Output::Yaml) => output::yaml(&output::object(integration)?)?,
        Some(args::Output::Wide) => {
            let columns = Columns { namespace: false, wide: true };
            let rows = std::slice::from_ref(integration);
            print!("{}", table::table(rows, columns, Timestamp::now(), Paint::of_stdout()));
        }
    }
    Ok(())
}

/// Lists integrations; one that this version cannot read is named, and hides none of the others.
async fn list(cluster: &Cluster, everywhere: bool) -> Result<Vec<ProjectIntegration>, Failure> {
    let what = || format!("integrations {}", place(cluster, everywhere));
    let found = cluster
        .guarded(everywhere)
        .list(&ListParams::default())
        .await
        .map_err(|error| Failure::api("list", what(), error))?;
    let mut readable = Vec::with_capacity(found.items.len());
    for DeserializeGuard(item) in found.items {
        match item {
            Ok(integration) => readable.push(integration),
            Err(invalid) => {
                let name = invalid.metadata.name.unwrap_or_default();
                eprintln!("warning: cannot read integration {name}: {}", invalid.error);
            }
        }
    }
    Ok(readable)
}

fn place(cluster: &Cluster, everywhere: bool) -> String {
    if everywhere { "in all namespaces".to_owned() } else { format!("in namespace {}", cluster.namespace) }
}

/// One condition of an integration.
pub(crate) fn condition(integration: &ProjectIntegration, kind: ConditionType) -> Option<&Condition> {
    integration.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Whether a condition is `True`.
pub(crate) fn is_true(integration: &ProjectIntegration, kind: ConditionType) -> bool {
    condition(integration, kind).is_some_and(|condition| condition.status == "True")
}
