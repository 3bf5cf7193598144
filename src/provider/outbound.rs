//! The only way out: every request to a provider goes through [`Outbound`].
//!
//! Takes a request whose URL somebody else wrote, gives the answer, or an error that says whether anything reached the
//! provider. Requests follow no redirect, verify TLS, and connect only to addresses that were checked (SSRF): the
//! address checked is the address connected to. Behind `HTTPS_PROXY` the proxy resolves names, so that the check of
//! addresses is the proxy's; literal addresses and names are still checked here.

mod addresses;
mod clients;
mod names;
mod resolver;
mod retry_after;

use std::{
    collections::HashSet,
    convert::Infallible,
    fmt,
    io::{Error as IoError, ErrorKind},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::stream;
use http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH};
use ipnet::IpNet;
use thiserror::Error;
use url::Url;

use crate::trace::{Kind, Span};
use clients::Clients;
pub use names::Forbidden;
use names::Policy;
use resolver::SystemLookup;
pub use retry_after::{LONGEST_RETRY_AFTER, retry_after};

/// The largest body of an answer, in bytes: 1 MiB.
pub const LARGEST_BODY: usize = 1024 * 1024;

/// The longest a request may take, from looking up the name to the last byte of the body: 30 s.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// The longest that a request takes whose bodies stream, both of them included: 1 h.
pub const LONGEST_STREAM: Duration = Duration::from_hours(1);

/// The longest that looking up, connecting and the TLS handshake may take: 10 s.
pub const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// What the process was started with.
#[derive(Clone, Debug, Default)]
pub struct OutboundOptions {
    /// Host names, exact, for which `http` and every address are fine, such as `localhost` or `127.0.0.1`; for tests.
    pub insecure_hosts: Vec<String>,
    /// A file of PEM certificates that are trusted beside those of the system.
    pub ca_bundle: Option<PathBuf>,
    /// Networks of Pods and Services, refused even where they are public addresses.
    pub cluster_networks: Vec<IpNet>,
}

/// Why no [`Outbound`] could be made.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// No TLS provider was installed; `main` does that first.
    #[error("no process-wide TLS crypto provider is installed")]
    NoCryptoProvider,
    /// The CA bundle cannot be read.
    #[error("cannot read the CA bundle {}", path.display())]
    ReadCaBundle {
        /// The file.
        path: PathBuf,
        /// What reading it said.
        #[source]
        source: IoError,
    },
    /// The CA bundle is not a list of PEM certificates.
    #[error("the CA bundle {} holds no readable PEM certificates", path.display())]
    ParseCaBundle {
        /// The file.
        path: PathBuf,
        /// What parsing it said; none where the file has no certificate.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The HTTP client cannot be built.
    #[error("cannot build the HTTP client")]
    BuildClient(#[source] reqwest::Error),
}

/// A request to a provider.
pub struct OutboundRequest {
    /// The HTTP method.
    pub method: Method,
    /// The address, in full.
    pub url: Url,
    /// Headers; `User-Agent` is set where it is missing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Private networks that the provider's description opens.
    pub private_networks: Arc<[IpNet]>,
    /// The longest it may take; [`LONGEST_REQUEST`] where it is more.
    pub timeout: Duration,
}

/// A request whose bodies are not held in memory.
pub struct StreamRequest {
    /// The HTTP method.
    pub method: Method,
    /// The address, in full.
    pub url: Url,
    /// Headers; `User-Agent` is set where it is missing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<reqwest::Body>,
    /// Private networks that the provider's description opens.
    pub private_networks: Arc<[IpNet]>,
}

impl fmt::Debug for StreamRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StreamRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for OutboundRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OutboundRequest")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// What a provider answered, whatever the status.
pub struct OutboundResponse {
    /// The status; a redirect is not followed and stands here.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came, at most [`LARGEST_BODY`] bytes; never decompressed.
    pub body: Vec<u8>,
}

impl fmt::Debug for OutboundResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OutboundResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum SendError {
    /// The URL, or every address behind its name, is not allowed; nothing was sent.
    #[error("the request is not allowed")]
    Forbidden(#[from] Forbidden),
    /// Nothing reached the provider, or not even the first byte of the body: the name, the connection, the proxy or TLS
    /// failed. It may be sent again.
    #[error("the request was not sent")]
    NotSent(#[source] reqwest::Error),
    /// It may have reached the provider, and the outcome is unknown.
    #[error("the request was sent and its outcome is unknown")]
    Unknown {
        /// The status, where the answer broke off after its head.
        status: Option<StatusCode>,
        /// What happened.
        #[source]
        cause: Interruption,
    },
}

impl SendError {
    /// In a word.
    const fn word(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::NotSent(_) => "not sent",
            Self::Unknown { cause: Interruption::Timeout(_), .. } => "timed out",
            Self::Unknown { .. } => "broken",
        }
    }
}

/// What came between a request and its answer.
#[derive(Debug, Error)]
pub enum Interruption {
    /// Time ran out.
    #[error("the request timed out")]
    Timeout(#[source] reqwest::Error),
    /// The connection broke, or the answer was cut short or is not HTTP.
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] reqwest::Error),
    /// The body is larger than [`LARGEST_BODY`].
    #[error("the answer's body is larger than 1 MiB")]
    TooLarge,
}

impl From<reqwest::Error> for Interruption {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() { Self::Timeout(error) } else { Self::Broken(error) }
    }
}

