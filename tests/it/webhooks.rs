//! Webhooks: from an app that signs them, by the operator, to a receiver.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use integration_operator::digest::hex;
use kube::api::{Patch, PatchParams};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::sandbox::{Consent, Sandbox, SandboxOptions};
use crate::servers::serve;
use crate::world::{OPERATOR, Operator, World, condition, eventually, is_ready};

const SECRET: &str = "signing-secret-of-the-app";
const OWN_SECRET: &str = "signing-secret-of-one-integration";
const EVENTS_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SHARED: &str = "/api/public/integrations/app/webhook";

/// Who takes events.
#[derive(Clone, Default)]
pub struct Receiver {
    taken: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    refuses: Arc<Mutex<bool>>,
}

impl Receiver {
    pub async fn start(&self) -> String {
        let routes = Router::new().route("/events", post(take)).with_state(self.clone());
        format!("{}/events", serve(routes).await)
    }

    pub fn taken(&self) -> Vec<(HeaderMap, Bytes)> {
        self.taken.lock().unwrap().clone()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    if *receiver.refuses.lock().unwrap() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    receiver.taken.lock().unwrap().push((headers, body));
    axum::Json(json!({ "text": "pong" })).into_response()
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// The header that the app signs with.
fn signature(secret: &str, seconds: i64, body: &str) -> String {
    format!("v0={}", hex(mac(secret.as_bytes(), &format!("v0:{seconds}:{body}")).as_ref()))
}

/// Sends what the app would.
async fn send_at(world: &World, path: &str, secret: &str, body: &str, seconds: i64) -> (u16, String) {
    let request = world
        .http
        .post(format!("{}{path}", world.public_url))
        .header("content-type", "application/json; charset=utf-8")
        .header("x-app-timestamp", seconds)
        .header("x-app-signature", signature(secret, seconds, body))
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn send(world: &World, path: &str, secret: &str, body: &Value) -> (u16, String) {
    send_at(world, path, secret, &body.to_string(), jiff::Timestamp::now().as_second()).await
}

fn code(answer: &(u16, String)) -> (u16, String) {
    let body: Value = serde_json::from_str(&answer.1).unwrap_or_default();
    (answer.0, body["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, word: &str) -> (u16, String) {
    (status, word.to_owned())
}

/// An app that sends webhooks, and two tenants that are connected to a workspace each.
async fn connected(world: &World) -> (Sandbox, Operator) {
    let sandbox = Sandbox::start(SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() });
    let base = &sandbox.base_url;
    let description = json!({
        "displayName": "The App",
        "oauth2": { "authorizationURL": format!("{base}/authorize"), "tokenURL": format!("{base}/token") },
        "metadata": { "workspaceId": "response.workspace.id" },
        "webhooks": {
            "signature": {
                "algorithm": "HmacSha256", "header": "X-App-Signature", "prefix": "v0=",
                "signed": "v0:{timestamp}:{body}",
            },
            "timestamp": { "header": "X-App-Timestamp", "tolerance": "5m" },
            "handshakes": [{ "when": "request.body.type == 'url_verification'", "text": "request.body.challenge" }],
            "id": "request.body.id",
            "time": "request.body.at",
            "type": "request.body.type",
            "routes": [{ "request": "request.body.workspace", "metadata": "workspaceId" }],
            "endedWhen": ["request.body.type == 'uninstalled'"],
            "repliedWhen": "request.body.type == 'command'",
            "deadline": "3s",
        },
    });
    world.provider("app", "sandbox-client", "sandbox-secret", description).await;
    let secret = json!({ "stringData": { "signing_secret": SECRET } });
    let secrets = world.secrets(OPERATOR);
    secrets.patch("app-client", &PatchParams::default(), &Patch::Merge(&secret)).await.unwrap();
    let operator = world.operator().await;
    for (tenant, workspace) in [("acme", "W-ACME"), ("globex", "W-GLOBEX")] {
        world.tenant(tenant).await;
        let token = world.admin_of(tenant).await;
        sandbox.reconfigure(|options| options.consent = Consent::Allow(Some(workspace.to_owned())));
        world.connect(&token, tenant, "web", "app").await;
        world.wait(tenant, "web.app", "ready", is_ready).await;
    }
    (sandbox, operator)
}

async fn give_receiver(world: &World, tenant: &str, uri: &str) {
    world.client_secret(tenant, "events", "unused", EVENTS_SECRET, true).await;
    let events = json!({
        "events": { "sink": { "uri": uri }, "signingSecretRef": { "name": "events", "key": "client_secret" } },
    });
    world.patch_spec(tenant, "web.app", events).await;
    // What was read a moment ago is kept for some seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_says_reaches_whom_it_concerns() {
    let Some(world) = World::start("what_an_app_says_reaches_whom_it_concerns").await else { return };
    let (_sandbox, operator) = connected(&world).await;
    let (acme, globex) = (Receiver::default(), Receiver::default());
    give_receiver(&world, "globex", &globex.start().await).await;
    give_receiver(&world, "acme", &acme.start().await).await;

    // To its own receiver, as the app wrote it, signed for the receiver.
    let event = json!({ "id": "Ev1", "type": "mention", "workspace": "W-ACME", "text": "hellö" });
    assert_eq!(send(&world, SHARED, SECRET, &event).await, (200, String::new()));
    assert!(globex.taken().is_empty());
    let [(headers, body)] = &acme.taken()[..] else { panic!("{}", operator.log()) };
    assert_eq!(body, event.to_string().as_bytes());
    let uid = world.integrations("acme").get("web.app").await.unwrap().metadata.uid.unwrap();
    assert_eq!(headers["ce-id"], format!("Ev1:{uid}").as_str());
    assert_eq!(headers["ce-type"], "dev.tms.integrations.app.mention");
    assert_eq!(headers["ce-source"], "/tenants/acme/projects/web/integrations/app");
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    let header = |name: &str| headers[name].to_str().unwrap();
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), String::from_utf8_lossy(body));
    let key = STANDARD.decode(EVENTS_SECRET.trim_start_matches("whsec_")).unwrap();
    assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(mac(&key, &signed))));

