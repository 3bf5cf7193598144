//! Request parameters as OAuth wants them read: no name twice, and an empty value counts as absent (RFC 6749 §3.1, §3.2).

use std::collections::HashMap;

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::Value;

use super::answer::Refusal;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// Reads a query string or a form body.
    pub fn parse(encoded: &[u8]) -> Result<Self, Refusal> {
        Self::collect(url::form_urlencoded::parse(encoded).map(|(name, value)| (name.into_owned(), value.into_owned())))
    }

    /// Reads the body of a request to the token endpoint or one of its neighbours.
    pub fn from_request(
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
        accept_json: bool,
    ) -> Result<Self, Refusal> {
        if query.is_some_and(|query| !query.is_empty()) {
            return Err(Refusal::invalid_request("parameters belong in the body, not in the URL"));
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match content_type.split(';').next().map(str::trim) {
            Some("application/x-www-form-urlencoded") => Self::parse(body),
            Some("application/json") if accept_json => Self::parse_json(body),
            _ => Err(Refusal::invalid_request("the body must be application/x-www-form-urlencoded")),
        }
    }

    fn parse_json(body: &[u8]) -> Result<Self, Refusal> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(Refusal::invalid_request("the body is not a JSON object"));
        };
        Self::collect(fields.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        }))
    }

    fn collect(pairs: impl Iterator<Item = (String, String)>) -> Result<Self, Refusal> {
        let mut params = HashMap::new();
        for (name, value) in pairs {
            if params.contains_key(&name) {
                return Err(Refusal::invalid_request("a parameter is given twice"));
            }
            params.insert(name, value);
        }
        params.retain(|_, value| !value.is_empty());
        Ok(Self(params))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::invalid_request(&format!("{name} is missing")))
    }
}
