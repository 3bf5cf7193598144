//! Token requests (RFC 6749 §4.1.3 and §6): one POST, and what is known after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::answer::{self, Answer, ErrorClass, TokenAnswer, TokenRefusal};
use super::client::{Told, Tries, encode_body};
use crate::grant::ClientCredentials;
use crate::provider::endpoints::TokenEndpoint;
use crate::provider::gate::Admission;
use crate::provider::outbound::{Outbound, OutboundRequest, SendError, retry_after};
use crate::sensitive::Sensitive;

/// How long a token request may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked of the token endpoint.
#[derive(Clone, Debug)]
pub enum TokenRequest {
    /// Exchange a code (RFC 6749 §4.1.3).
    Code {
        /// The code.
        code: Sensitive,
        /// The redirect URI that the code was issued to.
        redirect_uri: Url,
        /// The PKCE verifier (RFC 7636 §4.5).
        verifier: Option<Sensitive>,
    },
    /// Refresh (RFC 6749 §6).
    Refresh {
        /// The refresh token.
        refresh_token: Sensitive,
        /// The access token before; it is not sent, and kept out of what is told of a refusal.
        access_token: Sensitive,
    },
}

/// What is known after a token request.
#[derive(Debug)]
pub enum TokenOutcome {
    /// The provider acted and answered.
    Tokens(Box<TokenAnswer>),
    /// The provider refused and did not act, or says that the grant is dead.
    Refused {
        /// Its words.
        refusal: TokenRefusal,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The request never reached the provider.
    NotSent(SendError),
    /// The provider may have acted: the answer was lost or cannot be read.
    Ambiguous(Ambiguity),
}

impl TokenOutcome {
    /// Tells the gate what came of a request that it admitted.
    pub fn tell(&self, admission: Admission) {
        match self {
            Self::Refused { refusal, retry_after }
                if refusal.class == ErrorClass::Transient || retry_after.is_some() =>
            {
                admission.limited(*retry_after);
            }
            // A refusal is an answer: the provider is well.
            Self::Tokens(_) | Self::Refused { .. } => admission.succeeded(),
            Self::NotSent(_) | Self::Ambiguous(_) => admission.failed(),
        }
    }

    fn of_client(&self) -> Told {
        match self {
            // Who says that a grant is dead has looked at the client before (RFC 6749 §5.2).
            Self::Tokens(_) => Told::Accepted,
            Self::Refused { refusal, .. } if refusal.class == ErrorClass::Permanent => Told::Accepted,
            Self::Refused { refusal, .. } if refusal.of_client => Told::Refused,
            Self::Refused { .. } | Self::NotSent(_) | Self::Ambiguous(_) => Told::Unclear,
        }
    }
}

/// Why the outcome of a token request is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Ambiguity {
    /// No answer, or not all of it, arrived.
    #[error("the answer was lost")]
    Lost(#[source] SendError),
    /// The server failed after it had the request.
    #[error("the server answered HTTP {0}")]
    Status(u16),
    /// The answer is not one.
    #[error("{0}")]
    Unreadable(&'static str),
}

/// Sends a token request. Only where the provider refuses the client, and so has done nothing, is it sent once more with
/// the client's other secret; whether anything else may be repeated is not for this function to know.
pub async fn send(
    outbound: &Outbound,
    endpoint: &TokenEndpoint,
    client: &ClientCredentials,
    request: &TokenRequest,
) -> TokenOutcome {
    let mut tries = Tries::new(client);
    loop {
        let outcome = send_once(outbound, endpoint, client, request, &tries).await;
        if !tries.go_on(outcome.of_client()) {
            return outcome;
        }
    }
}

async fn send_once(
    outbound: &Outbound,
    endpoint: &TokenEndpoint,
    client: &ClientCredentials,
    request: &TokenRequest,
    tries: &Tries<'_>,
) -> TokenOutcome {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.extend(endpoint.headers.clone());
    let (url, extra) = request.target(endpoint);
    let mut parameters = parameters(request);
    parameters.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    tries.authenticate(endpoint.into(), &mut headers, &mut parameters);
    let body = encode_body(endpoint.format, &parameters, &endpoint.parameter_names, &mut headers);
    let sent = OutboundRequest {
        method: Method::POST,
        url: url.clone(),
        headers,
        body: Some(body),
        private_networks: Arc::clone(&endpoint.private_networks),
        timeout: tries.timeout(),
    };
    let response = match outbound.send(sent).await {
        Ok(response) => response,
        Err(error @ (SendError::Forbidden(_) | SendError::NotSent(_))) => return TokenOutcome::NotSent(error),
        Err(error) => return TokenOutcome::Ambiguous(Ambiguity::Lost(error)),
    };
    let now = Timestamp::now();
    let retry_after = retry_after(&response.headers, now);
    let status = response.status.as_u16();
    let read = |body: &[u8]| answer::read(status, body, &endpoint.answer, now);
    match judge(status, read(&response.body), retry_after) {
        // A refusal is quoted to people, and some servers quote the request.
        TokenOutcome::Refused { refusal, retry_after } => {
            let told = read(&without(&response.body, &secrets(client, request, &parameters)));
            TokenOutcome::Refused { refusal: quoting(refusal, told), retry_after }
        }
        outcome => outcome,
    }
}

impl TokenRequest {
    /// Where it goes, and what it has beside the parameters of the protocol.
    fn target<'a>(&self, endpoint: &'a TokenEndpoint) -> (&'a Url, &'a BTreeMap<String, String>) {
        match self {
            Self::Code { .. } => (&endpoint.url, &endpoint.code_params),
            Self::Refresh { .. } => (endpoint.refresh_url(), &endpoint.refresh_params),
        }
    }
}

/// A refusal with the words of the same answer read again.
fn quoting(refusal: TokenRefusal, again: Answer) -> TokenRefusal {
    match again {
        Answer::Refused(again) => TokenRefusal { code: again.code, description: again.description, ..refusal },
        _ => TokenRefusal { description: None, ..refusal },
    }
}

/// What must never be told of a request.
fn secrets<'a>(
    client: &'a ClientCredentials,
    request: &'a TokenRequest,
    parameters: &'a [(String, String)],
) -> Vec<&'a str> {
    let of_request = match request {
        TokenRequest::Code { code, verifier, .. } => [Some(code), verifier.as_ref()],
        TokenRequest::Refresh { refresh_token, access_token } => [Some(refresh_token), Some(access_token)],
    };
    let assertion = parameters.iter().find(|(name, _)| name == "client_assertion").map(|(_, value)| value.as_str());
    let all = of_request.into_iter().flatten().chain(client.secrets()).map(Sensitive::expose).chain(assertion);
    all.filter(|secret| !secret.is_empty()).collect()
}

