use std::collections::BTreeSet;

use super::*;

/// Metrics with everything counted once.
fn counted() -> Metrics {
    let metrics = Metrics::new();
    metrics.clone().refresh("slack", "refreshed");
    metrics.callback("success");
    metrics.action("slack", "send-message", "done");
    metrics.webhook("slack", "verified");
    metrics.event("slack", "delivered");
    metrics.leads(true);
    metrics.orphans(1);
    metrics.grants(&[("first".to_owned(), 1)].into());
    metrics.grant_key_file(true);
    metrics.lateness(Duration::from_millis(5));
    metrics.token_request("slack", Duration::from_millis(5));
    metrics.reconcile_error(Reason::StorageFailed);
    metrics.census(&[("Connected".to_owned(), 1)], None);
    metrics.request(&Method::from_bytes(b"BREW").unwrap(), "/v1/providers", StatusCode::OK);
    metrics
}

#[test]
fn counts_and_encodes() {
    let text = counted().encode(Exposition::OpenMetrics).unwrap();
    for line in [
        "integration_operator_refreshes_total{provider=\"slack\",outcome=\"refreshed\"} 1",
        "integration_operator_callbacks_total{ending=\"success\"} 1",
        "integration_operator_leader 1",
        "integration_operator_refresh_lateness_seconds_count 1",
        "integration_operator_http_requests_total{method=\"other\",route=\"/v1/providers\",status=\"200\"} 1",
        "# TYPE integration_operator_callbacks counter",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn the_older_format_knows_no_exemplars() {
    let metrics = counted();
    let exemplar = Some(Trace { trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned() });
    metrics.inner.lateness.observe(0.005, exemplar, None);
    let text = metrics.encode(Exposition::OpenMetrics).unwrap();
    assert!(text.contains("# {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.005"), "{text}");
    let text = metrics.encode(Exposition::Text).unwrap();
    assert!(!text.contains("trace_id") && !text.contains("EOF"), "{text}");
    for line in [
        "# HELP integration_operator_callbacks_total Callbacks by ending.\n",
        "# TYPE integration_operator_callbacks_total counter\n",
        "integration_operator_callbacks_total{ending=\"success\"} 1\n",
        "integration_operator_refresh_lateness_seconds_bucket{le=\"0.01\"} 2\n",
        "# TYPE integration_operator_leader gauge\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

/// What is registered, what is told and what is documented are the same.
#[test]
fn definitions_are_true() {
    let text = counted().encode(Exposition::Text).unwrap();
    let declared: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let defined: BTreeSet<String> =
        ALL.iter().map(|definition| format!("{} {}", definition.full_name(), definition.kind)).collect();
    assert_eq!(declared, defined.iter().map(String::as_str).collect());
    for definition in ALL {
        let name = definition.full_name();
        let sample = |line: &&str| !line.starts_with('#') && line.starts_with(&name);
        let line = text.lines().find(sample).unwrap_or_else(|| panic!("no sample of {name}"));
        let labels = line.split_once('{').map_or("", |(_, rest)| rest);
        let found: BTreeSet<&str> = labels
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|label| *label != "le")
            .collect();
        assert_eq!(found, definition.labels.iter().copied().collect(), "{line}");
    }
}
