//! Watches: which objects wake which reconcile, and with how little memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use kube::runtime::controller::{Config as ControllerConfig, Error as ControllerError};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Resource, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::context::{Context, SecretMeta};
use super::turns::Name;
use super::watched::{Watched, WatchedGrant};
use super::{integration, orphans, provider, resealing};
use crate::api::{ProviderKind, Reason};
use crate::caches::Changes;
use crate::flow::attempts::{ATTEMPT, OWNER_ANNOTATION};
use crate::grant::record::Glance;
use crate::grant::sharing;
use crate::grant::store::{GRANT, INSTALLATION_LABEL, KIND_LABEL};
use crate::grant::{GrantView, Owner};
use crate::shard::Shard;
use crate::watching::{Place, keeping, strip, strip_to_annotations};

/// How long changes of namespaces are gathered before anybody is woken.
const SETTLE: Duration = Duration::from_millis(50);

/// How long after its planned moment a refresh is looked after whatever the watch shows.
const OVERDUE: SignedDuration = SignedDuration::from_secs(20);
/// The most that are woken for it at once.
const MOST_OVERDUE: usize = 200;

/// Watches Secrets of the operator's namespace by their metadata, and keeps of each what `keep` makes of it.
fn own_secrets<K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static>(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    keep: fn(SecretMeta) -> K,
) -> (Store<K>, BoxStream<'static, Result<K, watcher::Error>>) {
    let api: Api<SecretMeta> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().labels(selector);
    let (store, writer) = reflector::store();
    let stream = watcher(api, config)
        .default_backoff()
        .modify(|secret| strip_to_annotations(secret, INSTALLATION_LABEL))
        .map_ok(move |event| keeping(event, keep))
        .reflect(writer)
        .touched_objects();
    (store, stream.boxed())
}

/// The watches of the grants and attempts, which the context reads and the controllers are woken by.
pub struct OwnSecrets {
    /// Grants.
    pub grants: BoxStream<'static, Result<WatchedGrant, watcher::Error>>,
    /// Attempts.
    pub attempts: BoxStream<'static, Result<SecretMeta, watcher::Error>>,
}

/// Makes the caches of grants and attempts, and the streams that fill them. Of grants those of the shard: attempts are few,
/// and are known before it is known whose their grant will be.
pub fn own_caches(
    client: &kube::Client,
    namespace: &str,
    shard: &Shard,
) -> (Store<WatchedGrant>, Store<SecretMeta>, OwnSecrets) {
    let kind = |kind: &str| format!("{KIND_LABEL}={kind}");
    let of_shard: Vec<_> = [kind(GRANT)].into_iter().chain(shard.selector()).collect();
    let (grant_cache, grants) = own_secrets(client, namespace, &of_shard.join(","), WatchedGrant::new);
    let (attempt_cache, attempts) = own_secrets(client, namespace, &kind(ATTEMPT), |attempt| attempt);
    (grant_cache, attempt_cache, OwnSecrets { grants, attempts })
}

/// Runs the controllers until `stop`: reconciles that have begun are brought to their end.
pub async fn run(
    context: Arc<Context>,
    places: &[Place],
    own: OwnSecrets,
    called: UnboundedReceiver<Name>,
    changes: Changes,
    stop: CancellationToken,
) {
    let mut stores = vec![];
    let mut controllers = vec![];
    let mut bells = vec![];
    for place in places {
        let (bell, rung) = unbounded();
        let (store, controller) = integrations(&context, place, (&bell, rung), &stop);
        bells.push((place.clone(), bell));
        stores.push(store);
        controllers.push(controller);
    }
    // Grants must be known before integrations are planned with: one that is missing looks like one that is not there.
    let ready = async {
        let _ = tokio::join!(context.grant_cache.wait_until_ready(), context.attempt_cache.wait_until_ready());
    };
    let work = async {
        tokio::select! {
            () = stop.cancelled() => return,
            () = ready => {}
        }
        let providers = provider::run(&context, places, &stores, &stop);
        let census = census(&context, &stores, &bells, &stop);
        let orphans = orphans::run(&context, places, &stores, &stop);
        let resealing = resealing::run(&context, &stop);
        tokio::join!(futures::future::join_all(controllers), providers, census, orphans, resealing);
    };
    let following = follow(&context, &stores, &bells, changes, &stop);
    let ringing = ring(&context, own, &bells, &stop);
    tokio::join!(ringing, call(&bells, called, &stop), following, work);
}

