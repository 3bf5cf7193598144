//! Serves connections: bounded in number, impatient with slow clients, and let go gently at the end.
//!
//! `axum::serve` has no time limit for the head of a request, without which a client that sends one byte a second holds
//! a connection for ever; hence this loop over hyper.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections at once; each costs a file descriptor and some 10 KiB.
const CONNECTIONS: usize = 4096;
/// For the head of a request, and between two requests of one connection.
const HEAD: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes: the longest bearer token and a query, with room to spare.
const MAX_HEAD: usize = 64 * 1024;
/// For requests under way when the process is told to end; Kubernetes kills it after 30 s.
const GOODBYE: Duration = Duration::from_secs(20);

/// Serves `router` on `listener` until `shutdown`, and then finishes what is under way.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    while let Some(Ok(place)) = shutdown.run_until_cancelled(Arc::clone(&places).acquire_owned()).await {
        let Some(accepted) = shutdown.run_until_cancelled(accept(&listener)).await else { break };
        let (stream, peer) = accepted?;
        let router = router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(GOODBYE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
    Ok(())
}

/// The next connection. What goes wrong with one client is passed over; without descriptors, a pause helps.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small, and people wait for them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                return Ok((stream, peer));
            }
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) if error.kind() == InvalidInput => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn slow(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        tokio::time::sleep(Duration::from_millis(200)).await;
        peer.ip().to_string()
    }

    async fn start() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(slow));
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));
        (address, shutdown, server)
    }

    async fn read(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished() {
        let (address, shutdown, server) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        shutdown.cancel();
        let answer = read(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let (address, _shutdown, _server) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let path = "x".repeat(2 * MAX_HEAD);
        // The server may close before it has read all of it.
        let _ = stream.write_all(format!("GET /?{path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_let_go() {
        let (address, _shutdown, _server) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
        let started = tokio::time::Instant::now();
        let answer = read(stream).await;
        assert!(!answer.contains("200"), "{answer}");
        assert!(started.elapsed() <= HEAD + Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
