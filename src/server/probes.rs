//! `/livez`, `/readyz` and `/metrics`, on a listener of their own that is not for the public.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::error::ApiError;
use crate::metrics::Metrics;

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
    (StatusCode::SERVICE_UNAVAILABLE, format!("not yet: {}\n", missing.join(", "))).into_response()
}

async fn scrape(State(metrics): State<Metrics>) -> Result<Response, ApiError> {
    let text = metrics.encode().map_err(|_| ApiError::Internal)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
