//! What all reconcilers share.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use tokio_util::task::TaskTracker;

use super::clock::monotonic;
use super::events::Events;
use super::memory::{Later, Memories, Memory};
use super::turns::Turns;
use super::watched::{Watched, WatchedGrant};
use crate::api::{ProjectIntegration, request};
use crate::causes::chain;
use crate::flow::Flow;
use crate::grant::record::Glance;
use crate::grant::sharing;
use crate::grant::store::{Marks, grant_name};
use crate::grant::{GrantStore, GrantView, StoreError};
use crate::lanes::{Lane, Lanes};
use crate::metrics::Metrics;
use crate::provider::gate::Gates;
use crate::provider::outbound::Outbound;
use crate::provider::registry::Registry;
use crate::shard::Shard;
use crate::tenancy::Tenants;

/// A Secret of the operator's namespace, by its metadata.
pub type SecretMeta = PartialObjectMeta<Secret>;

/// The longest that a reconcile waits for the watch to catch up.
const LONGEST_LAG: SignedDuration = SignedDuration::from_secs(2);

/// How long a status waits for more urgent work.
pub const LONGEST_UNTOLD: SignedDuration = SignedDuration::from_mins(1);

/// How long a grant that could not be read is left alone.
const TRY_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Everything that a reconcile needs.
pub struct Context {
    /// For integrations, published Secrets and Events.
    pub client: kube::Client,
    /// The operator's namespace.
    pub own_namespace: String,
    /// Which integrations this process reconciles.
    pub shard: Shard,
    /// This replica; stays the same when the process is restarted in place.
    pub holder: String,
    /// This run of the process.
    pub boot: String,
    /// Grants.
    pub grants: GrantStore,
    /// Grants by their metadata, as the watch delivers them.
    pub grant_cache: Store<WatchedGrant>,
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
    /// Whose turn it is.
    pub turns: Turns,
    /// Who calls a provider first.
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
        let cached = self.grant_cache.get(&reference).and_then(|grant| {
            grant.view().inspect_err(|error| tracing::error!(namespace, name, %error, "a grant cannot be read")).ok()
        });
        let known = self.memories.look(uid, |memory| Some((memory.recent.clone()?, memory.shown_wrongly.clone())));
        let Some((recent, wrong)) = known.flatten() else { return cached };
        let shown = cached.as_ref().map_or("", |cached| cached.resource_version.as_str());
        let newer = cached.as_ref().is_some_and(|cached| recent.uid == cached.uid && !cached.at_least(&recent));
        if newer || wrong.as_deref() == Some(shown) {
            return Some(*recent);
        }
        self.memories.update(uid, |memory| (memory.recent, memory.shown_wrongly) = (None, None));
        cached
    }

    /// The same where the watch shows none, or one that a write has proved wrong: the API server is asked.
    pub async fn stored_grant(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<GrantView>, StoreError> {
        let grant = grant_name(namespace, name);
        let reference = ObjectRef::new(&grant).within(&self.own_namespace);
        let shown = self.grant_cache.get(&reference).and_then(|grant| grant.resource_version());
        let found = self.grants.find(&grant).await?.map(|found| found.view);
        let shown = shown.unwrap_or_default();
        self.memories.update(uid, |memory| {
            let right = found.as_ref().is_none_or(|view| view.resource_version == shown);
            (memory.recent, memory.shown_wrongly) =
                if right { (None, None) } else { (found.clone().map(Box::new), Some(shown)) };
        });
        Ok(found)
    }

    /// The same, and one that the watch does not show is looked for where there may be one: this process has held one, or it is
    /// told that there was; or the process sees only the grants of its shard. Then it becomes this shard's, since its
    /// integration is.
    pub async fn find_grant(&self, integration: &ProjectIntegration) -> Result<Option<GrantView>, StoreError> {
        let (namespace, name) = (&integration.namespace().unwrap_or_default(), &integration.name_any());
        let uid = &integration.uid().unwrap_or_default();
        let seen = self.grant(namespace, name, uid);
        if seen.is_some() {
            return Ok(seen);
        }
        if !self.shard.is_part() {
            let told = integration.status.as_ref().is_some_and(|status| status.token.is_some());
            let held = self.memories.look(uid, |memory| memory.written[0] > 0).unwrap_or_default();
            return if told || held { self.stored_grant(namespace, name, uid).await } else { Ok(None) };
        }
        let grant = grant_name(namespace, name);
        let Some((view, label)) = self.grants.look(&grant).await? else { return Ok(None) };
        if label.as_deref() == self.shard.label() {
            return Ok(Some(view));
        }
        tracing::info!(namespace, name, from = label, to = self.shard.label(), "a grant comes from another shard");
        // What is remembered is of the time before the other one had it.
        self.memories.leave(uid);
        let marks = Marks { shard: Some(self.shard.label().map(str::to_owned)), ..Marks::default() };
        let view = self.grants.annotate(&view, &marks).await?.view;
        self.wrote(uid, &view);
        Ok(Some(view))
    }

    /// How urgent the next reconcile of an integration is: people wait for it, or a token expires.
    pub fn urgency(&self, object: &Watched) -> (Lane, Option<Timestamp>) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let reference = ObjectRef::new(&grant_name(&namespace, &name)).within(&self.own_namespace);
        let expiry = self.grant_cache.get(&reference).and_then(|grant| grant.expires_at);
        let requests = || request::ALL.iter().filter_map(|annotation| object.annotations().get_key_value(*annotation));
        let handled =
            || object.open().ok().and_then(|integration| Some(integration.status?.handled)).unwrap_or_default();
        let asks = requests().next().is_some() && {
            let handled = handled();
            requests().any(|(annotation, value)| handled.get(annotation) != Some(value))
        };
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        let untold = self.memories.look(uid, |memory| memory.untold).flatten();
        let lane = if asks || object.meta().deletion_timestamp.is_some() {
            Lane::Request
        } else if untold.is_some_and(|since| monotonic() - since < LONGEST_UNTOLD) {
            Lane::Report
        } else {
            Lane::Expiry
        };
        (lane, expiry)
    }

    /// Whether a grant as the watch delivers it is as this process wrote it, so that nobody has to look at it.
    pub fn is_own_write(&self, uid: &str, grant: &ObjectMeta, glance: &Glance) -> bool {
        let version: Option<u64> = grant.resource_version.as_deref().and_then(|text| text.parse().ok());
        let own = |memory: &Memory| {
            // Not any version before: a restored etcd counts from an earlier one again.
            let known = version.is_some_and(|version| memory.written.contains(&version));
            let is_of = |attempt: &str| glance.attempt.as_deref() == Some(attempt) || Glance::intends(grant, attempt);
            known || memory.in_flight.as_deref().is_some_and(is_of)
        };
        self.memories.look(uid, own).unwrap_or_default()
    }

    /// The watch shows a grant as we wrote it: what was remembered in its place is of no use any more.
    pub fn caught_up(&self, uid: &str, grant: &ObjectMeta) {
        let shown = |memory: &Memory| {
            memory.recent.as_ref().map(|recent| recent.resource_version.as_str()) == grant.resource_version.as_deref()
        };
        if self.memories.look(uid, shown).unwrap_or_default() {
            self.memories.update(uid, |memory| (memory.recent, memory.shown_wrongly) = (None, None));
        }
    }

    /// The other grants of the same installation, as the watch shows them. Walks through all grants.
    pub fn siblings(&self, view: &GrantView) -> Vec<GrantView> {
        let Some(installation) = &view.summary.installation else { return vec![] };
        let same = |grant: &Arc<WatchedGrant>| grant.installation.as_deref() == Some(installation.as_str());
        let siblings = self.grant_cache.state().into_iter().filter(same);
        let views = siblings.filter_map(|grant| grant.view().ok());
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
        let (written, at) = self.memories.look(integration.metadata.uid.as_deref()?, |memory| memory.told)??;
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
        let (why, tried) = *self.memories.look(uid, |memory| memory.unreadable.clone())??;
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
        self.memories.update(uid, |memory| memory.unreadable = Some(Box::new((chain(error), Timestamp::now()))));
    }

    /// Remembers a grant as it was just written, so that a cache that lags behind does no harm.
    pub fn wrote(&self, uid: &str, view: &GrantView) {
        let version = view.resource_version.parse().unwrap_or_default();
        self.memories.update(uid, |memory| {
            memory.recent = Some(Box::new(view.clone()));
            memory.note(version);
        });
    }

    /// Remembers a version of a grant that is about to be written again.
    pub fn passes(&self, uid: &str, view: &GrantView) {
        let version = view.resource_version.parse().unwrap_or_default();
        self.memories.update(uid, |memory| memory.note(version));
    }
}
