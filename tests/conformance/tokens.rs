//! What can be done with a token: ask about it (RFC 7662), revoke it (RFC 7009), use it (RFC 6750).

use reqwest::StatusCode;
use serde_json::json;

use crate::provider::{CLIENT, Provider, read};

pub(crate) async fn introspection_tells_the_living_from_the_dead(provider: &Provider) {
    let tokens = provider.connect().await;
    let about = provider.introspect(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(
        (&about["active"], &about["client_id"], &about["token_type"], &about["iss"]),
        (&json!(true), &json!(CLIENT.0), &json!("Bearer"), &json!(provider.issuer))
    );
    assert_eq!(about["scope"], tokens["scope"]);
    assert_eq!(about["exp"].as_i64().unwrap() - about["iat"].as_i64().unwrap(), 3600);

    let old = tokens["refresh_token"].as_str().unwrap();
    assert!(provider.is_active(old).await);
    assert!(provider.is_active(old).await, "to ask is not to use");
    let next = provider.refresh(old, &[]).await;
    // Of a dead token nothing is told but that (RFC 7662 §2.2).
    for dead in [old, "never-given"] {
        assert_eq!(provider.introspect(dead).await, json!({"active": false}));
    }
    assert!(provider.is_active(next.text("refresh_token")).await, "to ask about a rotated token is not to reuse it");

    // A hint that is wrong, or unknown, widens the search (RFC 7662 §2.1).
    for hint in ["access_token", "no_such_hint"] {
        let form = [("token", next.text("refresh_token")), ("token_type_hint", hint)];
        let answer = provider.post(&provider.introspection_endpoint, CLIENT, &form).await;
        assert_eq!(answer.body["active"], true, "{hint}");
        answer.is_json_and_not_kept();
    }
    provider.post(&provider.introspection_endpoint, CLIENT, &[]).await.refused(400, "invalid_request");
}

pub(crate) async fn a_revoked_refresh_token_ends_its_grant(provider: &Provider) {
    let tokens = provider.connect().await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let form = [("token", refresh), ("token_type_hint", "access_token")];
    let answer = provider.post(&provider.revocation_endpoint, CLIENT, &form).await;
    assert_eq!(answer.status, StatusCode::OK);
    // The access token should go along (RFC 7009 §2.1), and does.
    assert!(!provider.is_active(access).await);
    assert!(!provider.opens(access).await);
    provider.refresh(refresh, &[]).await.refused(400, "invalid_grant");
}

/// Whether its grant ends with it is left to the server (RFC 7009 §2.1).
pub(crate) async fn a_revoked_access_token_is_dead(provider: &Provider) {
    let tokens = provider.connect().await;
    let access = tokens["access_token"].as_str().unwrap();
    let answer = provider.post(&provider.revocation_endpoint, CLIENT, &[("token", access)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!provider.is_active(access).await);
    assert!(!provider.opens(access).await);
}

/// RFC 7009 §2.2: the purpose is fulfilled already.
pub(crate) async fn what_nobody_was_given_is_revoked_already(provider: &Provider) {
    let tokens = provider.connect().await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    for token in [refresh, refresh, "never-given"] {
        let answer = provider.post(&provider.revocation_endpoint, CLIENT, &[("token", token)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    let missing = provider.post(&provider.revocation_endpoint, CLIENT, &[]).await;
    missing.refused_at_revocation(400, "invalid_request");
}

/// RFC 6750 §3.1.
pub(crate) async fn a_dead_access_token_opens_nothing(provider: &Provider) {
    let answer = read(provider.http.get(&provider.userinfo_endpoint).bearer_auth("never-given")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""), "{challenge}");

    let tokens = provider.connect().await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert!(!provider.opens(refresh).await, "a refresh token is no access token");
}
