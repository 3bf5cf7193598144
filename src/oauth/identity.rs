//! The call that proves a credential and says whose it is.

use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::Value;

use super::client::bearer;
use crate::api::provider::Method as CallMethod;
use crate::provider::endpoints::IdentityEndpoint;
use crate::provider::expression::Variables;
use crate::provider::gate::Admission;
use crate::provider::outbound::{Outbound, OutboundRequest, SendError, retry_after};
use crate::sensitive::Sensitive;

/// What the provider made of the credential.
#[derive(Debug)]
pub enum Verdict {
    /// It is good; the JSON body says whose it is (`null` where there is none).
    Accepted(Value),
    /// It is not.
    Rejected {
        /// The status.
        status: u16,
    },
    /// The provider wants fewer requests.
    Limited {
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// No answer, or a failure of the provider's own.
    Unavailable {
        /// The status, where there was one.
        status: Option<u16>,
        /// What went wrong on the way, where nothing came back.
        source: Option<SendError>,
    },
}

impl Verdict {
    /// Tells the gate what came of a call that it admitted.
    pub fn tell(&self, admission: Admission) {
        match self {
            Self::Accepted(_) | Self::Rejected { .. } => admission.succeeded(),
            Self::Limited { retry_after } => admission.limited(*retry_after),
            Self::Unavailable { .. } => admission.failed(),
        }
    }
}

/// Tries an access token.
pub async fn verify(outbound: &Outbound, endpoint: &IdentityEndpoint, access_token: &Sensitive) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    bearer(&mut headers, access_token.expose());
    let request = OutboundRequest {
        method: match endpoint.method {
            CallMethod::Get => Method::GET,
            CallMethod::Post => Method::POST,
            CallMethod::Delete => Method::DELETE,
        },
        url: endpoint.url.clone(),
        headers,
        body: (endpoint.method == CallMethod::Post).then(Vec::new),
        private_networks: Arc::clone(&endpoint.private_networks),
        timeout: super::token::TIMEOUT,
    };
    let response = match outbound.send(request).await {
        Ok(response) => response,
        Err(source) => return Verdict::Unavailable { status: None, source: Some(source) },
    };
    let status = response.status.as_u16();
    match status {
        429 => Verdict::Limited { retry_after: retry_after(&response.headers, Timestamp::now()) },
        // GitHub and others signal a limit with 403; a header tells it from a refusal.
        403 if response.headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0") => {
            Verdict::Limited { retry_after: retry_after(&response.headers, Timestamp::now()) }
        }
        200..=299 => judge(status, &response.body, endpoint),
        400..=499 => Verdict::Rejected { status },
        _ => Verdict::Unavailable { status: Some(status), source: None },
    }
}

fn judge(status: u16, body: &[u8], endpoint: &IdentityEndpoint) -> Verdict {
    let identity = serde_json::from_slice(body).unwrap_or(Value::Null);
    let Some(success) = &endpoint.success else { return Verdict::Accepted(identity) };
    let variables = Variables { identity: identity.clone(), ..Variables::default() };
    match success.evaluate(&variables) {
        Ok(Value::Bool(true)) => Verdict::Accepted(identity),
        _ => Verdict::Rejected { status },
    }
}
