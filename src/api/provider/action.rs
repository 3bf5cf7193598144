//! What can be done with a connection by one call: `spec.actions`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CredentialPlacement;

/// Something that can be done with a connection, such as posting a message.
///
/// Expressions see `input`, `metadata` (that of the connection), `parameters` and `integration`; those over an answer see
/// `response` and `status` as well. `request.key` tells a
/// repeated request from a new one, and `toJson(…)` is JSON as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// Its name: `send-message` is what `POST …/messages` does.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// What it does, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub title: Option<String>,
    /// What it takes: a JSON Schema (2020-12) of an object. Nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "json_schema_object")]
    pub input: Option<Value>,
    /// What it acts with, where that is not the access token or key of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<ActionCredential>,
    /// What is asked of the app first, to prove that the target belongs to the connection. An application's own credential
    /// acts on nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ActionTarget>,
    /// The request.
    pub request: ActionRequest,
    /// When an answer with status 2xx is a yes: CEL over `response` and `status`; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub success: Option<String>,
    /// What the caller gets: CEL over `response`. The whole answer when empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub result: BTreeMap<String, String>,
    /// Where there are more pages, what the next request takes as `cursor`: CEL over `response` and `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub next: Option<String>,
    /// How the app tells a repeated request from a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Whether sending it once more does something once more, whatever its method says.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub once: bool,
}

/// What an action acts with: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionCredential {
    /// A credential of the application itself, such as a bot's token. For cluster providers, with a `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationCredential>,
    /// The address is the credential: the entry of `secretMetadata` that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<CapturedAddress>,
}

/// A credential of the application itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationCredential {
    /// The key of the client's Secret that holds it, such as `bot_token`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// How it is sent; as Bearer when absent.
    #[serde(flatten)]
    pub placement: CredentialPlacement,
}

/// An address that an app gave when it was connected, and by which anybody can act.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapturedAddress {
    /// The entry of `secretMetadata`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_metadata: String,
    /// Hosts that it may lie on: `hooks.example.com`, or `*.example.com` for every name below it.
    #[schemars(extend("minItems" = 1, "maxItems" = 8))]
    pub hosts: Vec<String>,
}

/// A question whose answer proves that a target belongs to the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionTarget {
    /// What to GET, below the address of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// Several in its place, as in `request.paths`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 4))]
    pub paths: Vec<String>,
    /// Whether it does: CEL over `response` and `metadata`, such as `response.guild_id == metadata.guildId`.
    #[schemars(length(max = 1024))]
    pub holds: String,
}

/// The request of an action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionRequest {
    /// The HTTP method; `GET` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<ActionMethod>,
    /// Where it goes, below the address of the API. `{input.id}` is one segment: a value of the input, or of `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// Several in its place: the first whose values are all there is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 4))]
    pub paths: Vec<String>,
    /// Parameters of the query: CEL. One that is `null` is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub query: BTreeMap<String, String>,
    /// Headers, on top of `api.headers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, String>,
    /// The JSON body, whose strings are CEL. What is `null` is left out; a field `*` gives several fields at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "json_body")]
    pub body: Option<Value>,
}

/// How the app tells a repeated request from a new one: by a key in one of these places. Such a request may be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Idempotency {
    /// A header, such as `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub header: Option<String>,
    /// A field at the top of the body, such as `nonce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub field: Option<String>,
    /// Longest key that the app takes, in characters; a longer one is cut down to a digest of it. 36 at least, which is a UUID,
    /// or 25 where the app takes no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 255))]
    pub longest: Option<u16>,
}

/// HTTP methods of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ActionMethod {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// How the app words refusals of calls to its API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiErrors {
    /// Its own word: CEL over `response` and `status`, such as `response.error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub code: Option<String>,
    /// Its text: CEL likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Words that mean: fewer requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub limited: Vec<String>,
    /// Words that mean: the access token is not good any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub expired: Vec<String>,
    /// What a person does about a word, or about a status such as `404`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub advice: BTreeMap<String, String>,
}

fn json_schema_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "What it takes: a JSON Schema (2020-12) of an object. Nothing when absent.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn json_body(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The JSON body, whose strings are CEL. What is `null` is left out; a field `*` gives several fields at once.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
