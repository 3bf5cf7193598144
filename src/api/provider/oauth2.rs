//! The OAuth 2.0 client of a description.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;

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
    /// Where a refresh is sent, if not to the token endpoint.
    #[serde(default, rename = "refreshURL", skip_serializing_if = "Option::is_none")]
    pub refresh_url: Option<String>,
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
    /// Whether the answer's `scope` tells what was granted (RFC 6749 §5.1); `Reported` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_scopes: Option<GrantedScopes>,
    /// Scopes that an answer never lists although they were granted, such as `offline_access`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 32))]
    pub unreported_scopes: Vec<String>,
    /// Scopes that an answer lists by another name: asked for, and listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub scope_aliases: BTreeMap<String, String>,
    /// Proof Key for Code Exchange (RFC 7636); `S256` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkce: Option<Pkce>,
    /// How the client authenticates (RFC 6749 §2.3); `ClientSecretPost` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
    /// With `PrivateKeyJwt`: how the assertion is made. The key is `private_key` (PEM) of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<Assertion>,
    /// The body of token requests; `Form` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_format: Option<RequestFormat>,
    /// Names that this provider has for parameters of the protocol, such as `client_id: client_key`; in all requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub parameter_names: BTreeMap<String, String>,
    /// Further headers of token requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub token_headers: BTreeMap<String, String>,
    /// Parameters of the callback that are kept, for expressions: `request.query.<name>`. They come through the browser, so
    /// they are hints, and never say whose a grant is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 8))]
    pub callback_params: Vec<String>,
    /// Extra parameters of the authorization request. `{name}` stands for a value of the form, here and in the two below.
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
    /// Where things lie in a token answer, for providers that do not keep to RFC 6749 §5.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_response: Option<TokenResponse>,
    /// Further tokens of the same answer, such as a user's beside a bot's. They are held, refreshed and published beside the
    /// first: as `<set>_access_token` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 4))]
    pub token_sets: BTreeMap<String, TokenSet>,
    /// Error words of the token endpoint, beyond those of RFC 6749 §5.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorWords>,
    /// Which upstream installation a grant is: CEL over `response`, `identity` and `lookup`.
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

/// Whether a token answer tells which scopes were granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GrantedScopes {
    /// It does where they differ from those asked for (RFC 6749 §5.1); fewer are `ScopesInsufficient`.
    #[default]
    Reported,
    /// What it lists cannot be compared with what was asked for.
    Unreliable,
}

/// A client assertion (RFC 7523 §2.2, `OpenID` Connect Core §9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assertion {
    /// The signature's algorithm; `RS256` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<AssertionAlgorithm>,
    /// Its `aud`; the token endpoint when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub audience: Option<String>,
    /// Its `kid` header, where the provider tells keys apart by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub key_id: Option<String>,
}

/// Algorithms of client assertions (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AssertionAlgorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256.
    #[default]
    RS256,
    /// RSA with PSS and SHA-256.
    PS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Where tokens lie in an answer: JSON pointers (RFC 6901).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenPointers {
    /// The access token; `/access_token` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub access_token: Option<String>,
    /// The refresh token; `/refresh_token` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub refresh_token: Option<String>,
    /// The token's type; `/token_type` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub token_type: Option<String>,
    /// The access token's lifetime or expiry; `/expires_in` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub expires_in: Option<String>,
    /// The refresh token's lifetime or expiry; `/refresh_token_expires_in` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub refresh_token_expires_in: Option<String>,
    /// The scopes; `/scope` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub scope: Option<String>,
}

/// A token answer that does not keep to RFC 6749 §5.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenResponse {
    /// Where the tokens lie.
    #[serde(flatten)]
    pub tokens: TokenPointers,
    /// How expiries are written; `Seconds` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<ExpiryForm>,
    /// When a 2xx answer is a yes: CEL over `response`, the answer without its tokens; when absent, where it has no error word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub success: Option<String>,
    /// The error word; `/error` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub error: Option<String>,
    /// The explanation beside it; `/error_description` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[^/]*)+$"))]
    pub error_description: Option<String>,
}

/// How an expiry is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExpiryForm {
    /// Seconds from now (RFC 6749 §5.1).
    #[default]
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMilliseconds,
    /// A date and time of RFC 3339.
    DateTime,
}

/// Further tokens of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSet {
    /// Scopes to ask for; without any, and without `scopeParameter`, nothing is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 128))]
    pub scopes: Vec<String>,
    /// The parameter of the authorization request that names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub scope_parameter: Option<String>,
    /// Where its tokens lie in the answer to a code; what is left out lies beside its access token, by its usual name. An
    /// answer to its own refresh has them where `tokenResponse` says.
    #[serde(flatten)]
    pub tokens: TokenPointers,
}

/// How refresh tokens behave at this provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshProfile {
    /// Whether tokens are refreshed at all; `IfPresent` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<RefreshWhen>,
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
    /// How long before expiry to refresh, such as `2h`; after two thirds of the lifetime when absent. An integration can
    /// override it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub before: Option<String>,
    /// Refresh at least this often, such as `720h`, so that an unused refresh token does not lapse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub every: Option<String>,
    /// After how long an unused refresh token lapses, such as `2160h`; two thirds of it is what `every` is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub idle_lifetime: Option<String>,
    /// After how long a grant ends whatever is done, such as `8760h`; the person must then connect again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub grant_lifetime: Option<String>,
}

/// Whether tokens are refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RefreshWhen {
    /// Where there is a refresh token.
    #[default]
    IfPresent,
    /// Never, whatever the answer holds.
    Never,
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
    /// When a refusal means that the grant is dead, where the word alone does not tell: CEL over `response` and `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub permanent_when: Option<String>,
    /// When it is the provider's own trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub transient_when: Option<String>,
    /// When it is the client's set-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub configuration_when: Option<String>,
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
    /// When a 2xx answer is a yes: CEL over `response`, its JSON body; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub success: Option<String>,
    /// Statuses beyond 2xx that mean the token is gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = { "type": "integer", "format": "int32", "minimum": 300, "maximum": 599 }))]
    pub gone: Vec<u16>,
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
    /// It gives the same token again. For tokens that stay: two holders of one rotating refresh token end each other.
    SameToken,
    /// It ends the first.
    ReplacesEarlier,
}
