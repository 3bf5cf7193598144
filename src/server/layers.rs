//! What lies around every handler: a span, a count, a time limit, guarding headers, an answer even after a panic, and a
//! page in place of JSON for a person.
//!
//! A span has the method, the route and the status. It never has the query, headers or a body: tickets, states, codes
//! and tokens travel in them.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{HeaderMap, Method};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use super::error::ApiError;
use super::pages::{self, guarded};
use crate::metrics::Metrics;
use crate::trace::{self, Kind, Span, TRACEPARENT};

/// Longest that a handler may take: longer than a confirmation whose provider takes the 30 s that a request to it has.
const PATIENCE: Duration = Duration::from_secs(45);
/// How requests outside of every route are called.
const UNMATCHED: &str = "unmatched";
/// How routes end whose bodies stream.
const STREAMED: &str = "/proxy/{*path}";
/// What routes have that are for callers with a token, and what those have that are for browsers.
const CALLERS: &str = "/v1/";
const BROWSERS: &str = "/api/public/";

/// Wraps routes into what every request gets. `base`: the path of the public address, without a slash at its end.
pub(super) fn around<S: Clone + Send + Sync + 'static>(routes: Router<S>, base: &str, metrics: Metrics) -> Router<S> {
    routes
        .layer(from_fn(limit_time))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
            // Its words may hold anything. The panic hook has told the log where.
            drop(panic);
            ApiError::Internal.into_response()
        }))
        .layer(from_fn_with_state(Arc::<str>::from(base), for_people))
        .layer(map_response(async |response: Response| guarded(response)))
        .layer(from_fn_with_state(metrics, observe))
}

async fn limit_time(request: Request, next: Next) -> Response {
    // What streams has limits of its own.
    if request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str().ends_with(STREAMED)) {
        return next.run(request).await;
    }
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

/// Errors are JSON, and a page where a browser shows them to a person. What lies below `/v1` is for programs alone.
async fn for_people(State(base): State<Arc<str>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_public = !path.strip_prefix(&*base).unwrap_or(path).starts_with("/v1/") && !path.starts_with("/v1/");
    let is_person = is_public && takes_html(request.headers());
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Arc<ApiError>>() {
        Some(error) if is_person => {
            let (page, body) = pages::refused(&error).into_parts();
            // Such as `Allow`, which the router has added.
            let headers = response.headers_mut();
            headers.remove(CONTENT_LENGTH);
            headers.extend(page.headers);
            *response.body_mut() = body;
            response
        }
        _ => response,
    }
}

/// Whether HTML is among what a client asks for by name. `*/*` is no person.
fn takes_html(headers: &HeaderMap) -> bool {
    let media = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    media.into_iter().any(|one| one.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("text/html")))
}

async fn observe(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| UNMATCHED.to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let trace = traced(&method, &route, &request);
    let trace_id = trace.trace_id();
    let span = tracing::info_span!("request", %method, route, status = tracing::field::Empty, trace_id);
    let started = Instant::now();
    let run = async {
        let response = trace.within(next.run(request)).await;
        let status = response.status();
        trace.set("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            trace.fail("answered with an error of the server");
        }
        trace.end();
        tracing::Span::current().record("status", status.as_u16());
        tracing::debug!(milliseconds = started.elapsed().as_millis(), "answered");
        metrics.request(&method, &route, status);
        response
    };
    run.instrument(span).await
}

/// The trace of a caller goes on. Browsers' does not: anybody could name one. Their requests belong to the trace of
/// the attempt whose ticket or state they bring, see [`crate::flow`].
fn traced(method: &Method, route: &str, request: &Request) -> Span {
    if !trace::is_on() || !route.contains(CALLERS) || route.contains(BROWSERS) {
        return Span::default();
    }
    let parent = request.headers().get(TRACEPARENT).and_then(|parent| parent.to_str().ok());
    let span = Span::continuing(parent, format!("{method} {route}"), Kind::Server, SystemTime::now());
    span.set("http.request.method", method.as_str());
    span.set("http.route", route);
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exposition;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt as _;

    async fn ask(path: &str) -> (StatusCode, String, Metrics) {
        let metrics = Metrics::new();
        let routes = Router::new()
            .route("/panic/{id}", get(async || -> &'static str { panic!("canary") }))
            .route("/hang", get(std::future::pending::<&'static str>));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = around(routes, "/base", metrics.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap(), metrics)
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_counted_by_route() {
        let (status, body, metrics) = ask("/panic/canary").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("\"internal\"") && !body.contains("canary"), "{body}");
        let text = metrics.encode(Exposition::OpenMetrics).unwrap();
        assert!(text.contains("route=\"/panic/{id}\",status=\"500\"} 1"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (status, body, _) = ask("/hang").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("timed_out"), "{body}");
    }
}
