//! Requests from the outside, against a made-up cluster.

mod cluster;
mod connect;
mod outside;

use http::StatusCode;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::limits::{LimitOptions, Rate};
use outside::{INSTALL, INTEGRATIONS, Outside, SECRETS, Setup};

const BASE: &str = "/v1/tenants/acme/projects/web/integrations";
const CALLBACK: &str = "/api/public/integrations/new-app/callback";
const START: &str = "/api/public/integrations/new-app/start";

async fn outside() -> Outside {
    Outside::new(Setup::default()).await
}

fn attempts(outside: &Outside) -> usize {
    outside.cluster.names(&format!("{SECRETS}authorization-")).len()
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let outside = outside().await;
    for path in ["/", "/v1", "/nothing", "/v1/tenants/acme", "/api/public/integrations/NOT%20A%20TYPE/start"] {
        let answer = outside.visit("GET", path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn people_get_pages_where_programs_get_json() {
    let outside = Outside::new(Setup { public_url: "https://example.com/connect", ..Setup::default() }).await;
    let html = [("accept", "application/xhtml+xml, Text/HTML;q=0.9, */*;q=0.8")];
    for (method, path, status, allow) in [
        ("GET", "/nothing".to_owned(), 404, None),
        ("GET", "/connect/".to_owned(), 404, None),
        ("GET", "/api/public/integrations/NOT%20A%20TYPE/start".to_owned(), 404, None),
        ("PUT", format!("/connect{START}"), 405, Some("GET, POST")),
    ] {
        let page = outside.visit(method, &path, &html).await;
        assert_eq!(
            (page.status.as_u16(), page.headers["content-type"].to_str().unwrap()),
            (status, "text/html; charset=utf-8")
        );
        assert!(page.body.contains("<h2>What to do</h2>"), "{page:?}");
        assert!(page.headers["content-security-policy"].to_str().unwrap().contains("style-src 'sha256-"), "{page:?}");
        assert_eq!(page.headers.get(ALLOW).map(|value| value.to_str().unwrap()), allow, "{path}");
        assert_eq!(
            outside.visit(method, &path, &[("accept", "*/*")]).await.headers["content-type"],
            "application/json"
        );
    }
    for path in ["/v1/providers", "/connect/v1/providers", "/v1/nothing"] {
        assert_eq!(outside.visit("GET", path, &html).await.headers["content-type"], "application/json", "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let outside = outside().await;
    for (method, path, allow) in [
        ("POST", "/v1/providers", "GET,HEAD"),
        ("GET", &format!("{BASE}/new-app/refresh"), "POST"),
        ("PUT", &format!("{BASE}/new-app"), "GET,HEAD,DELETE"),
        ("HEAD", INSTALL, "GET"),
        ("POST", INSTALL, "GET"),
        ("HEAD", START, "GET, POST"),
        ("PUT", START, "GET, POST"),
        ("HEAD", CALLBACK, "GET"),
        ("POST", "/api/public/tenants/acme/integrations/new-app/callback", "GET"),
    ] {
        let answer = outside.visit(method, path, &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(answer.headers[ALLOW], allow, "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.code(), "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn without_a_token_nothing() {
    let outside = outside().await;
    for path in [INSTALL, BASE, "/v1/providers"] {
        let answer = outside.visit("GET", path, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer");
    }
    for token in ["mallory", "carol-kubeconfig", "any-pod"] {
        let answer = outside.with_token(token, "GET", BASE, &Value::Null).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
    }
}

#[tokio::test]
async fn tokens_for_the_api_server_are_taken_from_people_only() {
    let outside = Outside::new(Setup { api_server_audience: true, ..Setup::default() }).await;
    for (token, status) in [("backend", 200), ("carol-kubeconfig", 200), ("any-pod", 401), ("mallory", 401)] {
        let answer = outside.with_token(token, "GET", BASE, &Value::Null).await;
        assert_eq!(answer.status.as_u16(), status, "{token}");
    }
}

#[tokio::test]
async fn forbidden_and_unknown_tenants_answer_alike() {
    let outside = outside().await;
    outside.cluster.state().denied.insert("create projectintegrations/install");
    let forbidden = outside.alice("GET", INSTALL).await;
    let unknown = outside.alice("GET", &INSTALL.replace("acme", "globex")).await;
    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
    assert_eq!(
        (forbidden.status, &forbidden.body, &forbidden.headers),
        (unknown.status, &unknown.body, &unknown.headers)
    );
    assert_eq!(outside.cluster.state().reviewed, ["alice create projectintegrations/install acme-ns/web.new-app"]);
}

#[tokio::test]
async fn rights_by_endpoint() {
    let outside = outside().await;
    outside.install().await;
    outside.cluster.state().reviewed.clear();
    for (method, path, right) in [
        ("GET", "", "list projectintegrations/ acme-ns/"),
        ("GET", "/new_app", "get projectintegrations/ acme-ns/web.new-app"),
        ("POST", "/new-app/refresh", "update projectintegrations/ acme-ns/web.new-app"),
        ("POST", "/new-app/confirm", "create projectintegrations/install acme-ns/web.new-app"),
        ("DELETE", "/new-app", "delete projectintegrations/ acme-ns/web.new-app"),
    ] {
        outside.alice(method, &format!("{BASE}{path}")).await;
        assert_eq!(outside.cluster.state().reviewed.pop().unwrap(), format!("alice {right}"), "{method} {path}");
    }
}

#[tokio::test]
async fn install_creates_and_answers_with_one_link() {
    let outside = outside().await;
    let (link, cookie) = outside.install().await;
    assert!(link.starts_with(&format!("{START}?ticket=")), "{link}");
    assert!(cookie.starts_with("__Host-integration-initiator="), "{cookie}");
    let (again, _) = outside.install().await;
    assert_eq!(link, again);
    assert_eq!(outside.cluster.names(INTEGRATIONS), ["web.new-app"]);
    assert_eq!(attempts(&outside), 1);
    let state = outside.cluster.state();
    let created = &state.objects[&format!("{INTEGRATIONS}web.new-app")];
    assert_eq!(created["spec"]["tenantId"], "acme");
    assert_eq!(created["spec"]["providerKind"], "ClusterIntegrationProvider");
    assert_eq!(created["metadata"]["finalizers"][0], "integrations.tms.dev/revoke");
}

#[tokio::test]
async fn install_refuses_and_leaves_nothing() {
    let outside = outside().await;
    for (path, status, code) in [
        (format!("{BASE}/unheard-of/install"), 400, "unknown_integration_type"),
        (format!("{INSTALL}?return_to=https://evil.example"), 400, "return_to_not_allowed"),
        (format!("{INSTALL}?agent_id=a&agent_id=b"), 400, "invalid_request"),
        (format!("{INSTALL}?agent_id=a%20b"), 400, "invalid_request"),
        (INSTALL.replace("web", "Web"), 400, "invalid_request"),
        (INSTALL.replace("new_app", "new.app"), 400, "invalid_request"),
    ] {
        let answer = outside.alice("GET", &path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path}");
    }
    let unknown = outside.alice("GET", &format!("{BASE}/unheard-of/install")).await;
    assert_eq!(
        unknown.body,
        r#"{"error":"OAuth not implemented for this integration type","code":"unknown_integration_type"}"#
    );
    outside.cluster.state().denied.insert("create projectintegrations/");
    assert_eq!(outside.alice("GET", INSTALL).await.status, StatusCode::FORBIDDEN);
    assert!(outside.cluster.names(INTEGRATIONS).is_empty());
}

#[tokio::test]
async fn a_failing_cluster_keeps_its_words_to_itself() {
    let outside = outside().await;
    outside.cluster.state().down = true;
    let answer = outside.alice("GET", INSTALL).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "cluster_unavailable"));
    assert!(!answer.body.contains("inside"), "{answer:?}");
}

#[tokio::test]
async fn integrations_are_read_refreshed_and_deleted() {
    let outside = outside().await;
    let one = format!("{BASE}/new_app");
    assert_eq!(outside.alice("GET", &one).await.code(), "integration_not_found");
    outside.install().await;
    let got = outside.alice("GET", &one).await.json();
    assert_eq!((&got["integration_type"], &got["status"]), (&json!("new-app"), &json!("pending")));
    assert_eq!(outside.alice("GET", BASE).await.json()["integrations"], json!([got]));
    assert_eq!(outside.alice("GET", &BASE.replace("web", "api")).await.json()["integrations"], json!([]));

    let asked = outside.alice("POST", &format!("{one}/refresh")).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let stored = outside.cluster.state().objects[&format!("{INTEGRATIONS}web.new-app")].clone();
    let annotations = &stored["metadata"]["annotations"];
    assert_eq!(annotations["integrations.tms.dev/refresh-requested-at"], asked.json()["requested_at"]);
    assert_eq!(annotations["integrations.tms.dev/requested-by"], "alice");
    let again = outside.alice("POST", &format!("{one}/refresh")).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(again.headers[RETRY_AFTER], "60");

    assert_eq!(outside.alice("DELETE", &one).await.status, StatusCode::ACCEPTED);
    assert_eq!(outside.alice("GET", INSTALL).await.code(), "deleting");
    assert_eq!(outside.alice("POST", &format!("{one}/refresh")).await.code(), "deleting");
}

#[tokio::test]
async fn what_is_not_held_is_gone_at_once() {
    let outside = outside().await;
    outside.install().await;
    let path = format!("{INTEGRATIONS}web.new-app");
    outside.cluster.state().objects.get_mut(&path).unwrap()["metadata"]["finalizers"] = json!([]);
    let answer = outside.alice("DELETE", &format!("{BASE}/new-app")).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert!(outside.cluster.names(INTEGRATIONS).is_empty());
}

#[tokio::test]
async fn an_integration_of_another_tenant_is_not_shown() {
    let outside = outside().await;
    outside.install().await;
    let path = format!("{INTEGRATIONS}web.new-app");
    outside.cluster.state().objects.get_mut(&path).unwrap()["spec"]["tenantId"] = json!("globex");
    for (method, path) in [("GET", "/new-app"), ("DELETE", "/new-app"), ("POST", "/new-app/refresh")] {
        let answer = outside.alice(method, &format!("{BASE}{path}")).await;
        assert_eq!(answer.code(), "integration_not_found", "{method} {path}");
    }
    assert_eq!(outside.alice("GET", BASE).await.json()["integrations"], json!([]));
    assert_eq!(outside.alice("GET", INSTALL).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_public_address_may_have_a_path() {
    let outside = Outside::new(Setup { public_url: "https://example.com/connect/", ..Setup::default() }).await;
    let (link, cookie) = outside.install().await;
    assert!(link.starts_with(&format!("/connect{START}?ticket=")), "{link}");
    for link in [&link, link.trim_start_matches("/connect")] {
        assert_eq!(outside.visit("GET", link, &[("cookie", &cookie)]).await.status, StatusCode::SEE_OTHER, "{link}");
    }
    let answer = outside.visit("HEAD", &link, &[]).await;
    assert_eq!(
        (answer.status, &answer.headers[ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, POST".parse().unwrap())
    );
    assert_eq!(outside.visit("GET", "/connect/nothing", &[]).await.code(), "not_found");
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let outside = outside().await;
    outside.install().await;
    outside.visit("GET", "/canary", &[]).await;
    let text = outside.metrics.encode(crate::metrics::Exposition::OpenMetrics).unwrap();
    let route = "/v1/tenants/{tenant}/projects/{project}/integrations/{type}/install";
    assert!(text.contains(&format!("method=\"GET\",route=\"{route}\",status=\"200\"}} 1")), "{text}");
    assert!(text.contains("route=\"unmatched\",status=\"404\"} 1") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn providers_are_listed() {
    let listed = outside().await.alice("GET", "/v1/providers").await.json();
    let expected = json!({
        "name": "new-app", "display_name": "New App", "type": "oauth2", "ways": ["oauth2"], "scopes": ["read"], "parameters": {},
        "ready": false,
    });
    assert_eq!(listed["providers"], json!([expected]));
}

#[tokio::test]
async fn too_many_are_told_to_wait() {
    let one = Rate::per_minute(std::num::NonZeroU32::MIN);
    let limits = LimitOptions { caller: one, callback: one, start: one, ..LimitOptions::default() };
    let outside = Outside::new(Setup { limits, ..Setup::default() }).await;
    let (link, cookie) = outside.install().await;
    for (path, answer) in [
        (INSTALL, outside.alice("GET", INSTALL).await),
        (&link, {
            outside.visit("GET", &link, &[("cookie", &cookie)]).await;
            outside.visit("GET", &link, &[("cookie", &cookie)]).await
        }),
        (CALLBACK, {
            outside.visit("GET", CALLBACK, &[]).await;
            outside.visit("GET", CALLBACK, &[]).await
        }),
    ] {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        let wait: u64 = answer.headers[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{path}");
    }
    let bob = outside.with_token("bob", "GET", INSTALL, &Value::Null).await;
    assert_eq!(bob.status, StatusCode::OK);
}

#[tokio::test]
async fn long_bodies_are_refused() {
    let outside = outside().await;
    let body = json!({ "confirmation": "x".repeat(super::MAX_BODY) });
    let answer = outside.with_token("alice", "POST", &format!("{BASE}/new-app/confirm"), &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"));
}
