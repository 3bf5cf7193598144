//! The built-in descriptions of Slack and GitHub against emulators of both: only addresses and client are overridden.

use serde_json::{Value, json};

use crate::servers;
use crate::servers::browser::Browser;
use crate::servers::{Emulate, EmulateOptions, Fault};
use crate::world::{FRONTEND, World, condition, eventually, is_ready, now};

/// Scopes that the emulator of Slack knows.
const SCOPES: [&str; 2] = ["chat:write", "channels:read"];

/// Both emulators, with the callbacks of this world, and their providers.
pub async fn emulators(world: &World, scopes: &[&str]) -> Emulate {
    let callback = |type_: &str| format!("{}/api/public/integrations/{type_}/callback", world.public_url);
    let mut options = EmulateOptions::new(&callback("slack"));
    options.redirect_uris.push(callback("github"));
    let emulate = Emulate::start(&["slack", "github"], options).await;
    for (name, description) in [("slack", slack(emulate.slack(), scopes)), ("github", github(emulate.github()))] {
        world.provider(name, &emulate.client_id, &emulate.client_secret, description).await;
    }
    emulate
}

/// The preset at the emulator's addresses.
fn slack(base: &str, scopes: &[&str]) -> Value {
    json!({
        "preset": "slack",
        "oauth2": {
            "authorizationURL": format!("{base}/oauth/v2/authorize"),
            "tokenURL": format!("{base}/api/oauth.v2.access"),
            "scopes": scopes,
            "revocation": { "url": format!("{base}/api/auth.revoke") },
        },
        "api": { "baseURL": format!("{base}/api") },
        "identity": { "url": format!("{base}/api/auth.test") },
    })
}

/// The preset at the emulator's addresses.
fn github(base: &str) -> Value {
    json!({
        "preset": "github",
        "oauth2": {
            "authorizationURL": format!("{base}/login/oauth/authorize"),
            "tokenURL": format!("{base}/login/oauth/access_token"),
            "revocation": { "url": format!("{base}/applications/{{client_id}}/grant") },
        },
        "api": { "baseURL": base },
        "identity": { "url": format!("{base}/user") },
    })
}

async fn call(world: &World, url: String, token: &str, body: Value) -> Value {
    world.http.post(url).bearer_auth(token).json(&body).send().await.unwrap().json().await.unwrap()
}

