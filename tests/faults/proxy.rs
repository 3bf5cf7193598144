//! A proxy that spoils chosen requests: in front of the API server, and in front of a provider.
//!
//! It writes down what passes, under a name that `Classify` gives each request worth telling apart. A [`Trap`] waits for
//! the n-th request of a name and does to it what networks, servers and `kill -9` do. Everything else goes through
//! untouched, watches as they come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Names the requests that a trap may be laid for; the others are not written down.
pub type Classify = dyn Fn(&Method, &Uri, &[u8]) -> Option<String> + Send + Sync;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The connection ends, and the server never saw the request.
    NotSent,
    /// Nobody listens: it is certain that nothing was sent.
    Refused,
    /// Carried out; then the connection ends without an answer.
    AnswerLost,
    /// Carried out; half of the answer arrives.
    Truncated,
    /// Carried out; the answer is a 500.
    ErrorAfter,
    /// Not carried out; the answer is a 500.
    ErrorBefore,
    /// Carried out; no answer comes, and the connection stays.
    Stalled,
    /// The process dies, and the server never saw the request.
    KilledBefore,
    /// Carried out; then the process dies, without having read the answer.
    KilledAfter,
    /// Carried out twice; the second answer arrives.
    Twice,
}

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not sent",
            Self::Refused => "refused",
            Self::AnswerLost => "answer lost",
            Self::Truncated => "truncated",
            Self::ErrorAfter => "500 after",
            Self::ErrorBefore => "500 before",
            Self::Stalled => "stalled",
            Self::KilledBefore => "killed before",
            Self::KilledAfter => "killed after",
            Self::Twice => "twice",
        }
    }

    /// Whether the server carries the request out.
    pub const fn commits(self) -> bool {
        !matches!(self, Self::NotSent | Self::Refused | Self::ErrorBefore | Self::KilledBefore)
    }

    pub const fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }
}

/// Waits for the n-th request of a name, counted from the last [`Proxy::reset`].
#[derive(Clone, Debug)]
pub struct Trap {
    pub request: String,
    /// 0 is the first.
    pub occurrence: usize,
    pub fault: Fault,
}

/// A request that passed.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: String,
    /// How many of this name came before it.
    pub occurrence: usize,
    /// What the server answered; `None` where it never saw the request.
    pub status: Option<u16>,
    pub fault: Option<Fault>,
}

/// A running proxy; dropped, it stops, and its connections end.
pub struct Proxy {
    pub url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    classify: Box<Classify>,
    state: Mutex<State>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    traps: Vec<Trap>,
    seen: Vec<Seen>,
    counts: HashMap<String, usize>,
    /// Whom a fault that kills hits.
    victim: Option<u32>,
    /// The connections of those who are let in; `None` while nobody is.
    door: Option<CancellationToken>,
    last: Option<Instant>,
}

/// The connection is to end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

impl Proxy {
    /// Starts a proxy for `upstream`, a URL without a path.
    pub async fn start(
        upstream: &str,
        client: reqwest::Client,
        classify: impl Fn(&Method, &Uri, &[u8]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client,
            classify: Box::new(classify),
            state: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let proxy = Self { url: format!("http://{address}"), address, shared };
        proxy.open(listener);
        proxy
    }

    /// Names the process that a fault which kills hits.
    pub fn aim(&self, process: u32) {
        self.state().victim = Some(process);
    }

    /// Forgets what was seen, and takes all traps away.
    pub fn reset(&self) {
        let mut state = self.state();
        state.traps.clear();
        state.seen.clear();
        state.counts.clear();
    }

    /// Lays a trap.
    pub fn lay(&self, trap: Trap) {
        self.state().traps.push(trap);
    }

    /// What was seen since the last reset, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Whether all traps have sprung.
    pub fn is_sprung(&self) -> bool {
        self.state().traps.is_empty()
    }

    /// How long no request with a name has come.
    pub fn quiet_for(&self) -> Duration {
        self.state().last.map_or(Duration::MAX, |last| last.elapsed())
    }

    /// Listens again, after [`Fault::Refused`].
    pub async fn reopen(&self) {
        if self.state().door.is_none() {
            self.open(TcpListener::bind(self.address).await.unwrap());
        }
    }

    fn open(&self, listener: TcpListener) {
        let door = self.shared.stop.child_token();
        self.state().door = Some(door.clone());
        tokio::spawn(accept(Arc::clone(&self.shared), listener, door));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, door: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = door.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(Arc::clone(&shared), stream, door.clone()));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, door: CancellationToken) {
    let service = service_fn(move |request| Arc::clone(&shared).pass(request));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = door.cancelled() => {}
        _ = connection => {}
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.map_err(|_| Cut)?;
        let forward = Forward { method: parts.method, uri: parts.uri, headers: parts.headers, body };
        let Some(name) = (self.classify)(&forward.method, &forward.uri, &forward.body) else {
            return self.forward(&forward).await;
        };
        let (index, fault) = self.note(name);
        match fault {
            None => {
                let answer = self.forward(&forward).await?;
                self.close(index, &answer);
                Ok(answer)
            }
            // To its end, even where the client is gone: it may be the fault that kills it.
            Some(fault) => {
                let shared = Arc::clone(&self);
                let struck = tokio::spawn(async move { shared.strike(fault, index, &forward).await });
                struck.await.unwrap_or(Err(Cut))
            }
        }
    }

