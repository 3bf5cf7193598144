//! Webhooks as the vendors' own libraries sign them, against the presets, on a running operator.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::servers;
use crate::webhooks::Receiver;
use crate::world::{World, eventually};

/// The headers of each request.
fn signed(requests: &Value) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers");
    servers::install(&directory);
    let mut node = Command::new("node");
    node.arg("sign.mjs").current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().unwrap();
    node.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn send(world: &World, type_: &str, headers: &Value, body: &str) -> u16 {
    let path = format!("/api/public/tenants/acme/projects/web/integrations/{type_}/webhook");
    let mut request = world.http.post(format!("{}{path}", world.public_url)).header("content-type", "application/json");
    for (name, value) in headers.as_object().unwrap().iter().filter(|(name, _)| *name != "key") {
        request = request.header(name, value.as_str().unwrap());
    }
    request.body(body.to_owned()).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vendors_sign_is_believed_and_nothing_else() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("what_vendors_sign_is_believed_and_nothing_else").await else { return };
    for (type_, spec) in [
        ("github", json!({ "preset": "github" })),
        ("stripe", json!({ "preset": "stripe" })),
        ("discord", json!({ "preset": "discord" })),
        (
            "standard",
            json!({
                "displayName": "Standard", "webhooks": { "scheme": "StandardWebhooks", "type": "request.body.type" },
                "apiKey": { "pattern": ".+" },
            }),
        ),
    ] {
        world.provider(type_, "a-client", "a-secret", spec).await;
    }
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let receiver = Receiver::default();
    let uri = receiver.start().await;
    let cases = [
        ("github", "It's a Secret to Everybody", json!({ "action": "opened", "text": "Hello, World! ü" })),
        ("stripe", "whsec_ofStripeIsAText", json!({ "id": "evt_1", "type": "charge.succeeded", "text": "ü" })),
        ("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", json!({ "type": "user.created", "text": "ü" })),
        ("discord", "", json!({ "id": "1", "type": 2, "data": { "name": "ü" } })),
    ];
    let requests: Vec<Value> = cases
        .iter()
        .map(|(scheme, secret, body)| json!({ "scheme": scheme, "secret": secret, "body": body.to_string() }))
        .collect();
    let headers = tokio::task::spawn_blocking(move || signed(&json!(requests))).await.unwrap();
    for ((type_, secret, body), headers) in cases.iter().zip(headers.as_array().unwrap()) {
        let key = headers["key"].as_str().unwrap_or(secret);
        world.client_secret("acme", &format!("{type_}-hook"), "unused", key, true).await;
        let spec = json!({
            "webhook": { "signingSecretRefs": [{ "name": format!("{type_}-hook"), "key": "client_secret" }] },
            "events": { "sink": { "uri": uri } },
        });
        world.create("acme", "web", type_, spec).await;
        let body = body.to_string();
        // Another byte of the body, and another key.
        let other = body.replace('ü', "ö");
        eventually("the provider is known", async || send(&world, type_, headers, &other).await == 401).await;
        assert!([200, 204].contains(&send(&world, type_, headers, &body).await), "{type_}");
        let (taken, bytes) = receiver.taken().pop().unwrap();
        assert_eq!(bytes, body.as_bytes(), "{type_}");
        assert!(taken["ce-type"].to_str().unwrap().starts_with(&format!("dev.tms.integrations.{type_}.")));
    }
    assert_eq!(receiver.taken().len(), cases.len());
    let types: Vec<_> = receiver.taken().iter().map(|(headers, _)| headers["ce-type"].clone()).collect();
    assert_eq!(types[0], "dev.tms.integrations.github.issues.opened");
    assert_eq!(types[1], "dev.tms.integrations.stripe.charge.succeeded");

    // Another key than the one it was signed with, some seconds after it has taken its place.
    let another = json!({ "stringData": { "client_secret": "whsec_ofSomebodyElseEntirely" } });
    world.secrets("acme").patch("stripe-hook", &PatchParams::default(), &Patch::Merge(&another)).await.unwrap();
    let (_, _, body) = &cases[1];
    eventually("it is not believed", async || send(&world, "stripe", &headers[1], &body.to_string()).await == 401)
        .await;
}
