//! Endpoints of an issuer, from its own metadata (RFC 8414, and `OpenID` Connect Discovery 1.0).
//!
//! Takes an issuer, gives its endpoints, each of which has passed the check of [`Outbound::check_url`]. Sends one
//! request, or two.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ACCEPT};
use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;
use url::Url;

use super::outbound::{Forbidden, Outbound, OutboundRequest, SendError};

/// The longest that one document may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an authorization server says of itself (RFC 8414 §2); fields that nobody here reads are left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerMetadata {
    /// The issuer, exactly as asked for.
    pub issuer: String,
    /// Authorization endpoint (RFC 6749 §3.1).
    #[serde(default)]
    pub authorization_endpoint: Option<Url>,
    /// Token endpoint (RFC 6749 §3.2).
    #[serde(default)]
    pub token_endpoint: Option<Url>,
    /// Revocation endpoint (RFC 7009).
    #[serde(default)]
    pub revocation_endpoint: Option<Url>,
    /// Introspection endpoint (RFC 7662).
    #[serde(default)]
    pub introspection_endpoint: Option<Url>,
    /// `UserInfo` endpoint (`OpenID` Connect Core §5.3).
    #[serde(default)]
    pub userinfo_endpoint: Option<Url>,
    /// Whether redirects back carry `iss` (RFC 9207 §3).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
    /// PKCE methods; PKCE is not known to be supported where there are none (RFC 8414 §2).
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
    /// How clients may authenticate at the token endpoint; `client_secret_basic` alone where the server does not say
    /// (RFC 8414 §2).
    #[serde(default = "basic_alone")]
    pub token_endpoint_auth_methods_supported: Vec<String>,
}

/// What a server means that does not say (RFC 8414 §2).
fn basic_alone() -> Vec<String> {
    vec!["client_secret_basic".to_owned()]
}

/// Why an issuer's endpoints are not known.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// The issuer has a query or a fragment, which an issuer must not have (RFC 8414 §2).
    #[error("the issuer has a query or a fragment")]
    Issuer,
    /// The issuer's URL is not allowed.
    #[error("the issuer's URL is not allowed")]
    IssuerForbidden(#[source] Forbidden),
    /// A document could not be fetched; it may be tried again.
    #[error("cannot fetch {url}")]
    Fetch {
        /// Its address.
        url: Url,
        /// What came between.
        #[source]
        source: SendError,
    },
    /// The server is in trouble, or wants to be asked less; it may be tried again.
    #[error("{url} answered with status {status}")]
    Unavailable {
        /// The document's address.
        url: Url,
        /// 429 or 5xx.
        status: StatusCode,
    },
    /// Neither document exists.
    #[error("the issuer publishes no metadata at its well-known addresses")]
    NotPublished,
    /// Not JSON, or not the metadata of a server.
    #[error("cannot read the metadata at {url}")]
    Read {
        /// The document's address.
        url: Url,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The document is another issuer's (RFC 8414 §3.3).
    #[error("the metadata at {url} names another issuer")]
    OtherIssuer {
        /// The document's address.
        url: Url,
    },
    /// An endpoint is at an address that is not allowed.
    #[error("the metadata's {endpoint} is not allowed")]
    EndpointForbidden {
        /// Its name in the document.
        endpoint: &'static str,
        /// Why.
        #[source]
        source: Forbidden,
    },
}

/// Fetches the metadata of an issuer: `/.well-known/oauth-authorization-server` before the issuer's path (RFC 8414
/// §3.1), and where there is none, `/.well-known/openid-configuration` after it (`OpenID` Connect Discovery §4).
pub async fn discover(
    outbound: &Outbound,
    issuer: &Url,
    private: Arc<[IpNet]>,
) -> Result<ServerMetadata, DiscoveryError> {
    if issuer.query().is_some() || issuer.fragment().is_some() {
        return Err(DiscoveryError::Issuer);
    }
    outbound.check_url(issuer, &private).map_err(DiscoveryError::IssuerForbidden)?;
    for url in well_known(issuer) {
        if let Some(body) = fetch(outbound, &url, &private).await? {
            return accept(outbound, issuer, url, &body, &private);
        }
    }
    Err(DiscoveryError::NotPublished)
}

/// The two addresses of an issuer's metadata.
fn well_known(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    [format!("/.well-known/oauth-authorization-server{path}"), format!("{path}/.well-known/openid-configuration")].map(
        |path| {
            let mut url = issuer.clone();
            url.set_path(&path);
            url
        },
    )
}

/// One document; none where the server has none there. Servers that know no such path answer in many ways below 500.
async fn fetch(outbound: &Outbound, url: &Url, private: &Arc<[IpNet]>) -> Result<Option<Vec<u8>>, DiscoveryError> {
    let request = OutboundRequest {
        method: Method::GET,
        url: url.clone(),
        headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
        body: None,
        private_networks: Arc::clone(private),
        timeout: TIMEOUT,
    };
    let response = outbound.send(request).await.map_err(|source| DiscoveryError::Fetch { url: url.clone(), source })?;
    let status = response.status;
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(DiscoveryError::Unavailable { url: url.clone(), status });
    }
    Ok((status == StatusCode::OK && looks_like_json(&response.body)).then_some(response.body))
}

/// Many sites answer every path with 200 and a page.
fn looks_like_json(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// Reads a document and checks whose it is and where it leads.
fn accept(
    outbound: &Outbound,
    issuer: &Url,
    url: Url,
    body: &[u8],
    private: &[IpNet],
) -> Result<ServerMetadata, DiscoveryError> {
    let metadata: ServerMetadata = match serde_json::from_slice(body) {
        Ok(metadata) => metadata,
        Err(source) => return Err(DiscoveryError::Read { url, source }),
    };
    if !same_issuer(issuer, &metadata.issuer) {
        return Err(DiscoveryError::OtherIssuer { url });
    }
    for (endpoint, url) in metadata.endpoints() {
        outbound.check_url(url, private).map_err(|source| DiscoveryError::EndpointForbidden { endpoint, source })?;
    }
    Ok(metadata)
}

/// Identical, but that parsing a URL without a path adds a slash, which is not there in what the operator was told.
fn same_issuer(issuer: &Url, named: &str) -> bool {
    let asked = issuer.as_str();
    named == asked || (issuer.path() == "/" && asked.strip_suffix('/') == Some(named))
}

impl ServerMetadata {
    /// The endpoints there are, by their names in the document.
    fn endpoints(&self) -> impl Iterator<Item = (&'static str, &Url)> {
        [
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            ("revocation_endpoint", &self.revocation_endpoint),
            ("introspection_endpoint", &self.introspection_endpoint),
            ("userinfo_endpoint", &self.userinfo_endpoint),
        ]
        .into_iter()
        .filter_map(|(name, url)| Some((name, url.as_ref()?)))
    }
}

#[cfg(test)]
mod tests;