    // Sent again, it is acknowledged and not handed on again.
    assert_eq!(send(&world, SHARED, SECRET, &event).await.0, 200);
    assert_eq!(acme.taken().len(), 1);

    // What does not prove itself is handed on to nobody.
    let now = jiff::Timestamp::now().as_second();
    let text = json!({ "id": "Ev2", "type": "mention", "workspace": "W-ACME" }).to_string();
    for (secret, seconds) in [("another-secret-of-another-app", now), (SECRET, now - 360), (SECRET, now + 360)] {
        let answer = send_at(&world, SHARED, secret, &text, seconds).await;
        assert_eq!(code(&answer), is(401, "webhook_distrusted"), "{answer:?}");
        assert!(!answer.1.contains(SECRET));
    }
    let bare = world.http.post(format!("{}{SHARED}", world.public_url)).body(text.clone()).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    // A new signature does not make an old body another one.
    let spaced = text.replace("\",\"", "\", \"");
    let forged = world.http.post(format!("{}{SHARED}", world.public_url));
    let forged = forged.header("x-app-timestamp", now).header("x-app-signature", signature(SECRET, now, &text));
    assert_eq!(forged.body(spaced).send().await.unwrap().status(), 401);
    assert_eq!(acme.taken().len(), 1);

    // Of a workspace that nobody has connected; and the app's trial of the endpoint.
    let answer = send(&world, SHARED, SECRET, &json!({ "id": "Ev3", "type": "x", "workspace": "W-NOBODY" })).await;
    assert_eq!(code(&answer), is(404, "webhook_for_nobody"));
    let trial = json!({ "type": "url_verification", "challenge": "3eZbrw1aB" });
    assert_eq!(send(&world, SHARED, SECRET, &trial).await, (200, "3eZbrw1aB".to_owned()));
    assert_eq!(send(&world, SHARED, "another-secret", &trial).await.0, 401);

