//! `doctor`: looks at everything that a connection needs, and says of each how it is and what to do.
//!
//! It only reads, with the rights of whoever runs it; what these do not reach is skipped and says so. Every check is a
//! pure judgement of something that was read before, so that it can be tested without a cluster.

pub(crate) mod check;
mod clocks;
mod definitions;
mod integrations;
pub(crate) mod lease;
pub(crate) mod look;
pub(crate) mod operator;
mod providers;
mod reach;
mod rights;
mod storage;
mod tenant;

use std::collections::BTreeMap;

use url::Url;

use crate::args;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::paint::Paint;
use check::Check;
use clocks::Reading;
use operator::Operator;

/// Prints the checks; whether none failed.
pub(crate) async fn run(cluster: &Cluster, args: &args::Doctor) -> Result<bool, Failure> {
    let operator = Operator::find(cluster, &args.operator_namespace).await;
    let checks = examine(cluster, &operator).await?;
    match args.output {
        Some(args::DoctorOutput::Json) => {
            let text = serde_json::to_string_pretty(&check::json(&checks));
            let failed = |error: serde_json::Error| Failure::Output { what: "the checks", reason: error.to_string() };
            println!("{}", text.map_err(failed)?);
        }
        None => print!("{}", check::text(&checks, Paint::of_stdout())),
    }
    Ok(!check::any_failed(&checks))
}

/// Looks at everything. Only an API server that does not answer at all is an error.
pub(crate) async fn examine(cluster: &Cluster, operator: &Operator) -> Result<Vec<Check>, Failure> {
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(|error| Failure::api("reach", "the API server", error))?;
    let mut checks = vec![Check::ok("API server", format!("it answers, as {}", version.git_version))];
    checks.extend(definitions::check(cluster).await);
    checks.extend(operator.checks());
    let (leases, account, rights) = tokio::join!(
        lease::check(cluster, operator),
        operator::account(cluster, operator),
        rights::of_operator(cluster, operator)
    );
    checks.extend(leases);
    checks.extend(account);
    checks.push(rights);
    checks.push(rights::own(cluster).await);
    let integrations = integrations::look(cluster).await;
    checks.extend(tenant::check(cluster, operator, !integrations.read.is_empty()).await);
    let providers = providers::look(cluster, operator, &integrations.read).await;
    checks.extend(providers.checks);
    let (reached, public) = reach(operator, &providers.callbacks).await;
    checks.extend(reached);
    checks.push(clocks::check(clocks::api_server(cluster).await, public));
    checks.push(storage::check(cluster, operator).await);
    checks.extend(integrations.checks);
    Ok(checks)
}

/// Each public address once, though many providers share it.
async fn reach(operator: &Operator, callbacks: &[Url]) -> (Vec<Check>, Option<Reading>) {
    let mut addresses: BTreeMap<String, Url> =
        callbacks.iter().map(|callback| (reach::base(callback), callback.clone())).collect();
    if addresses.is_empty()
        && let Some(public) = operator.setting("--public-url", "PUBLIC_URL")
        // No provider has a callback yet; any name will do, since nothing is looked up without a ticket.
        && let Ok(callback) = Url::parse(&format!("{}/api/public/integrations/doctor/callback", public.trim_end_matches('/')))
    {
        addresses.insert(public, callback);
    }
    if addresses.is_empty() {
        let says = "no provider has a callback, and the operator's --public-url cannot be seen";
        return (vec![Check::skipped("public address", says)], None);
    }
    let (mut checks, mut clock) = (Vec::new(), None);
    for callback in addresses.values() {
        let (check, reading) = reach::check(callback).await;
        checks.push(check);
        clock = clock.or(reading);
    }
    (checks, clock)
}
