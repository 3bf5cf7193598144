//! The controllers of providers: whether a description can be used, and the address to register at the app.
//!
//! Their status wakes no integration, and the count of users in it is written once a minute at most.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::watched::Watched;
use crate::api::MANAGER;
use crate::api::condition::{ConditionType, Observed, merge};
use crate::api::provider::ProviderStatus;
use crate::api::{ClusterIntegrationProvider, GROUP, IntegrationProvider, ProviderKind, ProviderSpec, Reason};
use crate::causes::chain;
use crate::provider::registry::LookupError;
use crate::provider::resolved::Provider;
use crate::watching::{Place, strip};

/// How often users are counted and credentials looked at.
const COUNT_EVERY: Duration = Duration::from_mins(1);

/// What both kinds of providers have.
pub trait Described:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Which kind it is.
    const KIND: ProviderKind;
    /// Its name in `kind:`.
    const NAME: &'static str;
    /// The description.
    fn description(&self) -> &ProviderSpec;
    /// The status.
    fn standing(&self) -> ProviderStatus;
}

impl Described for ClusterIntegrationProvider {
    const KIND: ProviderKind = ProviderKind::ClusterIntegrationProvider;
    const NAME: &'static str = "ClusterIntegrationProvider";
    fn description(&self) -> &ProviderSpec {
        &self.spec.description
    }
    fn standing(&self) -> ProviderStatus {
        self.status.clone().unwrap_or_default()
    }
}

impl Described for IntegrationProvider {
    const KIND: ProviderKind = ProviderKind::IntegrationProvider;
    const NAME: &'static str = "IntegrationProvider";
    fn description(&self) -> &ProviderSpec {
        &self.spec.description
    }
    fn standing(&self) -> ProviderStatus {
        self.status.clone().unwrap_or_default()
    }
}

/// What a reconcile of a provider needs.
struct Surroundings {
    context: Arc<Context>,
    integrations: Vec<Store<Watched>>,
}

/// Runs the controllers of both kinds until `stop`; of several shards, in one.
pub async fn run(context: &Arc<Context>, places: &[Place], integrations: &[Store<Watched>], stop: &CancellationToken) {
    if !context.shard.is_first() {
        return;
    }
    let around = Arc::new(Surroundings { context: Arc::clone(context), integrations: integrations.to_vec() });
    let mut running = vec![control::<ClusterIntegrationProvider>(Api::all(context.client.clone()), &around, stop)];
    running
        .extend(places.iter().map(|place| control::<IntegrationProvider>(place.api(&context.client), &around, stop)));
    futures::future::join_all(running).await;
}

fn control<K: Described>(
    api: Api<DeserializeGuard<K>>,
    around: &Arc<Surroundings>,
    stop: &CancellationToken,
) -> futures::future::BoxFuture<'static, ()> {
    let (store, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(strip)
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    Controller::for_stream(stream, store)
        .with_config(ControllerConfig::default().concurrency(8))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            reconcile::<K>,
            |provider, error: &Error, _| {
                tracing::warn!(provider = provider.name_any(), error = chain(error), "a provider is looked at again");
                Action::requeue(Duration::from_secs(10))
            },
            Arc::clone(around),
        )
        .for_each(|_| async {})
        .boxed()
}

/// The status could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the status of a provider could not be written")]
struct Error(#[source] Box<kube::Error>);

async fn reconcile<K: Described>(object: Arc<DeserializeGuard<K>>, around: Arc<Surroundings>) -> Result<Action, Error> {
    let Ok(provider) = &object.0 else {
        tracing::warn!(provider = object.name_any(), "a provider cannot be read");
        return Ok(Action::await_change());
    };
    if provider.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let context = &around.context;
    let resolved = context.registry.resolve(K::KIND, provider.meta(), provider.description()).await;
    let (ready, callback_url) = match resolved {
        Err(error) => (not_ready(&error), None),
        Ok(resolved) => {
            let callback_url = resolved.oauth.as_ref().map(|_| resolved.callback_url.to_string());
            (ready(context, &resolved).await, callback_url)
        }
    };
    let standing = provider.standing();
    let generation = provider.meta().generation.unwrap_or_default();
    let status = ProviderStatus {
        observed_generation: Some(generation),
        conditions: merge(&standing.conditions, std::slice::from_ref(&ready), generation, Timestamp::now()),
        callback_url,
        // Nobody sees those of other shards.
        integrations: (!context.shard.is_part()).then(|| count::<K>(&around, provider)),
    };
    if status != standing {
        write(context, provider, &status).await?;
    }
    let soon = ready.status != Some(true);
    Ok(Action::requeue(if soon { COUNT_EVERY / 4 } else { COUNT_EVERY }))
}

/// Whether a description can be used: for OAuth its client's credentials are needed, for API keys nothing more.
async fn ready(context: &Context, provider: &Provider) -> Observed {
    let accepted = |message| Observed::yes(ConditionType::Ready, Reason::Accepted, message);
    match (&provider.oauth, &provider.api_key) {
        (None, _) => accepted("The description can be used, with API keys."),
        (Some(_), Some(_)) if provider.client_secret_name.is_none() => {
            accepted("The description can be used, with API keys only: OAuth needs clientCredentialsRef.")
        }
        (Some(_), _) => match context.registry.credentials(provider).await {
            Ok(_) => accepted("The description can be used."),
            Err(error) => not_ready(&LookupError::Credentials(error)),
        },
    }
}

fn not_ready(error: &LookupError) -> Observed {
    Observed::no(ConditionType::Ready, error.reason(), chain(error))
}

fn count<K: Described>(around: &Surroundings, provider: &K) -> i64 {
    let name = provider.name_any();
    let namespace = provider.namespace();
    let uses = |object: &Watched| {
        object.facts.provider_kind == K::KIND
            && *object.facts.type_ == *name
            && (namespace.is_none() || object.meta().namespace == namespace)
    };
    let count: usize =
        around.integrations.iter().map(|store| store.state().iter().filter(|object| uses(object)).count()).sum();
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn write<K: Described>(context: &Context, provider: &K, status: &ProviderStatus) -> Result<(), Error> {
    let patch = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": K::NAME,
        "metadata": { "name": provider.name_any(), "uid": provider.uid() },
        "status": status,
    });
    let resource = kube::core::ApiResource {
        group: GROUP.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{GROUP}/v1alpha1"),
        kind: K::NAME.to_owned(),
        plural: K::plural(&()).into_owned(),
    };
    let api: Api<kube::core::DynamicObject> = match provider.namespace() {
        Some(namespace) => Api::namespaced_with(context.client.clone(), &namespace, &resource),
        None => Api::all_with(context.client.clone(), &resource),
    };
    match api.patch_status(&provider.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => Ok(()),
        Err(source) => Err(Error(Box::new(source))),
    }
}
