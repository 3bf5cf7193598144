//! From the question to the code and on to the first tokens: what is told to the person, what to the client, and that a code
//! is good for one exchange by the one who asked for it.

use reqwest::StatusCode;
use scraper::{Html, Selector};
use serde_json::Value;

use crate::{
    browser::{CALLBACK, VERIFIER, authorize, client, code, consenting, exchange, landed, post, read, refused, works},
    sandbox::{Consent, GrantId, Sandbox, SandboxOptions, Why},
};

#[tokio::test]
async fn a_code_becomes_tokens_with_the_extras_of_an_app() {
    let sandbox = consenting(SandboxOptions::default());
    let (status, answer) = exchange(&sandbox, &code(&sandbox).await, &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(answer["scope"], "read write");
    assert_eq!(answer["workspace"]["id"], "W-ACME");
    assert_eq!(answer["installed_by"], "ada@acme.example");
    assert!(works(&sandbox, answer["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn the_answer_echoes_the_state_and_names_the_issuer() {
    let sandbox = consenting(SandboxOptions::default());
    let answer = landed(&authorize(&sandbox, &[("state", "ein & Zustand")]).await);
    assert_eq!(answer["state"], "ein & Zustand");
    assert_eq!(answer["iss"], sandbox.base_url);
}

#[tokio::test]
async fn a_person_chooses_an_account_on_the_page() {
    let sandbox = Sandbox::start(SandboxOptions::default());
    let (page, request) = page(&sandbox).await;
    assert!(page.contains("Globex Workspace") && page.contains("<li>write</li>"), "{page}");

    let answer = decide(&sandbox, &request, "allow").await;
    let (_, token) = exchange(&sandbox, &landed(&answer)["code"], &[]).await;
    assert_eq!(token["workspace"]["id"], "W-GLOBEX");
    assert_eq!(decide(&sandbox, &request, "allow").await.status(), StatusCode::BAD_REQUEST, "a page is answered once");
}

#[tokio::test]
async fn a_person_may_say_no() {
    let sandbox = Sandbox::start(SandboxOptions::default());
    let (_, request) = page(&sandbox).await;
    let answer = landed(&decide(&sandbox, &request, "deny").await);
    assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("access_denied", "a state"));
    assert!(!answer.contains_key("code"));

    sandbox.reconfigure(|options| options.consent = Consent::Deny);
    assert_eq!(landed(&authorize(&sandbox, &[]).await)["error"], "access_denied");
    sandbox.reconfigure(|options| options.consent = Consent::Fail("temporarily_unavailable"));
    assert_eq!(landed(&authorize(&sandbox, &[]).await)["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn text_of_others_is_escaped_on_the_page() {
    let sandbox = Sandbox::start(SandboxOptions::default());
    let page = authorize(&sandbox, &[("scope", "<script>alert(1)</script>")]).await.text().await.unwrap();
    assert!(!page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn nobody_is_redirected_to_a_uri_that_is_not_registered() {
    let exact = consenting(SandboxOptions { redirect_uris: vec![CALLBACK.to_owned()], ..SandboxOptions::default() });
    assert_eq!(authorize(&exact, &[]).await.status(), StatusCode::SEE_OTHER);
    let near = format!("{CALLBACK}/");
    assert_eq!(authorize(&exact, &[("redirect_uri", &near)]).await.status(), StatusCode::BAD_REQUEST);

    let any = consenting(SandboxOptions::default());
    for uri in ["https://example.com/", "http://127.0.0.1.example.com/", "http://127.0.0.1/#f", "javascript:0", ""] {
        assert_eq!(authorize(&any, &[("redirect_uri", uri)]).await.status(), StatusCode::BAD_REQUEST, "{uri}");
    }
    assert_eq!(authorize(&any, &[("client_id", "another")]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn other_mistakes_are_told_to_the_client() {
    let sandbox =
        consenting(SandboxOptions { scopes: vec!["read".to_owned(), "write".to_owned()], ..SandboxOptions::default() });
    for (changes, error) in [
        ([("response_type", "token")], "unsupported_response_type"),
        ([("response_type", "")], "invalid_request"),
        ([("scope", "read admin")], "invalid_scope"),
        ([("code_challenge", "")], "invalid_request"),
        ([("code_challenge", "short")], "invalid_request"),
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("code_challenge_method", "")], "invalid_request"),
    ] {
        let answer = landed(&authorize(&sandbox, &changes).await);
        assert_eq!(answer["error"], error, "{changes:?}");
        assert_eq!((&answer["state"], &answer["iss"]), (&"a state".to_owned(), &sandbox.base_url));
    }
}

#[tokio::test]
async fn the_verifier_must_fit() {
    let sandbox = consenting(SandboxOptions::default());
    for verifier in ["", "short", "another-verifier-of-quite-sufficient-length-01"] {
        let answer = exchange(&sandbox, &code(&sandbox).await, &[("code_verifier", verifier)]).await;
        refused(&answer, 400, "invalid_grant");
    }
}

#[tokio::test]
async fn pkce_may_be_optional_but_is_never_downgraded() {
    let sandbox = consenting(SandboxOptions { pkce_required: false, ..SandboxOptions::default() });
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = landed(&authorize(&sandbox, &without).await).remove("code").unwrap();
    refused(&exchange(&sandbox, &code, &[]).await, 400, "invalid_grant");
    let code = landed(&authorize(&sandbox, &without).await).remove("code").unwrap();
    assert_eq!(exchange(&sandbox, &code, &[("code_verifier", "")]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_code_used_twice_takes_back_what_it_gave() {
    let sandbox = consenting(SandboxOptions::default());
    let code = code(&sandbox).await;
    let (_, answer) = exchange(&sandbox, &code, &[]).await;
    refused(&exchange(&sandbox, &code, &[]).await, 400, "invalid_grant");
    assert!(!works(&sandbox, answer["access_token"].as_str().unwrap()).await);
    assert_eq!(sandbox.ledger().grants[0].ended.unwrap().why, Why::CodeReuse);
}

#[tokio::test]
async fn a_code_is_bound_to_its_redirect_uri_and_its_minute() {
    let sandbox = consenting(SandboxOptions::default());
    for uri in ["", "http://127.0.0.1:8123/other"] {
        let answer = exchange(&sandbox, &code(&sandbox).await, &[("redirect_uri", uri)]).await;
        refused(&answer, 400, "invalid_grant");
    }
    let code = code(&sandbox).await;
    sandbox.advance(61);
    refused(&exchange(&sandbox, &code, &[]).await, 400, "invalid_grant");
    refused(&exchange(&sandbox, "sandbox-code-never-given", &[]).await, 400, "invalid_grant");
}

#[tokio::test]
async fn the_client_must_prove_itself_in_one_way() {
    let sandbox = consenting(SandboxOptions::default());
    let code = code(&sandbox).await;
    let wrong = exchange(&sandbox, &code, &[("client_secret", "wrong")]).await;
    refused(&wrong, 401, "invalid_client");
    refused(&exchange(&sandbox, &code, &[("client_id", "")]).await, 401, "invalid_client");

    let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
    let request = || client().post(format!("{}/token", sandbox.base_url)).form(&form);
    let response = request().basic_auth("sandbox-client", Some("wrong")).send().await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
    refused(&read(response).await, 401, "invalid_client");

    let both = [&form[..], &[("client_secret", "sandbox-secret")]].concat();
    let request = client().post(format!("{}/token", sandbox.base_url)).form(&both);
    let response = request.basic_auth("sandbox-client", Some("sandbox-secret")).send().await.unwrap();
    refused(&read(response).await, 400, "invalid_request");

    // None of these has spent the code.
    assert_eq!(exchange(&sandbox, &code, &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn basic_credentials_are_form_encoded_and_two_secrets_may_live() {
    let sandbox = consenting(SandboxOptions {
        client_secret: "s:e/c&r=e t%".to_owned(),
        next_client_secret: Some("next".to_owned()),
        ..SandboxOptions::default()
    });
    for secret in ["s%3Ae%2Fc%26r%3De+t%25", "next"] {
        let code = code(&sandbox).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let request = client().post(format!("{}/token", sandbox.base_url)).form(&form);
        let response = request.basic_auth("sandbox-client", Some(secret)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{secret}");
    }
}

#[tokio::test]
async fn the_token_endpoint_reads_forms_only_and_each_parameter_once() {
    let sandbox = consenting(SandboxOptions::default());
    refused(
        &read(post(&sandbox, "/token", &[("grant_type", "password")]).await.unwrap()).await,
        400,
        "unsupported_grant_type",
    );
    refused(&read(post(&sandbox, "/token", &[]).await.unwrap()).await, 400, "invalid_request");
    refused(&read(post(&sandbox, "/token?code=1", &[]).await.unwrap()).await, 400, "invalid_request");

    let url = format!("{}/token", sandbox.base_url);
    let twice = client().post(&url).form(&[("code", "1"), ("code", "2")]).send().await.unwrap();
    refused(&read(twice).await, 400, "invalid_request");
    let json = client().post(&url).json(&serde_json::json!({"grant_type": "refresh_token"})).send().await.unwrap();
    refused(&read(json).await, 400, "invalid_request");
    assert_eq!(client().get(&url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_metadata_tell_what_there_is() {
    let sandbox = consenting(SandboxOptions { introspection: false, ..SandboxOptions::default() });
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let metadata: Value =
            client().get(format!("{}{path}", sandbox.base_url)).send().await.unwrap().json().await.unwrap();
        assert_eq!(metadata["issuer"], sandbox.base_url);
        assert_eq!(metadata["token_endpoint"], format!("{}/token", sandbox.base_url));
        assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
        assert!(metadata["introspection_endpoint"].is_null());
    }
}

#[tokio::test]
async fn a_new_authorization_may_replace_the_earlier_one() {
    let sandbox = consenting(SandboxOptions { replaces_earlier: true, ..SandboxOptions::default() });
    let first: GrantId = sandbox.seed("W-ACME", "read").0;
    let other: GrantId = sandbox.seed("W-GLOBEX", "read").0;
    exchange(&sandbox, &code(&sandbox).await, &[]).await;
    assert_eq!(sandbox.grant(first).unwrap().ended.unwrap().why, Why::Replaced);
    assert_eq!(sandbox.grant(other).unwrap().ended, None);
}

async fn page(sandbox: &Sandbox) -> (String, String) {
    let page = authorize(sandbox, &[]).await.text().await.unwrap();
    let selector = Selector::parse("input[name=request]").unwrap();
    let html = Html::parse_document(&page);
    let request = html.select(&selector).next().unwrap().attr("value").unwrap().to_owned();
    (page, request)
}

async fn decide(sandbox: &Sandbox, request: &str, decision: &str) -> reqwest::Response {
    let form = [("request", request), ("account", "W-GLOBEX"), ("decision", decision)];
    client().post(format!("{}/authorize", sandbox.base_url)).form(&form).send().await.unwrap()
}
