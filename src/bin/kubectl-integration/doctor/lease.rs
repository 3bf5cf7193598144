//! Whether one replica leads: its Lease must change while it is looked at. Clocks are not compared.

use std::time::Duration;

use integration_operator::leader::{DURATION, NAME};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

/// Beyond the Lease's own duration: for an API server that takes its time.
const PATIENCE: Duration = Duration::from_secs(4);
const PACE: Duration = Duration::from_millis(500);

/// Watches the Lease until it is renewed, or for as long as it holds.
pub(crate) async fn check(cluster: &Cluster, operator: &Operator) -> Check {
    if operator.setting("--leader-elect", "LEADER_ELECT").as_deref() == Some("false") {
        return Check::skipped("lease", "the operator runs without one (--leader-elect=false)");
    }
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &operator.namespace);
    let first = match Look::of(api.get(NAME).await) {
        Look::Found(lease) => lease,
        Look::Absent => return absent(operator),
        Look::Denied(why) | Look::Failed(why) => {
            return Check::skipped("lease", format!("it could not be read: {why}"));
        }
    };
    let began = Instant::now();
    while began.elapsed() < DURATION + PATIENCE {
        sleep(PACE).await;
        if let Look::Found(now) = Look::of(api.get(NAME).await)
            && now.resource_version() != first.resource_version()
        {
            return judge(operator, &now, true);
        }
    }
    judge(operator, &first, false)
}

fn judge(operator: &Operator, lease: &Lease, renewed: bool) -> Check {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    if holder.is_empty() {
        return Check::failed("lease", "nobody holds it: no replica reconciles", look(operator));
    }
    let holder = operator.pod_of(&holder).unwrap_or(holder);
    if renewed {
        return Check::ok("lease", format!("{holder} holds it and renewed it while it was looked at"));
    }
    let patience = (DURATION + PATIENCE).as_secs();
    let says = format!("{holder} holds it and did not renew it within {patience} seconds");
    Check::failed("lease", says, look(operator))
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
}
