//! `/livez`, `/readyz` and `/metrics`, on a listener of their own that is not for the public.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};

use super::error::ApiError;
use crate::metrics::{Exposition, Metrics};

/// Content type of the older text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What must hold before requests are sent here; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Readiness {
    /// Waits for each of `checks`, such as "caches synced" or "store reachable".
    pub fn waiting_for(checks: impl IntoIterator<Item = &'static str>) -> Self {
        let checks = checks.into_iter().map(|check| (check, false)).collect();
        Self { checks: Arc::new(Mutex::new(checks)) }
    }

    /// Says whether a check holds; a new one is added. At the end, "not shutting down" stops holding.
    pub fn set(&self, check: &'static str, holds: bool) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(check, holds);
    }

    /// The checks that do not hold.
    pub fn missing(&self) -> Vec<&'static str> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter(|(_, holds)| !**holds).map(|(check, _)| *check).collect()
    }
}

/// The routes of probes and metrics.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
        .fallback(|| async { ApiError::NoSuchPath })
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", missing.join(", "))).into_response()
}

async fn scrape(State(metrics): State<Metrics>, headers: HeaderMap) -> Result<Response, ApiError> {
    let (exposition, content_type) =
        if takes_open_metrics(&headers) { (Exposition::OpenMetrics, OPEN_METRICS) } else { (Exposition::Text, TEXT) };
    let text = metrics.encode(exposition).map_err(|_| ApiError::Internal)?;
    Ok(([(CONTENT_TYPE, content_type), (VARY, "accept")], text).into_response())
}

/// Whether `OpenMetrics` is among the types that are asked for by name.
fn takes_open_metrics(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        let refused = parts.filter_map(|part| part.strip_prefix("q=")).any(|weight| weight.parse() == Ok(0.0));
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    async fn ask(readiness: &Readiness, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(readiness.clone(), Metrics::new()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let readiness = Readiness::waiting_for(["caches synced", "store reachable"]);
        readiness.set("store reachable", true);
        let (status, text) = ask(&readiness, "/readyz").await;
        assert_eq!((status, text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "waiting for: caches synced\n"));
        assert_eq!(ask(&readiness, "/livez").await.0, StatusCode::OK);
        readiness.set("caches synced", true);
        assert_eq!(ask(&readiness, "/readyz").await.0, StatusCode::OK);
        readiness.set("not shutting down", false);
        assert_eq!(ask(&readiness, "/readyz").await.1, "waiting for: not shutting down\n");
    }

    #[tokio::test]
    async fn who_knows_open_metrics_gets_it() {
        for (accept, wanted) in [
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", OPEN_METRICS),
            ("text/plain, application/OpenMetrics-Text", OPEN_METRICS),
            ("application/openmetrics-text;q=0, text/plain", TEXT),
            ("*/*", TEXT),
        ] {
            let request = Request::get("/metrics").header(ACCEPT, accept).body(Body::empty()).unwrap();
            let response = router(Readiness::default(), Metrics::new()).oneshot(request).await.unwrap();
            assert_eq!(response.headers()[CONTENT_TYPE], wanted, "{accept}");
            let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
            assert_eq!(body.ends_with(b"# EOF\n"), wanted == OPEN_METRICS, "{accept}");
        }
    }

    #[tokio::test]
    async fn metrics_are_scraped() {
        let (status, text) = ask(&Readiness::default(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("# TYPE integration_operator_leader gauge\n"), "{text}");
        assert_eq!(ask(&Readiness::default(), "/other").await.0, StatusCode::NOT_FOUND);
    }
}
