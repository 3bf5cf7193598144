//! Connect, hold and refresh against `oidc-provider` at its strictest: PKCE required, tokens of a few seconds, and a
//! refresh token that is used twice ends the whole grant.

use integration_operator::api::ProjectIntegration;
use serde_json::json;

use crate::servers;
use crate::servers::{OidcClient, OidcOptions, OidcProvider};
use crate::world::{World, condition, eventually, is_ready, last_refreshed, now};

/// A strict server, and the provider that describes it by its issuer alone.
pub async fn strict(world: &World, name: &str, access_ttl_seconds: u32) -> OidcProvider {
    let redirect = format!("{}/api/public/integrations/{name}/callback", world.public_url);
    let client = OidcClient::new(&redirect);
    let server = OidcProvider::start(OidcOptions {
        clients: vec![client.clone()],
        access_ttl_seconds,
        ..OidcOptions::default()
    })
    .await;
    world.provider(name, &client.client_id, &client.client_secret, description(&server.issuer)).await;
    server
}

pub fn description(issuer: &str) -> serde_json::Value {
    json!({
        "displayName": "Strict",
        "oauth2": {
            "issuer": issuer,
            "scopes": ["openid", "offline_access"],
            "authorizationParams": { "prompt": "consent" },
            "grantIdentity": "identity.sub",
        },
        "metadata": { "subject": "identity.sub" },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_refreshes_in_a_row_then_revoked_on_delete() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("ten_refreshes_in_a_row_then_revoked_on_delete").await else { return };
    let server = strict(&world, "strict", 4).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "strict").await;

    // The grant is written before the account is asked for, so the metadata may come a moment later.
    let complete = |found: &ProjectIntegration| {
        is_ready(found) && found.status.as_ref().is_some_and(|status| !status.metadata.is_empty())
    };
    let connected = world.wait("acme", "web.strict", "ready, with its account", complete).await;
    let status = connected.status.clone().unwrap();
    assert_eq!(condition(&connected, "Authorized"), ("True".into(), "Granted".into()));
    assert_eq!(status.metadata["subject"], json!("dev"));
    assert_eq!(status.installation.as_ref().unwrap().agent_id.as_deref(), Some("agent-7"));
    let published = world.secret("acme", "web.strict").await.unwrap();
    assert_eq!(published["token_type"], "Bearer");
    assert!(!published.contains_key("refresh_token"), "refresh tokens stay with the operator");

    let mut seen = vec![published["access_token"].clone()];
    let mut last = last_refreshed(&connected);
    for _ in 0..10 {
        let refreshed = world.wait("acme", "web.strict", "refreshed", |found| last_refreshed(found) != last).await;
        last = last_refreshed(&refreshed);
        assert!(is_ready(&refreshed), "{:?}", refreshed.status);
        let token = world.secret("acme", "web.strict").await.unwrap()["access_token"].clone();
        assert!(!seen.contains(&token), "the published token is a new one");
        // What is published works at the provider, now.
        let me = world.http.get(&server.userinfo_endpoint).bearer_auth(&token).send().await.unwrap();
        assert_eq!(me.status(), 200);
        seen.push(token);
    }
    let ledger = server.ledger().await;
    assert!(ledger.iter().filter(|request| request.is_refresh()).count() >= 10);
    assert!(
        ledger.iter().all(|request| request.outcome.as_deref() == Some("ok")),
        "no request was refused: {ledger:#?}"
    );

    let grant = world.grant("acme", "web.strict").await.unwrap();
    let refresh_token = grant["tokens"]["refreshToken"].as_str().unwrap().to_owned();
    let gone = world.get(&token, "/v1/tenants/acme/projects/web/integrations/strict").await;
    assert_eq!(gone.status(), 200);
    let deleted = world
        .http
        .delete(format!("{}/v1/tenants/acme/projects/web/integrations/strict", world.public_url))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert!(deleted.status().is_success());
    world.wait_gone("acme", "web.strict").await;
    assert!(world.grant("acme", "web.strict").await.is_none(), "the grant is gone");
    eventually("the token Secret is gone", async || world.secret("acme", "web.strict").await.is_none()).await;
    let revoked = world
        .http
        .post(&server.introspection_endpoint)
        .form(&[
            ("token", refresh_token.as_str()),
            ("client_id", "test-client"),
            ("client_secret", "test-client-secret-7f3a"),
        ])
        .send()
        .await
        .unwrap()
        .json::<serde_json::Value>()
        .await
        .unwrap();
    assert_eq!(revoked["active"], json!(false), "the provider knows that it is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_grant_asks_for_a_person_and_reconnecting_mends_it() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("invalid_grant_asks_for_a_person_and_reconnecting_mends_it").await else { return };
    let server = strict(&world, "strict", 6).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "strict").await;
    let first = world.wait("acme", "web.strict", "ready", is_ready).await;
    server.revoke_all().await;

    let refused = world.wait_reason("acme", "web.strict", "Authorized", "ReauthorizationRequired").await;
    assert_eq!(condition(&refused, "Stalled").0, "True");
    assert_eq!(condition(&refused, "Ready").0, "False");
    let before = server.ledger().await.len();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(server.ledger().await.len(), before, "a dead grant is left alone");

    world.connect(&token, "acme", "web", "strict").await;
    let again = world.wait("acme", "web.strict", "ready again", is_ready).await;
    assert_eq!(again.metadata.uid, first.metadata.uid, "the same resource");
    let grant = world.grant("acme", "web.strict").await.unwrap();
    assert_eq!(grant["epoch"], json!(2), "a new epoch");
    let last = last_refreshed(&again);
    world.wait("acme", "web.strict", "refreshed", |found| last_refreshed(found) != last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_refresh_disconnect_and_suspend() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("annotations_refresh_disconnect_and_suspend").await else { return };
    let server = strict(&world, "strict", 3600).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "strict").await;
    let connected = world.wait("acme", "web.strict", "ready", is_ready).await;

    let asked = now();
    world.annotate("acme", "web.strict", "integrations.tms.dev/refresh-requested-at", &asked).await;
    let handled = |found: &ProjectIntegration, annotation: &str, value: &str| {
        found.status.as_ref().is_some_and(|status| status.handled.get(annotation).is_some_and(|seen| seen == value))
    };
    let refreshed = world
        .wait("acme", "web.strict", "refreshed on request", |found| {
            handled(found, "integrations.tms.dev/refresh-requested-at", &asked)
        })
        .await;
    assert_ne!(last_refreshed(&refreshed), last_refreshed(&connected));
    assert_eq!(server.ledger().await.iter().filter(|request| request.is_refresh()).count(), 1, "once");

    world.patch_spec("acme", "web.strict", json!({ "suspend": true })).await;
    world.wait_reason("acme", "web.strict", "Ready", "Suspended").await;
    assert!(world.grant("acme", "web.strict").await.is_some(), "what is held is kept");
    world.patch_spec("acme", "web.strict", json!({ "suspend": false })).await;
    world.wait("acme", "web.strict", "ready again", is_ready).await;

    // A disconnect older than the installation is acknowledged and not done: a restored backup must not revoke.
    let early = "2020-01-01T00:00:00Z";
    world.annotate("acme", "web.strict", "integrations.tms.dev/disconnect-requested-at", early).await;
    world
        .wait("acme", "web.strict", "acknowledged", |found| {
            handled(found, "integrations.tms.dev/disconnect-requested-at", early)
        })
        .await;
    assert!(world.grant("acme", "web.strict").await.is_some());

    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.annotate("acme", "web.strict", "integrations.tms.dev/disconnect-requested-at", &now()).await;
    let disconnected = world.wait_reason("acme", "web.strict", "Authorized", "AuthorizationRequired").await;
    assert!(disconnected.status.unwrap().token.is_none());
    assert!(world.grant("acme", "web.strict").await.is_none());
    assert!(world.secret("acme", "web.strict").await.is_none());
    let revocations = server.requests().await.iter().filter(|request| request["path"] == "/token/revocation").count();
    assert_eq!(revocations, 1);
}
