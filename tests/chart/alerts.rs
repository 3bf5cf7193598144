//! Alerts and the dashboard: they ask for metrics that there are, every alert has a page, and Prometheus' own tool sees each
//! fire once and none when all is well.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use integration_operator::api::Reason;
use integration_operator::metrics::{Exposition, Metrics};
use serde_json::{Value, json};

use crate::helm::{Helm, RELEASE, object};
use crate::{full, read, with};

/// The names of all metrics, as they are scraped.
fn metrics() -> BTreeSet<String> {
    let metrics = Metrics::new();
    metrics.refresh("app", "renewed");
    metrics.lateness(Duration::from_millis(1));
    metrics.token_request("app", Duration::from_millis(1));
    metrics.reconcile_error(Reason::StorageFailed);
    metrics.census(&[("Connected".to_owned(), 1)], Some(1));
    metrics.callback("success");
    metrics.request(&Method::GET, "/v1/providers", StatusCode::OK);
    let text = metrics.encode(Exposition::Text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The names of metrics in an expression.
fn asked(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_name(letter)).filter(|word| word.starts_with("integration_operator_"));
    words.map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let metrics = metrics();
    for file in ["alerts.yaml", "dashboard.json"] {
        let asked = asked(&read(&format!("charts/integration-operator/files/{file}")));
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&metrics).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

/// The alerts of the chart.
fn alerts() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&read("charts/integration-operator/files/alerts.yaml")).unwrap();
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

#[test]
fn every_alert_has_a_page() {
    let list = read("docs/runbooks/README.md");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let page = read(&format!("docs/runbooks/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for part in ["**Means.**", "**Look.**", "**Mend.**"] {
            assert!(page.contains(part), "{name} has no {part}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(list.contains(&format!("| [{name}]({name}.md) | {severity} |")), "{name} is not in the list");
    }
    let pages = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")).unwrap();
    assert_eq!(pages.count(), alerts().len() + 1, "a page without an alert");
}

/// `make chart-lint` runs the file with Prometheus' own tool.
#[test]
fn every_alert_is_seen_to_fire_and_to_be_silent() {
    let file: Value = serde_yaml::from_str(include_str!("alerts.test.yaml")).unwrap();
    let cases = file["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let cases: Vec<_> = cases.collect();
    for alert in alerts() {
        let of = cases.iter().filter(|case| case["alertname"] == alert["alert"]);
        let silent: Vec<_> = of.map(|case| case["exp_alerts"].as_array().unwrap().is_empty()).collect();
        assert!(silent.contains(&true) && silent.contains(&false), "{}", alert["alert"]);
    }
}

#[test]
fn alerts_are_rendered_with_their_pages() {
    let Some(helm) = Helm::or_skip("alerts_are_rendered_with_their_pages") else { return };
    let objects = helm.objects("apps", &full());
    let rules = &object(&objects, "PrometheusRule", RELEASE)["spec"]["groups"][0]["rules"];
    let rules = rules.as_array().unwrap();
    assert_eq!(rules.len(), alerts().len() - 1, "one is disabled");
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert_ne!(name, "IntegrationOperatorOrphanedGrants");
        assert_eq!(rule["annotations"]["runbook_url"], format!("https://docs.example.com/runbooks/{name}.md"));
        let expression = rule["expr"].as_str().unwrap();
        assert!(expression.contains("namespace=\"apps\"") && !expression.contains("NAMESPACE"), "{expression}");
    }
    let plain = helm.objects("apps", &with(json!({ "prometheusRule": { "enabled": true } })));
    let rules = &object(&plain, "PrometheusRule", RELEASE)["spec"]["groups"][0]["rules"];
    assert_eq!(rules.as_array().unwrap().len(), alerts().len());
    assert!(rules[0]["annotations"]["runbook_url"].is_null());
    let dashboard = object(&objects, "ConfigMap", "integration-operator-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let json: Value = serde_json::from_str(dashboard["data"]["integration-operator.json"].as_str().unwrap()).unwrap();
    assert!(json["panels"].as_array().unwrap().len() > 5);
}
