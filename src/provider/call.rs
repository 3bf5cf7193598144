//! Requests as a description has them: headers, body, and how a credential is placed.
//!
//! Takes the sections `api`, `identity`, `lookups` and `apiKey`, gives templates that were checked, and calls whose
//! address is filled. Pure: `crate::oauth::call` sends them.

mod placement;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use thiserror::Error;
use url::Url;

use super::template::{TemplateError, UrlTemplate};
use crate::api::provider::{self, Call};
use crate::digest::short_hash;
pub use placement::{Placed, Placement, PlacementError};

/// Headers of the connection and of the message's frame (RFC 9110 §7.2, §7.6.1, §8.6), and cookies.
const OWNED: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    COOKIE,
    http::header::CONNECTION,
    http::header::TE,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::PROXY_AUTHORIZATION,
];

/// A request that cannot be described so. Every variant names the field.
#[derive(Debug, Error)]
pub enum CallError {
    /// Not the name of a header (RFC 9110 §5.1).
    #[error("{field}: {name:?} is not the name of a header")]
    HeaderName {
        /// The field.
        field: String,
        /// What stands there.
        name: String,
    },
    /// Not the value of a header (RFC 9110 §5.5).
    #[error("{field}.{name}: the value of a header is printable text on one line")]
    HeaderValue {
        /// The field.
        field: String,
        /// The header.
        name: String,
        /// What the parser says.
        source: InvalidHeaderValue,
    },
    /// A header that is not the description's to set.
    #[error("{field} must not set {name}: it carries the credential, or belongs to the connection")]
    OwnedHeader {
        /// The field.
        field: String,
        /// The header.
        name: String,
    },
    /// A body where the method has none.
    #[error("{field}.body is for method POST or DELETE; set {field}.method")]
    Body {
        /// The call.
        field: String,
    },
}

/// A call whose address has places for values.
#[derive(Clone, Debug)]
pub struct CallTemplate {
    method: Method,
    url: UrlTemplate,
    headers: HeaderMap,
    body: Option<Arc<[u8]>>,
}

/// A call that lacks only the credential.
#[derive(Clone, Debug)]
pub struct PreparedCall {
    /// The HTTP method.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// Headers, without the one that carries the credential.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Arc<[u8]>>,
    /// How the credential is placed.
    pub placement: Placed,
    /// Private networks that the address may lie in.
    pub private_networks: Arc<[IpNet]>,
}

