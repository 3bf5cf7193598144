//! Requests that are answered without anybody hearing of them, such as the challenge by which an app tries an endpoint.

use http::StatusCode;
use ring::hmac;
use serde_json::{Map, Value};

use super::key::Key;
use crate::digest::hex;
use crate::provider::expression::{EvaluateError, Variables};
use crate::provider::webhook::{HandshakeRules, WebhookRules};

/// The longest text that is repeated, in bytes.
const LONGEST: usize = 4 * 1024;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Media type and body; none where there is nothing to say.
    pub body: Option<(&'static str, String)>,
}

/// The handshake that a request is, of those that come with a signature or of those that come without.
pub fn find<'a>(rules: &'a WebhookRules, unsigned: bool, variables: &Variables) -> Option<&'a HandshakeRules> {
    let is = |one: &&HandshakeRules| {
        one.unsigned == unsigned && matches!(one.when.evaluate(variables), Ok(Value::Bool(true)))
    };
    rules.handshakes.iter().find(is)
}

/// The answer to a handshake. `keys` authenticate, the first of them.
pub fn answer(rules: &HandshakeRules, variables: &Variables, keys: &[Key]) -> Result<Reply, EvaluateError> {
    let status = rules.status;
    if let Some(text) = &rules.text {
        let text = match text.evaluate_within(variables, LONGEST)? {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        };
        return Ok(Reply { status, body: Some(("text/plain; charset=utf-8", text)) });
    }
    let mut fields = Map::new();
    for (name, expression) in &rules.json {
        fields.insert(name.clone(), expression.evaluate_within(variables, LONGEST)?);
    }
    for (name, expression) in &rules.hmac {
        if let (Value::String(text), Some(key)) = (expression.evaluate_within(variables, LONGEST)?, keys.first()) {
            fields.insert(name.clone(), Value::String(authenticated(key, &text)));
        }
    }
    if fields.is_empty() {
        return Ok(Reply { status, body: None });
    }
    Ok(Reply { status, body: Some(("application/json", Value::Object(fields).to_string())) })
}

/// HMAC-SHA-256 in hexadecimal digits.
fn authenticated(key: &Key, text: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), text.as_bytes());
    hex(tag.as_ref())
}