/// How many requests with this method reached this path.
async fn arrived(emulate: &Emulate, service: &str, method: &str, path: &str) -> usize {
    let requests = emulate.requests(service).await;
    requests.iter().filter(|request| request["method"] == method && request["path"] == path).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_as_a_workspace_sees_it() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("slack_as_a_workspace_sees_it").await else { return };
    let emulate = emulators(&world, &SCOPES).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.create("acme", "web", "slack", json!({ "healthCheck": { "failureThreshold": 1 } })).await;
    world.connect(&token, "acme", "web", "slack").await;

    let connected = world.wait("acme", "web.slack", "ready", is_ready).await;
    assert_eq!(condition(&connected, "TokenFresh"), ("True".into(), "NeverExpires".into()));
    let status = connected.status.clone().unwrap();
    assert_eq!(status.scopes, ["chat:write", "channels:read"]);
    assert_eq!(status.metadata["workspaceId"], json!("T000000001"));
    assert_eq!(status.metadata["workspaceName"], json!("Acme"));
    assert_eq!(status.metadata["appId"], json!("A000000001"));
    for given in ["botUserId", "installedByUserId"] {
        assert!(status.metadata[given].as_str().is_some_and(|value| value.starts_with(['U', 'B'])), "{given}");
    }
    assert!(!status.metadata.contains_key("enterpriseId"), "what the answer lacks is left out: {:?}", status.metadata);
    assert!(status.token.unwrap().expires_at.is_none());

    // What a workload finds is enough to post.
    let published = world.secret("acme", "web.slack").await.unwrap();
    let bot = published["access_token"].clone();
    assert!(bot.starts_with("xoxb-"));
    assert_eq!(published["workspaceId"], "T000000001");
    assert_eq!(published["expires_at"], "");
    let slack = emulate.slack().to_owned();
    let who = call(&world, format!("{slack}/api/auth.test"), &bot, json!({})).await;
    assert_eq!((&who["ok"], &who["user_id"]), (&json!(true), &status.metadata["botUserId"]), "{who}");
    let message = json!({ "channel": "alerts", "text": "Disk full" });
    let posted = call(&world, format!("{slack}/api/chat.postMessage"), &bot, message).await;
    assert_eq!(posted["ok"], json!(true), "{posted}");

    // An administrator takes the app away: Slack says so with status 200.
    world.wait_reason("acme", "web.slack", "Healthy", "Verified").await;
    emulate.revoke_all("slack").await;
    world.annotate("acme", "web.slack", "integrations.tms.dev/check-requested-at", &now()).await;
    let rejected = world.wait_reason("acme", "web.slack", "Healthy", "Rejected").await;
    assert_eq!(condition(&rejected, "Healthy").0, "False");
    assert_eq!(condition(&rejected, "Ready"), ("False".into(), "Rejected".into()));
    world.connect(&token, "acme", "web", "slack").await;
    world.wait_reason("acme", "web.slack", "Healthy", "Verified").await;
    let bot = world.secret("acme", "web.slack").await.unwrap()["access_token"].clone();

    // The address of an incoming webhook is a secret, and its channel is not.
    let hook = "https://hooks.slack.test/services/T000000001/B1/canary-of-the-hook";
    let answer = json!({
        "ok": true, "access_token": "xoxb-of-another-workspace", "token_type": "bot", "scope": "incoming-webhook",
        "bot_user_id": "U7", "app_id": "A000000001", "team": { "id": "T7", "name": "Globex" }, "enterprise": null,
        "authed_user": { "id": "U8", "access_token": "xoxp-nested" },
        "incoming_webhook": {
            "channel": "#alerts", "channel_id": "C1", "url": hook,
            "configuration_url": "https://globex.slack.test/services/B1",
        },
    });
    let path = "/api/oauth.v2.access";
    emulate.faults_at("slack", path, &[Fault::body(200, "application/json", &answer.to_string())]).await;
    world.connect(&token, "acme", "hook", "slack").await;
    let hooked = world
        .wait("acme", "hook.slack", "described", |found| {
            found.status.as_ref().is_some_and(|status| status.metadata.contains_key("incomingWebhookChannel"))
        })
        .await;
    assert_eq!(hooked.status.as_ref().unwrap().metadata["incomingWebhookChannel"], json!("#alerts"));
    let told = serde_json::to_string(&hooked).unwrap();
    assert!(!told.contains("canary-of-the-hook") && !told.contains("xoxp-nested") && !told.contains("xoxb-"), "{told}");
    eventually("the webhook is published", async || {
        let secret = world.secret("acme", "hook.slack").await;
        secret.is_some_and(|secret| secret.get("incoming_webhook_url").is_some_and(|url| url == hook))
    })
    .await;

    // Slack refuses with status 200; the person is told, and nothing is kept.
    let refused = json!({ "ok": false, "error": "bad_client_secret" }).to_string();
    emulate.faults_at("slack", path, &[Fault::body(200, "application/json", &refused)]).await;
    let mut browser = Browser::as_user("dev");
    let landed = world.connect_as(&mut browser, &token, "acme", "refused", "slack").await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?error=token_exchange_failed"));
    assert!(world.grant("acme", "refused.slack").await.is_none());

    let before = arrived(&emulate, "slack", "POST", "/api/auth.revoke").await;
    world.integrations("acme").delete("web.slack", &kube::api::DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.slack").await;
    assert_eq!(arrived(&emulate, "slack", "POST", "/api/auth.revoke").await, before + 1);
    let who = call(&world, format!("{slack}/api/auth.test"), &bot, json!({})).await;
    assert_eq!(who, json!({ "ok": false, "error": "token_revoked" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_at_slack() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("a_wrong_client_secret_at_slack").await else { return };
    let emulate = emulators(&world, &SCOPES).await;
    let wrong = json!({ "stringData": { "client_secret": "not-this-one" } });
    world
        .secrets(crate::world::OPERATOR)
        .patch("slack-client", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&wrong))
        .await
        .unwrap();
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut browser = Browser::as_user("dev");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "slack").await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?error=token_exchange_failed"));
    let ledger = emulate.ledger("slack").await;
    assert_eq!(ledger.len(), 1, "a code is sent once");
    assert_eq!(ledger[0].outcome.as_deref(), Some("invalid_client_id"));
    assert!(world.grant("acme", "web.slack").await.is_none());

    // The right one is used without a restart.
    let right = json!({ "stringData": { "client_secret": emulate.client_secret } });
    world
        .secrets(crate::world::OPERATOR)
        .patch("slack-client", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&right))
        .await
        .unwrap();
    let mut browser = Browser::as_user("dev");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "slack").await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?integration=slack&status=success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn github_as_a_person_sees_it() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("github_as_a_person_sees_it").await else { return };
    let emulate = emulators(&world, &SCOPES).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.create("acme", "web", "github", json!({ "healthCheck": { "failureThreshold": 1 } })).await;
    let mut browser = Browser::as_user("octocat");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "github").await;
    assert!(landed.ends_with("status=success"), "{landed}");
    let connected = world
        .wait("acme", "web.github", "described", |found| {
            is_ready(found) && found.status.as_ref().unwrap().metadata.contains_key("login")
        })
        .await;
    assert_eq!(condition(&connected, "TokenFresh").1, "NeverExpires");
    let status = connected.status.unwrap();
    assert_eq!((&status.metadata["login"], &status.metadata["name"]), (&json!("octocat"), &json!("The Octocat")));
    assert_eq!(status.scopes, ["repo", "read:org", "notifications"]);

    eventually("the login is published", async || {
        world.secret("acme", "web.github").await.is_some_and(|secret| secret.contains_key("login"))
    })
    .await;
    let published = world.secret("acme", "web.github").await.unwrap();
    let me = world
        .http
        .get(format!("{}/user", emulate.github()))
        .bearer_auth(&published["access_token"])
        .header("user-agent", "test")
        .send()
        .await
        .unwrap();
    assert_eq!(me.status(), 200);
    assert_eq!(me.json::<Value>().await.unwrap()["login"], json!("octocat"));

    world.wait_reason("acme", "web.github", "Healthy", "Verified").await;
    emulate.revoke_all("github").await;
    world.annotate("acme", "web.github", "integrations.tms.dev/check-requested-at", &now()).await;
    let rejected = world.wait_reason("acme", "web.github", "Healthy", "Rejected").await;
    assert_eq!(condition(&rejected, "Ready"), ("False".into(), "Rejected".into()));
    let mut browser = Browser::as_user("octocat");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "github").await;
    assert!(landed.ends_with("status=success"), "{landed}");
    world.wait_reason("acme", "web.github", "Healthy", "Verified").await;
    let held = world.grant("acme", "web.github").await.unwrap()["tokens"]["accessToken"].as_str().unwrap().to_owned();

    let path = format!("/applications/{}/grant", emulate.client_id);
    assert_eq!(arrived(&emulate, "github", "DELETE", &path).await, 0, "a new authorization ends nothing by itself");
    world.integrations("acme").delete("web.github", &kube::api::DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.github").await;
    assert_eq!(arrived(&emulate, "github", "DELETE", &path).await, 1);
    let me = world.http.get(format!("{}/user", emulate.github())).bearer_auth(&held).send().await.unwrap();
    assert_eq!(me.status(), 401, "the token is dead");
}
