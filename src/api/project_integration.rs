//! `ProjectIntegration`: one connection of one project of one tenant to one app.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The connection of one project to one app.
///
/// The name of the object is `<projectId>.<type>`, so that a project has at most one integration of a type.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "integrations.tms.dev",
    version = "v1alpha1",
    kind = "ProjectIntegration",
    plural = "projectintegrations",
    namespaced,
    status = "ProjectIntegrationStatus",
    shortname = "pint",
    shortname = "integration",
    category = "integrations",
    derive = "PartialEq",
    doc = "The connection of one project of one tenant to one third-party app.",
    validation = Rule::new("self.metadata.name == self.spec.projectId + '.' + self.spec.type")
        .message("the name must be <projectId>.<type>"),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenantId"),
    printcolumn(name = "Project", type_ = "string", json_path = ".spec.projectId"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.token.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct ProjectIntegrationSpec {
    /// The tenant; must be the one that the namespace's `integrations.tms.dev/tenant` label names.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("tenantId is immutable"))]
    pub tenant_id: String,
    /// The project within the tenant.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("projectId is immutable"))]
    pub project_id: String,
    /// The app: the name of its provider.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("type is immutable"))]
    pub type_: String,
    /// Whether the app is described for the whole cluster, or by a provider of this namespace.
    #[serde(default)]
    pub provider_kind: ProviderKind,
    /// Values that the provider's description asks for, such as the subdomain of a help desk.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub parameters: BTreeMap<String, String>,
    /// Scopes to ask for, in place of the provider's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 128))]
    pub scopes: Vec<String>,
    /// Where workloads find the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PublishedSecret>,
    /// For providers with an API key: where the key lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// For providers whose webhooks are signed with a secret of each integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Where verified events go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// When to refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshOverride>,
    /// How often the credential is proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// No refresh, no calls, no events; what is held is kept.
    #[serde(default)]
    pub suspend: bool,
}

/// Which kind of object describes the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ProviderKind {
    /// Described once for the cluster.
    #[default]
    ClusterIntegrationProvider,
    /// Described in the tenant's own namespace.
    IntegrationProvider,
}

/// The Secret that is written for workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedSecret {
    /// Its name; the integration's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"))]
    pub name: Option<String>,
    /// `false`: no Secret is written.
    #[serde(default = "yes")]
    pub publish: bool,
}

const fn yes() -> bool {
    true
}

/// Where an API key lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// A Secret of this namespace, labelled `integrations.tms.dev/readable: "true"`.
    pub secret_ref: SecretKeyRef,
}

/// One key of one Secret in the integration's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// Secrets that sign webhooks of this integration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// One live secret, or two while one replaces the other.
    #[schemars(length(min = 1, max = 2))]
    pub signing_secret_refs: Vec<SecretKeyRef>,
}

/// Where events of this integration go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// The receiver.
    pub sink: Sink,
    /// The secret that events are signed with (`whsec_…`, <https://www.standardwebhooks.com>), in a Secret of this namespace
    /// that is labelled `integrations.tms.dev/readable: "true"`; without it they are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret_ref: Option<SecretKeyRef>,
}

/// A receiver of events: one of a URI or a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.uri) != has(self.service)").message("name either uri or service"))]
pub struct Sink {
    /// An https address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub uri: Option<String>,
    /// A Service of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<SinkService>,
}

/// A Service of the integration's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkService {
    /// Its name.
    pub name: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,
    /// The path; `/` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A length of time as Go and Kubernetes write it, such as `90s`, `10m` or `1h30m`.
pub const DURATION_PATTERN: &str = r"^([0-9]+(h|m|s|ms))+$";

/// When to refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshOverride {
    /// How long before expiry, such as `10m`; after two thirds of the lifetime when absent.
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub before: String,
}

/// How often the credential is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Time between checks.
    #[serde(default = "ten_minutes")]
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub interval: String,
    /// Failures in a row before `Healthy` turns `False`.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000), extend("format" = "int32"))]
    pub failure_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { interval: ten_minutes(), failure_threshold: three() }
    }
}

fn ten_minutes() -> String {
    "10m".to_owned()
}

const fn three() -> u32 {
    3
}

/// What the operator has found and done. Never a token, a code, a client secret or a state.
//
// It has one writer, which writes all of it. That the API server need not know whose each field is saves it a fifth of
// the work of a status write, and a quarter of the object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ProjectIntegrationStatus {
    /// The generation of the spec that this status speaks of; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions; a list-map by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// Who connected, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<Installation>,
    /// Scopes that the provider granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What the provider said of the account: workspace, guild, bot user and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "free_form")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// What the person has to choose from, by a value of `spec.parameters`; absent when nothing is to be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 4))]
    pub choices: Vec<ChoiceStatus>,
    /// The token that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,
    /// Failures of the health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// Present only while a connect was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationStatus>,
    /// The key that a disconnect was about, while `spec.apiKey` still names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_key: Option<DisconnectedKey>,
    /// The request annotations that were handled, by what they asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub handled: BTreeMap<String, String>,
}

fn free_form(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "What the provider said of the account: workspace, guild, bot user and so on.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// Who connected, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// The Kubernetes user that asked for the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_by: Option<String>,
    /// The person of the product on whose behalf it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// When the grant was made (RFC 3339).
    pub installed_at: String,
    /// When it last changed (RFC 3339).
    pub last_updated_at: String,
}

/// A key that was disconnected: it is not used again until it or the spec changes, or somebody asks to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisconnectedKey {
    /// The generation of the spec at that moment.
    pub generation: i64,
    /// Tells whether the Secret still holds that key; made with a secret of the operator's, and of no use to others.
    pub fingerprint: String,
}

/// Sites or accounts of which one must be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChoiceStatus {
    /// The key of `spec.parameters` that names the chosen one.
    pub parameter: String,
    /// The first 50 of them; none where the account has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 50))]
    pub options: Vec<ChoiceOptionStatus>,
}

/// One site or account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChoiceOptionStatus {
    /// What the value of `spec.parameters` must be.
    pub value: String,
    /// What people know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// The token that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// `ApiKey` for an API key; absent for what an authorization gave.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The Secret of this namespace that holds the access token; absent when none is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// When the access token expires (RFC 3339); absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was last obtained or refreshed (RFC 3339).
    pub last_refreshed_at: String,
    /// When the next refresh is planned (RFC 3339); absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_refresh_at: Option<String>,
    /// When the app ends the authorization whatever is done (RFC 3339), where its description says so: connect again before
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_expires_at: Option<String>,
    /// Further tokens, such as a user's beside a bot's, by the names that the provider's description has for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, TokenSetStatus>,
}

/// A further set of tokens that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSetStatus {
    /// When the access token expires (RFC 3339); absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was last obtained or refreshed (RFC 3339).
    pub last_refreshed_at: String,
    /// When the next refresh is planned (RFC 3339); absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_refresh_at: Option<String>,
    /// Whether the provider has refused to go on with it: a person must authorize again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// Failures of the health check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthStatus {
    /// Failures in a row, as of the last transition.
    #[schemars(extend("format" = "int32"))]
    pub consecutive_failures: u32,
    /// When the check last failed (RFC 3339), as of the last transition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failed_at: Option<String>,
}

/// An authorization that waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationStatus {
    /// The Secret of this namespace whose key `url` holds the address to visit; the URL is a capability.
    pub secret_name: String,
    /// Until when it can be used (RFC 3339).
    pub expires_at: String,
}
