//! Sends a described call with a credential, and sorts what comes back.
//!
//! One request, not retried. What it means for the grant is for whoever asked.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::provider::call::PreparedCall;
use crate::provider::gate::Admission;
use crate::provider::outbound::{Outbound, OutboundRequest, OutboundResponse, SendError, retry_after};
use crate::sensitive::Sensitive;

/// What came of a call.
#[derive(Debug)]
pub enum Answer {
    /// A 2xx answer with its JSON body; `null` where that is no JSON.
    Success {
        /// The status.
        status: u16,
        /// The body.
        body: Value,
    },
    /// Another status below 500.
    Refused {
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

impl Answer {
    /// Tells the gate what came of a call that it admitted.
    pub fn tell(&self, admission: Admission) {
        match self {
            Self::Success { .. } | Self::Refused { .. } => admission.succeeded(),
            Self::Limited { retry_after } => admission.limited(*retry_after),
            Self::Unavailable { .. } => admission.failed(),
        }
    }
}

/// Sends `call` with `credential`.
pub async fn send(outbound: &Outbound, call: &PreparedCall, credential: &Sensitive) -> Answer {
    // Tokens and keys were checked for printable characters when they were received, so there is a header.
    let Some((carrier, value)) = call.placement.header(credential) else {
        return Answer::Unavailable { status: None, source: None };
    };
    let mut headers = call.headers.clone();
    headers.insert(carrier, value);
    let request = OutboundRequest {
        method: call.method.clone(),
        url: call.url.clone(),
        headers,
        body: call.body.as_deref().map(<[u8]>::to_vec),
        private_networks: call.private_networks.clone(),
        timeout: super::token::TIMEOUT,
    };
    match outbound.send(request).await {
        Ok(response) => sort(&response, Timestamp::now()),
        Err(source) => Answer::Unavailable { status: None, source: Some(source) },
    }
}

fn sort(response: &OutboundResponse, now: Timestamp) -> Answer {
    let status = response.status.as_u16();
    match status {
        429 => Answer::Limited { retry_after: retry_after(&response.headers, now) },
        // GitHub and others signal a limit with 403; a header tells it from a refusal.
        403 if response.headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0") => {
            Answer::Limited { retry_after: retry_after(&response.headers, now) }
        }
        200..=299 => Answer::Success { status, body: serde_json::from_slice(&response.body).unwrap_or(Value::Null) },
        100..=499 => Answer::Refused { status },
        _ => Answer::Unavailable { status: Some(status), source: None },
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn sorted(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        sort(&OutboundResponse { status, headers: map, body: body.as_bytes().to_vec() }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn statuses() {
        assert!(
            matches!(sorted(201, &[], "[1]"), Answer::Success { status: 201, body } if body == serde_json::json!([1]))
        );
        assert!(matches!(sorted(200, &[], "<html>"), Answer::Success { body: Value::Null, .. }));
        assert!(matches!(sorted(401, &[], ""), Answer::Refused { status: 401 }));
        assert!(matches!(sorted(403, &[("x-ratelimit-remaining", "7")], ""), Answer::Refused { status: 403 }));
        assert!(matches!(sorted(403, &[("x-ratelimit-remaining", "0")], ""), Answer::Limited { .. }));
        let limited = sorted(429, &[("retry-after", "7")], "");
        assert!(matches!(limited, Answer::Limited { retry_after: Some(pause) } if pause == Duration::from_secs(7)));
        assert!(matches!(sorted(502, &[], ""), Answer::Unavailable { status: Some(502), .. }));
    }
}
