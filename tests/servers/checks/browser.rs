//! The browser against a small site: part of `provider_servers`, of no other test binary.

use axum::Router;
use axum::extract::{RawForm, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, Html, IntoResponse as _, Redirect};
use axum::routing::{get, post};

use crate::servers::{Browser, BrowserError};

/// Answers with what the browser sent.
async fn echo(headers: HeaderMap, RawForm(form): RawForm) -> String {
    let header = |name: &str| headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
    format!(
        "cookie={} site={} referer={} origin={} form={}",
        header("cookie"),
        header("sec-fetch-site"),
        header("referer"),
        header("origin"),
        String::from_utf8_lossy(&form)
    )
}

/// Two origins: the port is the site `a.localhost` and, by another name, `b.localhost`.
async fn site() -> (String, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (here, there) = (format!("http://a.localhost:{port}"), format!("http://b.localhost:{port}"));
    let cookies = [
        "plain=1; Path=/",
        "lax=1; Path=/; SameSite=Lax",
        "strict=1; Path=/; SameSite=Strict; HttpOnly",
        "none=1; Path=/; SameSite=None; Secure",
        "insecure-none=1; Path=/; SameSite=None",
        "__Host-good=1; Path=/; Secure",
        "__Host-bad=1; Path=/deep; Secure",
        "deep=1; Path=/deep",
    ];
    let set = move || async move { (AppendHeaders(cookies.map(|cookie| ("set-cookie", cookie))), "set") };
    let form = |target: String, policy: &'static str| {
        let page = format!(
            r#"<form method="post" action="{target}/echo"><input name="q" value="a b"><input type="checkbox" name="c" value="x">
               <input type="checkbox" name="d" checked><select name="s"><option>one</option><option value="2" selected>two</option></select>
               <button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button></form>"#
        );
        get(move || async move { ([("content-security-policy", policy)], Html(page)) })
    };
    let router = Router::new()
        .route("/set", get(set))
        .route("/echo", get(echo).post(echo))
        .route("/deep/echo", get(echo))
        .route("/link", get(|| async { ([("referrer-policy", "no-referrer")], Html("<p>no form</p>")) }))
        .route("/form", form(there.clone(), ""))
        .route("/form-self", form(here.clone(), "default-src 'none'; form-action 'self'"))
        .route("/form-blocked", form(there.clone(), "form-action 'self'"))
        .route(
            "/form-hops",
            get(|| async {
                (
                    [("content-security-policy", "form-action 'self'")],
                    Html(r#"<form method="post" action="/hop"></form>"#),
                )
            }),
        )
        .route("/hop", post(|State(target): State<String>| async move { Redirect::to(&format!("{target}/echo")) }))
        .route("/meta", get(|| async { Html(r#"<meta http-equiv="refresh" content="0; url=/echo">"#) }))
        .route("/gone", get(|| async { (StatusCode::GONE, Html("<form></form>")).into_response() }))
        .with_state(there.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (here, there)
}

#[tokio::test]
async fn cookies_go_where_a_browser_sends_them() {
    let (here, there) = site().await;
    let mut browser = Browser::new();
    let set = browser.get(&format!("{here}/set")).await.unwrap();
    assert_eq!(set.set_cookies.len(), 8);
    let names = |browser: &Browser, url: &str| {
        let mut names: Vec<_> = browser.cookies(url).into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.join(" ")
    };
    let all = "__Host-good lax none plain strict";
    assert_eq!(names(&browser, &here), all);
    assert_eq!(
        names(&browser, &format!("{here}/deep/echo")),
        format!("{} deep {}", "__Host-good", "lax none plain strict")
    );
    assert_eq!(names(&browser, "http://a.localhost:1/"), all, "cookies know no ports");
    assert_eq!(names(&browser, &there), "");

    // Typed in: all of them. From another site: not the strict one, and with POST only `None`.
    let typed = browser.get(&format!("{here}/echo")).await.unwrap();
    assert!(typed.body.contains("strict=1") && typed.body.contains("site=none"), "{}", typed.body);
    browser.get(&format!("{there}/link")).await.unwrap();
    let linked = browser.click(&format!("{here}/echo")).await.unwrap();
    assert!(linked.body.contains("lax=1") && !linked.body.contains("strict=1"), "{}", linked.body);
    assert!(linked.body.contains("site=cross-site referer=-"), "{}", linked.body);
    let form = browser.get(&format!("{there}/form-self")).await.unwrap().forms().remove(0);
    browser.get(&format!("{there}/link")).await.unwrap();
    let posted = browser.submit(&form).await.unwrap();
    assert!(posted.body.starts_with("cookie=none=1 "), "{}", posted.body);

    browser.remove_cookie("none");
    browser.set_cookie(&here, "mine=2; Path=/");
    assert_eq!(browser.cookie(&here, "mine").as_deref(), Some("2"));
    assert_eq!(browser.cookie(&here, "none"), None);
    browser.clear_cookies();
    assert_eq!(names(&browser, &here), "");
}

#[tokio::test]
async fn forms_are_filled_and_held_to_the_policy_of_their_page() {
    let (here, there) = site().await;
    let mut browser = Browser::new();
    let form = browser.get(&format!("{here}/form")).await.unwrap().forms().remove(0);
    let sent = browser.submit(&form).await.unwrap();
    assert!(sent.body.ends_with("form=q=a+b&d=on&s=2&decision=allow"), "{}", sent.body);
    assert!(sent.body.contains(&format!("site=cross-site referer={here}/ origin={here} ")), "{}", sent.body);
    browser.get(&format!("{here}/form")).await.unwrap();
    let denied = browser.submit(&form.press("deny").unwrap()).await.unwrap();
    assert!(denied.body.ends_with("decision=deny"), "{}", denied.body);

    let allowed = browser.consent(&format!("{here}/form-self"), &[]).await.unwrap();
    assert!(allowed.body().contains("site=same-origin"), "{}", allowed.body());
    for page in ["form-blocked", "form-hops"] {
        let blocked = browser.consent(&format!("{here}/{page}"), &[]).await;
        assert!(matches!(blocked, Err(BrowserError::FormActionBlocked { .. })), "{page}");
    }
    browser.form_action_holds_redirects = false;
    let followed = browser.consent(&format!("{here}/form-hops"), &[]).await.unwrap();
    assert!(followed.url.as_str().starts_with(&there));
}

#[tokio::test]
async fn walks_end_at_stops_errors_and_plain_pages() {
    let (here, there) = site().await;
    let mut browser = Browser::new();
    let stopped = browser.consent(&format!("{here}/form"), &[&there]).await.unwrap();
    assert!(!stopped.visited() && stopped.url.as_str() == format!("{there}/echo"));
    let refused = browser.deny(&format!("{here}/form-self"), &[]).await.unwrap();
    assert!(refused.body().ends_with("decision=deny"), "{}", refused.body());
    let error = browser.consent(&format!("{here}/gone"), &[]).await.unwrap();
    assert_eq!(error.status(), Some(StatusCode::GONE));
    let refreshed = browser.consent(&format!("{here}/meta"), &[]).await.unwrap();
    assert_eq!(refreshed.url.path(), "/echo");
    let plain = browser.consent(&format!("{here}/link"), &[]).await.unwrap();
    assert_eq!(plain.body(), "<p>no form</p>");
}
