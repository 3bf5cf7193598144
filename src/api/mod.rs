//! The resources as people write them: types of the API group `integrations.tms.dev`, their schemas and rules.
//!
//! Nothing here knows a client or a clock. The types are what the API server stores; what they *mean* is
//! worked out in [`crate::provider`] and [`crate::controller`], where one bad object fails alone.

pub mod condition;
// `KubeSchema` expands to a private twin of each type, which the lint takes for a mistake.
#[allow(unreachable_pub)]
pub mod project_integration;
// One attribute a column is how the derive wants them.
#[allow(clippy::duplicated_attributes)]
pub mod provider;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt as _;

pub use condition::{ConditionType, Reason};
pub use project_integration::{ProjectIntegration, ProjectIntegrationSpec, ProjectIntegrationStatus, ProviderKind};
pub use provider::{ClusterIntegrationProvider, IntegrationProvider, ProviderSpec, ProviderStatus};

/// The API group of every resource of this project.
pub const GROUP: &str = "integrations.tms.dev";

/// Label of a namespace that names the tenant it belongs to. Only a cluster administrator sets it.
pub const TENANT_LABEL: &str = "integrations.tms.dev/tenant";

/// Label without which a Secret in a tenant's namespace is never read.
pub const READABLE_LABEL: &str = "integrations.tms.dev/readable";

/// Field manager of everything the operator itself writes.
pub const MANAGER: &str = "integration-operator";

/// Finalizer that lets the operator revoke what it holds before an integration disappears.
pub const FINALIZER: &str = "integrations.tms.dev/revoke";

/// Annotations by which a person asks for something; each holds an RFC 3339 time and is done once.
pub mod request {
    /// Asks for an authorization URL.
    pub const CONNECT: &str = "integrations.tms.dev/connect-requested-at";
    /// Asks for a refresh now.
    pub const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";
    /// Asks to revoke and forget what is held.
    pub const DISCONNECT: &str = "integrations.tms.dev/disconnect-requested-at";
    /// Asks for a health check, and for the published Secret to be looked at.
    pub const CHECK: &str = "integrations.tms.dev/check-requested-at";
    /// Those that ask for something.
    pub const ALL: [&str; 4] = [CONNECT, REFRESH, DISCONNECT, CHECK];
    /// Who asked; the shipped admission policy holds it to the caller's own name.
    pub const REQUESTED_BY: &str = "integrations.tms.dev/requested-by";
}

/// Every `CustomResourceDefinition` of the project, in the order in which `crds/` holds them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut integration = ProjectIntegration::crd();
    default_status(&mut integration);
    vec![integration, ClusterIntegrationProvider::crd(), IntegrationProvider::crd()]
}

/// Gives `status` the default `{observedGeneration: -1}`: a fresh object must not pass for a ready one
/// in tools that compare `observedGeneration` with `generation`.
fn default_status(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
            status.nullable = None;
        }
    }
}
