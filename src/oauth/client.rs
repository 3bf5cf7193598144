//! How the client makes itself known (RFC 6749 §2.3, RFC 7523 §2.2), and what a request looks like.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use url::Url;

use super::token::TIMEOUT;
use crate::api::provider::{Assertion, ClientAuthentication, RequestFormat};
use crate::grant::{Binding, ClientCredentials, Which};
use crate::jwt::JwtKey;
use crate::provider::endpoints::TokenEndpoint;
use crate::provider::outbound::OutboundResponse;

/// How long an assertion is good: longer than any request takes, with room for clocks that differ.
const ASSERTION_LIFETIME: SignedDuration = SignedDuration::from_mins(3);
/// `client_assertion_type` of RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// With less time than this left, a request is not sent once more.
const LEAST_TIME: Duration = Duration::from_secs(2);

/// How a provider wants its clients to make themselves known.
#[derive(Clone, Copy, Debug)]
pub struct ClientRules<'a> {
    /// The method.
    pub method: ClientAuthentication,
    /// How assertions are made.
    pub assertion: &'a Assertion,
    /// The token endpoint, where there is one: an assertion's audience, unless it has one of its own.
    pub token_url: Option<&'a Url>,
    /// Names that this provider has for parameters of the protocol.
    pub names: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a TokenEndpoint> for ClientRules<'a> {
    fn from(endpoint: &'a TokenEndpoint) -> Self {
        Self {
            method: endpoint.authentication,
            assertion: &endpoint.assertion,
            token_url: Some(&endpoint.url),
            names: &endpoint.parameter_names,
        }
    }
}

impl<'a> From<&'a Binding> for ClientRules<'a> {
    fn from(binding: &'a Binding) -> Self {
        Self {
            method: binding.client_authentication,
            assertion: &binding.assertion,
            token_url: binding.token_url.as_ref(),
            names: &binding.parameter_names,
        }
    }
}

/// What a provider's answer says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It knows the client.
    Accepted,
    /// It refuses the client, and so has done nothing.
    Refused,
    /// Nothing.
    Unclear,
}

/// The client's secrets in turn: the one that worked last, and the other where the provider refuses the client.
pub(super) struct Tries<'a> {
    client: &'a ClientCredentials,
    which: Which,
    again: bool,
    began: Instant,
}

impl<'a> Tries<'a> {
    pub(super) fn new(client: &'a ClientCredentials) -> Self {
        let which = client.first();
        Self { client, which, again: client.secret(which.other()).is_some(), began: Instant::now() }
    }

    /// How long the next request may take, so that all together take no longer than one.
    pub(super) fn timeout(&self) -> Duration {
        TIMEOUT.saturating_sub(self.began.elapsed())
    }

    /// Whether to send once more, now with the other secret.
    pub(super) fn go_on(&mut self, told: Told) -> bool {
        match told {
            Told::Accepted => self.client.prefer(self.which),
            Told::Refused if self.again && self.timeout() >= LEAST_TIME => {
                self.again = false;
                self.which = self.which.other();
                return true;
            }
            Told::Refused | Told::Unclear => {}
        }
        false
    }

    /// Adds the client's authentication to a request's headers or parameters.
    pub(super) fn authenticate(
        &self,
        rules: ClientRules<'_>,
        headers: &mut HeaderMap,
        parameters: &mut Vec<(String, String)>,
    ) {
        let mut add = |name: &str, value: &str| parameters.push((name.to_owned(), value.to_owned()));
        let client_id = self.client.client_id.as_str();
        match (rules.method, self.secret()) {
            (ClientAuthentication::ClientSecretBasic, Some(secret)) => basic(headers, client_id, secret),
            (ClientAuthentication::ClientSecretPost, Some(secret)) => {
                add("client_id", client_id);
                add("client_secret", secret);
            }
            (ClientAuthentication::PrivateKeyJwt, _) => {
                add("client_id", client_id);
                // A key that cannot sign was refused when it was read; without an assertion the provider refuses.
                if let Some(assertion) = assertion(self.client, rules, Timestamp::now()) {
                    add("client_assertion_type", JWT_BEARER);
                    add("client_assertion", &assertion);
                }
            }
            _ => add("client_id", client_id),
        }
    }

    /// Adds HTTP Basic with the client's credentials.
    pub(super) fn basic(&self, headers: &mut HeaderMap) {
        basic(headers, &self.client.client_id, self.secret().unwrap_or_default());
    }

    fn secret(&self) -> Option<&str> {
        self.client.secret(self.which).map(crate::sensitive::Sensitive::expose)
    }
}

/// What an answer of an endpoint beside the token endpoint says of the client (RFC 7009 §2.2.1, RFC 7662 §2.3).
pub(super) fn told_of_client(response: &OutboundResponse) -> Told {
    let body = || serde_json::from_slice::<serde_json::Value>(&response.body).ok();
    if response.status.is_success() {
        Told::Accepted
    } else if response.status == StatusCode::UNAUTHORIZED
        || body().is_some_and(|body| body["error"] == "invalid_client")
    {
        Told::Refused
    } else {
        Told::Unclear
    }
}

/// A client assertion (RFC 7523 §3, `OpenID` Connect Core §9).
fn assertion(client: &ClientCredentials, rules: ClientRules<'_>, now: Timestamp) -> Option<String> {
    let key =
        JwtKey::parse(client.private_key.as_ref()?.expose(), rules.assertion.algorithm.unwrap_or_default()).ok()?;
    let claims = json!({
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": rules.assertion.audience.as_deref().unwrap_or(rules.token_url.map_or("", Url::as_str)),
        "jti": uuid::Uuid::new_v4(),
        "iat": now.as_second(),
        "exp": now.checked_add(ASSERTION_LIFETIME).ok()?.as_second(),
    });
    key.sign(client.key_id.as_deref().or(rules.assertion.key_id.as_deref()), &claims).ok()
}

/// HTTP Basic, with both parts form-encoded first as RFC 6749 §2.3.1 wants it.
fn basic(headers: &mut HeaderMap, client_id: &str, secret: &str) {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
    secret_header(headers, &format!("Basic {credentials}"));
}

/// The access token as Bearer (RFC 6750 §2.1).
pub(super) fn bearer(headers: &mut HeaderMap, token: &str) {
    secret_header(headers, &format!("Bearer {token}"));
}

fn secret_header(headers: &mut HeaderMap, text: &str) {
    // Tokens were checked for printable characters when they were received, so this does not fail.
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// The name that a provider has for a parameter of the protocol.
pub(super) fn named<'a>(name: &'a str, names: &'a BTreeMap<String, String>) -> &'a str {
    names.get(name).map_or(name, String::as_str)
}

/// Encodes parameters, by the names that the provider has for them, as a body and sets its content type.
pub(super) fn encode_body(
    format: RequestFormat,
    parameters: &[(String, String)],
    names: &BTreeMap<String, String>,
    headers: &mut HeaderMap,
) -> Vec<u8> {
    let pairs = parameters.iter().map(|(name, value)| (named(name, names), value.as_str()));
    match format {
        RequestFormat::Form => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
        }
        RequestFormat::Json => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let object: serde_json::Map<String, serde_json::Value> =
                pairs.map(|(name, value)| (name.to_owned(), value.into())).collect();
            serde_json::Value::Object(object).to_string().into_bytes()
        }
    }
}
