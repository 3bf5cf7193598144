//! `cleanup`: before an uninstall, takes the finalizers off every integration, so that no namespace is stuck later.
//! What else there is stays: grants, integrations and what was published.

mod stop;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::api::ClusterIntegrationProvider;
use crate::api::{FINALIZER, ProjectIntegration};
use crate::app::{StartError, client, outbound};
use crate::causes::chain;
use crate::config::Cleanup;
use crate::grant::store::grant_name;
use crate::grant::{Binding, ClientCredentials, GrantStore};
use crate::oauth::revoke::revoke;
use crate::provider::catalogue::with_preset;
use crate::provider::credentials::read;
use crate::seal::Sealer;
use crate::watching::Place;

/// The cleanup could not be brought to its end.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// It could not begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The API server refused, or could not be reached.
    #[error("cannot {operation}")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
    /// The operator did not come to rest.
    #[error(
        "the operator still runs: Deployment {name} has Pods, or its Lease is renewed; look for what keeps them, or scale \
         it to nothing yourself, and begin again"
    )]
    StillRunning {
        /// The Deployment.
        name: String,
    },
}

/// Takes the finalizers off; with `--revoke` asks each provider to revoke first, and tells where that failed.
pub async fn cleanup(options: Cleanup) -> Result<(), CleanupError> {
    let client = client().await?;
    let outbound = outbound(&options.egress)?;
    let sealer = Sealer::load(options.sealing.grant_key_file.as_deref()).map_err(StartError::from)?;
    let grants = GrantStore::new(client.clone(), &options.namespace).sealing(sealer);
    let api = |operation| move |source| CleanupError::Api { operation, source: Box::new(source) };
    if let Some(name) = &options.stop_deployment {
        stop::stop(&client, &options.namespace, name).await?;
    }
    let mut found = Vec::new();
    for place in Place::all(&options.watch_namespaces) {
        let all: Api<DeserializeGuard<ProjectIntegration>> = place.api(&client);
        match all.list(&ListParams::default()).await {
            Ok(listed) => found.extend(listed.items),
            // Somebody took the definition away, and the integrations with it.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(source) => return Err(api("list integrations")(source)),
        }
    }
    for integration in found {
        let (namespace, name) = (integration.namespace().unwrap_or_default(), integration.name_any());
        if options.revoke {
            match grants.get(&grant_name(&namespace, &name)).await {
                Ok(Some(held)) => {
                    let credentials = credentials(&client, &options.namespace, &held.grant.binding).await;
                    match revoke(&outbound, &held.grant, credentials.as_ref()).await {
                        Ok(()) => tracing::info!(namespace, name, "revoked"),
                        Err(error) => tracing::warn!(namespace, name, error = chain(&error), "not revoked"),
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(namespace, name, error = chain(&error), "not revoked"),
            }
        }
        let kept: Vec<_> = integration.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        if kept.len() == integration.finalizers().len() {
            continue;
        }
        let patch = json!({ "metadata": {
            "finalizers": kept,
            "resourceVersion": integration.meta().resource_version,
        }});
        let one: Api<DeserializeGuard<ProjectIntegration>> = Api::namespaced(client.clone(), &namespace);
        match one.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => tracing::info!(namespace, name, "finalizer taken off"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(source) => return Err(api("take a finalizer off")(source)),
        }
    }
    Ok(())
}

/// The credentials of the client that a grant was made to, where its cluster provider still has them.
async fn credentials(client: &kube::Client, namespace: &str, binding: &Binding) -> Option<ClientCredentials> {
    if binding.client.is_some() {
        return None;
    }
    let providers: Api<ClusterIntegrationProvider> = Api::all(client.clone());
    let provider = providers.get(&binding.provider.name).await.ok()?;
    let reference = with_preset(&provider.spec.description).ok()?.client_credentials_ref?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get(&reference.name).await.ok()?;
    read(&secret).filter(|credentials| credentials.client_id == binding.client_id)
}
