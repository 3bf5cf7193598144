//! The OAuth servers and the browser of the other tests, tried without the operator.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod servers;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use servers::{
    Browser, BrowserError, Emulate, EmulateOptions, Fault, OidcClient, OidcOptions, OidcProvider,
};

const CALLBACK: &str = "http://127.0.0.1:9/callback";
const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters-0123456789";
const SCOPE: &str = "openid offline_access messages:write";

struct Oidc {
    server: OidcProvider,
    client: OidcClient,
    http: reqwest::Client,
}

impl Oidc {
    async fn start() -> Self {
        let client = OidcClient::new(CALLBACK);
        let server = OidcProvider::start(OidcOptions {
            clients: vec![client.clone()],
            scopes: vec!["messages:write".to_owned()],
            ..OidcOptions::default()
        })
        .await;
        Self {
            server,
            client,
            http: servers::http_client(),
        }
    }

    fn authorize_url(&self) -> String {
        let challenge = servers::s256(VERIFIER);
        self.url(&[
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ])
    }

    fn url(&self, more: &[(&str, &str)]) -> String {
        let mut url = Url::parse(&self.server.authorization_endpoint).unwrap();
        url.query_pairs_mut()
            .extend_pairs([
                ("client_id", self.client.client_id.as_str()),
                ("redirect_uri", CALLBACK),
                ("response_type", "code"),
                ("scope", SCOPE),
                ("state", "state-1"),
                ("prompt", "consent"),
            ])
            .extend_pairs(more);
        url.into()
    }