/// Wakes the integrations whose grants or attempts have changed, and those whose grants a new one has ended.
async fn ring(context: &Context, own: OwnSecrets, bells: &[(Place, Bell)], stop: &CancellationToken) {
    let grants = own.grants.map(|grant| grant.map(|grant| grant_owners(context, &grant)));
    let attempts = own.attempts.map(|attempt| attempt.map(|attempt| attempt_owner(&attempt).into_iter().collect()));
    let changes = futures::stream::select(grants, attempts).take_until(stop.cancelled());
    futures::pin_mut!(changes);
    while let Some(change) = changes.next().await {
        match change {
            Ok(owners) => owners.into_iter().for_each(|owner| wake(bells, owner)),
            Err(error) => tracing::warn!(%error, "watching grants and attempts"),
        }
    }
}

/// Wakes those whose turn it is.
async fn call(bells: &[(Place, Bell)], called: UnboundedReceiver<Name>, stop: &CancellationToken) {
    let called = called.take_until(stop.cancelled());
    futures::pin_mut!(called);
    while let Some((namespace, name)) = called.next().await {
        wake(bells, ObjectRef::new(&name).within(&namespace));
    }
}

/// Wakes an integration in the place that it belongs to.
fn wake(bells: &[(Place, Bell)], owner: ObjectRef<Watched>) {
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    if let Some((_, bell)) = bells.iter().find(|(place, _)| place.holds(namespace)) {
        drop(bell.unbounded_send(owner));
    }
}

/// Wakes whom a change of namespaces or providers concerns: the integrations of a namespace whose labels have changed, or
/// that serves its tenant, or no longer does, because of what became of another; and the users of a provider that has
/// changed, come or gone. Told by the caches that reconciles read, so none of them reads one too early.
async fn follow(
    context: &Context,
    stores: &[Store<Watched>],
    bells: &[(Place, Bell)],
    mut changes: Changes,
    stop: &CancellationToken,
) {
    let mut standings = context.tenants.standings();
    let mut versions = context.registry.versions();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            change = changes.namespaces.changed() => if change.is_err() { return },
            change = changes.providers.changed() => if change.is_err() { return },
        }
        // Many at once, as when a cache is filled, are one.
        tokio::time::sleep(SETTLE).await;
        changes.namespaces.mark_unchanged();
        changes.providers.mark_unchanged();
        let (new_standings, new_versions) = (context.tenants.standings(), context.registry.versions());
        let namespaces = changed(&standings, &new_standings);
        let providers = changed(&versions, &new_versions);
        for (store, (_, bell)) in stores.iter().zip(bells) {
            let concerned = |integration: &Watched| {
                let namespace = integration.namespace().unwrap_or_default();
                let kind = integration.facts.provider_kind;
                let own = kind == ProviderKind::IntegrationProvider;
                let provider = (kind, own.then(|| namespace.clone()), integration.facts.type_.to_string());
                namespaces.contains(&namespace) || providers.contains(&provider)
            };
            for object in store.state().iter().filter(|object| concerned(object)) {
                drop(bell.unbounded_send(ObjectRef::from_obj(&**object)));
            }
        }
        (standings, versions) = (new_standings, new_versions);
    }
}

/// The keys that are new, gone, or have another value.
fn changed<K: Eq + Hash + Clone, V: PartialEq>(before: &HashMap<K, V>, now: &HashMap<K, V>) -> HashSet<K> {
    let differs = |key: &&K| before.get(*key) != now.get(*key);
    before.keys().chain(now.keys()).filter(differs).cloned().collect()
}

/// Whom a change of a grant concerns: its owner; and where it is a new authorization that ends earlier ones, those of the
/// same installation too.
fn grant_owners(context: &Context, grant: &WatchedGrant) -> Vec<ObjectRef<Watched>> {
    let grant = &grant.open();
    let Some(glance) = Glance::at(grant) else { return vec![] };
    let reference = |owner: &Owner| ObjectRef::new(&owner.name).within(&owner.namespace);
    context.caught_up(&glance.integration.uid, grant);
    // What this process wrote it knows, and goes on with.
    let mut owners = vec![];
    if !context.is_own_write(&glance.integration.uid, grant, &glance) {
        owners.push(reference(&glance.integration));
    }
    if glance.ends_earlier
        && glance.generation == 1
        && let Ok(view) = GrantView::from_metadata(grant)
    {
        let earlier = context.siblings(&view).into_iter().filter(|other| sharing::is_later(&view, other));
        owners.extend(earlier.map(|other| reference(&other.summary.integration)));
    }
    owners
}

