//! Token introspection (RFC 7662): whether a refresh token is still good.

use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use ipnet::IpNet;
use url::Url;

use super::client::{ClientRules, Tries, encode_body, told_of_client};
use crate::api::provider::RequestFormat;
use crate::grant::ClientCredentials;
use crate::provider::outbound::{Outbound, OutboundRequest, SendError};
use crate::sensitive::Sensitive;

/// The provider could not tell.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    /// No answer.
    #[error("the introspection endpoint gave no answer")]
    Send(#[from] SendError),
    /// An answer that RFC 7662 §2.2 does not know.
    #[error("the introspection endpoint answered HTTP {status} without a word on `active`")]
    Answer {
        /// The status.
        status: u16,
    },
}

/// Whether `refresh_token` is active. Only a clear yes or no is an answer.
pub async fn is_active(
    outbound: &Outbound,
    url: &Url,
    rules: ClientRules<'_>,
    client: &ClientCredentials,
    refresh_token: &Sensitive,
    private_networks: Arc<[IpNet]>,
) -> Result<bool, IntrospectError> {
    let mut tries = Tries::new(client);
    let response = loop {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut parameters = vec![
            ("token".to_owned(), refresh_token.expose().to_owned()),
            ("token_type_hint".to_owned(), "refresh_token".to_owned()),
        ];
        tries.authenticate(rules, &mut headers, &mut parameters);
        let body = encode_body(RequestFormat::Form, &parameters, rules.names, &mut headers);
        let request = OutboundRequest {
            method: Method::POST,
            url: url.clone(),
            headers,
            body: Some(body),
            private_networks: Arc::clone(&private_networks),
            timeout: tries.timeout(),
        };
        let response = outbound.send(request).await?;
        if !tries.go_on(told_of_client(&response)) {
            break response;
        }
    };
    serde_json::from_slice::<serde_json::Value>(&response.body)
        .ok()
        .filter(|_| response.status.is_success())
        .and_then(|body| body.get("active")?.as_bool())
        .ok_or(IntrospectError::Answer { status: response.status.as_u16() })
}
