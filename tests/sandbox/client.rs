//! Who is asking: client authentication by header or by body, never by both (RFC 6749 §2.3).

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{answer::Refusal, options::SandboxOptions, params::Params};

/// Makes sure that the request comes from a client that this server knows, and says which.
pub fn authenticate(options: &SandboxOptions, headers: &HeaderMap, params: &Params) -> Result<String, Refusal> {
    let (id, secret) = match headers.get(AUTHORIZATION) {
        Some(_) if params.get("client_secret").is_some() => {
            return Err(Refusal::invalid_request("the client authenticates in two ways at once"));
        }
        Some(header) => {
            let header = header.to_str().unwrap_or_default();
            basic(header).ok_or_else(|| Refusal::invalid_client("this is not Basic authentication"))?
        }
        None => (
            params.get("client_id").unwrap_or_default().to_owned(),
            params.get("client_secret").unwrap_or_default().to_owned(),
        ),
    };
    if params.get("client_id").is_some_and(|named| named != id) {
        return Err(Refusal::invalid_request("client_id is not the client that authenticates"));
    }
    let secret_fits = secret == options.client_secret || options.next_client_secret.as_ref() == Some(&secret);
    let is_other = || options.other_clients.iter().any(|(other, own)| *other == id && *own == secret);
    if (id == options.client_id && secret_fits) || is_other() {
        Ok(id)
    } else {
        Err(Refusal::invalid_client("the client is unknown or its secret is wrong"))
    }
}

/// Id and secret of a Basic header, both of them form-encoded inside (RFC 6749 §2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()))?.ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // Read as the name of a lone parameter; what would end a name is encoded in a well-formed value.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
