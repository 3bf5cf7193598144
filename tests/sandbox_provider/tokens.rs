//! What can be done with a token: revoke it, ask about it, use it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    browser::{client, consenting, post, read, refresh, refused, works},
    sandbox::{Endpoint, RevocationEffect, Sandbox, SandboxOptions, Why},
};

#[tokio::test]
async fn revoking_a_refresh_token_ends_its_grant() {
    let sandbox = consenting(SandboxOptions::default());
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let token = first.refresh_token.unwrap();
    let response = post(&sandbox, "/revoke", &[("token", &token)]).await.unwrap();
    assert_eq!((response.status(), response.bytes().await.unwrap().len()), (StatusCode::OK, 0));
    assert!(!works(&sandbox, &first.access_token).await);
    assert_eq!(sandbox.grant(grant).unwrap().ended.unwrap().why, Why::Revoked);
    refused(&refresh(&sandbox, &token).await, 400, "invalid_grant");

    let again = post(&sandbox, "/revoke", &[("token", &token)]).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    let unknown = post(&sandbox, "/revoke", &[("token", "unknown")]).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::OK, "RFC 7009 §2.2");
    let stranger = post(&sandbox, "/revoke", &[("token", &token), ("client_secret", "wrong")]).await.unwrap();
    refused(&read(stranger).await, 401, "invalid_client");
}

#[tokio::test]
async fn revoking_an_access_token_reaches_as_far_as_the_provider_says() {
    for (effect, grant_lives, sibling_lives) in [
        (RevocationEffect::Token, true, true),
        (RevocationEffect::Grant, false, true),
        (RevocationEffect::Installation, false, false),
    ] {
        let sandbox = consenting(SandboxOptions { revocation_effect: effect, ..SandboxOptions::default() });
        let (grant, first) = sandbox.seed("W-ACME", "read");
        let (sibling, _) = sandbox.seed("W-ACME", "read");
        let (stranger, _) = sandbox.seed("W-GLOBEX", "read");
        post(&sandbox, "/revoke", &[("token", &first.access_token)]).await.unwrap();
        assert!(!works(&sandbox, &first.access_token).await);
        let lives = |grant| sandbox.grant(grant).unwrap().ended.is_none();
        assert_eq!((lives(grant), lives(sibling), lives(stranger)), (grant_lives, sibling_lives, true), "{effect:?}");
    }
}

#[tokio::test]
async fn introspection_tells_the_living_from_the_dead() {
    let sandbox = consenting(SandboxOptions::default());
    let (_, first) = sandbox.seed("W-ACME", "read");
    let old = first.refresh_token.unwrap();
    let about = introspect(&sandbox, &first.access_token).await;
    assert_eq!(
        (&about["active"], &about["scope"], &about["token_type"]),
        (&json!(true), &json!("read"), &json!("Bearer"))
    );
    assert!(about["exp"].is_i64());
    assert_eq!(introspect(&sandbox, &old).await["active"], true);

    let (_, next) = refresh(&sandbox, &old).await;
    assert_eq!(introspect(&sandbox, &old).await, json!({"active": false}));
    assert_eq!(introspect(&sandbox, "unknown").await, json!({"active": false}));
    let new = next["refresh_token"].as_str().unwrap();
    assert_eq!(introspect(&sandbox, new).await["active"], true, "to ask about a rotated token is not to reuse it");

    sandbox.reconfigure(|options| options.introspection = false);
    assert_eq!(post(&sandbox, "/introspect", &[("token", new)]).await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_workload_posts_messages_while_its_token_lives() {
    let sandbox = consenting(SandboxOptions::default());
    let (grant, acme) = sandbox.seed("W-ACME", "write");
    let (_, globex) = sandbox.seed("W-GLOBEX", "write");
    let url = format!("{}/api/messages", sandbox.base_url);
    let say = |token: String, body: Value| client().post(&url).bearer_auth(token).json(&body).send();

    assert_eq!(say(acme.access_token.clone(), json!({"text": "hello"})).await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(say(acme.access_token.clone(), json!({})).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let read_as = |token: String| async { read(client().get(&url).bearer_auth(token).send().await.unwrap()).await.1 };
    assert_eq!(read_as(acme.access_token.clone()).await["messages"][0]["text"], "hello");
    assert_eq!(read_as(globex.access_token).await["messages"], json!([]), "of another workspace");
    assert_eq!(sandbox.messages(), ["hello"]);

    sandbox.revoke_access_tokens(grant);
    let response = say(acme.access_token, json!({"text": "hello?"})).await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("invalid_token"), "{challenge}");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(sandbox.current_refresh_token(grant).is_some());

    let bare = client().get(&url).send().await.unwrap();
    assert_eq!(bare.headers()["www-authenticate"], "Bearer realm=\"sandbox\"");
}

#[tokio::test]
async fn the_ledger_knows_every_request_and_no_token() {
    let sandbox = consenting(SandboxOptions::default());
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let token = first.refresh_token.unwrap();
    works(&sandbox, &first.access_token).await;
    introspect(&sandbox, &token).await;
    let (_, next) = refresh(&sandbox, &token).await;
    post(&sandbox, "/revoke", &[("token", next["refresh_token"].as_str().unwrap())]).await.unwrap();

    let ledger = sandbox.ledger();
    let seen: Vec<_> = ledger.entries.iter().map(|entry| (entry.endpoint, entry.outcome, entry.grant)).collect();
    assert_eq!(
        seen,
        [
            (Endpoint::Userinfo, "ok", Some(grant)),
            (Endpoint::Introspect, "active", Some(grant)),
            (Endpoint::Token, "refreshed", Some(grant)),
            (Endpoint::Revoke, "revoked", Some(grant)),
        ]
    );
    assert_eq!(ledger.token_requests("refresh_token"), 1);

    let shown =
        client().get(format!("{}/_sandbox/ledger", sandbox.base_url)).send().await.unwrap().text().await.unwrap();
    assert!(
        shown.contains("\"grant-0\"") && !shown.contains("sandbox-rt-") && !shown.contains("sandbox-at-"),
        "{shown}"
    );
}

async fn introspect(sandbox: &Sandbox, token: &str) -> Value {
    read(post(sandbox, "/introspect", &[("token", token)]).await.unwrap()).await.1
}
