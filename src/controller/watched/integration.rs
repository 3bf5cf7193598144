//! An integration as the cache holds it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::packed::Packed;
use crate::api::{ConditionType, ProjectIntegration, ProviderKind};

/// What spec and status of an integration are like: fields in their order, and what most of them say.
const LIKE: &str = concat!(
    r#"{"spec":{"apiKey":{"secretRef":{"name":""}},"parameters":{},"projectId":"web","providerKind":"IntegrationProvider","#,
    r#""suspend":false,"tenantId":"acme","type":"slack"},"status":{"conditions":[{"lastTransitionTime":"2026-","message":""#,
    r#"Connected.","observedGeneration":1,"reason":"Connected","status":"True","type":"Ready"},{"lastTransitionTime":"2026-"#,
    r#"","message":"Nothing waits for a person.","observedGeneration":1,"reason":"Progressing","status":"False","type":"#,
    r#""Stalled"},{"lastTransitionTime":"2026-","message":"A grant is held.","observedGeneration":1,"reason":"Granted","#,
    r#""status":"True","type":"Authorized"},{"lastTransitionTime":"2026-","message":"The access token was refreshed.","#,
    r#""observedGeneration":1,"reason":"Refreshed","status":"True","type":"TokenFresh"},{"lastTransitionTime":"2026-","#,
    r#""message":"The provider accepts the access token.","observedGeneration":1,"reason":"Verified","status":"True","#,
    r#""type":"Healthy"}],"handled":{},"installation":{"agentId":"","installedAt":"2026-","installedBy":""#,
    r#"system:serviceaccount:","lastUpdatedAt":"2026-"},"metadata":{"workspaceId":"","workspaceName":""},"#,
    r#""observedGeneration":1,"scopes":["",""],"token":{"expiresAt":"2026-","lastRefreshedAt":"2026-","nextRefreshAt":""#,
    r#"2026-","secretName":"web.slack"}}}"#,
);

/// An integration. One that this version cannot read is found out when it is opened, and stops nobody else.
#[derive(Clone, Debug)]
pub struct Watched {
    metadata: ObjectMeta,
    /// Spec and status as JSON.
    body: Packed,
    /// What walks through the cache ask for.
    pub facts: Facts,
}

/// What is asked for without opening an integration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Which kind of provider it uses.
    pub provider_kind: ProviderKind,
    /// The name of its provider.
    pub type_: Box<str>,
    /// `spec.suspend`.
    pub suspend: bool,
    /// Whether the status says that it is ready; `None` where it says nothing.
    pub ready: Option<bool>,
    /// The reason of `Ready`.
    pub reason: Box<str>,
    /// When its access token expires, as the status has it.
    pub expires_at: Option<Timestamp>,
    /// When it is to be refreshed next, as the status has it.
    pub next_refresh_at: Option<Timestamp>,
}

impl Watched {
    /// The integration.
    pub fn open(&self) -> Result<ProjectIntegration, Box<InvalidObject>> {
        #[derive(Deserialize)]
        struct Body {
            spec: crate::api::ProjectIntegrationSpec,
            status: Option<crate::api::project_integration::ProjectIntegrationStatus>,
        }
        let metadata = self.metadata.clone();
        match serde_json::from_slice(&self.body.open(LIKE)) {
            Ok(Body { spec, status }) => Ok(ProjectIntegration { metadata, spec, status }),
            Err(error) => Err(Box::new(InvalidObject { error: error.to_string(), metadata })),
        }
    }
}

impl Facts {
    fn of(spec: &Value, status: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().into();
        let time = |value: &Value| value.as_str().and_then(|at| at.parse().ok());
        let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == ConditionType::Ready.as_str());
        Self {
            provider_kind: serde_json::from_value(spec["providerKind"].clone()).unwrap_or_default(),
            type_: text(&spec["type"]),
            suspend: spec["suspend"] == true,
            ready: ready.map(|ready| ready["status"] == "True"),
            reason: ready.map(|ready| text(&ready["reason"])).unwrap_or_default(),
            expires_at: time(&status["token"]["expiresAt"]),
            next_refresh_at: time(&status["token"]["nextRefreshAt"]),
        }
    }
}

/// The metadata that anybody here reads; `managedFields` would be most of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Whole {
            metadata: Metadata,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let Whole { metadata, spec, status } = Whole::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            finalizers: metadata.finalizers,
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        };
        let facts = Facts::of(&spec, &status);
        let body = Packed::new(json!({ "spec": spec, "status": status }).to_string().as_bytes(), LIKE);
        Ok(Self { metadata, body, facts })
    }
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = <ProjectIntegration as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        ProjectIntegration::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ProjectIntegration::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ProjectIntegration::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ProjectIntegration::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "apiVersion": "integrations.tms.dev/v1alpha1",
            "kind": "ProjectIntegration",
            "metadata": {
                "name": "web.slack", "namespace": "acme", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": { "a": "b" }, "finalizers": ["f"],
            },
            "spec": { "tenantId": "acme", "projectId": "web", "type": "slack", "suspend": true },
            "status": {
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Connected", "message": "m",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
                "token": { "expiresAt": "2026-01-01T01:00:00Z", "lastRefreshedAt": "2026-01-01T00:00:00Z", "nextRefreshAt": "2026-01-01T00:40:00Z" },
            },
        })
    }

    #[test]
    fn what_is_opened_is_what_was_packed() {
        let mut managed = object();
        managed["metadata"]["managedFields"] = json!([{ "manager": "m", "fieldsV1": { "f:spec": {} } }]);
        let packed: Watched = serde_json::from_value(managed).unwrap();
        let plain: ProjectIntegration = serde_json::from_value(object()).unwrap();
        assert_eq!(packed.open().unwrap(), plain);
        let facts = Facts {
            provider_kind: ProviderKind::ClusterIntegrationProvider,
            type_: "slack".into(),
            suspend: true,
            ready: Some(true),
            reason: "Connected".into(),
            expires_at: "2026-01-01T01:00:00Z".parse().ok(),
            next_refresh_at: "2026-01-01T00:40:00Z".parse().ok(),
        };
        assert_eq!(packed.facts, facts);
    }

    #[test]
    fn what_cannot_be_read_is_found_out_when_it_is_opened() {
        let mut broken = object();
        broken["spec"]["healthCheck"] = json!({ "failureThreshold": -1 });
        let packed: Watched = serde_json::from_value(broken).unwrap();
        let error = packed.open().unwrap_err();
        assert_eq!(error.metadata.name.as_deref(), Some("web.slack"));
        let bare: Watched = serde_json::from_value(json!({ "metadata": { "name": "x" } })).unwrap();
        assert!(bare.open().is_err());
        assert_eq!(bare.facts, Facts::default());
    }
}