/// Somebody who answers requests in the place of the network.
pub trait Player: Send + Sync {
    /// The answer to one request.
    fn play(&self, request: &OutboundRequest) -> Result<OutboundResponse, SendError>;
}

/// The guarded HTTP client; cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    policy: Arc<Policy>,
    way: Way,
}

/// Where requests go.
#[derive(Clone)]
enum Way {
    Network(Arc<Clients>),
    Played(Arc<dyn Player>),
}

impl fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outbound").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Outbound {
    /// Builds the client; reads the CA bundle and the proxy variables of the environment, once.
    pub fn new(options: OutboundOptions) -> Result<Self, OutboundError> {
        let policy = Arc::new(Policy::new(
            &options.insecure_hosts,
            options.cluster_networks,
            names::proxy_hosts(|name| std::env::var(name).ok()),
        ));
        let clients = Arc::new(Clients::new(Arc::clone(&policy), options.ca_bundle, Arc::new(SystemLookup))?);
        Ok(Self { policy, way: Way::Network(clients) })
    }

    /// One that sends nothing: `player` answers. URLs are checked as ever.
    pub fn played(player: Arc<dyn Player>) -> Self {
        Self { policy: Arc::new(Policy::new(&[], Vec::new(), HashSet::new())), way: Way::Played(player) }
    }

    /// Whether a URL may be asked at all, as far as the URL alone shows; addresses behind its name are checked when
    /// connecting.
    pub fn check_url(&self, url: &Url, private: &[IpNet]) -> Result<(), Forbidden> {
        self.policy.check_url(url, private)
    }

    /// Sends a request, once, and reads the whole answer.
    pub async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        self.policy.check_url(&request.url, &request.private_networks)?;
        let clients = match &self.way {
            Way::Network(clients) => clients,
            Way::Played(player) => return player.play(&request),
        };
        let client = clients.client(&request.private_networks).map_err(SendError::NotSent)?;
        Self::told(&client, request).await
    }

    /// Sends a request, once, to a Service of the cluster: `http`, to an address that the API server has assigned. Addresses
    /// of this machine and of its link are refused all the same.
    pub async fn send_within(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        names::check_service(&request.url)?;
        let clients = match &self.way {
            Way::Network(clients) => clients,
            Way::Played(player) => return player.play(&request),
        };
        Self::told(clients.within(), request).await
    }

    /// Sends a request, and tells a trace of it.
    async fn told(client: &reqwest::Client, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let span = Span::child(request.method.as_str(), Kind::Client);
        span.set("http.request.method", request.method.as_str());
        // The host alone: paths of some apps are secrets.
        span.set("server.address", request.url.host_str().unwrap_or_default());
        let answer = span.within(Self::exchange(client, request)).await;
        match &answer {
            Ok(answer) => span.set("http.response.status_code", answer.status.as_u16()),
            Err(error) => span.fail(error.word()),
        }
        answer
    }

    /// Sends a request, once, and gives the answer with its body still to come: at most [`LONGEST_STREAM`] from now.
    pub async fn stream(&self, request: StreamRequest) -> Result<reqwest::Response, SendError> {
        self.policy.check_url(&request.url, &request.private_networks)?;
        let clients = match &self.way {
            Way::Network(clients) => clients,
            Way::Played(player) => {
                let whole = OutboundRequest {
                    method: request.method,
                    url: request.url,
                    headers: request.headers,
                    body: request.body.and_then(|body| body.as_bytes().map(<[u8]>::to_vec)),
                    private_networks: request.private_networks,
                    timeout: LONGEST_REQUEST,
                };
                let answer = player.play(&whole)?;
                let mut response = http::Response::new(answer.body);
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                return Ok(response.into());
            }
        };
        let client = clients.client(&request.private_networks).map_err(SendError::NotSent)?;
        let span = Span::child(request.method.as_str(), Kind::Client);
        span.set("http.request.method", request.method.as_str());
        span.set("server.address", request.url.host_str().unwrap_or_default());
        let mut builder = client.request(request.method, request.url).headers(request.headers).timeout(LONGEST_STREAM);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        // How much of a streamed body has left nobody knows: only what did not connect was not sent.
        let answer = span.within(builder.send()).await.map_err(|error| classify(error, true));
        match &answer {
            Ok(answer) => span.set("http.response.status_code", answer.status().as_u16()),
            Err(error) => span.fail(error.word()),
        }
        answer
    }

    async fn exchange(client: &reqwest::Client, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let mut builder = client
            .request(request.method, request.url)
            .headers(request.headers)
            .timeout(request.timeout.min(LONGEST_REQUEST));
        // Without a body, the head alone is the request, and nobody says when that is sent.
        let begun = Arc::new(AtomicBool::new(request.body.is_none()));
        if let Some(body) = request.body {
            builder = builder.header(CONTENT_LENGTH, body.len()).body(watched(body, Arc::clone(&begun)));
        }
        let response = builder.send().await.map_err(|error| classify(error, begun.load(Ordering::SeqCst)))?;
        read(response).await
    }
}

