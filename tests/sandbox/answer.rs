//! What an endpoint answers, kept apart from HTTP until the last moment so that a fault can still spoil it.

use axum::{
    Json,
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::authority::GrantId;

/// An answer, and what the ledger says of it.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Option<Value>,
    /// The value of `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
    pub outcome: &'static str,
    pub grant: Option<GrantId>,
}

impl Answer {
    pub fn ok(outcome: &'static str, grant: GrantId, body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body), challenge: None, outcome, grant: Some(grant) }
    }

    pub fn empty(outcome: &'static str, grant: Option<GrantId>) -> Self {
        Self { status: StatusCode::OK, body: None, challenge: None, outcome, grant }
    }

    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, Json(body)).into_response(),
            None => (self.status, Body::empty()).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// A request that is refused, in the words of RFC 6749 §5.2 and RFC 6750 §3.1.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: &'static str,
    pub description: String,
    pub challenge: Option<&'static str>,
    pub grant: Option<GrantId>,
}

impl Refusal {
    pub fn new(error: &'static str, description: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description: description.to_owned(),
            challenge: None,
            grant: None,
        }
    }

    pub fn invalid_request(description: &str) -> Self {
        Self::new("invalid_request", description)
    }

    pub fn invalid_grant(description: &str) -> Self {
        Self::new("invalid_grant", description)
    }

    pub fn invalid_client(description: &str) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            challenge: Some("Basic realm=\"sandbox\""),
            ..Self::new("invalid_client", description)
        }
    }

    pub fn invalid_token(description: &str) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            challenge: Some("Bearer realm=\"sandbox\", error=\"invalid_token\""),
            ..Self::new("invalid_token", description)
        }
    }

    /// No token at all: the challenge then names no error (RFC 6750 §3.1).
    pub fn token_missing() -> Self {
        Self { challenge: Some("Bearer realm=\"sandbox\""), ..Self::invalid_token("a bearer token is needed") }
    }

    pub fn of(mut self, grant: GrantId) -> Self {
        self.grant = Some(grant);
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            body: Some(json!({"error": refusal.error, "error_description": refusal.description})),
            challenge: refusal.challenge,
            outcome: refusal.error,
            grant: refusal.grant,
        }
    }
}

impl From<Result<Answer, Refusal>> for Answer {
    fn from(result: Result<Answer, Refusal>) -> Self {
        result.unwrap_or_else(Answer::from)
    }
}
