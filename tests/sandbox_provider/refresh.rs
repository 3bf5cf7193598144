//! The four ways of rotating, and what reuse costs under each.

use reqwest::StatusCode;

use crate::{
    browser::{client, consenting, post, read, refresh, refused, works},
    sandbox::{OldAccessToken, Rotation, SandboxOptions, Why},
};

fn rotating(rotation: Rotation) -> SandboxOptions {
    SandboxOptions { rotation, ..SandboxOptions::default() }
}

#[tokio::test]
async fn without_rotation_the_token_stays() {
    let sandbox = consenting(rotating(Rotation::None));
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let token = first.refresh_token.unwrap();
    for _ in 0..3 {
        let (status, answer) = refresh(&sandbox, &token).await;
        assert_eq!(status, StatusCode::OK);
        assert!(answer.get("refresh_token").is_none());
    }
    assert_eq!(sandbox.grant(grant).unwrap().generation, 4);
    assert_eq!(sandbox.current_refresh_token(grant), Some(token));
}

#[tokio::test]
async fn within_grace_the_old_token_gives_a_sibling() {
    let sandbox = consenting(rotating(Rotation::Grace { seconds: 60 }));
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let old = first.refresh_token.unwrap();
    let (_, lost) = refresh(&sandbox, &old).await;
    sandbox.advance(59);
    let (status, sibling) = refresh(&sandbox, &old).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(lost["refresh_token"], sibling["refresh_token"]);
    assert_eq!(refresh(&sandbox, lost["refresh_token"].as_str().unwrap()).await.0, StatusCode::OK);

    sandbox.advance(2);
    refused(&refresh(&sandbox, &old).await, 400, "invalid_grant");
    assert_eq!(sandbox.grant(grant).unwrap().ended.unwrap().why, Why::Reuse);
    let outcomes: Vec<_> = sandbox.ledger().entries.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, ["refreshed", "replayed", "refreshed", "invalid_grant"]);
}

#[tokio::test]
async fn with_lenient_rotation_the_old_token_is_merely_dead() {
    let sandbox = consenting(rotating(Rotation::Lenient));
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let old = first.refresh_token.unwrap();
    let (_, next) = refresh(&sandbox, &old).await;
    refused(&refresh(&sandbox, &old).await, 400, "invalid_grant");
    assert_eq!(sandbox.grant(grant).unwrap().ended, None);
    assert_eq!(refresh(&sandbox, next["refresh_token"].as_str().unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn with_strict_rotation_reuse_ends_the_grant() {
    let sandbox = consenting(rotating(Rotation::Strict));
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let (_, next) = refresh(&sandbox, first.refresh_token.as_ref().unwrap()).await;
    assert!(works(&sandbox, next["access_token"].as_str().unwrap()).await);

    refused(&refresh(&sandbox, first.refresh_token.as_ref().unwrap()).await, 400, "invalid_grant");
    refused(&refresh(&sandbox, next["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
    assert!(!works(&sandbox, next["access_token"].as_str().unwrap()).await);
    let record = sandbox.grant(grant).unwrap();
    assert_eq!(record.ended.unwrap().why, Why::Reuse);
    assert_eq!(record.refresh_token_hash, None);
}

#[tokio::test]
async fn the_old_access_token_lives_or_dies() {
    for (old_access_token, lives) in [(OldAccessToken::Lives, true), (OldAccessToken::Dies, false)] {
        let sandbox = consenting(SandboxOptions { old_access_token, ..SandboxOptions::default() });
        let (_, first) = sandbox.seed("W-ACME", "read");
        let (_, next) = refresh(&sandbox, first.refresh_token.as_ref().unwrap()).await;
        assert_eq!(works(&sandbox, &first.access_token).await, lives);
        assert!(works(&sandbox, next["access_token"].as_str().unwrap()).await);
    }
}

#[tokio::test]
async fn tokens_expire() {
    let sandbox = consenting(SandboxOptions {
        access_token_lifetime: Some(30),
        refresh_token_lifetime: Some(100),
        ..SandboxOptions::default()
    });
    let (grant, first) = sandbox.seed("W-ACME", "read");
    assert_eq!(first.expires_in, Some(30));
    sandbox.advance(31);
    assert!(!works(&sandbox, &first.access_token).await);
    let (_, next) = refresh(&sandbox, first.refresh_token.as_ref().unwrap()).await;
    sandbox.advance(101);
    assert_eq!(sandbox.grant(grant).unwrap().ended.unwrap().why, Why::Expired, "known before anyone asks");
    refused(&refresh(&sandbox, next["refresh_token"].as_str().unwrap()).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_token_that_never_expires_cannot_be_refreshed() {
    let sandbox = consenting(SandboxOptions { access_token_lifetime: None, ..SandboxOptions::default() });
    let (_, first) = sandbox.seed("W-ACME", "read");
    assert_eq!((first.expires_in, first.refresh_token), (None, None));
    sandbox.advance(u32::MAX);
    assert!(works(&sandbox, &first.access_token).await);
}

#[tokio::test]
async fn a_refresh_may_narrow_its_scope_but_not_widen_it() {
    let sandbox = consenting(rotating(Rotation::None));
    let (_, first) = sandbox.seed("W-ACME", "read write");
    let token = first.refresh_token.unwrap();
    for (scope, status) in [("read", 200), ("read admin", 400), ("read write", 200)] {
        let form = [("grant_type", "refresh_token"), ("refresh_token", &token), ("scope", scope)];
        let (answered, answer) = read(post(&sandbox, "/token", &form).await.unwrap()).await;
        assert_eq!(answered, status, "{scope}");
        assert!(answer["scope"] == scope || answer["error"] == "invalid_scope");
    }
}

#[tokio::test]
async fn a_thousand_refreshes_leave_one_chain() {
    let sandbox = consenting(SandboxOptions { old_access_token: OldAccessToken::Dies, ..SandboxOptions::default() });
    let (grant, first) = sandbox.seed("W-ACME", "read");
    let browser = client();
    let mut token = first.refresh_token.unwrap();
    for _ in 0..1000 {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &token),
            ("client_id", "sandbox-client"),
            ("client_secret", "sandbox-secret"),
        ];
        let response = browser.post(format!("{}/token", sandbox.base_url)).form(&form).send().await.unwrap();
        token = read(response).await.1["refresh_token"].as_str().unwrap().to_owned();
    }
    let record = sandbox.grant(grant).unwrap();
    assert_eq!((record.generation, record.max_in_flight), (1001, 1));
    assert_eq!(sandbox.current_refresh_token(grant), Some(token));
}