/// A body that says when the connection takes it: before that, no provider has a whole request.
fn watched(body: Vec<u8>, begun: Arc<AtomicBool>) -> reqwest::Body {
    reqwest::Body::wrap_stream(stream::once(async move {
        begun.store(true, Ordering::SeqCst);
        Ok::<_, Infallible>(body)
    }))
}

/// Tells "never sent" from "outcome unknown".
fn classify(error: reqwest::Error, begun: bool) -> SendError {
    if let Some(forbidden) = forbidden_within(&error) {
        return SendError::Forbidden(forbidden);
    }
    if !begun || error.is_connect() || error.is_builder() {
        return SendError::NotSent(error.without_url());
    }
    SendError::Unknown { status: None, cause: error.into() }
}

/// The refusal that our own resolver gave, somewhere among the causes.
fn forbidden_within(error: &reqwest::Error) -> Option<Forbidden> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return Some(forbidden.clone());
        }
        cause = error.source();
    }
    None
}

/// Reads the body, and gives up as soon as it is too large.
async fn read(mut response: reqwest::Response) -> Result<OutboundResponse, SendError> {
    let status = response.status();
    let unknown = |cause| SendError::Unknown { status: Some(status), cause };
    if response.content_length().is_some_and(|length| length > LARGEST_BODY as u64) {
        return Err(unknown(Interruption::TooLarge));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unknown(error.into()))? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(unknown(Interruption::TooLarge));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(OutboundResponse { status, headers: std::mem::take(response.headers_mut()), body })
}

/// What a lookup found, for one name.
type Found = Result<Vec<IpAddr>, IoError>;

/// A lookup that found nothing at all.
fn nothing_found() -> IoError {
    IoError::new(ErrorKind::NotFound, "the name has no address")
}

#[cfg(test)]
mod tests;
