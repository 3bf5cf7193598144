//! Stopping the operator before its finalizers are taken off: while it runs, it puts them back on.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::CleanupError;
use crate::leader;

/// A stopping Pod has a minute and a half, and a Lease that nobody gave up runs out after that.
const PATIENCE: Duration = Duration::from_mins(3);
const PACE: Duration = Duration::from_secs(1);

/// Scales the Deployment to nothing, and waits until no replica is left that serves and none that reconciles. One that is
/// not there is stopped already.
pub(super) async fn stop(client: &kube::Client, namespace: &str, name: &str) -> Result<(), CleanupError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let api = |operation| move |source| CleanupError::Api { operation, source: Box::new(source) };
    let nothing = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments.patch_scale(name, &PatchParams::default(), &nothing).await {
        Ok(_) => tracing::info!(namespace, name, "stopping the operator"),
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(source) => return Err(api("scale the operator to nothing")(source)),
    }
    let began = Instant::now();
    let mut seen = Seen::default();
    loop {
        let deployment = deployments.get_opt(name).await.map_err(api("read the operator's Deployment"))?;
        let lease = leases.get_opt(leader::NAME).await.map_err(api("read the operator's Lease"))?;
        let at_rest = seen.is_free(lease.as_ref(), Instant::now());
        if deployment.as_ref().is_none_or(has_no_pods) && at_rest {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(CleanupError::StillRunning { name: name.to_owned() });
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Whether the Deployment has seen that it is to have no Pods, and has none but those that are on their way out.
fn has_no_pods(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation >= deployment.metadata.generation && status.replicas.unwrap_or(0) == 0
}

/// The Lease as it was last seen to change.
#[derive(Default)]
struct Seen(Option<(String, Instant)>);

impl Seen {
    /// Whether nobody reconciles: the Lease was given up, or nobody has renewed it for its duration.
    fn is_free(&mut self, lease: Option<&Lease>, now: Instant) -> bool {
        let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        let Some(lease) = lease.filter(|_| holder.is_some_and(|holder| !holder.is_empty())) else { return true };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.0 {
            Some((before, since)) if *before == version => now.duration_since(*since) > leader::DURATION,
            _ => {
                self.0 = Some((version, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let lease = json!({ "metadata": { "resourceVersion": version }, "spec": { "holderIdentity": holder } });
        serde_json::from_value(lease).unwrap()
    }

    #[test]
    fn a_lease_is_free_when_given_up_or_not_renewed() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert!(seen.is_free(None, now));
        assert!(seen.is_free(Some(&lease("", "1")), now));
        assert!(!seen.is_free(Some(&lease("a", "2")), now));
        let later = now + leader::DURATION;
        assert!(!seen.is_free(Some(&lease("a", "2")), later), "its duration has not passed");
        assert!(!seen.is_free(Some(&lease("a", "3")), later + PACE), "it was renewed");
        assert!(seen.is_free(Some(&lease("a", "3")), later + PACE + leader::DURATION + PACE));
    }

    #[test]
    fn a_deployment_has_pods_until_it_has_seen_the_change() {
        let deployment = |generation: i64, observed: i64, replicas: i32| -> Deployment {
            let status = json!({ "observedGeneration": observed, "replicas": replicas });
            serde_json::from_value(json!({ "metadata": { "generation": generation }, "status": status })).unwrap()
        };
        assert!(!has_no_pods(&deployment(2, 1, 0)));
        assert!(!has_no_pods(&deployment(2, 2, 1)));
        assert!(has_no_pods(&deployment(2, 2, 0)));
    }
}
