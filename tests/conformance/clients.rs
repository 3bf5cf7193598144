//! Who is asking, and in what form.

use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use serde_json::json;

use crate::provider::{BASIC, CALLBACK, CLIENT, Provider, STRANGER, VERIFIER, read};

pub(crate) async fn a_client_proves_itself_by_header_or_body(provider: &Provider) {
    let code = provider.code_for(BASIC).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let by_header = |secret| provider.http.post(&provider.token_endpoint).basic_auth(BASIC.0, Some(secret)).form(&form);
    let wrong = read(by_header("wrong")).await;
    wrong.refused(401, "invalid_client");
    assert!(wrong.headers[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "), "RFC 6749 §5.2");

    // Not in two ways at once (RFC 6749 §2.3).
    let both = [&form[..], &[("client_secret", BASIC.1)]].concat();
    let request = provider.http.post(&provider.token_endpoint).basic_auth(BASIC.0, Some(BASIC.1)).form(&both);
    read(request).await.refused(400, "invalid_request");

    // None of this has spent the code.
    assert_eq!(read(by_header(BASIC.1)).await.status, StatusCode::OK);
}

pub(crate) async fn a_wrong_secret_is_invalid_client_everywhere(provider: &Provider) {
    let tokens = provider.connect().await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let refreshing = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    for client in [(CLIENT.0, "wrong"), ("nobody", CLIENT.1)] {
        provider.post(&provider.token_endpoint, client, &refreshing).await.refused(401, "invalid_client");
        let form = [("token", refresh)];
        provider.post(&provider.introspection_endpoint, client, &form).await.refused(401, "invalid_client");
        let answer = provider.post(&provider.revocation_endpoint, client, &form).await;
        answer.refused_at_revocation(401, "invalid_client");
    }
    // In the URL it does not count (RFC 6749 §2.3.1).
    let url = format!("{}?client_id={}&client_secret={}", provider.token_endpoint, CLIENT.0, CLIENT.1);
    let answer = read(provider.http.post(url).form(&refreshing)).await;
    assert!(!answer.status.is_success(), "{}", answer.body);
    assert!(provider.is_active(refresh).await, "nothing of this has used it");
}

pub(crate) async fn what_one_client_was_given_is_of_no_use_to_another(provider: &Provider) {
    let code = provider.code_for(CLIENT).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    provider.post(&provider.token_endpoint, STRANGER, &form).await.refused(400, "invalid_grant");
    let tokens = provider.exchange(&code, &[]).await;
    assert_eq!(tokens.status, StatusCode::OK, "the code was not spent by it: {}", tokens.body);

    let refresh = tokens.text("refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    provider.post(&provider.token_endpoint, STRANGER, &form).await.refused(400, "invalid_grant");
    for token in [refresh, tokens.text("access_token")] {
        let about = provider.post(&provider.introspection_endpoint, STRANGER, &[("token", token)]).await;
        assert_eq!((about.status, about.body), (StatusCode::OK, json!({"active": false})), "RFC 7662 §2.2");
        // Refused by RFC 7009 §2.1; `oidc-provider` does so without a word, as it does with unknown tokens (§2.2).
        provider.post(&provider.revocation_endpoint, STRANGER, &[("token", token)]).await;
    }
    assert!(provider.opens(tokens.text("access_token")).await);
    assert_eq!(provider.refresh(refresh, &[]).await.status, StatusCode::OK, "all of it was left alone");

    // A used one that a stranger shows does not end the grant either: it proves nothing of the client.
    provider.post(&provider.token_endpoint, STRANGER, &form).await.refused(400, "invalid_grant");
    assert!(provider.is_active(tokens.text("access_token")).await);
}

pub(crate) async fn a_request_is_a_form_with_each_parameter_once(provider: &Provider) {
    let tokens = provider.connect().await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let url = &provider.token_endpoint;
    for (grant_type, error) in [("password", "unsupported_grant_type"), ("", "invalid_request")] {
        let form = [("grant_type", grant_type), ("refresh_token", refresh)];
        provider.post(url, CLIENT, &form).await.refused(400, error);
    }
    let twice = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("refresh_token", refresh)];
    provider.post(url, CLIENT, &twice).await.refused(400, "invalid_request");

    let object = json!({
        "grant_type": "refresh_token", "refresh_token": refresh, "client_id": CLIENT.0, "client_secret": CLIENT.1,
    });
    read(provider.http.post(url).json(&object)).await.refused(400, "invalid_request");

    // RFC 6749 §3.2: POST. Which other status says so is left to HTTP.
    let query = format!("{url}?grant_type=refresh_token&refresh_token={refresh}");
    let got = read(provider.http.get(query).basic_auth(CLIENT.0, Some(CLIENT.1))).await;
    assert!(got.status.is_client_error(), "{}", got.status);
    assert!(provider.is_active(refresh).await, "nothing of this has used it");
}

/// `error` and `error_description` are printable ASCII without quotes and backslashes (RFC 6749 §5.2).
pub(crate) async fn refusals_have_one_form_and_are_not_kept(provider: &Provider) {
    let refusals = [
        provider.exchange("never-given", &[]).await,
        provider.refresh("nev\u{e9}r \"given\"", &[]).await,
        provider.post(&provider.token_endpoint, ("nobody \u{1f600}", "\"\\"), &[("grant_type", "refresh_token")]).await,
        provider.post(&provider.token_endpoint, CLIENT, &[("grant_type", "\"<script>\"")]).await,
    ];
    for refusal in refusals {
        assert!(refusal.status.is_client_error(), "{refusal:?}");
        refusal.refused(refusal.status.as_u16(), refusal.text("error"));
        for text in ["error", "error_description"].map(|name| refusal.text(name)) {
            assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && !b"\"\\".contains(&byte)), "{text:?}");
        }
    }
}
