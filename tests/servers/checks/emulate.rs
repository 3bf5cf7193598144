//! The emulators of Slack, GitHub and Linear.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{CALLBACK, VERIFIER, text};
use crate::servers::{self, Browser, BrowserError, Emulate, EmulateOptions, Fault};

#[tokio::test]
async fn slack_answers_as_slack_does() {
    if !servers::available() {
        return;
    }
    let emulate = Emulate::start(&["slack"], EmulateOptions::new(CALLBACK)).await;
    let http = servers::http_client();
    let authorize = format!(
        "{}/oauth/v2/authorize?client_id={}&scope=chat:write,channels:read&user_scope=users:read&redirect_uri={CALLBACK}&state=s",
        emulate.slack(),
        emulate.client_id
    );
    let end = Browser::as_user("dev").consent(&authorize, &[CALLBACK]).await.unwrap();
    let code = end.query("code").unwrap();
    let exchange = async |code: &str| -> Value {
        let response = http
            .post(format!("{}/api/oauth.v2.access", emulate.slack()))
            .basic_auth(&emulate.client_id, Some(&emulate.client_secret))
            .form(&[("code", code), ("redirect_uri", CALLBACK)])
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    let tokens = exchange(&code).await;
    assert_eq!(tokens["ok"], json!(true));
    assert_eq!(tokens["team"], json!({ "id": "T000000001", "name": "Acme" }));
    assert_eq!(tokens["scope"], json!("chat:write,channels:read"));
    assert!(text(&tokens, "access_token").starts_with("xoxb-"));
    assert!(text(&tokens["authed_user"], "access_token").starts_with("xoxp-"));
    assert_eq!(exchange(&code).await, json!({ "ok": false, "error": "invalid_code" }), "a code works once");

    let call = async |method: &str, token: &str, body: Value| -> Value {
        let url = format!("{}/api/{method}", emulate.slack());
        http.post(url).bearer_auth(token).json(&body).send().await.unwrap().json().await.unwrap()
    };
    let token = text(&tokens, "access_token");
    let identity = call("auth.test", token, json!({})).await;
    assert_eq!((&identity["ok"], &identity["team"]), (&json!(true), &json!("Acme")));
    let posted = call("chat.postMessage", token, json!({ "channel": "alerts", "text": "Disk full" })).await;
    assert_eq!(posted["ok"], json!(true), "{posted}");
    let nowhere = call("chat.postMessage", token, json!({ "channel": "nowhere", "text": "x" })).await;
    assert_eq!(nowhere, json!({ "ok": false, "error": "channel_not_found" }));
    let forbidden = call(
        "chat.postMessage",
        text(&tokens["authed_user"], "access_token"),
        json!({ "channel": "alerts", "text": "x" }),
    )
    .await;
    assert_eq!(forbidden["error"], json!("missing_scope"), "{forbidden}");
    assert_eq!(call("auth.test", "xoxb-made-up", json!({})).await["error"], json!("invalid_auth"));
    emulate.faults_at("slack", "/api/chat.postMessage", &[Fault::status(429).retry_after("1")]).await;
    let url = format!("{}/api/chat.postMessage", emulate.slack());
    assert_eq!(http.post(url).bearer_auth(token).send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);

    assert_eq!(call("auth.revoke", token, json!({})).await, json!({ "ok": true, "revoked": true }));
    assert_eq!(call("auth.test", token, json!({})).await["error"], json!("token_revoked"));
    let ledger = emulate.ledger("slack").await;
    assert_eq!(
        ledger.iter().map(|request| request.outcome.as_deref().unwrap()).collect::<Vec<_>>(),
        ["ok", "invalid_code"]
    );
    assert_eq!(ledger[0].client_auth.as_deref(), Some("basic"));
}

#[tokio::test]
async fn github_answers_as_github_does() {
    if !servers::available() {
        return;
    }
    let emulate = Emulate::start(&["slack", "github"], EmulateOptions::new(CALLBACK)).await;
    let http = servers::http_client();
    let authorize = format!(
        "{}/login/oauth/authorize?client_id={}&scope=repo%20read:org&redirect_uri={CALLBACK}&state=s",
        emulate.github(),
        emulate.client_id
    );
    let end = Browser::as_user("octocat").consent(&authorize, &[CALLBACK]).await.unwrap();
    let code = end.query("code").unwrap();
    let exchange = async |code: &str, secret: &str| -> Value {
        let form = [("client_id", emulate.client_id.as_str()), ("client_secret", secret), ("code", code)];
        let request = http.post(format!("{}/login/oauth/access_token", emulate.github())).form(&form);
        let response = request.header("accept", "application/json").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    assert_eq!(exchange(&code, "wrong").await["error"], json!("incorrect_client_credentials"));
    let tokens = exchange(&code, &emulate.client_secret).await;
    let token = text(&tokens, "access_token").to_owned();
    assert!(token.starts_with("gho_"));
    assert!(tokens.get("refresh_token").is_none() && tokens.get("expires_in").is_none());
    assert_eq!(exchange(&code, &emulate.client_secret).await["error"], json!("bad_verification_code"));

    let user = async || {
        let request = http.get(format!("{}/user", emulate.github())).bearer_auth(&token);
        request.header("user-agent", "test").send().await.unwrap()
    };
    assert_eq!(user().await.json::<Value>().await.unwrap()["login"], json!("octocat"));
    let issue = http
        .post(format!("{}/repos/octocat/hello-world/issues", emulate.github()))
        .bearer_auth(&token)
        .json(&json!({ "title": "Disk full" }))
        .send()
        .await
        .unwrap();
    assert_eq!(issue.status(), StatusCode::CREATED);

    let grant = http
        .delete(format!("{}/applications/{}/grant", emulate.github(), emulate.client_id))
        .basic_auth(&emulate.client_id, Some(&emulate.client_secret))
        .json(&json!({ "access_token": token }))
        .send()
        .await
        .unwrap();
    assert_eq!(grant.status(), StatusCode::NO_CONTENT);
    assert_eq!(user().await.status(), StatusCode::UNAUTHORIZED);

    let refused = Browser::new().deny(&authorize, &[CALLBACK]).await;
    assert!(matches!(refused, Err(BrowserError::NoWayToRefuse { .. })), "its page knows only yes");
}

#[tokio::test]
async fn linear_rotates_its_refresh_tokens() {
    if !servers::available() {
        return;
    }
    let emulate = Emulate::start(&["linear"], EmulateOptions::new(CALLBACK)).await;
    let http = servers::http_client();
    let authorize = format!(
        "{}/oauth/authorize?client_id={}&response_type=code&scope=read,issues:create&redirect_uri={CALLBACK}&state=s&code_challenge={}&code_challenge_method=S256",
        emulate.url("linear"),
        emulate.client_id,
        servers::s256(VERIFIER)
    );
    let end = Browser::as_user("dev@example.test").consent(&authorize, &[CALLBACK]).await.unwrap();
    let code = end.query("code").unwrap();
    let token = async |form: &[(&str, &str)]| {
        let request = http.post(format!("{}/oauth/token", emulate.url("linear"))).form(form);
        let response = request.basic_auth(&emulate.client_id, Some(&emulate.client_secret)).send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    let exchange = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    let (status, refused) = token(&exchange).await;
    assert_eq!((status, &refused["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")), "no verifier");
    let (status, first) = token(&[&exchange[..], &[("code_verifier", VERIFIER)]].concat()).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    assert_eq!(first["scope"], json!("read issues:create"));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", text(&first, "refresh_token"))];
    let (status, second) = token(&refresh).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    assert_ne!(text(&first, "refresh_token"), text(&second, "refresh_token"));
    assert_eq!(token(&refresh).await.1["error"], json!("invalid_grant"));

    let viewer = async |token: &str| {
        let request = http.post(format!("{}/graphql", emulate.url("linear"))).bearer_auth(token);
        let response = request.json(&json!({ "query": "{ viewer { email } }" })).send().await.unwrap();
        response.json::<Value>().await.unwrap()
    };
    let answer = viewer(text(&second, "access_token")).await;
    assert_eq!(answer["data"]["viewer"]["email"], json!("dev@example.test"), "{answer}");
    assert!(viewer("lin_made_up").await["errors"].is_array());
}
