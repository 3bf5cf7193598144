use std::sync::atomic::AtomicUsize;

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{resolver::Lookup, *};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What a server does with each connection, after it has read the head of the request.
#[derive(Clone)]
enum Script {
    /// Writes this and closes.
    Say(Vec<u8>),
    /// Writes this and waits.
    Stall(Vec<u8>),
}

fn say(text: &str) -> Script {
    Script::Say(text.as_bytes().to_vec())
}

/// A server on a port of its own; counts connections and keeps what was asked last.
struct Server {
    url: Url,
    connections: Arc<AtomicUsize>,
    asked: Arc<std::sync::Mutex<String>>,
}

async fn serve(script: Script) -> Result<Server, Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
    let connections = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(std::sync::Mutex::new(String::new()));
    let server = Server { url, connections: Arc::clone(&connections), asked: Arc::clone(&asked) };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n")
                && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {}
            if let Ok(mut asked) = asked.lock() {
                *asked = String::from_utf8_lossy(&head).to_lowercase();
            }
            let (Script::Say(bytes) | Script::Stall(bytes)) = &script;
            // A client that has seen enough hangs up.
            drop(stream.write_all(bytes).await);
            if matches!(script, Script::Stall(_)) {
                tokio::time::sleep(Duration::from_mins(1)).await;
            }
        }
    });
    Ok(server)
}

fn outbound(insecure: &[&str]) -> Result<Outbound, OutboundError> {
    // Fails where another test was first, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    Outbound::new(OutboundOptions {
        insecure_hosts: insecure.iter().map(ToString::to_string).collect(),
        ..OutboundOptions::default()
    })
}

fn get(url: Url) -> OutboundRequest {
    OutboundRequest {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: None,
        private_networks: Arc::new([]),
        timeout: Duration::from_secs(5),
    }
}

async fn ask(script: Script) -> Result<Result<OutboundResponse, SendError>, Box<dyn std::error::Error>> {
    let server = serve(script).await?;
    Ok(outbound(&["127.0.0.1"])?.send(get(server.url)).await)
}