fn attempt_owner(attempt: &SecretMeta) -> Option<ObjectRef<Watched>> {
    let (namespace, name) = attempt.annotations().get(OWNER_ANNOTATION)?.split_once('/')?;
    Some(ObjectRef::new(name).within(namespace))
}

type Running = futures::future::BoxFuture<'static, ()>;
type Bell = UnboundedSender<ObjectRef<Watched>>;

/// The controller of integrations in one place.
fn integrations(
    context: &Arc<Context>,
    place: &Place,
    (bell, rung): (&Bell, UnboundedReceiver<ObjectRef<Watched>>),
    stop: &CancellationToken,
) -> (Store<Watched>, Running) {
    let client = &context.client;
    let turns = context.turns.clone();
    let (store, writer) = reflector::store();
    let changes = predicates::generation.combine(predicates::annotations).combine(predicates::finalizers);
    let stream = watcher(place.api::<Watched>(client), context.shard.watched())
        .default_backoff()
        .modify(strip)
        .inspect_ok(attend(context, &store, bell))
        .reflect(writer)
        .applied_objects()
        .predicate_filter(changes, PredicateConfig::default());
    let running = Controller::for_stream(stream, store.clone())
        // Unbounded here: who comes first is decided by the turns, not by the order of a hash set.
        .with_config(ControllerConfig::default().concurrency(0))
        .reconcile_on(rung)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            integration::reconcile,
            |object, error, context| integration::error_policy(&object, error, &context),
            Arc::clone(context),
        )
        .for_each(move |result| {
            if let Err(error) = result {
                tracing::debug!(%error, "controller");
                if let ControllerError::ObjectNotFound(gone) = error {
                    turns.forget(&(gone.namespace.unwrap_or_default(), gone.name));
                }
            }
            std::future::ready(())
        });
    (store, running.boxed())
}

/// Sees who leaves this shard and who comes to it. The filter of changes knows nothing of it: to that, one that comes back
/// is one that never left.
fn attend(
    context: &Arc<Context>,
    store: &Store<Watched>,
    bell: &Bell,
) -> impl FnMut(&watcher::Event<Watched>) + Send + use<> {
    let (context, store, bell) = (Arc::clone(context), store.clone(), bell.clone());
    let mut listed = false;
    move |event| match event {
        _ if !context.shard.is_part() => {}
        watcher::Event::Init => {}
        // The first list is news to the filter too.
        watcher::Event::InitDone => listed = true,
        watcher::Event::Delete(gone) => context.memories.leave(&gone.uid().unwrap_or_default()),
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            let reference = ObjectRef::from_obj(object);
            if listed && store.get(&reference).is_none() {
                drop(bell.unbounded_send(reference));
            }
        }
    }
}

/// Counts integrations by the reason of their `Ready` condition, for the metrics.
///
/// Also wakes those whose refresh is long overdue. That they were not woken by themselves means that the watch has shown them
/// as gone for a while, or not at all.
async fn census(context: &Context, stores: &[Store<Watched>], bells: &[(Place, Bell)], stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
        }
        let mut reasons: BTreeMap<String, i64> = BTreeMap::new();
        let mut soonest: Option<Timestamp> = None;
        let mut overdue = vec![];
        let late = Timestamp::now() - OVERDUE;
        for object in stores.iter().flat_map(Store::state) {
            let facts = &object.facts;
            match reasons.get_mut(&*facts.reason) {
                Some(count) => *count += 1,
                None => drop(reasons.insert(facts.reason.to_string(), 1)),
            }
            // One that nobody is to refresh, or nobody can, has a reason that says so.
            let refreshed = facts.ready != Some(false) || &*facts.reason == Reason::Expired.as_str();
            if refreshed && !facts.suspend {
                soonest = [soonest, facts.expires_at].into_iter().flatten().min();
                if let Some(planned) = facts.next_refresh_at.filter(|planned| *planned < late) {
                    overdue.push((planned, ObjectRef::from_obj(&*object)));
                }
            }
        }
        overdue.sort_by_key(|(planned, _)| *planned);
        overdue.into_iter().take(MOST_OVERDUE).for_each(|(_, owner)| wake(bells, owner));
        let reasons: Vec<_> = reasons.into_iter().collect();
        context.metrics.census(&reasons, soonest.map(Timestamp::as_second));
    }
}
