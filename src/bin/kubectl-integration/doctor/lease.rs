//! Whether one replica of each shard leads: its Lease must change while it is looked at. Clocks are not compared.

use std::time::Duration;

use futures::future::join_all;
use integration_operator::leader::{DURATION, NAME};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use tokio::time::{Instant, sleep};

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

/// Beyond the Lease's own duration: for an API server that takes its time.
const PATIENCE: Duration = Duration::from_secs(4);
const PACE: Duration = Duration::from_millis(500);

/// Watches the Lease of each shard until it is renewed, or for as long as it holds.
pub(crate) async fn check(cluster: &Cluster, operator: &Operator) -> Vec<Check> {
    if operator.setting("--leader-elect", "LEADER_ELECT").as_deref() == Some("false") {
        return vec![Check::skipped("lease", "the operator runs without one (--leader-elect=false)")];
    }
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &operator.namespace);
    let names = match Look::of(api.list(&ListParams::default()).await) {
        Look::Found(list) => of_shards(list.items.iter().map(Lease::name_any)),
        Look::Denied(_) | Look::Absent | Look::Failed(_) => vec![],
    };
    if names.is_empty() {
        return vec![watch(&api, operator, NAME).await];
    }
    join_all(names.iter().map(|name| watch(&api, operator, name))).await
}

/// The Leases of the operator, one for each shard.
pub(crate) fn of_shards(names: impl Iterator<Item = String>) -> Vec<String> {
    names.filter(|name| name.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))).collect()
}

async fn watch(api: &Api<Lease>, operator: &Operator, name: &str) -> Check {
    let first = match Look::of(api.get(name).await) {
        Look::Found(lease) => lease,
        Look::Absent => return absent(operator),
        Look::Denied(why) | Look::Failed(why) => {
            return Check::skipped(title(name), format!("it could not be read: {why}"));
        }
    };
    let began = Instant::now();
    while began.elapsed() < DURATION + PATIENCE {
        sleep(PACE).await;
        if let Look::Found(now) = Look::of(api.get(name).await)
            && now.resource_version() != first.resource_version()
        {
            return judge(operator, &now, true);
        }
    }
    judge(operator, &first, false)
}

/// What the check of a Lease is called: a shard's has its name.
fn title(lease: &str) -> String {
    lease.strip_prefix(NAME).map_or_else(|| "lease".to_owned(), |shard| format!("lease{shard}"))
}

fn judge(operator: &Operator, lease: &Lease, renewed: bool) -> Check {
    let title = title(&lease.name_any());
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    if holder.is_empty() {
        return Check::failed(title, "nobody holds it: no replica reconciles", look(operator));
    }
    let holder = operator.pod_of(&holder).unwrap_or(holder);
    if renewed {
        return Check::ok(title, format!("{holder} holds it and renewed it while it was looked at"));
    }
    let patience = (DURATION + PATIENCE).as_secs();
    let says = format!("{holder} holds it and did not renew it within {patience} seconds");
    Check::failed(title, says, look(operator))
}

fn absent(operator: &Operator) -> Check {
    let says = format!("there is no Lease {NAME} in namespace {}: the operator never ran here", operator.namespace);
    Check::failed("lease", says, format!("is it elsewhere? --operator-namespace. Otherwise {}", look(operator)))
}

fn look(operator: &Operator) -> String {
    format!(
        "see the operator's log: kubectl logs -n {0} -l app.kubernetes.io/name={NAME} --tail=50",
        operator.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use serde_json::json;

    fn verdict(holder: &str, renewed: bool) -> Verdict {
        let operator = Operator { namespace: "ops".to_owned(), deployment: Look::Absent, pods: Look::Found(vec![]) };
        let lease = serde_json::from_value(json!({ "spec": { "holderIdentity": holder } })).unwrap();
        judge(&operator, &lease, renewed).verdict
    }

    #[test]
    fn a_lease_is_held_and_renewed() {
        assert_eq!(verdict("a", true), Verdict::Ok);
        assert_eq!(verdict("a", false), Verdict::Failed);
        assert_eq!(verdict("", true), Verdict::Failed);
    }

    #[test]
    fn each_shard_has_its_lease() {
        let names = ["integration-operator", "integration-operator-blue", "integration-operators", "other"];
        let found = of_shards(names.map(str::to_owned).into_iter());
        assert_eq!(found, ["integration-operator", "integration-operator-blue"]);
        assert_eq!(found.iter().map(|name| title(name)).collect::<Vec<_>>(), ["lease", "lease-blue"]);
    }
}
