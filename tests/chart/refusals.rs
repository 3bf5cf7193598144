//! Values that are refused, and in which words; and those that Helm's own lint takes.

use serde_json::{Value, json};

use crate::helm::{Helm, RELEASE, chart};
use crate::{minimal, with};

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = Helm::or_skip("helm_finds_nothing_to_complain_of") else { return };
    let folder = chart();
    for entry in std::fs::read_dir(folder.join("ci")).unwrap() {
        let values = entry.unwrap().path();
        let output = helm.run(&["lint", "--strict", folder.to_str().unwrap(), "-f", values.to_str().unwrap()]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}: {said}", values.display());
        assert!(!said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn values_that_cannot_work_are_refused_in_words() {
    let Some(helm) = Helm::or_skip("values_that_cannot_work_are_refused_in_words") else { return };
    let refused: [(Value, &str); 20] = [
        (json!({}), "publicUrl is missing: set it to the https address"),
        (
            json!({ "publicUrl": "http://connect.example.com" }),
            "at '/publicUrl': 'http://connect.example.com' does not match",
        ),
        (json!({ "publicUrl": "https://connect.example.com/?a=b" }), "at '/publicUrl'"),
        (with(json!({ "frontendUrls": ["app.example.com"] })), "at '/frontendUrls/0'"),
        (
            with(json!({ "terminationGracePeriodSeconds": 30 })),
            "at '/terminationGracePeriodSeconds': minimum: got 30, want 90",
        ),
        (with(json!({ "initiatorCheck": "maybe" })), "value must be one of 'click', 'confirm', 'none'"),
        (with(json!({ "replicas": 3 })), "additional properties 'replicas' not allowed"),
        (with(json!({ "image": { "digest": "sha256:abc" } })), "at '/image/digest'"),
        (with(json!({ "clusterNetworks": ["10.0.0.1"] })), "at '/clusterNetworks/0'"),
        (with(json!({ "trustedProxies": ["everybody"] })), "at '/trustedProxies/0'"),
        (with(json!({ "rbac": { "mode": "namespaces" } })), "watchNamespaces is empty"),
        (with(json!({ "watchNamespaces": [RELEASE] })), "its own namespace is never a tenant's"),
        (with(json!({ "caBundle": { "configMap": "a", "secret": "b" } })), "name a configMap or a secret, not both"),
        (with(json!({ "serviceAccount": { "create": false } })), "serviceAccount.name is missing"),
        (with(json!({ "httpRoute": { "enabled": true } })), "httpRoute.parentRefs is missing"),
        (with(json!({ "providers": [{ "existingSecret": "a" }] })), "at '/providers/0'"),
        (with(json!({ "providers": [{ "preset": "slack", "clientId": "a" }] })), "at '/providers/0'"),
        (
            with(
                json!({ "providers": [{ "preset": "slack", "existingSecret": "a", "clientId": "b", "clientSecret": "c" }] }),
            ),
            "at '/providers/0'",
        ),
        (with(json!({ "providers": [{ "preset": "slack" }, { "preset": "slack" }] })), "slack is there twice"),
        (with(json!({ "extraArgs": ["public-url"] })), "at '/extraArgs/0'"),
    ];
    for (values, words) in refused {
        let said = helm.template(RELEASE, RELEASE, &values, &[]).expect_err(&values.to_string());
        assert!(said.contains(words), "{values}: {said}");
    }
    helm.template(RELEASE, RELEASE, &minimal(), &[]).unwrap();
}

#[test]
fn addresses_that_can_work_are_taken() {
    let Some(helm) = Helm::or_skip("addresses_that_can_work_are_taken") else { return };
    for url in
        ["https://a.example.com/apps", "http://localhost:8080", "http://127.0.0.1:8080/x", "https://[2001:db8::1]:8443"]
    {
        helm.template(RELEASE, RELEASE, &json!({ "publicUrl": url }), &[]).unwrap();
    }
    let networks = with(json!({ "clusterNetworks": ["10.0.0.0/8", "fd00::/8"], "trustedProxies": ["::1/128"] }));
    helm.template(RELEASE, RELEASE, &networks, &[]).unwrap();
}

#[test]
fn an_old_kubernetes_is_refused() {
    let Some(helm) = Helm::or_skip("an_old_kubernetes_is_refused") else { return };
    for (version, taken) in [("v1.29.9", false), ("v1.30.0", true), ("v1.33.4-gke.1", true)] {
        let rendered = helm.template(RELEASE, RELEASE, &minimal(), &["--kube-version", version]);
        assert_eq!(rendered.is_ok(), taken, "{version}: {:?}", rendered.err());
    }
}
