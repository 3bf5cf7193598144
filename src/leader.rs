//! One replica reconciles: a Lease, read by observation.
//!
//! Clocks of two machines are never compared. A candidate watches the Lease; only when nobody has renewed it for its
//! whole duration *as the candidate itself has seen it* does it take over, with the resourceVersion it saw. Correctness
//! does not rest on this: every write that matters is a compare-and-swap. The Lease only keeps two replicas from doing
//! the same work.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Name of the Lease, where there are no shards.
pub const NAME: &str = "integration-operator";
/// How long a Lease holds without renewal.
pub const DURATION: Duration = Duration::from_secs(8);
/// How often it is renewed, or looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// A candidate for the Lease.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    /// What was last seen, and when this process saw it change.
    seen: Option<(String, Instant)>,
    renewed: Option<Instant>,
}

impl Candidate {
    /// A candidate named `identity` for the Lease called `name` in `namespace`.
    pub fn new(client: kube::Client, namespace: &str, name: String, identity: impl Into<String>) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, name, identity: identity.into(), seen: None, renewed: None }
    }

    /// Runs until `stop`; says on `leads` whether this replica holds the Lease. Gives it up at the end.
    pub async fn run(mut self, leads: watch::Sender<bool>, stop: CancellationToken) {
        loop {
            let holds = match tokio::time::timeout(PERIOD * 2, self.attempt()).await {
                Ok(Ok(holds)) => holds,
                Ok(Err(error)) => self.still_holds(&error),
                Err(late) => self.still_holds(&late),
            };
            leads.send_if_modified(|before| std::mem::replace(before, holds) != holds);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        let held = *leads.borrow();
        leads.send_replace(false);
        if held && let Err(error) = self.release().await {
            tracing::warn!(%error, "the Lease could not be given up; it runs out by itself");
        }
    }

    /// After an attempt that failed: held until it would have run out for the others.
    fn still_holds(&self, error: &dyn std::fmt::Display) -> bool {
        tracing::warn!(%error, "the Lease could not be read or written");
        self.renewed.is_some_and(|at| at.elapsed() + PERIOD < DURATION)
    }

    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let lease = self.lease(ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, 0);
            return self.settle(self.leases.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let own = spec.holder_identity.as_deref() == Some(self.identity.as_str());
        let free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        if !own && !free && !self.has_run_out(&lease, &spec) {
            self.renewed = None;
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(!own);
        let replacement = self.lease(lease.metadata, transitions);
        self.settle(self.leases.replace(&self.name, &PostParams::default(), &replacement).await)
    }

    /// Whether nobody has renewed the Lease for its whole duration while this process was watching.
    fn has_run_out(&mut self, lease: &Lease, spec: &LeaseSpec) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => {
                let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
                since.elapsed() >= Duration::from_secs(seconds)
            }
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn settle(&mut self, result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
        match result {
            Ok(_) => {
                self.renewed = Some(Instant::now());
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                self.renewed = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn lease(&self, metadata: ObjectMeta, transitions: i32) -> Lease {
        let now = MicroTime(jiff::Timestamp::now());
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = Some(String::new());
        self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(|_| ())
    }
}
