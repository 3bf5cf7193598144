//! What is read from the API server for a webhook, kept for a moment: senders are many, and what does not prove itself must
//! not cost a request each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::Api;
use moka::future::Cache;

use crate::api::ProjectIntegration;
use crate::api::project_integration::SecretKeyRef;
use crate::grant::GrantStore;
use crate::grant::store::{Held, StoreError};
use crate::provider::registry::is_readable;
use crate::sensitive::Sensitive;

/// How long something is kept.
const AGE: Duration = Duration::from_secs(10);
/// How many of a kind.
const MOST: u64 = 4096;

/// Namespace and name.
type Name = (String, String);

/// Reads, and keeps for a moment.
pub struct Lookup {
    client: kube::Client,
    secrets: Cache<Name, Option<Arc<Values>>>,
    integrations: Cache<Name, Option<Arc<ProjectIntegration>>>,
    services: Cache<Name, Option<Arc<Service>>>,
    grants: Cache<String, Option<Arc<Held>>>,
}

/// What a Secret holds.
pub struct Values {
    readable: bool,
    values: BTreeMap<String, Sensitive>,
}

fn cache<K, V>() -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder().max_capacity(MOST).time_to_live(AGE).build()
}

impl Lookup {
    /// Nothing is read yet.
    pub fn new(client: kube::Client) -> Self {
        Self { client, secrets: cache(), integrations: cache(), services: cache(), grants: cache() }
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Values>>, Arc<kube::Error>> {
        let read = async {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let secret = api.get_opt(name).await?;
            Ok::<_, kube::Error>(secret.map(|secret| {
                let readable = is_readable(&secret.metadata);
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok().map(Sensitive::new);
                let values = secret.data.unwrap_or_default().into_iter();
                let values = values.filter_map(|(key, value)| Some((key, text(value.0)?))).collect();
                Arc::new(Values { readable, values })
            }))
        };
        self.secrets.try_get_with((namespace.to_owned(), name.to_owned()), read).await
    }

    /// Those of these values of a Secret that are there. Secrets of tenants must be marked as readable.
    pub async fn values(
        &self,
        (namespace, name): (&str, &str),
        keys: &[String],
        of_tenant: bool,
    ) -> Result<Vec<Sensitive>, Arc<kube::Error>> {
        let secret = self.secret(namespace, name).await?.filter(|secret| secret.readable || !of_tenant);
        let values = secret.iter().flat_map(|secret| keys.iter().filter_map(|key| secret.values.get(key).cloned()));
        Ok(values.collect())
    }

    /// One value of a tenant's Secret, which must be marked as readable.
    pub async fn value(&self, namespace: &str, key: &SecretKeyRef) -> Result<Option<Sensitive>, Arc<kube::Error>> {
        let values = self.values((namespace, &key.name), std::slice::from_ref(&key.key), true).await?;
        Ok(values.into_iter().next())
    }

    /// An integration.
    pub async fn integration(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<ProjectIntegration>>, Arc<kube::Error>> {
        let api: Api<ProjectIntegration> = Api::namespaced(self.client.clone(), namespace);
        let read = async { Ok::<_, kube::Error>(api.get_opt(name).await?.map(Arc::new)) };
        self.integrations.try_get_with((namespace.to_owned(), name.to_owned()), read).await
    }

    /// A Service.
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Option<Arc<Service>>, Arc<kube::Error>> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let read = async { Ok::<_, kube::Error>(api.get_opt(name).await?.map(Arc::new)) };
        self.services.try_get_with((namespace.to_owned(), name.to_owned()), read).await
    }

    /// A grant, by the name of its Secret.
    pub async fn grant(&self, grants: &GrantStore, name: &str) -> Result<Option<Arc<Held>>, Arc<StoreError>> {
        let read = async { Ok::<_, StoreError>(grants.get(name).await?.map(Arc::new)) };
        self.grants.try_get_with(name.to_owned(), read).await
    }

    /// Forgets a grant that has just ended.
    pub async fn forget(&self, grant: &str) {
        self.grants.invalidate(grant).await;
    }
}
