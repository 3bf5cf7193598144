//! Using connections: messages, actions, tokens and the proxy, against an API that writes down what reaches it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::{Consent, Sandbox, SandboxOptions};
use crate::servers::serve;
use crate::world::{Flags, World, is_ready, rule};

/// Bytes of a large body, and the largest step in which it is sent.
const LARGE: usize = 100 << 20;
const CHUNK: usize = 64 << 10;

/// An app's API on this machine.
#[derive(Clone, Default)]
pub struct App {
    /// Tokens that it does not take any more.
    refused: Arc<Mutex<HashSet<String>>>,
    /// What was posted: credential and body.
    pub posted: Arc<Mutex<Vec<(String, Value)>>>,
    /// How often it was asked while it wanted fewer requests.
    busy: Arc<AtomicUsize>,
}

impl App {
    /// Serves it below `/v2`, and gives its address.
    async fn start(&self) -> String {
        let routes = Router::new()
            .route("/v2/echo/{*rest}", any(echo))
            .route("/v2/guarded", any(guarded))
            .route("/v2/busy", get(busy))
            .route("/v2/large", get(large).post(swallow))
            .route("/v2/away", get(async || (StatusCode::FOUND, [("location", "https://evil.example/")])))
            .route("/v2/near", get(async || (StatusCode::FOUND, [("location", "/v2/echo/there?a=b")])))
            .route("/v2/channels/{id}", get(channel))
            .route("/v2/channels/{id}/messages", post(message))
            .route("/outside", any(async || "you should not be here"))
            .with_state(self.clone());
        serve(routes).await
    }
}

fn bearer(headers: &HeaderMap) -> String {
    headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let headers: Value = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let answer = json!({
        "method": head.method.as_str(), "uri": head.uri.to_string(), "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let headers = [("set-cookie", "session=1"), ("x-app", "yes"), ("access-control-allow-origin", "*")];
    (headers, Json(answer)).into_response()
}

async fn guarded(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    if app.refused.lock().unwrap().contains(&bearer(&headers)) {
        return (StatusCode::UNAUTHORIZED, "no").into_response();
    }
    Json(json!({ "ok": true, "bytes": body.len() })).into_response()
}

async fn busy(State(app): State<App>) -> Response {
    app.busy.fetch_add(1, Ordering::Relaxed);
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "5")], "slower").into_response()
}

async fn large() -> Response {
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let chunks = futures::stream::iter((0..LARGE / CHUNK).map(move |_| Ok::<_, Infallible>(chunk.clone())));
    Body::from_stream(chunks).into_response()
}

async fn swallow(body: Body) -> Json<Value> {
    let mut stream = body.into_data_stream();
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await {
        bytes += chunk.unwrap().len();
    }
    Json(json!({ "bytes": bytes }))
}

/// Channel 1 is of W-ACME, channel 2 of W-GLOBEX; only the bot sees them.
async fn channel(Path(id): Path<String>, headers: HeaderMap) -> Response {
    let workspace = match id.as_str() {
        "1" => "W-ACME",
        "2" => "W-GLOBEX",
        _ => return (StatusCode::NOT_FOUND, Json(json!({ "code": 10003 }))).into_response(),
    };
    if bearer(&headers) != "Bot bot-token-of-all" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(json!({ "id": id, "workspace": workspace })).into_response()
}

async fn message(State(app): State<App>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    app.posted.lock().unwrap().push((bearer(&headers), body));
    Json(json!({ "id": "m1" }))
}

