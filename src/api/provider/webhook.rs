//! Webhooks: what an app sends by itself, how it proves that it sent it, and to which connections it belongs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::project_integration::DURATION_PATTERN;

/// What an app sends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhooks {
    /// A published scheme to start from; `signature` and `timestamp` go over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<WebhookScheme>,
    /// How a request proves that it is the app's. One that does not is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// When the app sent it; a request without the right time is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<WebhookTimestamp>,
    /// Requests that the operator answers itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 8))]
    pub handshakes: Vec<Handshake>,
    /// For bodies that are forms: the field that holds JSON, which is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub json_field: Option<String>,
    /// What tells a delivery from all others: CEL over `request`, such as `request.headers['x-github-delivery']`. A digest
    /// of the body and the time where it yields nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub id: Option<String>,
    /// When it happened: CEL over `request` that gives seconds or milliseconds since 1970, or RFC 3339, such as
    /// `request.body.event_time`; the time that it was sent where it yields nothing. What an app sends again keeps it, so that
    /// no connection is ended by what is older than its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub time: Option<String>,
    /// What happened: CEL over `request`, such as `request.body.event.type`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub type_: Option<String>,
    /// Fields of what is handed on in place of the body, for apps that say what happened in headers: CEL over `request`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub data: BTreeMap<String, String>,
    /// To which connections a request belongs that comes to the endpoint of the app as a whole: to all that one of these
    /// fits. Without routes there is no such endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 4))]
    pub routes: Vec<WebhookRoute>,
    /// When it says that the connection has ended: CEL over `request`, and `metadata` of the connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 8))]
    pub ended_when: Vec<String>,
    /// When the app waits for a body: CEL over `request`. The receiver's answer is passed on then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub replied_when: Option<String>,
    /// The status that tells the app that an event has arrived; 200 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 299), extend("format" = "int32"))]
    pub accepted: Option<u16>,
    /// How long the app waits for its answer, such as `3s`; 10 s when absent, 30 s at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub deadline: Option<String>,
    /// The largest body, in bytes; 1 MiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 26_214_400), extend("format" = "int32"))]
    pub max_bytes: Option<u32>,
}

/// Schemes that several apps share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WebhookScheme {
    /// <https://www.standardwebhooks.com>, with a secret (`whsec_…`).
    StandardWebhooks,
    /// The same with a public key (`whpk_…`).
    StandardWebhooksPublicKey,
}

/// How a request proves that it is the app's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// The algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<SignatureAlgorithm>,
    /// The header that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub header: Option<String>,
    /// For `Equality`: where it stands in a JSON body in place of a header, as a JSON pointer in which `*` is every element,
    /// such as `/value/*/clientState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub body_pointer: Option<String>,
    /// What stands before it, such as `sha256=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
    /// For a header that is a list, such as `t=1492774577,v1=5257a869`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<SignatureList>,
    /// How it is written; `Hex` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<SignatureEncoding>,
    /// What is signed: text with `{body}`, `{timestamp}` and `{header.name}` in it; the body alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub signed: Option<String>,
    /// How the key is written in its Secret; `Text` when absent: its bytes as they stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_encoding: Option<KeyEncoding>,
    /// The keys of the client's Secret that hold the secret of the app, of which those that exist count; `signing_secret` and
    /// `signing_secret_next` when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 4))]
    pub secret_keys: Vec<String>,
    /// For `Jwt`: what the token must say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<WebhookJwt>,
}

/// Algorithms of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256 (RFC 2104).
    HmacSha256,
    /// HMAC with SHA-1, for apps that have nothing better.
    HmacSha1,
    /// Ed25519 (RFC 8032); the key is public.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, the signature in DER; the key is public.
    EcdsaP256,
    /// The secret itself. Proves nothing of the body.
    Equality,
    /// A JSON Web Token (RFC 7519). Proves nothing of the body, but for the claims that are compared with it.
    Jwt,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureEncoding {
    /// Hexadecimal digits of either case.
    #[default]
    Hex,
    /// Base64 (RFC 4648 §4), with or without padding.
    Base64,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyEncoding {
    /// Its bytes are those of the text, whatever it looks like.
    #[default]
    Text,
    /// Hexadecimal digits.
    Hex,
    /// Base64.
    Base64,
    /// Base64 after `whsec_` or `whpk_`, as Standard Webhooks has it.
    Whsec,
    /// A public key as SPKI (RFC 5280 §4.1), in PEM or as the base64 of it.
    Spki,
}

/// A header of several entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignatureList {
    /// What stands between entries; `,` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1))]
    pub separator: Option<String>,
    /// What stands between the name and the value of an entry; `=` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1))]
    pub assignment: Option<String>,
    /// The name of entries that are signatures, such as `v1`. One of them must be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub name: Option<String>,
}

/// When the app sent a request. It stands in one of these places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTimestamp {
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub header: Option<String>,
    /// The name of an entry of `signature.list`, such as `t`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub entry: Option<String>,
    /// The JSON body, by a JSON pointer (RFC 6901) such as `/webhookTimestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub body_pointer: Option<String>,
    /// How it is written; `Seconds` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimestampUnit>,
    /// How far from now it may be, such as `5m`; as far as it likes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub tolerance: Option<String>,
}

/// How a moment is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimestampUnit {
    /// Seconds since 1970.
    #[default]
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

/// What a token says that stands in the place of a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookJwt {
    /// Who issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub issuer: Option<String>,
    /// Whom it is for; the client's own `client_id` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub audience: Option<String>,
    /// The issuer's keys (RFC 7517): RSA with SHA-256, or P-256. Without it, the token is signed with the app's secret by
    /// HMAC-SHA-256.
    #[serde(default, rename = "jwksURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub jwks_url: Option<String>,
    /// Claims that must be equal to something of the request: CEL, such as `request.body.serviceUrl`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub claims: BTreeMap<String, String>,
}

/// A request that the operator answers itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// Which: CEL over `request`.
    #[schemars(length(max = 1024))]
    pub when: String,
    /// Whether it comes without a signature. Such an answer says nothing but what the request said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
    /// The status; 200 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 299), extend("format" = "int32"))]
    pub status: Option<u16>,
    /// A body of plain text: CEL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub text: Option<String>,
    /// Fields of a JSON body: CEL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub json: BTreeMap<String, String>,
    /// Further fields of it: the HMAC-SHA-256 under the app's secret, in hexadecimal digits, of what CEL gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 4))]
    pub hmac: BTreeMap<String, String>,
}

/// To which connections a request belongs: to those whose metadata has the value that the request names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookRoute {
    /// What the request names: CEL over `request`, such as `request.body.team_id`.
    #[schemars(length(max = 1024))]
    pub request: String,
    /// The entry of `metadata` that is compared with it. It must come from the app, not from the browser or the form.
    #[schemars(length(min = 1, max = 253))]
    pub metadata: String,
}
