//! Watches: which objects wake which reconcile, and with how little memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Config as ControllerConfig;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher};
use tokio_util::sync::CancellationToken;

use super::context::{Context, SecretMeta, Watched};
use super::{integration, orphans, provider, resealing};
use crate::api::{ProjectIntegration, ProviderKind, Reason};
use crate::caches::Changes;
use crate::flow::attempts::{ATTEMPT, OWNER_ANNOTATION};
use crate::grant::GrantView;
use crate::grant::sharing;
use crate::grant::store::{GRANT, KIND_LABEL};
use crate::watching::{Place, strip};

/// How long changes of namespaces are gathered before anybody is woken.
const SETTLE: Duration = Duration::from_millis(50);

/// Watches Secrets of one kind in the operator's namespace by their metadata.
pub fn own_secrets(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
) -> (Store<SecretMeta>, impl Stream<Item = Result<SecretMeta, watcher::Error>> + Send + use<>) {
    let api: Api<SecretMeta> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().labels(&format!("{KIND_LABEL}={kind}"));
    let (store, writer) = reflector::store();
    let stream = watcher(api, config).default_backoff().modify(strip).reflect(writer).touched_objects();
    (store, stream)
}

/// The watches of the grants and attempts, which the context reads and the controllers are woken by.
pub struct OwnSecrets {
    /// Grants.
    pub grants: futures::stream::BoxStream<'static, Result<SecretMeta, watcher::Error>>,
    /// Attempts.
    pub attempts: futures::stream::BoxStream<'static, Result<SecretMeta, watcher::Error>>,
}

/// Makes the caches of grants and attempts, and the streams that fill them.
pub fn own_caches(client: &kube::Client, namespace: &str) -> (Store<SecretMeta>, Store<SecretMeta>, OwnSecrets) {
    let (grant_cache, grants) = own_secrets(client, namespace, GRANT);
    let (attempt_cache, attempts) = own_secrets(client, namespace, ATTEMPT);
    (grant_cache, attempt_cache, OwnSecrets { grants: grants.boxed(), attempts: attempts.boxed() })
}

/// Runs the controllers until `stop`: reconciles that have begun are brought to their end.
pub async fn run(context: Arc<Context>, places: &[Place], own: OwnSecrets, changes: Changes, stop: CancellationToken) {
    let mut stores = vec![];
    let mut controllers = vec![];
    let mut bells = vec![];
    for place in places {
        let (bell, rung) = futures::channel::mpsc::unbounded();
        let (store, controller) = integrations(&context, place, rung, &stop);
        bells.push(bell);
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
        let census = census(&context, &stores, &stop);
        let orphans = orphans::run(&context, places, &stop);
        let resealing = resealing::run(&context, &stop);
        tokio::join!(futures::future::join_all(controllers), providers, census, orphans, resealing);
    };
    let following = follow(&context, &stores, &bells, changes, &stop);
    tokio::join!(ring(&context, own, bells.clone(), stop.clone()), following, work);
}

/// Wakes the integrations whose grants or attempts have changed, and those whose grants a new one has ended.
async fn ring(context: &Context, own: OwnSecrets, bells: Vec<Bell>, stop: CancellationToken) {
    let grants = own.grants.map(|grant| grant.map(|grant| grant_owners(context, &grant)));
    let attempts = own.attempts.map(|attempt| attempt.map(|attempt| attempt_owner(&attempt).into_iter().collect()));
    let changes = futures::stream::select(grants, attempts).take_until(stop.cancelled_owned());
    futures::pin_mut!(changes);
    while let Some(change) = changes.next().await {
        match change {
            // One that belongs to another place is not in that controller's cache and wakes nobody there.
            Ok(owners) => {
                for (owner, bell) in owners.iter().flat_map(|owner| bells.iter().map(move |bell| (owner, bell))) {
                    drop(bell.unbounded_send(owner.clone()));
                }
            }
            Err(error) => tracing::warn!(%error, "watching grants and attempts"),
        }
    }
}