    fn note(&self, request: String) -> (usize, Option<Fault>) {
        let mut state = self.state();
        let occurrence = *state.counts.entry(request.clone()).and_modify(|count| *count += 1).or_insert(0);
        let trap = state.traps.iter().position(|trap| trap.request == request && trap.occurrence == occurrence);
        let fault = trap.map(|trap| state.traps[trap].fault);
        state.last = Some(Instant::now());
        state.seen.push(Seen { request, occurrence, status: None, fault });
        (state.seen.len() - 1, fault)
    }

    fn close(&self, index: usize, answer: &Response<Body>) {
        let mut state = self.state();
        state.last = Some(Instant::now());
        // Gone where the books were cleared meanwhile.
        if let Some(seen) = state.seen.get_mut(index) {
            seen.status = Some(answer.status().as_u16());
        }
    }

    async fn strike(&self, fault: Fault, index: usize, forward: &Forward) -> Result<Response<Body>, Cut> {
        let mut answer = None;
        if fault.commits() {
            let first = self.forward(forward).await?;
            self.close(index, &first);
            answer = Some(first);
        }
        if fault == Fault::Twice {
            answer = Some(self.forward(forward).await?);
        }
        if fault.kills() {
            self.kill().await;
        }
        let door = {
            let mut state = self.state();
            let Seen { request, occurrence, .. } = state.seen[index].clone();
            state.traps.retain(|trap| trap.request != request || trap.occurrence != occurrence);
            if fault == Fault::Refused { state.door.take() } else { None }
        };
        if let Some(door) = door {
            door.cancel();
        }
        match (fault, answer) {
            (Fault::ErrorAfter | Fault::ErrorBefore, _) => Ok(internal_error()),
            (Fault::Truncated, Some(answer)) => Ok(truncated(answer).await),
            (Fault::Twice, Some(answer)) => Ok(answer),
            (Fault::Stalled, _) => std::future::pending().await,
            _ => Err(Cut),
        }
    }

    /// SIGKILL, and waits until the process runs no more.
    async fn kill(&self) {
        let Some(victim) = self.state().victim else { return };
        let process = i32::try_from(victim).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        while is_running(victim) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn forward(&self, forward: &Forward) -> Result<Response<Body>, Cut> {
        let path = forward.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = forward.headers.clone();
        for hop in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(hop);
        }
        let sent = self
            .client
            .request(forward.method.clone(), format!("{}{path}", self.upstream))
            .headers(headers)
            .body(forward.body.clone())
            .send()
            .await;
        let answer = sent.map_err(|_| Cut)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        for hop in [header::CONNECTION, header::TRANSFER_ENCODING] {
            response.headers_mut().remove(hop);
        }
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        Ok(response)
    }
}

/// A request as it is passed on.
struct Forward {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

fn internal_error() -> Response<Body> {
    let mut response = Response::new(Body::from("{}"));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// Announces the whole answer and sends half of it.
async fn truncated(answer: Response<Body>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half = futures::stream::iter([Ok(whole.slice(..whole.len() / 2))]);
    let rest = futures::stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
    });
    Response::from_parts(parts, Body::from_stream(half.chain(rest)))
}

/// Whether a process is there and no zombie.
fn is_running(process: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
    stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z'))
}
