//! Every metric of the process, in one place: aggregates, with labels from closed lists.
//!
//! Cheap to clone. Who has something to count is given a clone, and needs to know no registry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

const PREFIX: &str = "integration_operator";

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    refreshes: Family<Refresh, Counter>,
    lateness: Histogram,
    exchange: Histogram,
    callbacks: Family<Callback, Counter>,
    requests: Family<Request, Counter>,
    attempts: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refresh {
    provider: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Callback {
    ending: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that stand at zero.
    pub fn new() -> Self {
        // 10 ms to 5 min: a refresh is late by milliseconds, or by an outage.
        let lateness = Histogram::new(exponential_buckets(0.01, 2.0, 16));
        // 10 ms to 40 s: a request to a provider may take 30 s.
        let exchange = Histogram::new(exponential_buckets(0.01, 2.0, 13));
        let (refreshes, callbacks, requests) = (Family::default(), Family::default(), Family::default());
        let attempts = Gauge::default();
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("refreshes", "Refreshes by provider and outcome", Family::clone(&refreshes));
        registry.register("refresh_lateness_seconds", "Time from the planned moment to the request", lateness.clone());
        registry.register("code_exchange_seconds", "Time that providers take for a code", exchange.clone());
        registry.register("callbacks", "Callbacks by ending", Family::clone(&callbacks));
        registry.register("http_requests", "Requests by method, route and status", Family::clone(&requests));
        registry.register("authorization_attempts_open", "Authorization attempts that are open", attempts.clone());
        Self { inner: Arc::new(Inner { registry, refreshes, lateness, exchange, callbacks, requests, attempts }) }
    }

    /// A refresh ended. `provider` is the name of a provider object, of which there are few.
    pub fn refresh(&self, provider: &str, outcome: &'static str) {
        self.inner.refreshes.get_or_create(&Refresh { provider: provider.to_owned(), outcome }).inc();
    }

    /// A refresh began this long after its planned moment.
    pub fn lateness(&self, late: Duration) {
        self.inner.lateness.observe(late.as_secs_f64());
    }

    /// A provider took this long to exchange a code.
    pub fn exchange(&self, took: Duration) {
        self.inner.exchange.observe(took.as_secs_f64());
    }

    /// A callback ended.
    pub fn callback(&self, ending: &'static str) {
        self.inner.callbacks.get_or_create(&Callback { ending }).inc();
    }

    /// A request was answered. `route` is the route's pattern, never the path itself.
    pub fn request(&self, method: &Method, route: &str, status: StatusCode) {
        let labels = Request { method: known(method), route: route.to_owned(), status: status.as_u16() };
        self.inner.requests.get_or_create(&labels).inc();
    }

    /// So many authorization attempts are open.
    pub fn attempts_open(&self, count: usize) {
        self.inner.attempts.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.inner.registry)?;
        Ok(text)
    }
}

/// Anybody can make methods up; a label takes only those that exist.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_encodes() {
        let metrics = Metrics::new();
        metrics.clone().refresh("slack", "refreshed");
        metrics.callback("success");
        metrics.attempts_open(3);
        metrics.lateness(Duration::from_millis(5));
        metrics.request(&Method::from_bytes(b"BREW").unwrap(), "/v1/providers", StatusCode::OK);
        let text = metrics.encode().unwrap();
        for line in [
            "integration_operator_refreshes_total{provider=\"slack\",outcome=\"refreshed\"} 1",
            "integration_operator_callbacks_total{ending=\"success\"} 1",
            "integration_operator_authorization_attempts_open 3",
            "integration_operator_refresh_lateness_seconds_count 1",
            "integration_operator_http_requests_total{method=\"other\",route=\"/v1/providers\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