/// Wakes whom a change of namespaces or providers concerns: the integrations of a namespace whose labels have changed, or
/// that serves its tenant, or no longer does, because of what became of another; and the users of a provider that has
/// changed, come or gone. Told by the caches that reconciles read, so none of them reads one too early.
async fn follow(
    context: &Context,
    stores: &[Store<Watched>],
    bells: &[Bell],
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
        for (store, bell) in stores.iter().zip(bells) {
            let concerned = |integration: &ProjectIntegration| {
                let namespace = integration.namespace().unwrap_or_default();
                let own = integration.spec.provider_kind == ProviderKind::IntegrationProvider;
                let provider =
                    (integration.spec.provider_kind, own.then(|| namespace.clone()), integration.spec.type_.clone());
                namespaces.contains(&namespace) || providers.contains(&provider)
            };
            for object in store.state() {
                if object
                    .0
                    .as_ref()
                    .map_or_else(|_| namespaces.contains(&object.namespace().unwrap_or_default()), concerned)
                {
                    drop(bell.unbounded_send(ObjectRef::from_obj(&*object)));
                }
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
fn grant_owners(context: &Context, grant: &SecretMeta) -> Vec<ObjectRef<Watched>> {
    let Ok(view) = GrantView::from_metadata(&grant.metadata) else { return vec![] };
    let owner = |view: &GrantView| {
        let owner = &view.summary.integration;
        ObjectRef::new(&owner.name).within(&owner.namespace)
    };
    let mut owners = vec![owner(&view)];
    if view.summary.ends_earlier && view.summary.generation == 1 {
        owners.extend(context.siblings(&view).iter().filter(|other| sharing::is_later(&view, other)).map(owner));
    }
    owners
}

fn attempt_owner(attempt: &SecretMeta) -> Option<ObjectRef<Watched>> {
    let (namespace, name) = attempt.annotations().get(OWNER_ANNOTATION)?.split_once('/')?;
    Some(ObjectRef::new(name).within(namespace))
}

type Running = futures::future::BoxFuture<'static, ()>;
type Bell = futures::channel::mpsc::UnboundedSender<ObjectRef<Watched>>;

/// The controller of integrations in one place.
fn integrations(
    context: &Arc<Context>,
    place: &Place,
    rung: futures::channel::mpsc::UnboundedReceiver<ObjectRef<Watched>>,
    stop: &CancellationToken,
) -> (Store<Watched>, Running) {
    let client = &context.client;
    let (store, writer) = reflector::store();
    let changes = predicates::generation.combine(predicates::annotations).combine(predicates::finalizers);
    let stream = watcher(place.api::<Watched>(client), watcher::Config::default())
        .default_backoff()
        .modify(strip)
        .reflect(writer)
        .applied_objects()
        .predicate_filter(changes, PredicateConfig::default());
    let running = Controller::for_stream(stream, store.clone())
        // Unbounded here: who comes first is decided by the lanes, not by the order of a hash set.
        .with_config(ControllerConfig::default().concurrency(0))
        .reconcile_on(rung)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            integration::reconcile,
            |object, error, context| integration::error_policy(&object, error, &context),
            Arc::clone(context),
        )
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, "controller");
            }
        });
    (store, running.boxed())
}

/// Counts integrations by the reason of their `Ready` condition, for the metrics.
async fn census(context: &Context, stores: &[Store<Watched>], stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
        }
        let mut reasons: BTreeMap<String, i64> = BTreeMap::new();
        let mut soonest: Option<Timestamp> = None;
        for object in stores.iter().flat_map(Store::state) {
            let Ok(integration) = &object.0 else { continue };
            let Some(status) = &integration.status else { continue };
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            *reasons.entry(ready.map_or_else(String::new, |ready| ready.reason.clone())).or_default() += 1;
            // One that nobody is to refresh, or nobody can, has a reason that says so.
            let refreshed =
                ready.is_none_or(|ready| ready.status == "True" || ready.reason == Reason::Expired.as_str());
            if integration.spec.suspend || !refreshed {
                continue;
            }
            let expires = status.token.as_ref().and_then(|token| token.expires_at.as_deref()?.parse().ok());
            soonest = [soonest, expires].into_iter().flatten().min();
        }
        let reasons: Vec<_> = reasons.into_iter().collect();
        context.metrics.census(&reasons, soonest.map(Timestamp::as_second));
    }
}
