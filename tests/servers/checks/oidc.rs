//! The strict server, through its real pages.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::{CALLBACK, VERIFIER, text};
use crate::servers::{self, Browser, Fault, OidcClient, OidcOptions, OidcProvider};

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
        Self { server, client, http: servers::http_client() }
    }

    fn authorize_url(&self) -> String {
        let challenge = servers::s256(VERIFIER);
        self.url(&[("code_challenge", &challenge), ("code_challenge_method", "S256")])
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
        let credentials =
            [("client_id", self.client.client_id.as_str()), ("client_secret", self.client.client_secret.as_str())];
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
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn connect(&self) -> Value {
        let end = Browser::new().consent(&self.authorize_url(), &[CALLBACK]).await.unwrap();
        let code = end.query("code").unwrap_or_else(|| panic!("no code in {}", end.url));
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
        let (_, answer) = self.post(&self.server.introspection_endpoint, &[("token", token)]).await.unwrap();
        answer["active"].as_bool().unwrap()
    }
}

#[tokio::test]
async fn the_strict_server_gives_a_code_only_through_its_pages() {
    if !servers::available() {
        return;
    }
    let oidc = Oidc::start().await;
    let mut browser = Browser::as_user("ada");
    let end = browser.consent(&oidc.authorize_url(), &[CALLBACK]).await.unwrap();
    assert!(!end.visited());
    assert!(end.url.as_str().starts_with(CALLBACK));
    assert_eq!(end.query("state").as_deref(), Some("state-1"));
    assert_eq!(end.query("iss").as_deref(), Some(oidc.server.issuer.as_str()));
    let pages = end.trail.iter().filter(|url| url.contains("/interaction/")).count();
    assert!(pages >= 4, "login and consent, each shown and sent: {:?}", end.trail);

    // The session is kept in a cookie: the second time there is no login page.
    assert!(browser.cookie(&oidc.server.issuer, "_session").is_some());
    let again = browser.consent(&oidc.authorize_url(), &[CALLBACK]).await.unwrap();
    assert!(again.trail.len() < end.trail.len(), "{:?}", again.trail);
    browser.clear_cookies();
    let fresh = browser.consent(&oidc.authorize_url(), &[CALLBACK]).await.unwrap();
    assert_eq!(fresh.trail.len(), end.trail.len());

    let refused = Browser::new().deny(&oidc.authorize_url(), &[CALLBACK]).await.unwrap();
    assert_eq!(refused.query("error").as_deref(), Some("access_denied"));
    let refused = Browser::new().deny_consent(&oidc.authorize_url(), &[CALLBACK]).await.unwrap();
    assert_eq!(refused.query("error").as_deref(), Some("access_denied"));

    let unproven = Browser::new().consent(&oidc.url(&[]), &[CALLBACK]).await.unwrap();
    assert_eq!(unproven.query("error").as_deref(), Some("invalid_request"), "PKCE is required");
    let elsewhere = oidc.authorize_url().replace("callback", "other");
    let elsewhere = Browser::new().consent(&elsewhere, &[CALLBACK]).await.unwrap();
    assert_eq!(elsewhere.status(), Some(StatusCode::BAD_REQUEST), "redirect URIs are exact");
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
    let me = oidc.http.get(&oidc.server.userinfo_endpoint).bearer_auth(&access).send().await.unwrap();
    assert_eq!(me.json::<Value>().await.unwrap()["sub"], json!("dev"));

    let (status, reused) = oidc.refresh(&first).await.unwrap();
    assert_eq!((status, &reused["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    let (status, dead) = oidc.refresh(text(&tokens, "refresh_token")).await.unwrap();
    assert_eq!((status, &dead["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert!(!oidc.active(&access).await, "the access token went with the grant");

    let ledger = oidc.server.ledger().await;
    let refreshes: Vec<_> = ledger.iter().filter(|request| request.is_refresh()).collect();
    let outcomes: Vec<_> = refreshes.iter().filter_map(|request| request.outcome.as_deref()).collect();
    assert_eq!(outcomes, ["ok", "ok", "ok", "invalid_grant", "invalid_grant"]);
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
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let (status, _) = oidc.post(&oidc.server.revocation_endpoint, &[("token", refresh)]).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(!oidc.active(access).await);
    assert_eq!(oidc.refresh(refresh).await.unwrap().1["error"], json!("invalid_grant"));

    let tokens = oidc.connect().await;
    oidc.server.revoke_all().await;
    assert_eq!(oidc.refresh(text(&tokens, "refresh_token")).await.unwrap().1["error"], json!("invalid_grant"));

    let tokens = oidc.connect().await;
    tokio::time::sleep(Duration::from_millis(7200)).await;
    assert!(!oidc.active(text(&tokens, "access_token")).await, "six seconds are over");
    assert_eq!(oidc.refresh(text(&tokens, "refresh_token")).await.unwrap().0, StatusCode::OK);
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
    let unavailable = oidc.http.post(&oidc.server.token_endpoint).form(&form).send().await.unwrap();
    assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unavailable.headers()["retry-after"], "2");
    assert_eq!(oidc.refresh(token).await.unwrap(), (StatusCode::OK, Value::Null));
    assert!(oidc.refresh(token).await.is_err(), "reset");
    let hanging = tokio::time::timeout(Duration::from_millis(300), oidc.refresh(token)).await;
    assert!(hanging.is_err(), "no answer");
    let before = std::time::Instant::now();
    let (status, tokens) = oidc.refresh(token).await.unwrap();
    assert_eq!(status, StatusCode::OK, "none of these reached the server: the token is unused");
    assert!(before.elapsed() >= Duration::from_millis(400));

    // The answer is lost, not the deed.
    let token = text(&tokens, "refresh_token");
    oidc.server.faults(&[Fault::commit_then_reset()]).await;
    assert!(oidc.refresh(token).await.is_err());
    let lost = oidc.server.ledger().await.pop().unwrap();
    assert_eq!((lost.outcome.as_deref(), lost.processed), (Some("ok"), Some(true)));
    let answer: Value = serde_json::from_str(&lost.answer.unwrap()).unwrap();
    oidc.server.faults(&[Fault::truncate()]).await;
    assert!(oidc.refresh(text(&answer, "refresh_token")).await.is_err(), "half a body");
    let outcomes: Vec<_> =
        oidc.server.ledger().await.into_iter().skip(1).filter_map(|request| request.outcome).collect();
    assert_eq!(outcomes, ["http_503", "ok", "unanswered", "unanswered", "ok", "ok", "ok"]);
    assert_eq!(oidc.refresh(token).await.unwrap().1["error"], json!("invalid_grant"), "it was used");
}
