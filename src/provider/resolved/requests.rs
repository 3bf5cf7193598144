//! What a description changes in requests: names of the protocol's parameters, extra parameters, and headers.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::ProviderError;
use crate::api::provider::OAuth2;
use crate::provider::form::Form;
use crate::provider::template::TextTemplate;

/// Parameters of the protocol (RFC 6749, RFC 7636, RFC 7521, RFC 7009): a description can rename them and not set them.
const PROTOCOL_PARAMETERS: [&str; 14] = [
    "client_id",
    "client_secret",
    "redirect_uri",
    "state",
    "response_type",
    "scope",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "grant_type",
    "refresh_token",
    "client_assertion",
    "client_assertion_type",
];

/// Parameters of revocation and introspection (RFC 7009 §2.1, RFC 7662 §2.1): they can be renamed too.
const TOKEN_PARAMETERS: [&str; 2] = ["token", "token_type_hint"];

/// Headers that the request itself sets, or that belong to the connection.
const OWN_HEADERS: [&str; 12] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The longest name that a parameter can be given, in bytes.
const LONGEST_NAME: usize = 64;

/// Extra parameters, by name.
pub type ExtraParams = BTreeMap<String, TextTemplate>;

/// Extra parameters of one kind of request: none that the protocol owns, and no value that the form does not have.
pub(super) fn extra_params(
    field: &'static str,
    extra: &BTreeMap<String, String>,
    oauth: &OAuth2,
    form: &Form,
) -> Result<ExtraParams, ProviderError> {
    let own = |name: &str| {
        PROTOCOL_PARAMETERS.contains(&name) || name.starts_with("code_") || oauth.parameter_names.contains_key(name)
    };
    if let Some(name) = extra.keys().find(|name| own(name)) {
        return Err(ProviderError::ProtocolParameter { field, name: name.clone() });
    }
    let templates: ExtraParams = extra.iter().map(|(name, value)| (name.clone(), TextTemplate::parse(value))).collect();
    let unknown = templates.values().flat_map(TextTemplate::parameters).find(|name| !form.contains_key(name));
    match unknown {
        Some(name) => Err(ProviderError::UnknownParameter { field, name: name.to_owned() }),
        None => Ok(templates),
    }
}

/// Names that the provider has for parameters of the protocol: each of one of them, and none taken twice.
pub(super) fn parameter_names(oauth: &OAuth2) -> Result<BTreeMap<String, String>, ProviderError> {
    let names = &oauth.parameter_names;
    let protocol = || PROTOCOL_PARAMETERS.into_iter().chain(TOKEN_PARAMETERS);
    let wrong =
        |name: &str, problem: &'static str| Err(ProviderError::ParameterName { name: name.to_owned(), problem });
    for (name, own) in names {
        if !protocol().any(|known| known == name) {
            return wrong(name, "is no parameter of the protocol; set another in authorizationParams or tokenParams");
        }
        if own.is_empty() || own.len() > LONGEST_NAME || !own.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong(name, "must have a name of 1 to 64 visible ASCII characters");
        }
    }
    let taken: BTreeSet<&str> = protocol()
        .filter(|known| !names.contains_key(*known))
        .chain(
            [&oauth.authorization_params, &oauth.token_params, &oauth.refresh_params]
                .into_iter()
                .flatten()
                .map(name_of),
        )
        .chain(oauth.token_sets.values().filter_map(|set| set.scope_parameter.as_deref()))
        .collect();
    let mut given = BTreeSet::new();
    match names.iter().find(|(_, own)| taken.contains(own.as_str()) || !given.insert(own.as_str())) {
        Some((name, _)) => wrong(name, "has a name that another parameter has already"),
        None => Ok(names.clone()),
    }
}

fn name_of<'a>((name, _): (&'a String, &'a String)) -> &'a str {
    name
}

/// Further headers of token requests.
pub(super) fn headers(oauth: &OAuth2) -> Result<HeaderMap, ProviderError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &oauth.token_headers {
        let wrong = |problem| ProviderError::Header { name: name.clone(), problem };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is not the name of a header"))?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err(wrong("is set by the operator itself"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| wrong("has a value that no header can have"))?;
        if headers.insert(header, value).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    Ok(headers)
}
