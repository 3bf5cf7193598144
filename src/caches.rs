//! Caches that every replica keeps: namespaces by their labels, and providers. The HTTP server reads them too.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{ClusterIntegrationProvider, IntegrationProvider};
use crate::provider::registry::{ClusterProviders, TenantProviders};
use crate::tenancy::NamespaceMeta;
use crate::watching::{Place, strip};

/// The caches.
#[derive(Clone)]
pub struct Caches {
    /// Namespaces, by their metadata.
    pub namespaces: Store<NamespaceMeta>,
    /// Moves with every change of [`Self::namespaces`], after it.
    pub namespaces_changed: watch::Receiver<()>,
    /// Cluster providers.
    pub cluster_providers: ClusterProviders,
    /// Tenants' own providers, one cache for each watched place.
    pub tenant_providers: Vec<TenantProviders>,
    filled: CancellationToken,
}

impl Caches {
    /// Begins to fill the caches; the tasks run until `stop`.
    pub fn start(client: &kube::Client, places: &[Place], tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let (changed, namespaces_changed) = watch::channel(());
        let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
        let cluster_providers = Api::<DeserializeGuard<ClusterIntegrationProvider>>::all(client.clone());
        let caches = Self {
            namespaces: fill_and_tell(namespaces, tasks, stop, move || _ = changed.send(())),
            namespaces_changed,
            cluster_providers: fill(cluster_providers, tasks, stop),
            tenant_providers: places
                .iter()
                .map(|place| fill(place.api::<DeserializeGuard<IntegrationProvider>>(client), tasks, stop))
                .collect(),
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

fn fill<K>(api: Api<K>, tasks: &TaskTracker, stop: &CancellationToken) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    fill_and_tell(api, tasks, stop, || {})
}

fn fill_and_tell<K>(
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