/// A sandbox that asks nobody, the app's API, and a provider of both with a bot.
pub async fn with_app(world: &World, lifetime: Option<u32>) -> (Sandbox, App, String) {
    let options =
        SandboxOptions { consent: Consent::Allow(None), access_token_lifetime: lifetime, ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options);
    let app = App::default();
    let address = app.start().await;
    let base = &sandbox.base_url;
    let description = json!({
        "displayName": "The App",
        "oauth2": {
            "authorizationURL": format!("{base}/authorize"), "tokenURL": format!("{base}/token"),
            "grantIdentity": "response.workspace.id",
        },
        "api": { "baseURL": format!("{address}/v2"), "headers": { "X-Version": "1" } },
        "metadata": { "workspaceId": "response.workspace.id" },
        "actions": [{
            "name": "send-message",
            "input": {
                "type": "object", "required": ["channel", "text"], "additionalProperties": false,
                "properties": { "channel": { "type": "string" }, "text": { "type": "string", "maxLength": 100 } },
            },
            "credential": { "application": { "key": "bot_token", "prefix": "Bot " } },
            "target": { "path": "/channels/{input.channel}", "holds": "response.workspace == metadata.workspaceId" },
            "request": {
                "method": "POST", "path": "/channels/{input.channel}/messages", "body": { "content": "input.text" },
            },
            "result": { "id": "response.id" },
        }],
    });
    world.provider("app", "sandbox-client", "sandbox-secret", description).await;
    let secret = json!({ "stringData": { "bot_token": "bot-token-of-all" } });
    let merge = kube::api::Patch::Merge(&secret);
    let secrets = world.secrets(crate::world::OPERATOR);
    secrets.patch("app-client", &kube::api::PatchParams::default(), &merge).await.unwrap();
    (sandbox, app, address)
}

pub fn path(tenant: &str, rest: &str) -> String {
    format!("/v1/tenants/{tenant}/projects/web/integrations/{rest}")
}

