//! Caches that every replica keeps: namespaces by their labels, and providers. The HTTP server reads them too.

use futures::StreamExt as _;
use kube::Resource;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::provider::registry::{ClusterProviders, TenantProviders};
use crate::tenancy::NamespaceMeta;
use crate::watching::{Place, strip};

/// The caches.
#[derive(Clone)]
pub struct Caches {
    /// Namespaces, by their metadata.
    pub namespaces: Store<NamespaceMeta>,
    /// Cluster providers.
    pub cluster_providers: ClusterProviders,
    /// Tenants' own providers, one cache for each watched place.
    pub tenant_providers: Vec<TenantProviders>,
    /// Move with every change of these caches, after it.
    pub changes: Changes,
    filled: CancellationToken,
}

/// Tells that a cache has changed, once it has.
#[derive(Clone)]
pub struct Changes {
    /// Namespaces.
    pub namespaces: watch::Receiver<()>,
    /// Providers of both kinds.
    pub providers: watch::Receiver<()>,
}

impl Caches {
    /// Begins to fill the caches; the tasks run until `stop`.
    pub fn start(client: &kube::Client, places: &[Place], tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let (namespace_change, namespaces_changed) = watch::channel(());
        let (provider_change, providers_changed) = watch::channel(());
        let told = |change: &watch::Sender<()>| {
            let change = change.clone();
            move || _ = change.send(())
        };
        let caches = Self {
            namespaces: fill(Api::all(client.clone()), tasks, stop, told(&namespace_change)),
            cluster_providers: fill(Api::all(client.clone()), tasks, stop, told(&provider_change)),
            tenant_providers: places
                .iter()
                .map(|place| fill(place.api(client), tasks, stop, told(&provider_change)))
                .collect(),
            changes: Changes { namespaces: namespaces_changed, providers: providers_changed },
            filled: CancellationToken::new(),
        };
        // A store wakes only one of those that wait for it, so one task waits for all.
        let (waiting, stop) = (caches.clone(), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(waiting.fill_all()).await });
        caches
    }

    /// Resolves when every cache has seen its whole list once.
    pub async fn ready(&self) {
        self.filled.cancelled().await;
    }

    async fn fill_all(&self) {
        let _ = self.namespaces.wait_until_ready().await;
        let _ = self.cluster_providers.wait_until_ready().await;
        for store in &self.tenant_providers {
            let _ = store.wait_until_ready().await;
        }
        self.filled.cancel();
    }
}

fn fill<K>(
    api: Api<K>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    changed: impl Fn() + Send + Sync + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default()).default_backoff().modify(strip).reflect(writer);
    let stop = stop.clone();
    tasks.spawn(async move {
        stream
            .take_until(stop.cancelled_owned())
            .for_each(|event| {
                match event {
                    Ok(_) => changed(),
                    Err(error) => {
                        let error = crate::causes::chain(&error);
                        tracing::warn!(kind = %K::kind(&()), error, "watching");
                    }
                }
                std::future::ready(())
            })
            .await;
    });
    store
}
