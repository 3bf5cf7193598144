//! Requests to an app's API: how a credential is sent, and the calls that prove it and say whose it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the app's API lies, and how a credential is sent to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Api {
    /// Its address, such as `https://api.example.com`. `{name}` is a value of the form, or of a look-up: the one that was
    /// chosen there.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub base_url: Option<String>,
    /// Where the provider itself says the address: CEL, such as `response.api_url`. `baseURL` where it yields nothing.
    #[serde(default, rename = "baseURLFrom", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub base_url_from: Option<String>,
    /// Hosts that `baseURLFrom` may name: `api.example.com`, or `*.example.com` for every name below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub hosts: Vec<String>,
    /// Headers of every call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, String>,
    /// How an access token is sent; as Bearer (RFC 6750 §2.1) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<CredentialPlacement>,
    /// How it words refusals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<super::ApiErrors>,
}

/// How a credential is sent: in a header, or by HTTP Basic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPlacement {
    /// The header; `Authorization` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub header: Option<String>,
    /// What stands before the credential; `Bearer ` with its space when absent, and nothing when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
    /// HTTP Basic (RFC 7617) in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
}

/// The half of HTTP Basic that is not the credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The user name, in which `{name}` is a value of the form; the credential is the password then. When absent, the
    /// credential is the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub username: Option<String>,
    /// The password, where the credential is the user name; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub password: Option<String>,
}

/// An app that is connected by an API key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// What the app calls it, such as `Restricted key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub title: Option<String>,
    /// Where to make one, and which rights to give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// What a key looks like, from its first to its last character, so that a wrong one is refused before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub pattern: Option<String>,
    /// How it is sent; as Bearer when absent.
    #[serde(flatten)]
    pub placement: CredentialPlacement,
}

/// A request to the app with the credential that is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The HTTP method; `GET` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Its headers, on top of `api.headers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, String>,
    /// Its JSON body, such as a GraphQL query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "json_body")]
    pub body: Option<serde_json::Value>,
}

fn json_body(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "Its JSON body, such as a GraphQL query.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// A call that proves a credential and says whose it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityCall {
    /// The request.
    #[serde(flatten)]
    pub call: Call,
    /// When a 2xx answer is a yes: CEL over `identity`, its JSON body; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub success: Option<String>,
    /// Statuses that mean: the credential is good, and this call is beyond its rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = { "type": "integer", "format": "int32", "minimum": 300, "maximum": 499 }))]
    pub limited: Vec<u16>,
}

/// A call after connecting. Its JSON body is `lookup.<name>` in expressions, or the element of it that was chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {
    /// Its name: a letter, then letters and digits.
    #[schemars(length(max = 64), regex(pattern = r"^[a-z][A-Za-z0-9]*$"))]
    pub name: String,
    /// The request. In its address `{name}` is a value of the form, or what was chosen in an earlier look-up.
    #[serde(flatten)]
    pub call: Call,
    /// When a 2xx answer is a yes: CEL over `lookup`; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub success: Option<String>,
    /// For an answer that is a list: which element it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choose: Option<Choose>,
}

/// One element of a list: the only one, or the one that the person names by a value of the form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Choose {
    /// The list: CEL over `lookup`, such as `lookup.site` or a filter of it; the whole body when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub from: Option<String>,
    /// The field of an element that tells it from the others, such as `id`.
    #[schemars(length(min = 1, max = 64))]
    pub value: String,
    /// The field that people know it by, such as `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub title: Option<String>,
    /// The value of the form that names the element; it must be `optional`.
    #[schemars(length(min = 1, max = 64))]
    pub parameter: String,
}

/// HTTP methods a description can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// DELETE.
    Delete,
}