/// A JSON body with `secrets` cut out of its texts; a body of another form is not quoted anyway.
fn without(body: &[u8], secrets: &[&str]) -> Vec<u8> {
    fn cut(value: &mut Value, secrets: &[&str]) {
        match value {
            Value::String(text) => {
                for secret in secrets {
                    if text.contains(secret) {
                        *text = text.replace(secret, "[redacted]");
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| cut(item, secrets)),
            Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, secrets)),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
    cut(&mut value, secrets);
    value.to_string().into_bytes()
}

fn parameters(request: &TokenRequest) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match request {
        TokenRequest::Code { code, redirect_uri, verifier } => {
            let mut parameters = vec![
                pair("grant_type", "authorization_code"),
                pair("code", code.expose()),
                pair("redirect_uri", redirect_uri.as_str()),
            ];
            parameters.extend(verifier.as_ref().map(|verifier| pair("code_verifier", verifier.expose())));
            parameters
        }
        TokenRequest::Refresh { refresh_token, .. } => {
            vec![pair("grant_type", "refresh_token"), pair("refresh_token", refresh_token.expose())]
        }
    }
}

/// Sorts an answer into what it proves about the provider's side.
fn judge(status: u16, answer: Answer, retry_after: Option<Duration>) -> TokenOutcome {
    match answer {
        Answer::Tokens(tokens) => TokenOutcome::Tokens(tokens),
        Answer::Unreadable(what) => TokenOutcome::Ambiguous(Ambiguity::Unreadable(what)),
        Answer::Refused(refusal) => {
            let said_so = match refusal.class {
                ErrorClass::Permanent => true,
                ErrorClass::Transient => refusal.described,
                ErrorClass::Configuration => false,
            };
            // 503 says that the request was not taken up; any other failure of the server may have come after the act.
            if (500..=599).contains(&status) && status != 503 && !said_so {
                TokenOutcome::Ambiguous(Ambiguity::Status(status))
            } else {
                TokenOutcome::Refused { refusal, retry_after }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::resolved::AnswerRules;

    fn outcome(status: u16, body: &str) -> TokenOutcome {
        judge(status, answer::read(status, body.as_bytes(), &AnswerRules::default(), Timestamp::UNIX_EPOCH), None)
    }

    #[test]
    fn what_proves_nothing_is_ambiguous() {
        for (status, body) in [(500, ""), (502, "<html>"), (504, "{}"), (200, "<html>"), (200, "{\"access_tok")] {
            assert!(matches!(outcome(status, body), TokenOutcome::Ambiguous(_)), "{status} {body}");
        }
        assert!(matches!(outcome(500, r#"{"error":"server_error"}"#), TokenOutcome::Ambiguous(_)));
    }

    #[test]
    fn echoes_are_cut_out() {
        let body = br#"{"error":{"code":"no rt\/1"},"error_description":["at-1"],"n":1}"#;
        let cut = String::from_utf8(without(body, &["rt/1", "at-1"])).unwrap();
        assert_eq!(cut, r#"{"error":{"code":"no [redacted]"},"error_description":["[redacted]"],"n":1}"#);
        assert_eq!(without(b"<html>", &["h"]), b"<html>");
    }

    #[test]
    fn what_was_not_taken_up_is_refused() {
        for (status, body) in [(503, ""), (429, ""), (400, r#"{"error":"invalid_grant"}"#), (404, "<html>"), (307, "")]
        {
            assert!(matches!(outcome(status, body), TokenOutcome::Refused { .. }), "{status} {body}");
        }
    }
}
