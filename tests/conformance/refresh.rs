//! Refresh tokens: each is good once, and a second use costs the grant.

use reqwest::StatusCode;

use crate::provider::{CLIENT, Provider, SCOPE};

pub(crate) async fn refresh_tokens_rotate(provider: &Provider) {
    let mut tokens = provider.connect().await;
    for _ in 0..3 {
        let old = tokens["refresh_token"].as_str().unwrap();
        let next = provider.refresh(old, &[]).await;
        assert_eq!(next.status, StatusCode::OK, "{}", next.body);
        next.is_json_and_not_kept();
        assert_ne!(next.text("refresh_token"), old);
        assert_ne!(next.body["access_token"], tokens["access_token"]);
        assert_eq!(next.body["scope"], tokens["scope"]);
        assert!(provider.opens(next.text("access_token")).await);
        tokens = next.body;
    }
}

/// RFC 9700 §4.14.2.
pub(crate) async fn a_rotated_token_used_again_ends_the_grant(provider: &Provider) {
    let tokens = provider.connect().await;
    let other = provider.connect().await;
    let old = tokens["refresh_token"].as_str().unwrap();
    let next = provider.refresh(old, &[]).await;
    assert!(provider.is_active(next.text("refresh_token")).await);

    provider.refresh(old, &[]).await.refused(400, "invalid_grant");
    provider.refresh(next.text("refresh_token"), &[]).await.refused(400, "invalid_grant");
    for token in [&next.body["access_token"], &tokens["access_token"], &next.body["refresh_token"]] {
        assert!(!provider.is_active(token.as_str().unwrap()).await, "it went with the grant");
    }
    assert!(!provider.opens(next.text("access_token")).await);

    // Another grant, even of the same person to the same client, is none of its business.
    assert!(provider.is_active(other["refresh_token"].as_str().unwrap()).await);
}

pub(crate) async fn what_is_no_refresh_token_is_refused(provider: &Provider) {
    let tokens = provider.connect().await;
    provider.refresh("never-given", &[]).await.refused(400, "invalid_grant");
    provider.refresh(tokens["access_token"].as_str().unwrap(), &[]).await.refused(400, "invalid_grant");
    provider.refresh("", &[]).await.refused(400, "invalid_request");
    let missing = [("grant_type", "refresh_token")];
    provider.post(&provider.token_endpoint, CLIENT, &missing).await.refused(400, "invalid_request");
    assert!(provider.is_active(tokens["refresh_token"].as_str().unwrap()).await, "nothing of this has used it");
}

/// RFC 6749 §6: a narrowed answer leaves the grant as wide as it was, and a refusal leaves the token unused.
pub(crate) async fn a_refresh_may_narrow_its_scope_but_not_widen_it(provider: &Provider) {
    let tokens = provider.connect().await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let wider = format!("{SCOPE} admin");
    provider.refresh(token, &[("scope", &wider)]).await.refused(400, "invalid_scope");

    let narrow = provider.refresh(token, &[("scope", "openid")]).await;
    assert_eq!((narrow.status, narrow.text("scope")), (StatusCode::OK, "openid"), "{}", narrow.body);
    assert_eq!(provider.introspect(narrow.text("access_token")).await["scope"], "openid");
    let wide = provider.refresh(narrow.text("refresh_token"), &[]).await;
    assert_eq!(wide.body["scope"], tokens["scope"]);
}
