//! `ClusterIntegrationProvider` and `IntegrationProvider`: an app, described as data.
//!
//! One type, [`ProviderSpec`], serves both kinds and the built-in catalogue.

mod action;
mod call;
mod oauth2;
mod webhook;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use action::{
    Action, ActionCredential, ActionMethod, ActionRequest, ActionTarget, ApiErrors, ApplicationCredential,
    CapturedAddress, Idempotency,
};
pub use call::{Api, ApiKey, Basic, Call, Choose, CredentialPlacement, IdentityCall, Lookup, Method};
pub use oauth2::{
    Assertion, AssertionAlgorithm, ClientAuthentication, ErrorWords, ExpiryForm, GrantedScopes, OAuth2, OldAccessToken,
    Pkce, Reauthorization, RefreshProfile, RefreshWhen, RequestFormat, Revocation, RevocationAuthentication,
    RevocationBody, RevocationEffect, Rotation, TokenChoice, TokenPointers, TokenResponse, TokenSet,
};
pub use webhook::{
    Handshake, KeyEncoding, Signature, SignatureAlgorithm, SignatureEncoding, SignatureList, TimestampUnit, WebhookJwt,
    WebhookRoute, WebhookScheme, WebhookTimestamp, Webhooks,
};

/// An app described for the whole cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "integrations.tms.dev",
    version = "v1alpha1",
    kind = "ClusterIntegrationProvider",
    plural = "clusterintegrationproviders",
    status = "ProviderStatus",
    shortname = "cip",
    category = "integrations",
    derive = "PartialEq",
    doc = "An app that projects of every tenant can connect to, described as data.",
    printcolumn(name = "Preset", type_ = "string", json_path = ".spec.preset"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Integrations", type_ = "integer", json_path = ".status.integrations"),
    printcolumn(name = "Callback", type_ = "string", json_path = ".status.callbackURL", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterIntegrationProviderSpec {
    /// The description.
    #[serde(flatten)]
    pub description: ProviderSpec,
}

/// An app described by a tenant, for its own namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "integrations.tms.dev",
    version = "v1alpha1",
    kind = "IntegrationProvider",
    plural = "integrationproviders",
    namespaced,
    status = "ProviderStatus",
    shortname = "ip",
    category = "integrations",
    derive = "PartialEq",
    doc = "An app that one tenant brought along, described as data.",
    printcolumn(name = "Preset", type_ = "string", json_path = ".spec.preset"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Integrations", type_ = "integer", json_path = ".status.integrations"),
    printcolumn(name = "Callback", type_ = "string", json_path = ".status.callbackURL", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct IntegrationProviderSpec {
    /// The description.
    #[serde(flatten)]
    pub description: ProviderSpec,
}

/// How to connect to an app, and what to do with the connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpec {
    /// A built-in description to start from; the fields below override it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The app's name as people know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// The Secret with `client_id` and `client_secret`, or `private_key` for `PrivateKeyJwt`: in the operator's namespace for a
    /// cluster provider, in its own for a tenant's. While a secret is replaced, `client_secret_next` holds the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_credentials_ref: Option<LocalSecretRef>,
    /// Which tenants' namespaces may use a cluster provider; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<LabelSelector>,
    /// Private networks (CIDR) in which endpoints of a cluster provider may lie, for a self-hosted app.
    #[serde(default, rename = "allowedPrivateCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub allowed_private_cidrs: Vec<String>,
    /// The OAuth 2.0 client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// How an API key is given and sent; in place of `oauth2`, or beside it for apps that take either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// Where the app's API lies, and how a credential is sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// A call that proves a credential and says whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityCall>,
    /// Calls after connecting that learn which site or account it is, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "maxItems" = 4,
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub lookups: Vec<Lookup>,
    /// A form for the person who connects; values are used as `{name}` in URLs and extra parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub parameters: BTreeMap<String, Parameter>,
    /// What goes into `status.metadata`: CEL over `response` (the token answer without its tokens), `identity`, `lookup`, `request`, `integration`
    /// and `parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub metadata: BTreeMap<String, String>,
    /// The same, for values that are secrets themselves: they go into the published Secret and nowhere else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub secret_metadata: BTreeMap<String, String>,
    /// What can be done with a connection by one call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "maxItems" = 32,
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub actions: Vec<Action>,
    /// What the app sends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<Webhooks>,
}

/// A Secret, by name, in the namespace that the context prescribes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One question of the form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// What the value must match, from its first to its last character; one DNS label when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pattern: Option<String>,
    /// The question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub title: Option<String>,
    /// Where to find the value, or what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// The value where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub default: Option<String>,
    /// Whether it may be left out; then whatever names it is left out too. Not for values in the host or path of a URL.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What the operator makes of a description.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// The exact redirect URI to register in the app's console.
    #[serde(default, rename = "callbackURL", skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// How many integrations use this provider; missing where they are divided among several shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrations: Option<i64>,
}
