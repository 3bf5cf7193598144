//! The protocol: authorization attempts, token requests, introspection, identity and revocation.
//!
//! These functions turn what is held into one request and its answer into a value. They retry nothing and decide
//! nothing about the grant; that is the planner's and the driver's work.

pub mod answer;
pub mod attempt;
pub mod authorize;
pub mod identity;
pub mod introspect;
pub mod received;
pub mod revoke;
pub mod token;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use crate::api::provider::{ClientAuthentication, RequestFormat};
use crate::grant::ClientCredentials;

/// Adds the client's authentication (RFC 6749 §2.3.1) to a request's headers or parameters.
fn authenticate_client(
    method: ClientAuthentication,
    client: &ClientCredentials,
    headers: &mut HeaderMap,
    parameters: &mut Vec<(String, String)>,
) {
    let secret = client.client_secret.as_ref().map(crate::sensitive::Sensitive::expose);
    match (method, secret) {
        (ClientAuthentication::ClientSecretBasic, Some(secret)) => basic(headers, &client.client_id, secret),
        (ClientAuthentication::ClientSecretPost, Some(secret)) => {
            parameters.push(("client_id".to_owned(), client.client_id.clone()));
            parameters.push(("client_secret".to_owned(), secret.to_owned()));
        }
        _ => parameters.push(("client_id".to_owned(), client.client_id.clone())),
    }
}

/// HTTP Basic, with both parts form-encoded first as RFC 6749 §2.3.1 wants it.
fn basic(headers: &mut HeaderMap, client_id: &str, secret: &str) {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
    secret_header(headers, &format!("Basic {credentials}"));
}

/// The access token as Bearer (RFC 6750 §2.1).
fn bearer(headers: &mut HeaderMap, token: &str) {
    secret_header(headers, &format!("Bearer {token}"));
}

fn secret_header(headers: &mut HeaderMap, text: &str) {
    // Tokens were checked for printable characters when they were received, so this does not fail.
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// Encodes parameters as a body and sets its content type.
fn encode_body(format: RequestFormat, parameters: &[(String, String)], headers: &mut HeaderMap) -> Vec<u8> {
    match format {
        RequestFormat::Form => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish().into_bytes()
        }
        RequestFormat::Json => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let object: serde_json::Map<String, serde_json::Value> =
                parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            serde_json::Value::Object(object).to_string().into_bytes()
        }
    }
}
