//! From the question to a person up to the first tokens.

use reqwest::StatusCode;

use crate::provider::{CALLBACK, CLIENT, Provider};

pub(crate) async fn a_code_and_its_verifier_give_tokens(provider: &Provider) {
    let page = provider.visit(&[]).await;
    assert_eq!(page.query("state").as_deref(), Some("a state"));
    assert_eq!(page.query("iss").as_deref(), Some(provider.issuer.as_str()), "RFC 9207 §2");

    let answer = provider.exchange(&page.query("code").unwrap(), &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.is_json_and_not_kept();
    assert_eq!(answer.text("token_type"), "Bearer");
    assert_eq!(answer.body["expires_in"], 3600);
    assert!(answer.text("scope").split(' ').any(|scope| scope == "write"));
    assert!(provider.opens(answer.text("access_token")).await);
    assert!(provider.is_active(answer.text("refresh_token")).await);
}

/// Whether the failed attempt has spent the code is left open (RFC 6749 §4.1.2): the sandbox says yes, `oidc-provider` no.
pub(crate) async fn a_code_without_its_verifier_gives_nothing(provider: &Provider) {
    for verifier in ["", "another-verifier-of-quite-sufficient-length-01"] {
        let code = provider.code_for(CLIENT).await;
        provider.exchange(&code, &[("code_verifier", verifier)]).await.refused(400, "invalid_grant");
    }
}

pub(crate) async fn a_request_without_a_challenge_gets_no_code(provider: &Provider) {
    for changes in [
        &[("code_challenge", ""), ("code_challenge_method", "")][..],
        &[("code_challenge_method", "plain")],
        // Without a method the challenge counts as plain (RFC 7636 §4.3).
        &[("code_challenge_method", "")],
    ] {
        let page = provider.visit(changes).await;
        assert_eq!(page.query("error").as_deref(), Some("invalid_request"), "{}", page.url);
        assert_eq!((page.query("code"), page.query("state").as_deref()), (None, Some("a state")));
    }
}

/// A missing one is refused by RFC 6749 §4.1.3, and by the sandbox; `oidc-provider` makes up for it where a client has only
/// one, as PKCE binds the code already (OAuth 2.1 §10.2).
pub(crate) async fn a_code_is_bound_to_its_redirect_uri(provider: &Provider) {
    let code = provider.code_for(CLIENT).await;
    let elsewhere = [("redirect_uri", "http://127.0.0.1:9/other")];
    provider.exchange(&code, &elsewhere).await.refused(400, "invalid_grant");

    provider.exchange("never-given", &[]).await.refused(400, "invalid_grant");
    provider.exchange("", &[]).await.refused(400, "invalid_request");
}

pub(crate) async fn nobody_is_redirected_to_a_uri_that_is_not_registered(provider: &Provider) {
    for changes in [
        [("redirect_uri", "http://127.0.0.1:9/callback/")],
        [("redirect_uri", "http://127.0.0.1:9/callback?more=1")],
        [("redirect_uri", "https://example.com/callback")],
        [("client_id", "nobody")],
    ] {
        let page = provider.visit(&changes).await;
        assert_eq!(page.status(), Some(StatusCode::BAD_REQUEST), "{changes:?} led to {}", page.url);
        assert!(!page.url.as_str().starts_with(CALLBACK), "{}", page.url);
    }
}

/// RFC 6749 §4.1.2: the second use is refused, and what the first was given is revoked.
pub(crate) async fn a_code_used_twice_ends_its_grant(provider: &Provider) {
    let code = provider.code_for(CLIENT).await;
    let first = provider.exchange(&code, &[]).await;
    assert!(provider.opens(first.text("access_token")).await);

    provider.exchange(&code, &[]).await.refused(400, "invalid_grant");
    assert!(!provider.opens(first.text("access_token")).await);
    provider.refresh(first.text("refresh_token"), &[]).await.refused(400, "invalid_grant");
}