    // The receiver's answer is passed on where the app waits for one, and only there.
    let command = json!({ "id": "C1", "type": "command", "workspace": "W-ACME" });
    assert_eq!(send(&world, SHARED, SECRET, &command).await, (200, json!({ "text": "pong" }).to_string()));

    // Nothing is acknowledged that nobody has taken; what is sent again later arrives.
    *acme.refuses.lock().unwrap() = true;
    let late = json!({ "id": "Ev4", "type": "mention", "workspace": "W-ACME" });
    assert_eq!(code(&send(&world, SHARED, SECRET, &late).await), is(503, "event_not_delivered"));
    *acme.refuses.lock().unwrap() = false;
    let before = acme.taken().len();
    assert_eq!(send(&world, SHARED, SECRET, &late).await.0, 200);
    assert_eq!(acme.taken().len(), before + 1);

    // The app's word that a connection has ended, but an older one, said once more.
    let long_ago = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - 3600).unwrap();
    let old = json!({ "id": "Ev0", "type": "uninstalled", "workspace": "W-ACME", "at": long_ago.as_second() });
    assert_eq!(send(&world, SHARED, SECRET, &old).await.0, 200);
    assert_eq!(acme.taken().last().unwrap().0["ce-time"], long_ago.to_string().as_str());
    assert!(world.grant("acme", "web.app").await.is_some());
    let refused = operator.metric("integration_operator_webhooks_total{provider=\"app\",verdict=\"ended\"}").await;
    assert!(refused < 1.0, "{refused}");

    // The app's word that a connection has ended.
    let ended = json!({ "id": "Ev5", "type": "uninstalled", "workspace": "W-ACME" });
    assert_eq!(send(&world, SHARED, SECRET, &ended).await.0, 200);
    let told = world.wait_reason("acme", "web.app", "Authorized", "ReauthorizationRequired").await;
    assert_eq!(condition(&told, "Ready").0, "False");
    let other = world.integrations("globex").get("web.app").await.unwrap();
    assert!(is_ready(&other), "another tenant's connection has not ended");
    assert!(operator.metric("integration_operator_events_total{provider=\"app\",outcome=\"duplicate\"}").await >= 1.0);
    let log = operator.log();
    assert!(!log.contains(SECRET) && !log.contains(EVENTS_SECRET) && !log.contains("hellö"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integration_has_an_endpoint_of_its_own() {
    let Some(world) = World::start("an_integration_has_an_endpoint_of_its_own").await else { return };
    let (_sandbox, operator) = connected(&world).await;
    let path = "/api/public/tenants/acme/projects/web/integrations/app/webhook";
    let event = json!({ "id": "Ev1", "type": "mention" });
    // Without a secret nothing is believed, whatever the app's own would say.
    assert_eq!(code(&send(&world, path, SECRET, &event).await), is(503, "webhook_not_ready"));

    let receiver = Receiver::default();
    let keys = json!({ "webhook": { "signingSecretRefs": [
        { "name": "hooks", "key": "client_secret" }, { "name": "hooks", "key": "next" },
    ] } });
    world.patch_spec("acme", "web.app", keys).await;
    world.client_secret("acme", "hooks", "unused", OWN_SECRET, false).await;
    give_receiver(&world, "acme", &receiver.start().await).await;
    let answer = send(&world, path, OWN_SECRET, &event).await;
    assert_eq!(code(&answer), is(503, "webhook_not_ready"), "a Secret that is not marked as readable");
    world.secrets("acme").delete("hooks", &kube::api::DeleteParams::default()).await.unwrap();
    world.client_secret("acme", "hooks", "unused", OWN_SECRET, true).await;
    let next = json!({ "stringData": { "next": "the-secret-that-replaces-it" } });
    world.secrets("acme").patch("hooks", &PatchParams::default(), &Patch::Merge(&next)).await.unwrap();
    eventually("it is believed", async || send(&world, path, OWN_SECRET, &event).await.0 == 200).await;
    let second = json!({ "id": "Ev2", "type": "mention" });
    assert_eq!(send(&world, path, "the-secret-that-replaces-it", &second).await.0, 200);
    assert_eq!(receiver.taken().len(), 2);
    assert_eq!(send(&world, path, SECRET, &event).await.0, 401, "another secret of the same app");

    // Suspended: acknowledged, and handed on to nobody.
    world.patch_spec("acme", "web.app", json!({ "suspend": true })).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let third = json!({ "id": "Ev3", "type": "mention" });
    assert_eq!(send(&world, path, OWN_SECRET, &third).await.0, 200);
    assert_eq!(receiver.taken().len(), 2);

    // What is not there, and what is too large or too slow.
    for path in [
        path.replace("/web/", "/other/"),
        path.replace("/acme/", "/nobody/"),
        "/api/public/integrations/unknown/webhook".to_owned(),
        "/api/public/tenants/acme/integrations/app/webhook".to_owned(),
    ] {
        assert_eq!(send(&world, &path, SECRET, &event).await.0, 404, "{path}");
    }
    let large = world.http.post(format!("{}{SHARED}", world.public_url)).body("x".repeat(2 << 20)).send().await;
    assert!(large.is_err() || large.unwrap().status() == 413);
    assert!(operator.metric("integration_operator_webhooks_total{provider=\"app\",verdict=\"no_key\"}").await >= 1.0);
}

/// Resident memory of a process, in MiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Open files of a process.
fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Sends a byte every half a second, until there is an answer.
async fn drip(address: String, head: String) -> String {
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    for _ in 0..60 {
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut answer)).await {
            return String::from_utf8_lossy(&answer[..read.unwrap_or_default()]).into_owned();
        }
        let _ = stream.write_all(b"x").await;
    }
    String::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_clients_cost_little_and_are_let_go() {
    const CLIENTS: usize = 1000;
    let Some(world) = World::start("a_thousand_slow_clients_cost_little_and_are_let_go").await else { return };
    let (_sandbox, operator) = connected(&world).await;
    let receiver = Receiver::default();
    give_receiver(&world, "acme", &receiver.start().await).await;
    let event = |number: usize| json!({ "id": format!("Ev{number}"), "type": "mention", "workspace": "W-ACME" });
    assert_eq!(send(&world, SHARED, SECRET, &event(0)).await.0, 200);
    let (process, address) = (operator.process_id(), world.public_url.trim_start_matches("http://").to_owned());
    let (memory, files) = (resident(process), open_files(process));

    let head = format!("POST {SHARED} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(drip(address.clone(), head.clone()))).collect();
    let mut most = (0, 0);
    for number in 1..=16 {
        most = (most.0.max(resident(process)), most.1.max(open_files(process)));
        // Others are served meanwhile.
        assert_eq!(send(&world, SHARED, SECRET, &event(number)).await.0, 200);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(most.1 >= CLIENTS * 9 / 10, "they were there: {} open files, {files} before", most.1);
    let each = most.0.saturating_sub(memory) * 1024 / CLIENTS as u64;
    assert!(each <= 64, "{each} KiB for each of them");
    let answers = futures::future::join_all(clients).await;
    let told = answers.iter().flatten().filter(|answer| answer.contains(" 408 ")).count();
    assert!(told >= CLIENTS * 9 / 10, "{told}: {:?}", answers.first());
    eventually("their connections are closed", async || open_files(process) <= files + 20).await;
    println!("{CLIENTS} slow clients: {each} KiB each, from {memory} to {} MiB; {told} were told 408", most.0);
}
