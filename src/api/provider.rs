//! `ClusterIntegrationProvider` and `IntegrationProvider`: an app, described as data.
//!
//! One type, [`ProviderSpec`], serves both kinds and the built-in catalogue.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// The Secret with `client_id` and `client_secret`: in the operator's namespace for a cluster provider, in its own for a tenant's.
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
    /// A call that proves a credential and says whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityCall>,
    /// A form for the person who connects; values are used as `{name}` in URLs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub parameters: BTreeMap<String, Parameter>,
    /// What goes into `status.metadata`: CEL over `response` (the token answer without its tokens), `identity`, `integration` and `parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub metadata: BTreeMap<String, String>,
    /// The same, for values that are secrets themselves: they go into the published Secret and nowhere else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub secret_metadata: BTreeMap<String, String>,
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
    /// What the value must match; one DNS label when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pattern: Option<String>,
    /// The question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub title: Option<String>,
}

/// An OAuth 2.0 client (RFC 6749).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// Issuer whose metadata (RFC 8414, or `OpenID` Connect Discovery) fills the endpoints that are not given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Authorization endpoint (RFC 6749 §3.1).
    #[serde(default, rename = "authorizationURL", skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// Token endpoint (RFC 6749 §3.2).
    #[serde(default, rename = "tokenURL", skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Revocation endpoint (RFC 7009).
    #[serde(default, rename = "revocationURL", skip_serializing_if = "Option::is_none")]
    pub revocation_url: Option<String>,
    /// Introspection endpoint (RFC 7662).
    #[serde(default, rename = "introspectionURL", skip_serializing_if = "Option::is_none")]
    pub introspection_url: Option<String>,
    /// `UserInfo` endpoint; shorthand for an identity call by GET.
    #[serde(default, rename = "userinfoURL", skip_serializing_if = "Option::is_none")]
    pub userinfo_url: Option<String>,
    /// Redirect URI already registered elsewhere, in place of the operator's own.
    #[serde(default, rename = "redirectURI", skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 128))]
    pub scopes: Option<Vec<String>>,
    /// What separates scopes in the authorization request; a space when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1))]
    pub scope_separator: Option<String>,
    /// Proof Key for Code Exchange (RFC 7636); `S256` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkce: Option<Pkce>,
    /// How the client authenticates (RFC 6749 §2.3); `ClientSecretPost` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
    /// The body of token requests; `Form` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_format: Option<RequestFormat>,
    /// Extra parameters of the authorization request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub authorization_params: BTreeMap<String, String>,
    /// Extra parameters of the code exchange.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub token_params: BTreeMap<String, String>,
    /// Extra parameters of a refresh.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub refresh_params: BTreeMap<String, String>,
    /// How refresh tokens behave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshProfile>,
    /// Lifetime of an access token whose answer has no `expires_in`, such as `1h`; without an expiry when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub access_token_lifetime: Option<String>,
    /// Error words of the token endpoint, beyond those of RFC 6749 §5.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorWords>,
    /// Which upstream installation a grant is: CEL over `response` and `identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub grant_identity: Option<String>,
    /// Revocation where it is not RFC 7009.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// What dies when a token is revoked; `Grant` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_effect: Option<RevocationEffect>,
    /// What a second authorization of the same installation does to the first; `Independent` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reauthorization: Option<Reauthorization>,
}

/// Proof Key for Code Exchange (RFC 7636).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pkce {
    /// A challenge by SHA-256.
    #[default]
    S256,
    /// None, for providers that break on it.
    None,
}

/// How the client authenticates at the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthentication {
    /// In the body.
    #[default]
    ClientSecretPost,
    /// HTTP Basic.
    ClientSecretBasic,
    /// A signed assertion.
    PrivateKeyJwt,
    /// Only the `client_id`, for public clients.
    None,
}

/// The body of token requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestFormat {
    /// `application/x-www-form-urlencoded` (RFC 6749 §4.1.3).
    #[default]
    Form,
    /// `application/json`, for providers that want it.
    #[serde(rename = "JSON")]
    Json,
}

/// How refresh tokens behave at this provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshProfile {
    /// What using a refresh token does to it; `Strict` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// With `Grace`: for how many seconds a used refresh token may be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400), extend("format" = "int32"))]
    pub grace_seconds: Option<u32>,
    /// What a refresh does to the access token before it; `Lives` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_access_token: Option<OldAccessToken>,
    /// Refresh at least this often, such as `720h`, so that an unused refresh token does not lapse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub every: Option<String>,
}

/// What using a refresh token does to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Rotation {
    /// Nothing: it stays valid.
    None,
    /// It may be used again for `graceSeconds`.
    Grace,
    /// It is dead, and using it again is merely refused.
    Lenient,
    /// It is dead, and using it again revokes the whole grant.
    #[default]
    Strict,
}

/// What a refresh does to the access token before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OldAccessToken {
    /// It lives until its own expiry.
    #[default]
    Lives,
    /// It dies at once.
    Dies,
}

/// Error words of the token endpoint and what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorWords {
    /// The grant is dead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permanent: Vec<String>,
    /// The provider is in trouble and has not acted; the request may be sent again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transient: Vec<String>,
    /// The client is set up wrongly; the grant is unharmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<String>,
}

/// Revocation where it is not RFC 7009.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The HTTP method; `POST` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The address; `{client_id}` stands for the client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who asks; `Client` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<RevocationAuthentication>,
    /// How the token is passed; nothing in the body when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<RevocationBody>,
    /// Statuses beyond 2xx that mean the token is gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = { "type": "integer", "format": "int32", "minimum": 300, "maximum": 599 }))]
    pub gone: Vec<u16>,
}

/// HTTP methods a description can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    #[default]
    Post,
    /// DELETE.
    Delete,
}

/// How the revocation request is authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevocationAuthentication {
    /// As at the token endpoint.
    #[default]
    Client,
    /// HTTP Basic with the client's credentials.
    ClientBasic,
    /// The access token as Bearer.
    Bearer,
    /// Not at all.
    None,
}

/// How the token is passed in a revocation request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationBody {
    /// The encoding; `Form` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<RequestFormat>,
    /// The parameter's name; `token` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Which token; `RefreshToken` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenChoice>,
}

/// Which token a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokenChoice {
    /// The refresh token where there is one, else the access token.
    #[default]
    RefreshToken,
    /// The access token.
    AccessToken,
}

/// What dies when a token is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevocationEffect {
    /// That token alone.
    Token,
    /// Every token of that authorization, and of later ones of the same account where the provider merges them.
    #[default]
    Grant,
    /// The whole installation, for every user of it.
    Installation,
}

/// What a second authorization of the same installation does to the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reauthorization {
    /// Nothing.
    #[default]
    Independent,
    /// It gives the same token again.
    SameToken,
    /// It ends the first.
    ReplacesEarlier,
}

/// A call that proves a credential and says whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityCall {
    /// The HTTP method; `GET` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<IdentityMethod>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When a 2xx answer is a yes: CEL over `identity`, its JSON body; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub success: Option<String>,
}

/// HTTP methods of an identity call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum IdentityMethod {
    /// GET.
    #[default]
    Get,
    /// POST, with an empty body.
    Post,
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
    /// How many integrations use this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrations: Option<i64>,
}
