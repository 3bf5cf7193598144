//! An HTTP proxy that ends the TLS of every host it is asked for, with certificates of an authority of its own. Loopback,
//! where the API server lies, is passed through.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use integration_operator::recording::format::Answer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use url::Url;

/// A request as it arrived.
pub struct Received {
    pub method: Method,
    /// In full, with its query.
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Signs a certificate for each host that is asked for.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    configurations: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "vendors");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, configurations: Mutex::default() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn configuration(&self, host: &str) -> Arc<ServerConfig> {
        let mut configurations = self.configurations.lock().unwrap();
        let made = configurations.entry(host.to_owned()).or_insert_with(|| {
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, host);
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let configuration =
                ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
            Arc::new(configuration.unwrap())
        });
        Arc::clone(made)
    }
}

/// Starts the proxy; returns its address.
pub async fn start(authority: Authority, answer: impl Fn(Received) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (authority, answer) = (Arc::new(authority), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (authority, answer) = (Arc::clone(&authority), Arc::clone(&answer));
            tokio::spawn(async move { tunnel(stream, &authority, answer).await });
        }
    });
    address
}

/// One `CONNECT` and what comes through it. A client that breaks off is the client's business.
async fn tunnel(
    mut stream: TcpStream,
    authority: &Authority,
    answer: Arc<impl Fn(Received) -> Answer + Send + Sync + 'static>,
) -> Option<()> {
    let target = connect_target(&mut stream).await?;
    let (host, _) = target.rsplit_once(':')?;
    if matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
        let mut server = TcpStream::connect(&target).await.ok()?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
        tokio::io::copy_bidirectional(&mut stream, &mut server).await.ok()?;
        return Some(());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    let stream = TlsAcceptor::from(authority.configuration(host)).accept(stream).await.ok()?;
    serve(stream, host.to_owned(), answer).await;
    Some(())
}

/// The head of a `CONNECT` request, byte by byte, so that nothing of what follows is taken.
async fn connect_target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8192 {
            return None;
        }
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    (words.next() == Some("CONNECT")).then(|| words.next().map(str::to_owned))?
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: String,
    answer: Arc<impl Fn(Received) -> Answer + Send + Sync + 'static>,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (host, answer) = (host.clone(), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap_or_default();
            let url = Url::parse(&format!("https://{host}{}", parts.uri)).unwrap();
            let received = Received { method: parts.method, url, headers: parts.headers, body };
            Ok::<_, Infallible>(response(&answer(received)))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn response(answer: &Answer) -> Response<Body> {
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status).unwrap());
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let body = match (&answer.text, &answer.body) {
        (Some(text), _) => text.clone(),
        (None, Some(body)) => {
            response = response.header("content-type", "application/json");
            body.to_string()
        }
        (None, None) => String::new(),
    };
    response.body(Body::from(body)).unwrap()
}
