//! Objects that the schema takes and this version cannot read.

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use serde_json::json;

use super::{ReconcileError, finalized};
use crate::api::MANAGER;
use crate::api::condition::{Observed, merge};
use crate::api::{ConditionType, GROUP, ProjectIntegration, ProjectIntegrationSpec, Reason};
use crate::controller::context::Context;
use crate::oauth::answer::printable;

/// An object that the schema takes and this version does not: told on the object itself, and nobody else is stopped.
pub(super) async fn unreadable(context: &Context, broken: &InvalidObject) -> Result<Action, ReconcileError> {
    let namespace = broken.metadata.namespace.clone().unwrap_or_default();
    let name = broken.metadata.name.clone().unwrap_or_default();
    tracing::warn!(namespace, name, error = broken.error, "an integration cannot be read");
    if broken.metadata.deletion_timestamp.is_some() {
        // The way out asks nothing of the spec.
        let metadata = broken.metadata.clone();
        let integration = ProjectIntegration { metadata, spec: ProjectIntegrationSpec::default(), status: None };
        return finalized(context, &integration).await;
    }
    let generation = broken.metadata.generation.unwrap_or_default();
    let message = format!("This object cannot be read: {}", printable(&broken.error, 256));
    let observed = [
        Observed::no(ConditionType::Ready, Reason::InvalidSpec, message.clone()),
        Observed::yes(ConditionType::Stalled, Reason::InvalidSpec, message),
    ];
    let conditions = merge(&[], &observed, generation, Timestamp::now());
    let patch = json!({
        "apiVersion": format!("{}/v1alpha1", GROUP),
        "kind": "ProjectIntegration",
        "metadata": { "name": name, "uid": broken.metadata.uid },
        "status": { "observedGeneration": generation, "conditions": conditions },
    });
    let api: Api<ProjectIntegration> = Api::namespaced(context.client.clone(), &namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    // The answer cannot be decoded either, so only its being there counts.
    match api.patch_status(&name, &parameters, &Patch::Apply(&patch)).await {
        Ok(_) | Err(kube::Error::SerdeError(_)) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(source) => return Err(ReconcileError::Status(Box::new(source))),
    }
    Ok(Action::await_change())
}
