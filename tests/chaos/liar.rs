//! A proxy before the API server that lies about the past and the present, as caches, proxies and networks do: watch events
//! that are dropped, late, or come again long after they were true, watches that hang or end with 410 Gone, and lists of a
//! while ago. Reads of one object and writes go through: etcd answers those.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{Stream, StreamExt as _, stream};
use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// Of a thousand events, so many are …
const DROPPED: u32 = 40;
const REPEATED: u32 = 80;
const LATE: u32 = 60;
const GONE: u32 = 10;
const HUNG: u32 = 10;
/// Of a hundred lists, so many are old.
const STALE: u32 = 40;
/// How many earlier answers to a list, and events of a watch, there are to choose from.
const KEPT: usize = 20;

/// A running proxy; dropped, it stops.
pub struct Liar {
    /// A kubeconfig that leads here.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    lying: AtomicBool,
    /// Ends every watch that is open.
    watches: Mutex<CancellationToken>,
    lists: Mutex<HashMap<String, Vec<Answer>>>,
    told: Tally,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Answer {
    parts: (http::StatusCode, http::HeaderMap),
    body: Bytes,
}

/// How often it lied, and how.
#[derive(Default)]
struct Tally {
    dropped: AtomicUsize,
    repeated: AtomicUsize,
    late: AtomicUsize,
    gone: AtomicUsize,
    hung: AtomicUsize,
    stale: AtomicUsize,
}

impl Liar {
    pub async fn start(world: &World) -> Self {
        let mut config: Value = serde_yaml::from_str(&std::fs::read_to_string(world.kubeconfig()).unwrap()).unwrap();
        let cluster = &mut config["clusters"][0]["cluster"];
        let upstream = cluster["server"].as_str().unwrap().trim_end_matches('/').to_owned();
        let mut client = reqwest::Client::builder().no_proxy();
        if let Some(authority) = cluster["certificate-authority-data"].as_str() {
            let pem = STANDARD.decode(authority).unwrap();
            client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).unwrap());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        *cluster = json!({ "server": format!("http://{}", listener.local_addr().unwrap()) });
        let kubeconfig = world.kubeconfig().with_extension("lying");
        std::fs::write(&kubeconfig, serde_yaml::to_string(&config).unwrap()).unwrap();
        let shared = Arc::new(Shared {
            upstream,
            client: client.build().unwrap(),
            lying: AtomicBool::new(false),
            watches: Mutex::default(),
            lists: Mutex::default(),
            told: Tally::default(),
            stop: CancellationToken::new(),
        });
        tokio::spawn(accept(Arc::clone(&shared), listener));
        Self { kubeconfig, shared }
    }