pub async fn send(world: &World, token: &str, method: http::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = world.http.request(method, format!("{}{path}", world.public_url)).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub async fn post_to(world: &World, token: &str, path: &str, body: Value) -> (u16, Value) {
    send(world, token, http::Method::POST, path, Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_where_another_is_connected() {
    let Some(world) = World::start("nobody_acts_where_another_is_connected").await else { return };
    let (sandbox, app, _) = with_app(&world, None).await;
    let flags = Flags { arguments: vec!["--log".into(), "info".into()], ..Flags::default() };
    let operator = world.operator_with(flags).await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    let (acme, globex) = (world.admin_of("acme").await, world.admin_of("globex").await);
    for (token, tenant, workspace) in [(&acme, "acme", "W-ACME"), (&globex, "globex", "W-GLOBEX")] {
        sandbox.reconfigure(|options| options.consent = Consent::Allow(Some(workspace.to_owned())));
        world.connect(token, tenant, "web", "app").await;
        world.wait(tenant, "web.app", "ready", is_ready).await;
    }
    let hello = |channel: &str| json!({ "channel": channel, "text": "canary-of-the-text" });
    let (status, done) = post_to(&world, &acme, &path("acme", "app/messages"), hello("1")).await;
    assert_eq!((status, &done["result"]), (200, &json!({ "id": "m1" })), "{done}");
    assert_eq!(
        app.posted.lock().unwrap().as_slice(),
        [("Bot bot-token-of-all".to_owned(), json!({ "content": "canary-of-the-text" }))]
    );
    // Whatever is sent: another's channel, none at all, and paths that lead elsewhere.
    for (token, tenant, channel) in [
        (&globex, "globex", "1"),
        (&acme, "acme", "2"),
        (&acme, "acme", "3"),
        (&acme, "acme", "2/../1"),
        (&acme, "acme", "1?x=2"),
        (&acme, "acme", "..%2F1"),
    ] {
        let (status, refused) = post_to(&world, token, &path(tenant, "app/messages"), hello(channel)).await;
        assert_eq!((status, &refused["code"]), (403, &json!("target_not_connected")), "{channel}: {refused}");
    }
    let (status, _) = post_to(&world, &globex, &path("acme", "app/messages"), hello("1")).await;
    assert_eq!(status, 403, "another tenant's connection");
    assert_eq!(app.posted.lock().unwrap().len(), 1);

    // Neither the bot's token nor what was written is anywhere, and who did what is.
    let log = operator.log();
    assert!(!log.contains("bot-token-of-all") && !log.contains("canary-of-the-text"), "{log}");
    assert!(log.contains("an action was called") && log.contains("not_ours"), "{log}");
    let (status, proxied) = send(&world, &acme, http::Method::GET, &path("acme", "app/proxy/channels/1"), None).await;
    assert_eq!(
        (status, &proxied["code"]),
        (409, &json!("app_unauthorized")),
        "the bot acts by actions alone: {proxied}"
    );

    // Rights are asked for one by one.
    let only = |verb: &'static str, of: &'static str| rule(&[verb], &[of]);
    let poster = world.caller("acme", "poster", &[only("create", "projectintegrations/messages")]).await;
    assert_eq!(post_to(&world, &poster, &path("acme", "app/messages"), hello("1")).await.0, 200);
    assert_eq!(post_to(&world, &poster, &path("acme", "app/actions/send-message"), hello("1")).await.0, 403);
    assert_eq!(send(&world, &poster, http::Method::GET, &path("acme", "app/actions"), None).await.0, 403);
    assert_eq!(send(&world, &poster, http::Method::GET, &path("acme", "app/token"), None).await.0, 403);
    let reader = world.caller("acme", "reader", &[only("get", "projectintegrations/proxy")]).await;
    assert_eq!(send(&world, &reader, http::Method::GET, &path("acme", "app/proxy/echo/a"), None).await.0, 200);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(send(&world, &reader, method, &path("acme", "app/proxy/echo/a"), None).await.0, 403);
    }
    world.patch_spec("acme", "web.app", json!({ "suspend": true })).await;
    for (method, rest) in [("POST", "app/messages"), ("GET", "app/token"), ("GET", "app/proxy/echo/a")] {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let body = (method == http::Method::POST).then(|| hello("1"));
        let (status, answer) = send(&world, &acme, method, &path("acme", rest), body).await;
        assert_eq!((status, &answer["code"]), (409, &json!("suspended")), "{rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_passes_on_what_it_should() {
    let Some(world) = World::start("the_proxy_passes_on_what_it_should").await else { return };
    let (_sandbox, app, address) = with_app(&world, Some(3600)).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let own = world.secret("acme", "web.app").await.unwrap()["access_token"].clone();
    let url = |rest: &str| format!("{}{}", world.public_url, path("acme", &format!("app/proxy/{rest}")));

    let answer = world
        .http
        .patch(url("echo/a%2Fb/c?x=1&x=2&y=%20"))
        .bearer_auth(&token)
        .header("cookie", "mine=1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-http-method-override", "DELETE")
        .header("x-custom", "kept")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert_eq!(headers["x-app"], "yes");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
    assert!(!headers.contains_key("set-cookie") && !headers.contains_key("access-control-allow-origin"));
    let seen: Value = answer.json().await.unwrap();
    assert_eq!((&seen["method"], &seen["body"]), (&json!("PATCH"), &json!("hello")));
    assert_eq!(seen["uri"], "/v2/echo/a%2Fb/c?x=1&x=2&y=%20");
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {own}"));
    assert_eq!((&seen["headers"]["x-custom"], &seen["headers"]["x-version"]), (&json!("kept"), &json!("1")));
    for gone in ["cookie", "x-forwarded-for", "x-http-method-override", "x-hop"] {
        assert!(seen["headers"].get(gone).is_none(), "{gone}: {seen}");
    }

    // No way out; a raw connection, since clients tidy paths up.
    for way in
        ["../outside", "%2e%2e/outside", "..%2foutside", "%252e%252e%252foutside", "/outside", "a/..%5c..%5coutside"]
    {
        let answer = raw(&world, &token, &path("acme", &format!("app/proxy/{way}"))).await;
        assert!(!answer.contains("should not be here"), "{way}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404"), "{way}: {answer}");
    }
    let away = world.http.get(url("away")).bearer_auth(&token).send().await.unwrap();
    assert_eq!((away.status().as_u16(), away.headers().contains_key("location")), (302, false));
    let near = world.http.get(url("near")).bearer_auth(&token).send().await.unwrap();
    assert!(near.headers()["location"].to_str().unwrap().ends_with("/integrations/app/proxy/echo/there?a=b"));

    // The token itself, for those who may have it.
    let (status, given) = send(&world, &token, http::Method::GET, &path("acme", "app/token"), None).await;
    assert_eq!((status, &given["access_token"]), (200, &json!(own)));
    assert_eq!(given["api_base_url"], format!("{address}/v2"));
    assert!(given.get("refresh_token").is_none() && !given.to_string().contains("refresh"), "{given}");

    // 100 MB each way, and memory stays.
    let before = resident(operator.process_id());
    for _ in 0..2 {
        let mut answer = world.http.get(url("large")).bearer_auth(&token).send().await.unwrap();
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await.unwrap() {
            bytes += chunk.len();
        }
        assert_eq!(bytes, LARGE);
        let chunks = futures::stream::iter((0..LARGE / CHUNK).map(|_| Ok::<_, Infallible>(vec![b'y'; CHUNK])));
        let upload = world.http.post(url("large")).bearer_auth(&token).body(reqwest::Body::wrap_stream(chunks));
        let counted: Value = upload.send().await.unwrap().json().await.unwrap();
        assert_eq!(counted["bytes"], LARGE);
    }
    let after = resident(operator.process_id());
    println!("resident before {before} MiB, after 400 MiB through it {after} MiB");
    assert!(after < before + 40, "{before} MiB before, {after} MiB after");

    // The app does not take the token any more: it is refreshed, and a small request sent again.
    tokio::time::sleep(Duration::from_secs(31)).await;
    app.refused.lock().unwrap().insert(format!("Bearer {own}"));
    let (status, done) = post_to(&world, &token, &path("acme", "app/proxy/guarded"), json!({ "a": 1 })).await;
    assert_eq!((status, &done["ok"]), (200, &json!(true)), "{done}");
    let newer = world.secret("acme", "web.app").await.unwrap()["access_token"].clone();
    // A moment ago is soon enough: what is refused now is refused for another reason.
    app.refused.lock().unwrap().insert(format!("Bearer {newer}"));
    let (status, refused) = post_to(&world, &token, &path("acme", "app/proxy/guarded"), json!({ "a": 1 })).await;
    assert_eq!((status, &refused["code"]), (409, &json!("app_unauthorized")), "{refused}");
    // What streamed is gone, and the caller is told to send it again.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let chunks = futures::stream::iter((0..4).map(|_| Ok::<_, Infallible>(vec![b'y'; CHUNK])));
    let upload = world.http.post(url("guarded")).bearer_auth(&token).body(reqwest::Body::wrap_stream(chunks));
    let answer = upload.send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "token_refreshed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_app_stops_one_connection() {
    let Some(world) = World::start("a_limit_of_the_app_stops_one_connection").await else { return };
    let (sandbox, app, _) = with_app(&world, None).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for (project, workspace) in [("web", "W-ACME"), ("other", "W-GLOBEX")] {
        sandbox.reconfigure(|options| options.consent = Consent::Allow(Some(workspace.to_owned())));
        world.connect(&token, "acme", project, "app").await;
        world.wait("acme", &format!("{project}.app"), "ready", is_ready).await;
    }
    let url = |rest: &str| format!("{}{}", world.public_url, path("acme", rest));
    let get = |rest: &str| world.http.get(url(rest)).bearer_auth(&token).send();

    let said = get("app/proxy/busy").await.unwrap();
    assert_eq!((said.status().as_u16(), &said.headers()["retry-after"]), (429, &"5".parse().unwrap()));
    assert_eq!(said.text().await.unwrap(), "slower", "the first answer is the app's own");
    // From now on the app is left alone, whatever is asked for, and by whichever way.
    let refused = get("app/proxy/busy").await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "app_rate_limited");
    let (status, told) =
        post_to(&world, &token, &path("acme", "app/messages"), json!({ "channel": "1", "text": "hi" })).await;
    assert_eq!((status, &told["code"]), (429, &json!("app_rate_limited")), "{told}");
    assert_eq!(app.busy.load(Ordering::Relaxed), 1);
    assert!(app.posted.lock().unwrap().is_empty());

    let others = path("acme", "app/proxy/echo/a").replace("/web/", "/other/");
    assert_eq!(send(&world, &token, http::Method::GET, &others, None).await.0, 200, "another connection");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(get("app/proxy/echo/a").await.unwrap().status(), 200, "the time is over");
}

/// One GET as it stands.
async fn raw(world: &World, token: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = world.public_url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// Resident memory in MiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
