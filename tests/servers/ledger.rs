//! What reached a server, and what it is told to do wrong. Both kinds of server share this: the
//! endpoints under `/_test/` are those of `front.mjs`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One request to the token endpoint. It holds secrets in the clear: tests look for them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    /// Counts from 1.
    pub n: u64,
    /// Milliseconds since 1970, when the request arrived.
    pub at: u64,
    /// As `at`, when it was answered or dropped; absent while it is under way.
    pub finished_at: Option<u64>,
    pub grant_type: Option<String>,
    /// `basic`, `post` or `none`.
    pub client_auth: Option<String>,
    pub client_id: Option<String>,
    pub content_type: Option<String>,
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Absent if the request was never answered.
    pub status: Option<u16>,
    pub error: Option<String>,
    /// `ok`, an OAuth error code, `http_503` or `unanswered`.
    pub outcome: Option<String>,
    /// The body the server made, also if the test had it thrown away.
    pub answer: Option<String>,
    /// The kind of fault that was applied.
    pub fault: Option<String>,
    /// With a fault: whether the server acted on the request all the same.
    pub processed: Option<bool>,
}

impl TokenRequest {
    pub fn is_refresh(&self) -> bool {
        self.grant_type.as_deref() == Some("refresh_token")
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }
}

#[derive(Deserialize)]
pub(super) struct Ledger {
    pub(super) requests: Vec<TokenRequest>,
}

/// What happens to one request, in place of what should.
#[derive(Clone, Debug)]
pub struct Fault(Value);

impl Fault {
    /// An answer that the server itself knows nothing of.
    pub fn status(status: u16) -> Self {
        Self(json!({ "status": status }))
    }

    /// Seconds, or a date.
    pub fn retry_after(self, value: &str) -> Self {
        self.with("retryAfter", json!(value))
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        self.with("headers", json!({ name: value }))
    }

    pub fn body(status: u16, content_type: &str, body: &str) -> Self {
        Self(json!({ "status": status, "contentType": content_type, "body": body }))
    }

    /// Read, never answered; the connection stays open.
    pub fn hang() -> Self {
        Self(json!({ "hang": true }))
    }

    /// Read, then the connection is reset. The server did nothing.
    pub fn reset() -> Self {
        Self(json!({ "reset": true }))
    }

    /// The server acts, and half its answer arrives.
    pub fn truncate() -> Self {
        Self(json!({ "truncate": true }))
    }

    /// The server acts, after a while.
    pub fn delay_ms(milliseconds: u64) -> Self {
        Self(json!({ "delayMs": milliseconds }))
    }

    /// The server acts, then the connection is reset: the answer is lost.
    pub fn commit_then_reset() -> Self {
        Self(json!({ "commitThenReset": true }))
    }

    /// The server acts at once, its answer comes late.
    pub fn commit_then_delay_ms(milliseconds: u64) -> Self {
        Self(json!({ "commitThenDelayMs": milliseconds }))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        self
    }
}

/// The test endpoints of one server.
#[derive(Clone)]
pub(super) struct Admin {
    client: reqwest::Client,
    base: String,
}

impl Admin {
    pub(super) fn new(base: &str) -> Self {
        Self { client: super::http_client(), base: base.to_owned() }
    }

    pub(super) async fn call<T: serde::de::DeserializeOwned>(&self, name: &str, body: &Value) -> T {
        let url = format!("{}/_test/{name}", self.base);
        let response = self.client.post(url).json(body).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }

    pub(super) async fn token_requests(&self) -> Vec<TokenRequest> {
        self.call::<Ledger>("ledger", &json!({})).await.requests
    }

    pub(super) async fn faults(&self, path: Option<&str>, next: &[Fault]) {
        let next: Vec<_> = next.iter().map(|fault| &fault.0).collect();
        self.call::<Value>("fault", &json!({ "path": path, "next": next })).await;
    }
}