impl CallTemplate {
    /// Checks a call. `field` is its name in the description, such as `identity`; `url` its address, parsed by the caller;
    /// `common` the headers of every call (`api.headers`); `carriers` the headers that a credential may be in.
    pub fn new(
        field: &str,
        call: &Call,
        url: UrlTemplate,
        common: &BTreeMap<String, String>,
        carriers: &[HeaderName],
    ) -> Result<Self, CallError> {
        let method = match call.method {
            None | Some(provider::Method::Get) => Method::GET,
            Some(provider::Method::Post) => Method::POST,
            Some(provider::Method::Delete) => Method::DELETE,
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = match &call.body {
            Some(_) if method == Method::GET => return Err(CallError::Body { field: field.to_owned() }),
            Some(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Some(Arc::from(body.to_string().into_bytes()))
            }
            // Some servers answer 411 to a POST that does not say that it is empty (RFC 9110 §8.6).
            None if method == Method::POST => Some(Arc::from([])),
            None => None,
        };
        headers.extend(described("api.headers", common, carriers)?);
        headers.extend(described(&format!("{field}.headers"), &call.headers, carriers)?);
        Ok(Self { method, url, headers, body })
    }

    /// A plain GET, such as that of the `UserInfo` endpoint.
    pub fn get(
        url: UrlTemplate,
        common: &BTreeMap<String, String>,
        carriers: &[HeaderName],
    ) -> Result<Self, CallError> {
        Self::new("identity", &Call::default(), url, common, carriers)
    }

    /// The names of the values that its address has places for.
    pub fn parameters(&self) -> std::collections::BTreeSet<&str> {
        self.url.parameters()
    }

    /// Where it leads with these values, as [`UrlTemplate::origin`] writes it.
    pub fn origin(&self, values: &BTreeMap<String, String>) -> String {
        self.url.origin(values)
    }

    /// Fills the address. `placement` says where the credential goes; its own places are filled with the same values.
    pub fn prepare(
        &self,
        placement: &Placement,
        values: &BTreeMap<String, String>,
        private_networks: &Arc<[IpNet]>,
    ) -> Result<PreparedCall, TemplateError> {
        Ok(PreparedCall {
            method: self.method.clone(),
            url: self.url.render(values)?,
            headers: self.headers.clone(),
            body: self.body.clone(),
            placement: placement.fill(values)?,
            private_networks: Arc::clone(private_networks),
        })
    }
}

impl PreparedCall {
    /// A digest of the request without its credential: equal requests have equal answers.
    pub fn digest(&self) -> String {
        let headers = format!("{:?}", self.headers);
        let body = String::from_utf8_lossy(self.body.as_deref().unwrap_or_default());
        short_hash(&[self.method.as_str(), self.url.as_str(), &headers, &body])
    }
}

/// Headers that a description sets, checked.
pub(super) fn described(
    field: &str,
    headers: &BTreeMap<String, String>,
    carriers: &[HeaderName],
) -> Result<HeaderMap, CallError> {
    let mut checked = HeaderMap::new();
    for (name, value) in headers {
        let header = header_name(field, name)?;
        if OWNED.contains(&header) || carriers.contains(&header) {
            return Err(CallError::OwnedHeader { field: field.to_owned(), name: name.clone() });
        }
        let value = HeaderValue::from_str(value).map_err(|source| CallError::HeaderValue {
            field: field.to_owned(),
            name: name.clone(),
            source,
        })?;
        checked.insert(header, value);
    }
    Ok(checked)
}

fn header_name(field: &str, name: &str) -> Result<HeaderName, CallError> {
    name.parse().map_err(|_| CallError::HeaderName { field: field.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(call: serde_json::Value, common: &[(&str, &str)]) -> Result<PreparedCall, CallError> {
        let call: Call = serde_json::from_value(call).unwrap();
        let url = UrlTemplate::parse("https://{site}.example.com/v1/{id}").unwrap();
        let common = common.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let template = CallTemplate::new("identity", &call, url, &common, &[http::header::AUTHORIZATION])?;
        let values = BTreeMap::from([("site".into(), "acme".into()), ("id".into(), "a/b".into())]);
        Ok(template.prepare(&Placement::default(), &values, &Arc::from([])).unwrap())
    }

    #[test]
    fn headers_of_a_call_come_after_those_of_all_calls() {
        let common = [("Accept", "application/vnd.app+json"), ("X-Version", "1")];
        let call = call(json!({ "headers": { "x-version": "2" } }), &common).unwrap();
        assert_eq!(call.method, Method::GET);
        assert_eq!(call.url.as_str(), "https://acme.example.com/v1/a%2Fb");
        assert_eq!(call.headers["accept"], "application/vnd.app+json");
        assert_eq!(call.headers.get_all("x-version").iter().collect::<Vec<_>>(), ["2"]);
        assert!(call.body.is_none());
    }

    #[test]
    fn a_body_is_json_and_wants_a_method() {
        let query = json!({ "query": "{ viewer { id } }" });
        let sent = call(json!({ "method": "POST", "body": query }), &[]).unwrap();
        assert_eq!(sent.headers["content-type"], "application/json");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&sent.body.unwrap()).unwrap(), query);
        let error = call(json!({ "body": query }), &[]).unwrap_err().to_string();
        assert!(error.starts_with("identity.body"), "{error}");
        assert_eq!(call(json!({ "method": "POST" }), &[]).unwrap().body.as_deref(), Some(&[][..]));
    }

    #[test]
    fn headers_that_are_not_the_descriptions_are_refused_by_field() {
        for name in ["Authorization", "host", "Cookie", "Content-Length", "transfer-encoding"] {
            let error = call(json!({ "headers": { name: "x" } }), &[]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("identity.headers must not set {name}")), "{error}");
        }
        let error = call(json!({}), &[("host", "evil.example")]).unwrap_err().to_string();
        assert!(error.starts_with("api.headers must not set host"), "{error}");
        let error = call(json!({ "headers": { "a b": "x" } }), &[]).unwrap_err().to_string();
        assert_eq!(error, "identity.headers: \"a b\" is not the name of a header");
        let error = call(json!({ "headers": { "x-a": "1\r\nx-b: 2" } }), &[]).unwrap_err().to_string();
        assert!(error.starts_with("identity.headers.x-a"), "{error}");
    }
}
