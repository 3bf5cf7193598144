//! The browser's way through a flow: start, callback, confirmation.

use axum::body::Body;
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, StatusCode};
use serde_json::json;

use super::outside::{Outside, Setup};
use super::{BASE, CALLBACK, START, attempts, outside};
use crate::config::InitiatorCheck;

#[tokio::test]
async fn the_browser_that_asked_passes_straight_through() {
    let outside = outside().await;
    let (link, cookie) = outside.install().await;
    let answer = outside.visit("GET", &link, &[(COOKIE.as_str(), &cookie)]).await;
    assert_eq!(answer.location().host_str(), Some("provider.example"));
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.cookie(), cookie);
}

#[tokio::test]
async fn another_browser_is_asked_first() {
    let outside = outside().await;
    let (link, _) = outside.install().await;
    let page = outside.visit("GET", &link, &[]).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    for shown in ["New App", "agent-7", "alice", "acme", "web"] {
        assert!(page.body.contains(shown), "{shown}");
    }
    assert_eq!(page.headers["x-frame-options"], "DENY");
    let field = |name: &str| {
        let (_, rest) = page.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let form = format!("ticket={}&token={}", field("ticket"), field("token"));
    let click = |headers: Vec<(&'static str, String)>, form: String| {
        let request = Request::post(START).header("content-type", "application/x-www-form-urlencoded");
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        outside.send(request.body(Body::from(form)).unwrap())
    };
    let cookie = page.cookie();
    let stranger = outside.visit("GET", &link, &[]).await.cookie();
    for (headers, form) in [
        (vec![], form.clone()),
        (vec![("cookie", stranger)], form.clone()),
        (vec![("cookie", cookie.clone())], form.replace("token=", "token=x")),
        (vec![("cookie", cookie.clone()), ("sec-fetch-site", "cross-site".to_owned())], form.clone()),
        (vec![("cookie", cookie.clone()), ("origin", "https://evil.example".to_owned())], form.clone()),
    ] {
        assert_eq!(click(headers, form).await.status, StatusCode::FORBIDDEN);
    }
    let answer = click(vec![("cookie", cookie.clone()), ("sec-fetch-site", "same-origin".to_owned())], form).await;
    assert_eq!(answer.location().host_str(), Some("provider.example"));
    assert_eq!(outside.visit("GET", &link, &[("cookie", &cookie)]).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn dead_links_say_so() {
    let outside = outside().await;
    for path in [START.to_owned(), format!("{START}?ticket=unknown"), format!("{START}?ticket=a&ticket=a")] {
        let answer = outside.visit("GET", &path, &[]).await;
        assert_eq!(answer.status, StatusCode::GONE, "{path}");
        assert!(answer.body.contains("This link does not work") && !answer.headers.contains_key(SET_COOKIE));
    }
    let (link, cookie) = outside.install().await;
    let elsewhere = link.replace("/public/", "/public/tenants/acme/");
    assert_eq!(outside.visit("GET", &elsewhere, &[("cookie", &cookie)]).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_callback_succeeds_once() {
    let outside = outside().await;
    let (state, cookie) = outside.state().await;
    let path = format!("{CALLBACK}?code=c&state={state}");
    // Neither what a browser fetches ahead nor another browser uses it up.
    let ahead = outside.visit("GET", &path, &[("cookie", &cookie), ("sec-purpose", "prefetch")]).await;
    assert_eq!(ahead.status, StatusCode::SERVICE_UNAVAILABLE);
    let stranger = outside.visit("GET", &path, &[]).await;
    assert_eq!(stranger.location().query(), Some("error=invalid_state"));
    assert_eq!(attempts(&outside), 1);
    let answer = outside.visit("GET", &path, &[("cookie", &cookie)]).await;
    assert_eq!(answer.location().as_str(), "https://app.example.com/dashboard?integration=new-app&status=success");
    assert!(!answer.headers.contains_key(SET_COOKIE));
    assert_eq!(attempts(&outside), 0);
    let again = outside.visit("GET", &path, &[("cookie", &cookie)]).await;
    assert_eq!(again.location().as_str(), "https://app.example.com/dashboard?error=invalid_state");
    let metrics = outside.metrics.encode(crate::metrics::Exposition::OpenMetrics).unwrap();
    assert!(metrics.contains("callbacks_total{ending=\"success\"} 1"), "{metrics}");
    assert!(!metrics.contains(&state));
}

#[tokio::test]
async fn callbacks_that_fail() {
    let outside = outside().await;
    let (state, cookie) = outside.state().await;
    for (query, error) in [
        (String::new(), "missing_code"),
        (format!("state={state}"), "missing_code"),
        ("code=c".to_owned(), "missing_state"),
        ("error=access_denied".to_owned(), "new-app_oauth_denied"),
        (format!("code=c&code=d&state={state}"), "invalid_state"),
        (format!("code=c&error=e&state={state}"), "invalid_state"),
        ("code=c&state=unknown".to_owned(), "invalid_state"),
        (format!("code=c&state={}", "x".repeat(10_000)), "invalid_state"),
        (format!("state={state}&error=%3Cscript%3E"), "new-app_oauth_denied"),
        (format!("code=c&state={state}"), "invalid_state"),
    ] {
        let answer = outside.visit("GET", &format!("{CALLBACK}?{query}"), &[("cookie", &cookie)]).await;
        assert_eq!(answer.location().query(), Some(format!("error={error}").as_str()), "{query}");
    }
}

#[tokio::test]
async fn without_a_frontend_there_is_a_page() {
    let outside = Outside::new(Setup { frontends: vec![], ..Setup::default() }).await;
    let (state, cookie) = outside.state().await;
    let denied = format!("{CALLBACK}?error=%3Cscript%3E&error_description=canary");
    let page = outside.visit("GET", &denied, &[("cookie", &cookie)]).await;
    assert!(page.body.contains("<h1>Access was not granted</h1>") && page.body.contains("new-app_oauth_denied"));
    assert!(!page.body.contains("canary") && !page.body.contains("script"), "{page:?}");
    let page = outside.visit("GET", &format!("{CALLBACK}?code=c&state={state}"), &[("cookie", &cookie)]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("<h1>Connected</h1>"), "{page:?}");
    assert!(page.body.contains("New App is now connected to project web of acme."), "{page:?}");
    // Whoever has a state that is used, or none, learns nothing of whose it was.
    let used = outside.visit("GET", &format!("{CALLBACK}?code=c&state={state}"), &[("cookie", &cookie)]).await;
    let never = outside.visit("GET", &format!("{CALLBACK}?code=c&state=unknown"), &[]).await;
    assert_eq!((used.status, &used.body), (never.status, &never.body));
    assert!(used.body.contains("<code>invalid_state</code>") && !used.body.contains("acme"), "{used:?}");
}

#[tokio::test]
async fn a_stranger_with_a_good_state_learns_nothing() {
    let outside = Outside::new(Setup { frontends: vec![], ..Setup::default() }).await;
    let (state, _) = outside.state().await;
    let stranger = outside.visit("GET", &format!("{CALLBACK}?code=c&state={state}"), &[]).await;
    let never = outside.visit("GET", &format!("{CALLBACK}?code=c&state=unknown"), &[]).await;
    assert_eq!((stranger.status, stranger.body), (never.status, never.body));
}

#[tokio::test]
async fn a_link_that_nobody_could_confirm_leads_nowhere() {
    let outside = Outside::new(Setup { check: InitiatorCheck::Confirm, frontends: vec![], ..Setup::default() }).await;
    let (link, cookie) = outside.install().await;
    let page = outside.visit("GET", &link, &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "{page:?}");
    assert!(page.body.contains("return_to") && !page.body.contains("acme"), "{page:?}");
    // Who asked with this browser confirms nothing, and goes on.
    let answer = outside.visit("GET", &link, &[("cookie", &cookie)]).await;
    assert_eq!(answer.location().host_str(), Some("provider.example"));
}

#[tokio::test]
async fn a_click_where_connections_are_confirmed_changes_nothing() {
    let outside = Outside::new(Setup { check: InitiatorCheck::Confirm, ..Setup::default() }).await;
    let (link, _) = outside.install().await;
    let page = outside.visit("GET", &link, &[]).await;
    assert!(page.body.contains("return to app.example.com, where"), "{page:?}");
    let field = |name: &str| {
        let (_, rest) = page.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let form = format!("ticket={}&token={}", field("ticket"), field("token"));
    let request = Request::post(START).header("content-type", "application/x-www-form-urlencoded");
    let clicked = outside.send(request.header("cookie", page.cookie()).body(Body::from(form)).unwrap()).await;
    let state = clicked.location().query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let back = outside.visit("GET", &format!("{CALLBACK}?code=c&state={state}"), &[("cookie", &page.cookie())]).await;
    assert!(back.location().query().unwrap().contains("status=confirm"), "{back:?}");
}

#[tokio::test]
async fn a_parked_connection_is_confirmed_by_who_asked() {
    let outside = Outside::new(Setup { check: InitiatorCheck::Confirm, ..Setup::default() }).await;
    let (state, _) = outside.state().await;
    let parked = outside.visit("GET", &format!("{CALLBACK}?code=c&state={state}"), &[]).await.location();
    let pairs: std::collections::HashMap<_, _> = parked.query_pairs().into_owned().collect();
    assert_eq!(pairs["status"], "confirm");
    let confirmation = pairs["confirmation"].as_str();
    let path = format!("{BASE}/new-app/confirm");
    let good = json!({ "confirmation": confirmation, "agent_id": "agent-7" });
    for (token, body, status, code) in [
        ("alice", json!({}), 422, "invalid_request"),
        ("alice", json!({ "confirmation": "x" }), 410, "confirmation_invalid"),
        ("alice", json!({ "confirmation": confirmation }), 403, "not_the_initiator"),
        ("bob", good.clone(), 403, "not_the_initiator"),
    ] {
        let answer = outside.with_token(token, "POST", &path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{token} {body}");
    }
    let answer = outside.with_token("alice", "POST", &path, &good).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, r#"{"status":"connected"}"#));
    assert_eq!(outside.with_token("alice", "POST", &path, &good).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn the_log_learns_no_secret() {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    // For the whole process: tests in other threads would otherwise turn call sites off for this one as well.
    tracing::subscriber::set_global_default(subscriber.with_writer(move || written.clone()).finish()).unwrap();
    let outside = outside().await;
    let (state, cookie) = outside.state().await;
    let path = format!("{CALLBACK}?code=canary-code&state={state}");
    outside.visit("GET", &path, &[("cookie", &cookie)]).await.location();
    let confirm = format!("{BASE}/new-app/confirm");
    outside.with_token("canary-bearer", "POST", &confirm, &json!({ "confirmation": "canary-body" })).await;
    outside.with_token("alice", "POST", &confirm, &json!({ "confirmation": "x", "accept": "canary-body" })).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("connected"), "{text}");
    let cookie = cookie.split_once('=').unwrap().1;
    for secret in ["canary-code", "canary-token", "canary-bearer", "canary-body", state.as_str(), cookie] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
