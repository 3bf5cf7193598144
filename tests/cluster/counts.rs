//! How many requests the API server answered: all of them from its metrics, and those of one user
//! from the audit log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Cluster;

/// A kind of request, as the metric `apiserver_request_total` has it: the verb is `GET`, `LIST`,
/// `WATCH`, `POST`, `PUT`, `PATCH`, `APPLY`, `DELETE` or `DELETECOLLECTION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiRequest {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
}

impl ApiRequest {
    /// A request for a resource itself. Groups may be left empty only for core resources.
    pub fn new(verb: &str, group: &str, resource: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
        }
    }

    /// A request for a subresource.
    #[must_use]
    pub fn subresource(self, subresource: &str) -> Self {
        Self { subresource: subresource.to_owned(), ..self }
    }
}

impl Cluster {
    /// All requests answered so far, of everybody, the control plane included. A watch counts when
    /// it ends, a request may be counted a moment after its answer, and one that was refused for
    /// want of rights is not counted at all: those are in the audit log only.
    pub async fn api_request_counts(&self) -> Result<BTreeMap<ApiRequest, u64>> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client()?.request_text(request).await.context("cannot read /metrics")?;
        Ok(parse_counts(&text))
    }

    /// What the audit log holds of everybody but the control plane, one event a request, in the
    /// order of their arrival in the log. A running watch is in it (`stage: ResponseStarted`).
    ///
    /// The log may lag behind an answer. So this sends a request of its own and waits for it to
    /// show up; what was answered before is then in the log, and the own request is left out.
    pub async fn audit_events(&self) -> Result<Vec<Value>> {
        let path = self.audit_log.as_ref().context("the cluster was started without audit_log")?;
        let marker = format!("/version?audit-marker={}", uuid::Uuid::new_v4().simple());
        let request = http::Request::get(&marker).body(Vec::new())?;
        self.client()?.request_text(request).await.context("cannot reach the API server")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let log = tokio::fs::read_to_string(path).await.context("cannot read the audit log")?;
            if log.contains(&marker) {
                return parse_audit(&log);
            }
            if Instant::now() > deadline {
                bail!("a request does not show up in the audit log");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Sums `apiserver_request_total` over codes, versions and scopes.
pub fn parse_counts(metrics: &str) -> BTreeMap<ApiRequest, u64> {
    let mut counts = BTreeMap::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let Some((labels, value)) = rest.rsplit_once("} ") else {
            continue;
        };
        // Large values are written as 1.2e+06.
        let Ok(value) = value.trim().parse::<f64>() else {
            continue;
        };
        let Ok(value) = format!("{value:.0}").parse::<u64>() else {
            continue;
        };
        let label = |name: &str| label(labels, name).unwrap_or_default().to_owned();
        let request = ApiRequest {
            verb: label("verb"),
            group: label("group"),
            resource: label("resource"),
            subresource: label("subresource"),
        };
        *counts.entry(request).or_default() += value;
    }
    counts
}

/// The value of a label. None of the values holds a quote.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_end_matches('"'))
}

/// One event a request: the last of its stages.
pub fn parse_audit(log: &str) -> Result<Vec<Value>> {
    let mut events: Vec<Value> = Vec::new();
    let mut places = BTreeMap::new();
    // A line without its end is still being written.
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let event: Value = serde_json::from_str(line).context("cannot read a line of the audit log")?;
        if event["requestURI"].as_str().is_some_and(|uri| uri.starts_with("/version?audit-marker=")) {
            continue;
        }
        let id = event["auditID"].as_str().unwrap_or_default().to_owned();
        if let Some(&place) = places.get(&id) {
            events[place] = event;
        } else {
            places.insert(id, events.len());
            events.push(event);
        }
    }
    Ok(events)
}
