//! What a description says of webhooks, checked and parsed. [`crate::webhook`] applies it.

mod rules;
mod scheme;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::expression::Expression;
use crate::digest::short_hash;
pub use rules::WebhookError;
pub use scheme::{Algorithm, Binding, JwtRules, ListForm, Place, Scheme, Signed, TimeRules, TimeSource};

/// How webhooks of an app are taken.
#[derive(Clone, Debug)]
pub struct WebhookRules {
    /// How a request proves that it is the app's.
    pub scheme: Scheme,
    /// Requests that are answered without anybody hearing of them.
    pub handshakes: Vec<HandshakeRules>,
    /// The field of a form that holds JSON.
    pub json_field: Option<String>,
    /// What tells a delivery from others.
    pub id: Option<Arc<Expression>>,
    /// When it happened.
    pub time: Option<Arc<Expression>>,
    /// What happened.
    pub type_: Option<Arc<Expression>>,
    /// Fields of what is handed on in place of the body; the body itself where there are none.
    pub data: BTreeMap<String, Arc<Expression>>,
    /// To which connections a request belongs.
    pub routes: Vec<RouteRules>,
    /// When it says that the connection has ended.
    pub ended_when: Vec<Arc<Expression>>,
    /// When the app waits for a body.
    pub replied_when: Option<Arc<Expression>>,
    /// The status that tells the app that an event has arrived.
    pub accepted: StatusCode,
    /// How long the app waits.
    pub deadline: Duration,
    /// The largest body, in bytes.
    pub max_bytes: usize,
}

/// A request that is answered without anybody hearing of it.
#[derive(Clone, Debug)]
pub struct HandshakeRules {
    /// Which.
    pub when: Arc<Expression>,
    /// Whether it comes without a signature.
    pub unsigned: bool,
    /// The status.
    pub status: StatusCode,
    /// A body of plain text.
    pub text: Option<Arc<Expression>>,
    /// Fields of a JSON body.
    pub json: BTreeMap<String, Arc<Expression>>,
    /// Fields that are authenticated with the app's secret.
    pub hmac: BTreeMap<String, Arc<Expression>>,
}

/// What the request names, and the metadata of connections that is compared with it.
#[derive(Clone, Debug)]
pub struct RouteRules {
    /// What the request names.
    pub request: Arc<Expression>,
    /// The entry of the metadata.
    pub metadata: String,
}

impl WebhookRules {
    /// By which hashes a connection with this metadata is found.
    pub fn routes_of(&self, metadata: &BTreeMap<String, Value>) -> Vec<String> {
        let mut found: Vec<_> = self
            .routes
            .iter()
            .filter_map(|route| Some((&route.metadata, metadata.get(&route.metadata)?)))
            .flat_map(|(name, value)| values(value).into_iter().map(move |value| route_hash(name, &value)))
            .take(MOST_ROUTES)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The most values by which one connection is found.
const MOST_ROUTES: usize = 64;

/// The values that metadata has, or that a request names: one, or each of a list. Numbers are compared as they are written.
pub fn values(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(several) => several.iter().filter(|value| !value.is_array()).flat_map(values).collect(),
        _ => vec![],
    }
}

/// The hash by which connections are found whose metadata has this value: 80 bits, in hexadecimal digits.
pub fn route_hash(metadata: &str, value: &str) -> String {
    let mut hash = short_hash(&["route", metadata, value]);
    hash.truncate(20);
    hash
}