    /// Begins to lie, or ends it: then every watch ends as well, so that what was hidden comes to light.
    pub fn lie(&self, lying: bool) {
        self.shared.lying.store(lying, Ordering::Relaxed);
        if !lying {
            std::mem::take(&mut *self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
        }
    }

    pub fn told(&self) -> String {
        let Tally { dropped, repeated, late, gone, hung, stale } = &self.shared.told;
        let [dropped, repeated, late, gone, hung, stale] =
            [dropped, repeated, late, gone, hung, stale].map(|count| count.load(Ordering::Relaxed));
        format!(
            "watch events: {dropped} dropped, {repeated} repeated, {late} late; watches: {gone} ended with 410, {hung} hung; \
             {stale} old lists"
        )
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let stream = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { shared.pass(request).await }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}

impl Shared {
    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let body = to_bytes(Body::new(body), usize::MAX).await.map_err(std::io::Error::other)?;
        let mut headers = parts.headers.clone();
        for hop in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(hop);
        }
        let request = self.client.request(parts.method.clone(), format!("{}{path}", self.upstream));
        let answer = request.headers(headers).body(body).send().await.map_err(std::io::Error::other)?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for hop in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            headers.remove(hop);
        }
        let query = parts.uri.query().unwrap_or_default();
        if parts.method == Method::GET && query.contains("watch=true") && status.is_success() {
            let events = self.spoilt(answer.bytes_stream().boxed());
            return Ok(respond((status, headers), Body::from_stream(events)));
        }
        let body = answer.bytes().await.map_err(std::io::Error::other)?;
        let list = parts.method == Method::GET && status.is_success() && is_list(&body);
        let answer = Answer { parts: (status, headers), body };
        let answer = if list { self.perhaps_old(path, answer) } else { answer };
        Ok(respond(answer.parts, Body::from(answer.body)))
    }

    /// An earlier answer to the same question, or this one.
    fn perhaps_old(&self, path: String, answer: Answer) -> Answer {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = lists.entry(path).or_default();
        let told = if !earlier.is_empty() && self.lies() && fastrand::u32(0..100) < STALE {
            self.told.stale.fetch_add(1, Ordering::Relaxed);
            earlier[fastrand::usize(0..earlier.len())].clone()
        } else {
            answer.clone()
        };
        earlier.push(answer);
        if earlier.len() > KEPT {
            earlier.remove(0);
        }
        told
    }

    fn lies(&self) -> bool {
        self.lying.load(Ordering::Relaxed)
    }

    /// The events of a watch, with lies among them.
    fn spoilt(
        self: &Arc<Self>,
        chunks: stream::BoxStream<'static, reqwest::Result<Bytes>>,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + use<> {
        let closed = self.watches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = Watch { shared: Arc::clone(self), chunks, rest: Vec::new(), earlier: Vec::new(), over: false };
        stream::unfold(state, |mut watch| async move { watch.next().await.map(|line| (Ok(line), watch)) })
            .take_until(closed.cancelled_owned())
    }
}

/// A watch on its way.
struct Watch {
    shared: Arc<Shared>,
    chunks: stream::BoxStream<'static, reqwest::Result<Bytes>>,
    rest: Vec<u8>,
    earlier: Vec<Bytes>,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let line = self.line().await?;
            if !self.shared.lies() {
                return Some(self.keep(line));
            }
            let (told, dice) = (&self.shared.told, fastrand::u32(0..1000));
            let past = |bounds: &[u32]| dice < bounds.iter().sum::<u32>();
            if past(&[DROPPED]) {
                told.dropped.fetch_add(1, Ordering::Relaxed);
            } else if past(&[DROPPED, REPEATED]) && !self.earlier.is_empty() {
                told.repeated.fetch_add(1, Ordering::Relaxed);
                let old = self.earlier[fastrand::usize(0..self.earlier.len())].clone();
                return Some([self.keep(line), old].concat().into());
            } else if past(&[DROPPED, REPEATED, LATE]) {
                told.late.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs_f64(fastrand::f64() * 3.0)).await;
                return Some(self.keep(line));
            } else if past(&[DROPPED, REPEATED, LATE, GONE]) {
                told.gone.fetch_add(1, Ordering::Relaxed);
                self.over = true;
                return Some(gone());
            } else if past(&[DROPPED, REPEATED, LATE, GONE, HUNG]) {
                told.hung.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(12)).await;
                return None;
            } else {
                return Some(self.keep(line));
            }
        }
    }

    fn keep(&mut self, line: Bytes) -> Bytes {
        self.earlier.push(line.clone());
        if self.earlier.len() > KEPT {
            self.earlier.remove(0);
        }
        line
    }

    /// The next event, a line of JSON.
    async fn line(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                return Some(self.rest.drain(..=end).collect::<Vec<_>>().into());
            }
            self.rest.extend_from_slice(&self.chunks.next().await?.ok()?);
        }
    }
}

/// Whether an answer has the many of a kind.
fn is_list(body: &[u8]) -> bool {
    let kind = serde_json::from_slice::<Value>(body).ok().and_then(|body| body["kind"].as_str().map(str::to_owned));
    kind.is_some_and(|kind| kind.ends_with("List") && !kind.starts_with("API"))
}

fn gone() -> Bytes {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version",
    });
    format!("{}\n", json!({ "type": "ERROR", "object": status })).into()
}

fn respond((status, headers): (http::StatusCode, http::HeaderMap), body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
