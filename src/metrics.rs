//! Every metric of the process, in one place: aggregates, with labels from closed lists.
//!
//! Cheap to clone. Who has something to count is given a clone, and needs to know no registry.

mod definitions;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::{Metric, Registry};

use crate::api::Reason;
use crate::trace;

use definitions::{
    ACTIONS, CALLBACKS, EVENTS, GRANT_KEY_FILE, GRANTS, INTEGRATIONS, LATENESS, LEADER, ORPHANS, RECONCILE_ERRORS,
    REFRESHES, REQUESTS, SOONEST_EXPIRY, TOKEN_REQUESTS, WEBHOOKS,
};
pub use definitions::{ALL, Definition, PREFIX};

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    refreshes: Family<Refresh, Counter>,
    lateness: Traced,
    token_requests: Family<Provider, Traced>,
    reconcile_errors: Family<Reasoned, Counter>,
    integrations: Family<Reasoned, Gauge>,
    soonest_expiry: Gauge,
    leader: Gauge,
    orphans: Gauge,
    grants: Family<SealedWith, Gauge>,
    grant_key_file: Gauge,
    callbacks: Family<Callback, Counter>,
    requests: Family<Request, Counter>,
    actions: Family<Acted, Counter>,
    webhooks: Family<Webhook, Counter>,
    events: Family<Event, Counter>,
}

/// A histogram whose buckets name a trace that fell into them.
type Traced = HistogramWithExemplars<Trace>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Trace {
    trace_id: String,
}

/// How a scrape wants the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// `OpenMetrics`, with exemplars.
    OpenMetrics,
    /// The older text format of Prometheus, which knows no exemplars.
    Text,
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
struct Webhook {
    provider: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Event {
    provider: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Acted {
    provider: String,
    action: String,
    outcome: &'static str,
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
        let lateness = lateness_buckets();
        let token_requests = Family::new_with_constructor(token_request_buckets as fn() -> Traced);
        let (reconcile_errors, integrations) = (Family::default(), Family::default());
        let (soonest_expiry, leader, orphans) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (grants, grant_key_file) = (Family::default(), Gauge::default());
        let (refreshes, callbacks, requests) = (Family::default(), Family::default(), Family::default());
        let (actions, webhooks, events) = (Family::default(), Family::default(), Family::default());
        let mut registry = Registry::with_prefix(PREFIX);
        let known = &mut registry;
        add(known, REFRESHES, Family::clone(&refreshes));
        add(known, LATENESS, lateness.clone());
        add(known, TOKEN_REQUESTS, Family::clone(&token_requests));
        add(known, RECONCILE_ERRORS, Family::clone(&reconcile_errors));
        add(known, INTEGRATIONS, Family::clone(&integrations));
        add(known, SOONEST_EXPIRY, soonest_expiry.clone());
        add(known, ORPHANS, orphans.clone());
        add(known, GRANTS, Family::clone(&grants));
        add(known, GRANT_KEY_FILE, grant_key_file.clone());
        add(known, LEADER, leader.clone());
        add(known, CALLBACKS, Family::clone(&callbacks));
        add(known, REQUESTS, Family::clone(&requests));
        add(known, ACTIONS, Family::clone(&actions));
        add(known, WEBHOOKS, Family::clone(&webhooks));
        add(known, EVENTS, Family::clone(&events));
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
                actions,
                webhooks,
                events,
            }),
        }
    }

    /// A refresh ended. `provider` is the name of a provider object, of which there are few.
    pub fn refresh(&self, provider: &str, outcome: &'static str) {
        self.inner.refreshes.get_or_create(&Refresh { provider: provider.to_owned(), outcome }).inc();
    }

    /// An action ended. `action` is one of the description's.
    pub fn action(&self, provider: &str, action: &str, outcome: &'static str) {
        let labels = Acted { provider: provider.to_owned(), action: action.to_owned(), outcome };
        self.inner.actions.get_or_create(&labels).inc();
    }

    /// A webhook came.
    pub fn webhook(&self, provider: &str, verdict: &'static str) {
        self.inner.webhooks.get_or_create(&Webhook { provider: provider.to_owned(), verdict }).inc();
    }

    /// An event was handed on, or was not.
    pub fn event(&self, provider: &str, outcome: &'static str) {
        self.inner.events.get_or_create(&Event { provider: provider.to_owned(), outcome }).inc();
    }

    /// A refresh began this long after its planned moment.
    pub fn lateness(&self, late: Duration) {
        observe(&self.inner.lateness, late);
    }

    /// A token request, for a code or a refresh, took this long.
    pub fn token_request(&self, provider: &str, took: Duration) {
        let labels = Provider { provider: provider.to_owned() };
        observe(&self.inner.token_requests.get_or_create(&labels), took);
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

    /// The metrics as text.
    pub fn encode(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.inner.registry)?;
        Ok(match exposition {
            Exposition::OpenMetrics => text,
            Exposition::Text => older(&text),
        })
    }
}

fn add(registry: &mut Registry, definition: Definition, metric: impl Metric) {
    registry.register(definition.name, definition.help, metric);
}

/// Counts `took`, and names the trace in which it was observed, where one is kept.
fn observe(histogram: &Traced, took: Duration) {
    let exemplar = trace::current().trace_id().map(|trace_id| Trace { trace_id });
    let at = exemplar.is_some().then(SystemTime::now);
    histogram.observe(took.as_secs_f64(), exemplar, at);
}

/// `OpenMetrics` in the words of the older format: a counter is declared by the name that its samples have, and there
/// are no exemplars and no end mark. No label of ours holds a `#`.
fn older(text: &str) -> String {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let declared = ["# HELP ", "# TYPE "].iter().find_map(|kind| Some((*kind, line.strip_prefix(kind)?)));
        match declared.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(&name) => {
                older.extend([kind, name, "_total ", rest]);
            }
            Some(_) => older.push_str(line),
            None => older.push_str(line.split_once(" # ").map_or(line, |(sample, _)| sample)),
        }
        older.push('\n');
    }
    older
}

/// 10 ms to 5 min: a refresh is late by milliseconds, or by an outage.
fn lateness_buckets() -> Traced {
    Traced::new(exponential_buckets(0.01, 2.0, 16))
}

/// 10 ms to 40 s: a request to a provider may take 30 s.
fn token_request_buckets() -> Traced {
    Traced::new(exponential_buckets(0.01, 2.0, 13))
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
mod tests;
