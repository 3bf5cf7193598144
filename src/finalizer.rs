//! The finalizer of integrations: on before anything is held, off when nothing is.

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::api::{FINALIZER, ProjectIntegration};

/// Times a write is made again because somebody wrote in between.
const TRIES: u32 = 5;

/// The finalizer could not be put on or taken off.
#[derive(Debug, thiserror::Error)]
pub enum FinalizerError {
    /// The integration was deleted, or re-created, in the meantime.
    #[error("integration {name} is gone")]
    Gone {
        /// The integration.
        name: String,
    },
    /// Others wrote to the integration faster than this could.
    #[error("integration {name} is written to all the time")]
    Contended {
        /// The integration.
        name: String,
    },
    /// The API server refused, or could not be reached.
    #[error("the finalizer of integration {name} cannot be written")]
    Api {
        /// The integration.
        name: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Makes sure that the finalizer is on. An integration that is being deleted takes none any more.
pub async fn put_on(client: &kube::Client, integration: &ProjectIntegration) -> Result<(), FinalizerError> {
    change(client, integration, |finalizers| {
        let missing = !finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        missing.then(|| finalizers.push(FINALIZER.to_owned())).is_some()
    })
    .await
}

/// Makes sure that the finalizer is off; gone is as good.
pub async fn take_off(client: &kube::Client, integration: &ProjectIntegration) -> Result<(), FinalizerError> {
    let taken = change(client, integration, |finalizers| {
        let before = finalizers.len();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        finalizers.len() != before
    });
    match taken.await {
        Err(FinalizerError::Gone { .. }) => Ok(()),
        result => result,
    }
}

/// Changes the list by compare-and-swap, beginning with the object at hand.
async fn change(
    client: &kube::Client,
    integration: &ProjectIntegration,
    edit: impl Fn(&mut Vec<String>) -> bool,
) -> Result<(), FinalizerError> {
    let name = integration.name_any();
    let api: Api<ProjectIntegration> = Api::namespaced(client.clone(), &integration.namespace().unwrap_or_default());
    let failed = |source| FinalizerError::Api { name: name.clone(), source: Box::new(source) };
    let mut metadata = integration.metadata.clone();
    for _ in 0..TRIES {
        let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
        if !edit(&mut finalizers) {
            return Ok(());
        }
        let patch = json!({ "metadata": {
            "finalizers": finalizers,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        }});
        match api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Err(FinalizerError::Gone { name }),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(source) => return Err(failed(source)),
        }
        metadata = match api.get_metadata_opt(&name).await.map_err(failed)? {
            Some(found) if found.metadata.uid == integration.metadata.uid => found.metadata,
            _ => return Err(FinalizerError::Gone { name }),
        };
    }
    // The next reconcile, or the next request, tries again.
    Err(FinalizerError::Contended { name })
}
