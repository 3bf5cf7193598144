//! What all reconcilers share.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::task::TaskTracker;

use super::events::Events;
use super::memory::{Later, Memories};
use crate::api::ProjectIntegration;
use crate::causes::chain;
use crate::flow::Flow;
use crate::grant::sharing;
use crate::grant::store::{INSTALLATION_LABEL, grant_name};
use crate::grant::{GrantStore, GrantView, StoreError};
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::provider::gate::Gates;
use crate::provider::outbound::Outbound;
use crate::provider::registry::Registry;
use crate::tenancy::Tenants;

/// A Secret of the operator's namespace, by its metadata.
pub type SecretMeta = PartialObjectMeta<Secret>;
/// An integration as the watch delivers it: one that cannot be decoded does not stop the others.
pub type Watched = DeserializeGuard<ProjectIntegration>;

/// The longest that a reconcile waits for the watch to catch up.
const LONGEST_LAG: SignedDuration = SignedDuration::from_secs(2);

/// How long a grant that could not be read is left alone.
const TRY_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Everything that a reconcile needs.
pub struct Context {
    /// For integrations, published Secrets and Events.
    pub client: kube::Client,
    /// The operator's namespace.
    pub own_namespace: String,
    /// This replica; stays the same when the process is restarted in place.
    pub holder: String,
    /// This run of the process.
    pub boot: String,
    /// Grants.
    pub grants: GrantStore,
    /// Grants by their metadata, as the watch delivers them.
    pub grant_cache: Store<SecretMeta>,
    /// Attempts by their metadata.
    pub attempt_cache: Store<SecretMeta>,
    /// The connect flow.
    pub flow: Flow,
    /// Providers.
    pub registry: Registry,
    /// Tenants.
    pub tenants: Tenants,
    /// Requests to providers.
    pub outbound: Outbound,
    /// Limits and breakers.
    pub gates: Arc<Gates>,
    /// Who comes first.
    pub lanes: Lanes,
    /// What is remembered.
    pub memories: Memories,
    /// Kubernetes Events.
    pub events: Events,
    /// Figures.
    pub metrics: Metrics,
    /// Refreshes that nothing may drop.
    pub tasks: TaskTracker,
}

impl Context {
    /// The grant of an integration: as the watch shows it, or as we last wrote it where that is newer.
    pub fn grant(&self, namespace: &str, name: &str, uid: &str) -> Option<GrantView> {
        let reference = ObjectRef::new(&grant_name(namespace, name)).within(&self.own_namespace);
        let cached = self.grant_cache.get(&reference).and_then(|secret| {
            GrantView::from_metadata(&secret.metadata)
                .inspect_err(|error| tracing::error!(namespace, name, %error, "a grant cannot be read"))
                .ok()
        });
        let recent = self.memories.get(uid).recent;
        match (cached, recent) {
            (Some(cached), Some(recent)) if recent.uid == cached.uid && !cached.at_least(&recent) => Some(recent),
            (Some(cached), _) => {
                self.memories.update(uid, |memory| memory.recent = None);
                Some(cached)
            }
            (None, _) => None,
        }
    }

    /// The other grants of the same installation, as the watch shows them. Walks through all grants.
    pub fn siblings(&self, view: &GrantView) -> Vec<GrantView> {
        let Some(installation) = &view.summary.installation else { return vec![] };
        let labelled = |secret: &Arc<SecretMeta>| secret.labels().get(INSTALLATION_LABEL) == Some(installation);
        let siblings = self.grant_cache.state().into_iter().filter(labelled);
        let views = siblings.filter_map(|secret| GrantView::from_metadata(&secret.metadata).ok());
        views.filter(|other| other.name != view.name).collect()
    }

    /// The newest authorization of the same installation that is later than this grant's.
    pub fn later_sibling(&self, view: &GrantView) -> Option<Later> {
        let siblings = self.siblings(view).into_iter();
        let later = siblings.filter(|other| sharing::is_later(other, view));
        let newest = later.max_by_key(|other| other.summary.installed_at)?;
        Some(Later { grant: newest.uid, epoch: newest.summary.epoch })
    }

    /// How long to wait for the watch to deliver the status that we wrote last: a reconcile that believed the one before
    /// would write the same again. A watch that hangs is waited for no longer than two seconds.
    pub fn lag(&self, integration: &ProjectIntegration) -> Option<Duration> {
        let (written, at) = self.memories.get(integration.metadata.uid.as_deref()?).told?;
        let seen: u64 = integration.metadata.resource_version.as_deref()?.parse().ok()?;
        let patient = Timestamp::now().duration_since(at) < LONGEST_LAG;
        (seen < written && patient).then_some(Duration::from_millis(50))
    }

    /// Why the data of a grant cannot be read, in words for people; `None` where it can, or nobody has tried yet. What was
    /// tried in vain is tried again after a while.
    pub async fn unreadable(&self, uid: &str, view: &GrantView) -> Option<String> {
        if let Err(error) = self.grants.can_open(view) {
            return Some(error.to_string());
        }
        let (why, tried) = self.memories.get(uid).unreadable?;
        if Timestamp::now().duration_since(tried) < TRY_AGAIN {
            return Some(why);
        }
        match self.grants.find(&view.name).await.map(|found| found.map(|found| found.grant)) {
            Ok(Some(Err(error))) if error.is_unreadable() => {
                self.note_unreadable(uid, &error);
                Some(chain(&error))
            }
            Ok(_) => {
                self.memories.update(uid, |memory| memory.unreadable = None);
                None
            }
            Err(_) => Some(why),
        }
    }

    /// Remembers that the data of a grant could not be read.
    pub fn note_unreadable(&self, uid: &str, error: &StoreError) {
        self.memories.update(uid, |memory| memory.unreadable = Some((chain(error), Timestamp::now())));
    }

    /// Remembers a grant as it was just written, so that a cache that lags behind does no harm.
    pub fn wrote(&self, uid: &str, view: &GrantView) {
        self.memories.update(uid, |memory| memory.recent = Some(view.clone()));
    }

    /// What we wrote last is not what is stored: somebody else wrote since, or the store went back to a backup. From here on
    /// the watch is believed, however old it looks beside it.
    pub fn disbelieve(&self, uid: &str) {
        self.memories.update(uid, |memory| memory.recent = None);
    }
}