    async fn post(&self, url: &str, form: &[(&str, &str)]) -> reqwest::Result<(StatusCode, Value)> {
        let credentials = [
            ("client_id", self.client.client_id.as_str()),
            ("client_secret", self.client.client_secret.as_str()),
        ];
        let form: Vec<_> = credentials.iter().chain(form).collect();
        let response = self.http.post(url).form(&form).send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    async fn token(&self, form: &[(&str, &str)]) -> reqwest::Result<(StatusCode, Value)> {
        self.post(&self.server.token_endpoint, form).await
    }

    async fn refresh(&self, token: &str) -> reqwest::Result<(StatusCode, Value)> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    async fn connect(&self) -> Value {
        let end = Browser::new()
            .consent(&self.authorize_url(), &[CALLBACK])
            .await
            .unwrap();
        let code = end
            .query("code")
            .unwrap_or_else(|| panic!("no code in {}", end.url));
        let (status, tokens) = self
            .token(&[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", CALLBACK),
                ("code_verifier", VERIFIER),
            ])
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{tokens}");
        tokens
    }

    async fn active(&self, token: &str) -> bool {
        let (_, answer) = self
            .post(&self.server.introspection_endpoint, &[("token", token)])
            .await
            .unwrap();
        answer["active"].as_bool().unwrap()
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn the_strict_server_gives_a_code_only_through_its_pages() {
    if !servers::available() {
        return;
    }
    let oidc = Oidc::start().await;
    let mut browser = Browser::as_user("ada");
    let end = browser
        .consent(&oidc.authorize_url(), &[CALLBACK])
        .await
        .unwrap();
    assert!(!end.visited());
    assert!(end.url.as_str().starts_with(CALLBACK));
    assert_eq!(end.query("state").as_deref(), Some("state-1"));
    assert_eq!(
        end.query("iss").as_deref(),
        Some(oidc.server.issuer.as_str())
    );
    let pages = end
        .trail
        .iter()
        .filter(|url| url.contains("/interaction/"))
        .count();
    assert!(
        pages >= 4,
        "login and consent, each shown and sent: {:?}",
        end.trail
    );

    // The session is kept in a cookie: the second time there is no login page.
    assert!(browser.cookie(&oidc.server.issuer, "_session").is_some());
    let again = browser
        .consent(&oidc.authorize_url(), &[CALLBACK])
        .await
        .unwrap();
    assert!(again.trail.len() < end.trail.len(), "{:?}", again.trail);
    browser.clear_cookies();
    let fresh = browser
        .consent(&oidc.authorize_url(), &[CALLBACK])
        .await
        .unwrap();
    assert_eq!(fresh.trail.len(), end.trail.len());

    let refused = Browser::new()
        .deny(&oidc.authorize_url(), &[CALLBACK])
        .await
        .unwrap();
    assert_eq!(refused.query("error").as_deref(), Some("access_denied"));
    let refused = Browser::new()
        .deny_consent(&oidc.authorize_url(), &[CALLBACK])
        .await
        .unwrap();
    assert_eq!(refused.query("error").as_deref(), Some("access_denied"));

    let unproven = Browser::new()
        .consent(&oidc.url(&[]), &[CALLBACK])
        .await
        .unwrap();
    assert_eq!(
        unproven.query("error").as_deref(),
        Some("invalid_request"),
        "PKCE is required"
    );
    let elsewhere = oidc.authorize_url().replace("callback", "other");
    let elsewhere = Browser::new()
        .consent(&elsewhere, &[CALLBACK])
        .await
        .unwrap();
    assert_eq!(
        elsewhere.status(),
        Some(StatusCode::BAD_REQUEST),
        "redirect URIs are exact"
    );
}

#[tokio::test]
async fn refresh_tokens_rotate_and_reuse_kills_the_grant() {
    if !servers::available() {
        return;
    }
    let oidc = Oidc::start().await;
    let mut tokens = oidc.connect().await;
    assert_eq!(tokens["expires_in"], json!(6));
    assert_eq!(tokens["scope"], json!(SCOPE));
    let first = text(&tokens, "refresh_token").to_owned();
    for _ in 0..3 {
        let before = text(&tokens, "refresh_token").to_owned();
        let (status, next) = oidc.refresh(&before).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{next}");
        assert_ne!(text(&next, "refresh_token"), before);
        tokens = next;
    }
    let access = text(&tokens, "access_token").to_owned();
    assert!(oidc.active(&access).await);
    let me = oidc
        .http
        .get(&oidc.server.userinfo_endpoint)
        .bearer_auth(&access)
        .send()
        .await
        .unwrap();
    assert_eq!(me.json::<Value>().await.unwrap()["sub"], json!("dev"));

    let (status, reused) = oidc.refresh(&first).await.unwrap();
    assert_eq!(
        (status, &reused["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_grant"))
    );
    let (status, dead) = oidc.refresh(text(&tokens, "refresh_token")).await.unwrap();
    assert_eq!(
        (status, &dead["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_grant"))
    );
    assert!(
        !oidc.active(&access).await,
        "the access token went with the grant"
    );

    let ledger = oidc.server.ledger().await;
    let refreshes: Vec<_> = ledger
        .iter()
        .filter(|request| request.is_refresh())
        .collect();
    let outcomes: Vec<_> = refreshes
        .iter()
        .filter_map(|request| request.outcome.as_deref())
        .collect();
    assert_eq!(
        outcomes,
        ["ok", "ok", "ok", "invalid_grant", "invalid_grant"]
    );
    assert_eq!(refreshes[0].param("refresh_token"), Some(first.as_str()));
    assert_eq!(refreshes[0].client_auth.as_deref(), Some("post"));
}

#[tokio::test]
async fn grants_end_by_revocation_expiry_and_withdrawal() {
    if !servers::available() {
        return;
    }
    let oidc = Oidc::start().await;
    let tokens = oidc.connect().await;
    let (access, refresh) = (
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
    );
    let (status, _) = oidc
        .post(&oidc.server.revocation_endpoint, &[("token", refresh)])
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(!oidc.active(access).await);
    assert_eq!(
        oidc.refresh(refresh).await.unwrap().1["error"],
        json!("invalid_grant")
    );

    let tokens = oidc.connect().await;
    oidc.server.revoke_all().await;
    assert_eq!(
        oidc.refresh(text(&tokens, "refresh_token"))
            .await
            .unwrap()
            .1["error"],
        json!("invalid_grant")
    );

    let tokens = oidc.connect().await;
    tokio::time::sleep(Duration::from_millis(7200)).await;
    assert!(
        !oidc.active(text(&tokens, "access_token")).await,
        "six seconds are over"
    );
    assert_eq!(
        oidc.refresh(text(&tokens, "refresh_token"))
            .await
            .unwrap()
            .0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn token_requests_fail_as_told() {
    if !servers::available() {
        return;
    }
    let oidc = Oidc::start().await;
    let tokens = oidc.connect().await;
    let token = text(&tokens, "refresh_token");
    oidc.server
        .faults(&[
            Fault::status(503).retry_after("2"),
            Fault::body(200, "text/html", "<h1>Maintenance</h1>"),
            Fault::reset(),
            Fault::hang(),
            Fault::delay_ms(400),
        ])
        .await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let unavailable = oidc
        .http
        .post(&oidc.server.token_endpoint)
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unavailable.headers()["retry-after"], "2");
    assert_eq!(
        oidc.refresh(token).await.unwrap(),
        (StatusCode::OK, Value::Null)
    );
    assert!(oidc.refresh(token).await.is_err(), "reset");
    let hanging = tokio::time::timeout(Duration::from_millis(300), oidc.refresh(token)).await;
    assert!(hanging.is_err(), "no answer");
    let before = std::time::Instant::now();
    let (status, tokens) = oidc.refresh(token).await.unwrap();
    assert_eq!(
        status,
        StatusCode::OK,
        "none of these reached the server: the token is unused"
    );
    assert!(before.elapsed() >= Duration::from_millis(400));

    // The answer is lost, not the deed.
    let token = text(&tokens, "refresh_token");
    oidc.server.faults(&[Fault::commit_then_reset()]).await;
    assert!(oidc.refresh(token).await.is_err());
    let lost = oidc.server.ledger().await.pop().unwrap();
    assert_eq!(
        (lost.outcome.as_deref(), lost.processed),
        (Some("ok"), Some(true))
    );
    let answer: Value = serde_json::from_str(&lost.answer.unwrap()).unwrap();
    oidc.server.faults(&[Fault::truncate()]).await;
    assert!(
        oidc.refresh(text(&answer, "refresh_token")).await.is_err(),
        "half a body"
    );
    let outcomes: Vec<_> = oidc
        .server
        .ledger()
        .await
        .into_iter()
        .skip(1)
        .filter_map(|request| request.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [
            "http_503",
            "ok",
            "unanswered",
            "unanswered",
            "ok",
            "ok",
            "ok"
        ]
    );
    assert_eq!(
        oidc.refresh(token).await.unwrap().1["error"],
        json!("invalid_grant"),
        "it was used"
    );
}

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
    let end = Browser::as_user("dev")
        .consent(&authorize, &[CALLBACK])
        .await
        .unwrap();
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
    assert_eq!(
        tokens["team"],
        json!({ "id": "T000000001", "name": "Acme" })
    );
    assert_eq!(tokens["scope"], json!("chat:write,channels:read"));
    assert!(text(&tokens, "access_token").starts_with("xoxb-"));
    assert!(text(&tokens["authed_user"], "access_token").starts_with("xoxp-"));
    assert_eq!(
        exchange(&code).await,
        json!({ "ok": false, "error": "invalid_code" }),
        "a code works once"
    );

    let call = async |method: &str, token: &str, body: Value| -> Value {
        let url = format!("{}/api/{method}", emulate.slack());
        http.post(url)
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let token = text(&tokens, "access_token");
    let identity = call("auth.test", token, json!({})).await;
    assert_eq!(
        (&identity["ok"], &identity["team"]),
        (&json!(true), &json!("Acme"))
    );
    let posted = call(
        "chat.postMessage",
        token,
        json!({ "channel": "alerts", "text": "Disk full" }),
    )
    .await;
    assert_eq!(posted["ok"], json!(true), "{posted}");
    let nowhere = call(
        "chat.postMessage",
        token,
        json!({ "channel": "nowhere", "text": "x" }),
    )
    .await;
    assert_eq!(
        nowhere,
        json!({ "ok": false, "error": "channel_not_found" })
    );
    let forbidden = call(
        "chat.postMessage",
        text(&tokens["authed_user"], "access_token"),
        json!({ "channel": "alerts", "text": "x" }),
    )
    .await;
    assert_eq!(forbidden["error"], json!("missing_scope"), "{forbidden}");
    assert_eq!(
        call("auth.test", "xoxb-made-up", json!({})).await["error"],
        json!("invalid_auth")
    );
    emulate
        .faults_at(
            "slack",
            "/api/chat.postMessage",
            &[Fault::status(429).retry_after("1")],
        )
        .await;
    let url = format!("{}/api/chat.postMessage", emulate.slack());
    assert_eq!(
        http.post(url)
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::TOO_MANY_REQUESTS
    );

    assert_eq!(
        call("auth.revoke", token, json!({})).await,
        json!({ "ok": true, "revoked": true })
    );
    assert_eq!(
        call("auth.test", token, json!({})).await["error"],
        json!("token_revoked")
    );
    let ledger = emulate.ledger("slack").await;
    assert_eq!(
        ledger
            .iter()
            .map(|request| request.outcome.as_deref().unwrap())
            .collect::<Vec<_>>(),
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
    let end = Browser::as_user("octocat")
        .consent(&authorize, &[CALLBACK])
        .await
        .unwrap();
    let code = end.query("code").unwrap();
    let exchange = async |code: &str, secret: &str| -> Value {
        let form = [
            ("client_id", emulate.client_id.as_str()),
            ("client_secret", secret),
            ("code", code),
        ];
        let request = http
            .post(format!("{}/login/oauth/access_token", emulate.github()))
            .form(&form);
        let response = request
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    assert_eq!(
        exchange(&code, "wrong").await["error"],
        json!("incorrect_client_credentials")
    );
    let tokens = exchange(&code, &emulate.client_secret).await;
    let token = text(&tokens, "access_token").to_owned();
    assert!(token.starts_with("gho_"));
    assert!(tokens.get("refresh_token").is_none() && tokens.get("expires_in").is_none());
    assert_eq!(
        exchange(&code, &emulate.client_secret).await["error"],
        json!("bad_verification_code")
    );

    let user = async || {
        let request = http
            .get(format!("{}/user", emulate.github()))
            .bearer_auth(&token);
        request.header("user-agent", "test").send().await.unwrap()
    };
    assert_eq!(
        user().await.json::<Value>().await.unwrap()["login"],
        json!("octocat")
    );
    let issue = http
        .post(format!(
            "{}/repos/octocat/hello-world/issues",
            emulate.github()
        ))
        .bearer_auth(&token)
        .json(&json!({ "title": "Disk full" }))
        .send()
        .await
        .unwrap();
    assert_eq!(issue.status(), StatusCode::CREATED);

    let grant = http
        .delete(format!(
            "{}/applications/{}/grant",
            emulate.github(),
            emulate.client_id
        ))
        .basic_auth(&emulate.client_id, Some(&emulate.client_secret))
        .json(&json!({ "access_token": token }))
        .send()
        .await
        .unwrap();
    assert_eq!(grant.status(), StatusCode::NO_CONTENT);
    assert_eq!(user().await.status(), StatusCode::UNAUTHORIZED);

    let refused = Browser::new().deny(&authorize, &[CALLBACK]).await;
    assert!(
        matches!(refused, Err(BrowserError::NoWayToRefuse { .. })),
        "its page knows only yes"
    );
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
    let end = Browser::as_user("dev@example.test")
        .consent(&authorize, &[CALLBACK])
        .await
        .unwrap();
    let code = end.query("code").unwrap();
    let token = async |form: &[(&str, &str)]| {
        let request = http
            .post(format!("{}/oauth/token", emulate.url("linear")))
            .form(form);
        let response = request
            .basic_auth(&emulate.client_id, Some(&emulate.client_secret))
            .send()
            .await
            .unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
    ];
    let (status, refused) = token(&exchange).await;
    assert_eq!(
        (status, &refused["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_grant")),
        "no verifier"
    );
    let (status, first) = token(&[&exchange[..], &[("code_verifier", VERIFIER)]].concat()).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    assert_eq!(first["scope"], json!("read issues:create"));
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&first, "refresh_token")),
    ];
    let (status, second) = token(&refresh).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    assert_ne!(
        text(&first, "refresh_token"),
        text(&second, "refresh_token")
    );
    assert_eq!(token(&refresh).await.1["error"], json!("invalid_grant"));

    let viewer = async |token: &str| {
        let request = http
            .post(format!("{}/graphql", emulate.url("linear")))
            .bearer_auth(token);
        let response = request
            .json(&json!({ "query": "{ viewer { email } }" }))
            .send()
            .await
            .unwrap();
        response.json::<Value>().await.unwrap()
    };
    let answer = viewer(text(&second, "access_token")).await;
    assert_eq!(
        answer["data"]["viewer"]["email"],
        json!("dev@example.test"),
        "{answer}"
    );
    assert!(viewer("lin_made_up").await["errors"].is_array());
}

#[tokio::test]
async fn a_server_ends_with_its_owner() {
    if !servers::available() {
        return;
    }
    let oidc = Oidc::start().await;
    let issuer = oidc.server.issuer.clone();
    assert!(oidc.http.get(&issuer).send().await.is_ok());
    drop(oidc.server);
    assert!(oidc.http.get(&issuer).send().await.is_err());
}

/// Stands in for a test that is killed; started by the test below only.
#[tokio::test]
#[ignore = "waits to be killed"]
async fn owner_that_is_killed() {
    let oidc = OidcProvider::start(OidcOptions::default()).await;
    let emulate = Emulate::start(&["slack"], EmulateOptions::new(CALLBACK)).await;
    println!("servers: {} {}", oidc.issuer, emulate.slack());
    tokio::time::sleep(Duration::from_secs(120)).await;
}

#[tokio::test]
async fn servers_end_when_their_owner_is_killed() {
    if !servers::available() {
        return;
    }
    let (urls, mut owner) = tokio::task::spawn_blocking(|| {
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "owner_that_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find_map(|line| {
            line.split_once("servers: ")
                .map(|(_, urls)| urls.to_owned())
        });
        let urls: Vec<_> = line.unwrap().split(' ').map(ToOwned::to_owned).collect();
        (urls, owner)
    })
    .await
    .unwrap();
    let http = servers::http_client();
    for url in &urls {
        assert!(http.get(url).send().await.is_ok());
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    let gone = async {
        for url in &urls {
            while http.get(url).send().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("the servers are still there");
}
