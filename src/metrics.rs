//! Figures for Prometheus: aggregates by provider and outcome, never by tenant, and never a secret.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;

/// All figures of one process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    refreshes: Family<Refresh, Counter>,
    lateness: Histogram,
    token_requests: Family<Provider, Histogram>,
    reconcile_errors: Family<ReasonLabel, Counter>,
    callbacks: Family<Callback, Counter>,
    requests: Family<Request, Counter>,
    leader: Gauge,
    integrations: Family<ReasonLabel, Gauge>,
    soonest_expiry: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refresh {
    provider: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Provider {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Callback {
    ending: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("integration_operator");
        let refreshes = Family::default();
        registry.register("refreshes", "Refreshes by provider and outcome", refreshes.clone());
        let lateness = Histogram::new(exponential_buckets(0.01, 3.0, 12));
        registry.register(
            "refresh_lateness_seconds",
            "How long after the planned moment a refresh ended",
            lateness.clone(),
        );
        let token_requests = Family::new_with_constructor(latency as fn() -> Histogram);
        registry.register("token_request_seconds", "Duration of token requests by provider", token_requests.clone());
        let reconcile_errors = Family::default();
        registry.register("reconcile_errors", "Reconciles that failed, by reason", reconcile_errors.clone());
        let callbacks = Family::default();
        registry.register("callbacks", "Authorization callbacks by ending", callbacks.clone());
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests by route and status", requests.clone());
        let leader = Gauge::default();
        registry.register("leader", "1 while this replica reconciles", leader.clone());
        let integrations = Family::default();
        registry.register("integrations", "Integrations by the reason of their Ready condition", integrations.clone());
        let soonest_expiry = Gauge::default();
        registry.register(
            "soonest_expiry_timestamp_seconds",
            "When the first access token expires (Unix time); 0 when none does",
            soonest_expiry.clone(),
        );
        Self {
            registry: Arc::new(registry),
            refreshes,
            lateness,
            token_requests,
            reconcile_errors,
            callbacks,
            requests,
            leader,
            integrations,
            soonest_expiry,
        }
    }
}

/// Buckets from 5 ms to 40 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

impl Metrics {
    /// A refresh ended.
    pub fn refresh(&self, provider: &str, outcome: &str) {
        let labels = Refresh { provider: provider.to_owned(), outcome: outcome.to_owned() };
        self.refreshes.get_or_create(&labels).inc();
    }

    /// A refresh was made this long after its planned moment.
    pub fn lateness(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }

    /// A token request took this long.
    pub fn token_request(&self, provider: &str, took: Duration) {
        self.token_requests.get_or_create(&Provider { provider: provider.to_owned() }).observe(took.as_secs_f64());
    }

    /// A reconcile failed.
    pub fn reconcile_error(&self, reason: Reason) {
        self.reconcile_errors.get_or_create(&ReasonLabel { reason: reason.as_str().to_owned() }).inc();
    }

    /// A callback ended.
    pub fn callback(&self, ending: &str) {
        self.callbacks.get_or_create(&Callback { ending: ending.to_owned() }).inc();
    }

    /// An HTTP request was answered; `route` is the matched pattern, never the path itself.
    pub fn request(&self, route: &str, status: u16) {
        self.requests.get_or_create(&Request { route: route.to_owned(), status }).inc();
    }

    /// Whether this replica reconciles.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Integrations by the reason of their `Ready` condition, and the first expiry among them.
    pub fn census(&self, by_reason: &[(String, i64)], soonest_expiry: Option<i64>) {
        self.integrations.clear();
        for (reason, count) in by_reason {
            self.integrations.get_or_create(&ReasonLabel { reason: reason.clone() }).set(*count);
        }
        self.soonest_expiry.set(soonest_expiry.unwrap_or(0));
    }

    /// All figures in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