#[tokio::test]
async fn every_status_is_an_answer_and_no_redirect_is_followed() -> Outcome {
    let elsewhere = serve(say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await?;
    let script =
        say(&format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 2\r\n\r\nhi", elsewhere.url));
    let answer = ask(script).await??;
    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::TEMPORARY_REDIRECT, b"hi".as_slice()));
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
    assert_eq!(
        ask(say("HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n")).await??.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    Ok(())
}

#[tokio::test]
async fn a_request_says_who_asks_and_wants_no_compression() -> Outcome {
    let server = serve(say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await?;
    outbound(&["127.0.0.1"])?.send(get(server.url)).await?;
    let asked = server.asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    assert!(asked.contains(concat!("user-agent: integration-operator/", env!("CARGO_PKG_VERSION"))), "{asked}");
    assert!(!asked.contains("accept-encoding"), "{asked}");
    Ok(())
}

#[tokio::test]
async fn a_compressed_body_stays_as_it_is() -> Outcome {
    let answer = ask(say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nBOMB")).await??;
    assert_eq!(answer.body, b"BOMB");
    Ok(())
}

#[tokio::test]
async fn large_bodies_are_not_read() -> Outcome {
    let full = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGEST_BODY}\r\n\r\n{}", "a".repeat(LARGEST_BODY));
    assert_eq!(ask(say(&full)).await??.body.len(), LARGEST_BODY);

    let announced = ask(Script::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n".to_vec())).await?;
    assert!(matches!(
        announced,
        Err(SendError::Unknown { status: Some(StatusCode::OK), cause: Interruption::TooLarge })
    ));

    let chunk = format!("10000\r\n{}\r\n", "a".repeat(65536));
    let streamed = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(17));
    let streamed = ask(Script::Stall(streamed.into_bytes())).await?;
    assert!(matches!(
        streamed,
        Err(SendError::Unknown { status: Some(StatusCode::OK), cause: Interruption::TooLarge })
    ));
    Ok(())
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unknown() -> Outcome {
    let truncated = ask(say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a")).await?;
    assert!(matches!(
        truncated,
        Err(SendError::Unknown { status: Some(StatusCode::OK), cause: Interruption::Broken(_) })
    ));
    for garbage in ["", "HTTP/1.1 2", "what?\r\n\r\n"] {
        let broken = ask(say(garbage)).await?;
        assert!(
            matches!(broken, Err(SendError::Unknown { status: None, cause: Interruption::Broken(_) })),
            "{garbage}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_late_answer_is_unknown() -> Outcome {
    let server = serve(Script::Stall(Vec::new())).await?;
    let request = OutboundRequest { timeout: Duration::from_millis(50), ..get(server.url) };
    let outcome = outbound(&["127.0.0.1"])?.send(request).await;
    assert!(matches!(outcome, Err(SendError::Unknown { status: None, cause: Interruption::Timeout(_) })));
    Ok(())
}

#[tokio::test]
async fn a_request_is_sent_once() -> Outcome {
    let server = serve(say("")).await?;
    let request =
        OutboundRequest { method: Method::POST, body: Some(b"grant_type=refresh_token".to_vec()), ..get(server.url) };
    let outcome = outbound(&["127.0.0.1"])?.send(request).await;
    assert!(matches!(outcome, Err(SendError::Unknown { status: None, cause: Interruption::Broken(_) })));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let asked = server.asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    assert!(asked.contains("content-length: 24\r\n") && !asked.contains("transfer-encoding"), "{asked}");
    Ok(())
}

#[tokio::test]
async fn what_never_arrived_was_not_sent() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let refused = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
    drop(listener);
    let outbound = outbound(&["127.0.0.1"])?;
    assert!(matches!(outbound.send(get(refused)).await, Err(SendError::NotSent(_))));

    // A TLS handshake that never ends.
    let mut plain = serve(say("")).await?.url;
    assert!(plain.set_scheme("https").is_ok());
    let request = OutboundRequest {
        method: Method::POST,
        body: Some(Vec::new()),
        timeout: Duration::from_millis(100),
        ..get(plain)
    };
    assert!(matches!(outbound.send(request).await, Err(SendError::NotSent(_))));
    Ok(())
}

#[tokio::test]
async fn a_forbidden_url_is_not_asked() -> Outcome {
    let mut server = serve(say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await?;
    let outbound = outbound(&[])?;
    let outcome = outbound.send(get(server.url.clone())).await;
    assert!(matches!(outcome, Err(SendError::Forbidden(Forbidden::Scheme { .. }))));
    assert!(server.url.set_scheme("https").is_ok());
    let outcome = outbound.send(get(server.url.clone())).await;
    assert!(matches!(outcome, Err(SendError::Forbidden(Forbidden::Address { .. }))));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    Ok(())
}

/// Every name is on this host.
struct Loopback;

impl Lookup for Loopback {
    fn lookup(&self, _name: String) -> BoxFuture<'static, Found> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_when_connecting() -> Outcome {
    let server = serve(say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await?;
    drop(rustls::crypto::ring::default_provider().install_default());
    let insecure = ["emulator.example".to_owned()];
    let policy = Arc::new(Policy::new(&insecure, Vec::new(), std::collections::HashSet::new()));
    let clients = Arc::new(Clients::new(Arc::clone(&policy), None, Arc::new(Loopback))?);
    let outbound = Outbound { policy, way: Way::Network(clients) };
    let port = server.url.port().unwrap_or_default();

    let outcome = outbound.send(get(Url::parse(&format!("https://slack.com:{port}/"))?)).await;
    assert!(matches!(outcome, Err(SendError::Forbidden(Forbidden::Address { host })) if host == "slack.com"));
    let opened = OutboundRequest {
        private_networks: Arc::new(["10.0.0.0/8".parse()?]),
        ..get(Url::parse(&format!("https://gitlab.internal:{port}/"))?)
    };
    assert!(matches!(outbound.send(opened).await, Err(SendError::Forbidden(Forbidden::Address { .. }))));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);

    let answer = outbound.send(get(Url::parse(&format!("http://emulator.example:{port}/"))?)).await?;
    assert_eq!(answer.status, StatusCode::OK);
    Ok(())
}

/// Runs itself again with a proxy in the environment, which is read once for a process. The proxy's name leads to this
/// host, as a proxy's may.
#[tokio::test]
async fn a_proxy_may_be_inside() -> Outcome {
    const AGAIN: &str = "INTEGRATION_OPERATOR_TEST_BEHIND_PROXY";
    if std::env::var_os(AGAIN).is_some() {
        let outbound = outbound(&[])?;
        let refused = outbound.send(get(Url::parse("https://slack.com/")?)).await;
        assert!(matches!(refused, Err(SendError::NotSent(_))));
        let proxy = outbound.send(get(Url::parse("https://localhost/")?)).await;
        assert!(matches!(proxy, Err(SendError::Forbidden(Forbidden::Proxy { .. }))));
        return Ok(());
    }
    let server = serve(say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")).await?;
    let status = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "provider::outbound::tests::a_proxy_may_be_inside"])
        .env(AGAIN, "1")
        .env("HTTPS_PROXY", format!("http://localhost:{}", server.url.port().unwrap_or_default()))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .stdout(std::process::Stdio::null())
        .status()
        .await?;
    assert!(status.success());
    let asked = server.asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    assert!(asked.starts_with("connect slack.com:443 "), "{asked}");
    Ok(())
}

#[test]
fn nothing_private_is_printed() -> Outcome {
    let response = OutboundResponse { status: StatusCode::OK, headers: HeaderMap::new(), body: b"canary".to_vec() };
    let request =
        OutboundRequest { body: Some(b"canary".to_vec()), ..get(Url::parse("https://example.com/canary?canary")?) };
    assert!(!format!("{response:?} {request:?}").contains("canary"));
    Ok(())
}
