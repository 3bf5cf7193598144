//! `cleanup`: before an uninstall, takes the finalizers off every integration, so that no namespace is stuck later.

use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::api::{FINALIZER, ProjectIntegration};
use crate::app::{StartError, client, outbound};
use crate::config::Cleanup;
use crate::controller::refresh::chain;
use crate::grant::GrantStore;
use crate::grant::store::grant_name;
use crate::oauth::revoke::revoke;

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
}

/// Takes the finalizers off; with `--revoke` asks each provider to revoke first, and tells where that failed.
///
/// Only grants that hold their client's credentials themselves, or need none, can be revoked here: the operator is not
/// running any more, and its providers may be gone.
pub async fn cleanup(options: Cleanup) -> Result<(), CleanupError> {
    let client = client().await?;
    let outbound = outbound(&options.egress)?;
    let grants = GrantStore::new(client.clone(), &options.namespace);
    let all: Api<DeserializeGuard<ProjectIntegration>> = Api::all(client.clone());
    let api = |operation| move |source| CleanupError::Api { operation, source: Box::new(source) };
    let found = all.list(&ListParams::default()).await.map_err(api("list integrations"))?;
    for integration in found.items {
        let (namespace, name) = (integration.namespace().unwrap_or_default(), integration.name_any());
        if options.revoke
            && let Ok(Some(held)) = grants.get(&grant_name(&namespace, &name)).await
        {
            match revoke(&outbound, &held.grant, None).await {
                Ok(()) => tracing::info!(namespace, name, "revoked"),
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
