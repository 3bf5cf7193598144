//! Every metric of the process, in one place: aggregates, with labels from closed lists.
//!
//! Cheap to clone. Who has something to count is given a clone, and needs to know no registry.

use std::collections::BTreeMap;
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

use crate::api::Reason;

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
    token_requests: Family<Provider, Histogram>,
    reconcile_errors: Family<Reasoned, Counter>,
    integrations: Family<Reasoned, Gauge>,
    soonest_expiry: Gauge,
    leader: Gauge,
    orphans: Gauge,
    grants: Family<SealedWith, Gauge>,
    grant_key_file: Gauge,
    callbacks: Family<Callback, Counter>,
    requests: Family<Request, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Provider {
    provider: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reasoned {
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refresh {
    provider: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SealedWith {
    key: String,
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
        let token_requests = Family::new_with_constructor(token_request_buckets as fn() -> Histogram);
        let (reconcile_errors, integrations) = (Family::default(), Family::default());
        let (soonest_expiry, leader, orphans) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (grants, grant_key_file) = (Family::default(), Gauge::default());
        let (refreshes, callbacks, requests) = (Family::default(), Family::default(), Family::default());
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("refreshes", "Refreshes by provider and outcome", Family::clone(&refreshes));
        registry.register("refresh_lateness_seconds", "Time from the planned moment to the request", lateness.clone());
        registry.register(
            "token_request_seconds",
            "Time that providers take for a token",
            Family::clone(&token_requests),
        );
        registry.register("reconcile_errors", "Reconciles that failed, by reason", Family::clone(&reconcile_errors));
        registry.register(
            "integrations",
            "Integrations by reason of their Ready condition",
            Family::clone(&integrations),
        );
        registry.register(
            "soonest_expiry_timestamp_seconds",
            "When the first access token expires (Unix time); 0 when none does",
            soonest_expiry.clone(),
        );
        registry.register("orphaned_grants", "Grants whose integration is gone", orphans.clone());
        registry.register(
            "grants",
            "Grants by the name of the key that they are sealed with; empty for none",
            Family::clone(&grants),
        );
        registry.register(
            "grant_key_file_usable",
            "1 while --grant-key-file can be used, 0 while the keys before are in use instead of it",
            grant_key_file.clone(),
        );
        registry.register("leader", "1 while this replica reconciles", leader.clone());
        registry.register("callbacks", "Callbacks by ending", Family::clone(&callbacks));
        registry.register("http_requests", "Requests by method, route and status", Family::clone(&requests));
        Self {
            inner: Arc::new(Inner {
                registry,
                refreshes,
                lateness,
                token_requests,
                reconcile_errors,
                integrations,
                soonest_expiry,
                leader,
                orphans,
                grants,
                grant_key_file,
                callbacks,
                requests,
            }),
        }
    }

    /// A refresh ended. `provider` is the name of a provider object, of which there are few.
    pub fn refresh(&self, provider: &str, outcome: &'static str) {
        self.inner.refreshes.get_or_create(&Refresh { provider: provider.to_owned(), outcome }).inc();
    }

    /// A refresh began this long after its planned moment.
    pub fn lateness(&self, late: Duration) {
        self.inner.lateness.observe(late.as_secs_f64());
    }

    /// A token request, for a code or a refresh, took this long.
    pub fn token_request(&self, provider: &str, took: Duration) {
        let labels = Provider { provider: provider.to_owned() };
        self.inner.token_requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A reconcile failed.
    pub fn reconcile_error(&self, reason: Reason) {
        self.inner.reconcile_errors.get_or_create(&Reasoned { reason: reason.as_str().to_owned() }).inc();
    }

    /// Whether this replica reconciles.
    pub fn leads(&self, leads: bool) {
        self.inner.leader.set(i64::from(leads));
    }

    /// So many grants have no integration any more.
    pub fn orphans(&self, count: i64) {
        self.inner.orphans.set(count);
    }

    /// So many grants are sealed with each key; under the empty name those that are not.
    pub fn grants(&self, by_key: &BTreeMap<String, i64>) {
        self.inner.grants.clear();
        for (key, count) in by_key {
            self.inner.grants.get_or_create(&SealedWith { key: key.clone() }).set(*count);
        }
    }

    /// Whether the file of the keys that grants are sealed with can be used.
    pub fn grant_key_file(&self, usable: bool) {
        self.inner.grant_key_file.set(i64::from(usable));
    }

    /// Integrations by the reason of their `Ready` condition, and the first expiry among them (Unix time).
    pub fn census(&self, by_reason: &[(String, i64)], soonest_expiry: Option<i64>) {
        self.inner.integrations.clear();
        for (reason, count) in by_reason {
            self.inner.integrations.get_or_create(&Reasoned { reason: reason.clone() }).set(*count);
        }
        self.inner.soonest_expiry.set(soonest_expiry.unwrap_or(0));
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

    /// `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.inner.registry)?;
        Ok(text)
    }
}

/// 10 ms to 40 s: a request to a provider may take 30 s.
fn token_request_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 13))
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
        metrics.leads(true);
        metrics.lateness(Duration::from_millis(5));
        metrics.request(&Method::from_bytes(b"BREW").unwrap(), "/v1/providers", StatusCode::OK);
        let text = metrics.encode().unwrap();
        for line in [
            "integration_operator_refreshes_total{provider=\"slack\",outcome=\"refreshed\"} 1",
            "integration_operator_callbacks_total{ending=\"success\"} 1",
            "integration_operator_leader 1",
            "integration_operator_refresh_lateness_seconds_count 1",
            "integration_operator_http_requests_total{method=\"other\",route=\"/v1/providers\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
