//! The objects that are rendered: Pods, their flags, and what comes and goes with which value.

use std::net::SocketAddr;

use clap::Parser as _;
use integration_operator::config::{Cli, Command, InitiatorCheck, LogFormat};
use integration_operator::provider::lint::{Severity, lint};
use serde_json::{Value, json};

use crate::helm::{Helm, RELEASE, has, object};
use crate::{full, minimal, pods, with, words};

#[test]
fn every_pod_keeps_to_the_restricted_standard() {
    let Some(helm) = Helm::or_skip("every_pod_keeps_to_the_restricted_standard") else { return };
    let objects = helm.objects(RELEASE, &full());
    let pods = pods(&objects);
    assert_eq!(pods.len(), 4, "the operator, the cleanup, the providers and the test");
    for (name, pod) in pods {
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert!(pod["automountServiceAccountToken"].is_boolean(), "{name} does not say whether it wants a token");
        for network in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[network].is_null(), "{name}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
            assert!(!container["resources"]["requests"].is_null(), "{name}");
            assert!(
                container["command"].is_null(),
                "{name}: the image's entrypoint is the operator, and it has no shell"
            );
        }
    }
}

/// What the binary makes of the arguments of a Pod.
fn parsed(pod: &Value) -> Command {
    let arguments = words(&pod["containers"][0]["args"]);
    let all = ["integration-operator".to_owned()].into_iter().chain(arguments.clone());
    Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{arguments:?}: {error}")).command
}

#[test]
fn the_operator_understands_its_flags() {
    let Some(helm) = Helm::or_skip("the_operator_understands_its_flags") else { return };
    let objects = helm.objects(RELEASE, &full());
    let mut seen = 0;
    for (name, pod) in pods(&objects) {
        seen += 1;
        match parsed(pod) {
            Command::Run(run) => {
                assert_eq!(run.public_url.as_str(), "https://connect.example.com/apps");
                assert_eq!(run.frontend_urls.len(), 2);
                assert_eq!(run.initiator_check, InitiatorCheck::Confirm);
                assert_eq!(run.log_format, LogFormat::Json);
                assert_eq!(run.watch_namespaces, ["acme", "globex"]);
                assert!(run.accept_api_server_audience && run.leader_elect);
                assert_eq!(run.trusted_proxies.len(), 1);
                assert_eq!(run.egress.cluster_networks.len(), 2);
                assert_eq!(run.egress.allow_insecure_provider_hosts, ["provider.test"]);
                assert_eq!(run.egress.ca_bundle.unwrap().to_str(), Some("/etc/integration-operator/ca/ca.crt"));
                let keys = "/etc/integration-operator/grant-keys/keys";
                assert_eq!(run.sealing.grant_key_file.unwrap().to_str(), Some(keys));
                assert_eq!(run.otlp_endpoint.unwrap().as_str(), "http://collector.monitoring:4318/");
                assert_eq!(run.listen, SocketAddr::from(([0, 0, 0, 0], 8080)));
                assert_eq!(run.metrics_listen, SocketAddr::from(([0, 0, 0, 0], 9090)));
            }
            Command::Cleanup(cleanup) => {
                assert!(cleanup.revoke);
                assert_eq!(cleanup.stop_deployment.as_deref(), Some("integration-operator"));
                assert_eq!(cleanup.watch_namespaces, ["acme", "globex"]);
                assert!(cleanup.egress.ca_bundle.is_some() && cleanup.sealing.grant_key_file.is_some());
            }
            Command::Providers(_) => {}
            Command::Probe(probe) => {
                assert_eq!(probe.service.as_str(), "http://integration-operator/");
                assert_eq!(probe.probes.as_str(), "http://integration-operator-metrics:9090/");
            }
            Command::Crds | Command::Import(_) => panic!("{name} runs another command"),
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn a_pod_knows_its_namespace_and_itself() {
    let Some(helm) = Helm::or_skip("a_pod_knows_its_namespace_and_itself") else { return };
    let objects = helm.objects("elsewhere", &minimal());
    let pod = &object(&objects, "Deployment", RELEASE)["spec"]["template"]["spec"];
    let environment = pod["containers"][0]["env"].as_array().unwrap();
    for (name, path) in [("NAMESPACE", "metadata.namespace"), ("POD_UID", "metadata.uid")] {
        let variable = environment.iter().find(|variable| variable["name"] == name).unwrap();
        assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], path);
    }
    assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() >= 90);
    assert_eq!(pod["containers"][0]["image"], format!("integration-operator:{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn one_replica_may_always_be_moved() {
    let Some(helm) = Helm::or_skip("one_replica_may_always_be_moved") else { return };
    assert!(has(&helm.objects(RELEASE, &with(json!({ "replicaCount": 2 }))), "PodDisruptionBudget"));
    for replicas in [0, 1] {
        assert!(!has(&helm.objects(RELEASE, &with(json!({ "replicaCount": replicas }))), "PodDisruptionBudget"));
    }
}

#[test]
fn what_is_turned_off_is_not_there() {
    let Some(helm) = Helm::or_skip("what_is_turned_off_is_not_there") else { return };
    let off = json!({ "enabled": false });
    let turned = [
        (json!({ "networkPolicy": off }), "NetworkPolicy"),
        (json!({ "podDisruptionBudget": off }), "PodDisruptionBudget"),
        (json!({ "admissionPolicies": off }), "ValidatingAdmissionPolicy"),
        (json!({ "cleanup": off }), "Job"),
        (json!({ "tests": off }), "Pod"),
        (json!({ "crds": { "install": false } }), "CustomResourceDefinition"),
        (json!({ "serviceAccount": { "create": false, "name": "a" }, "cleanup": off }), "ServiceAccount"),
        (json!({ "rbac": { "create": false }, "cleanup": off }), "RoleBinding"),
    ];
    let all = helm.objects(RELEASE, &minimal());
    for (values, kind) in turned {
        assert!(has(&all, kind), "{kind}");
        assert!(!has(&helm.objects(RELEASE, &with(values)), kind), "{kind}");
    }
    let on = helm.objects(RELEASE, &full());
    for kind in ["Ingress", "HTTPRoute", "ServiceMonitor", "PrometheusRule"] {
        assert!(!has(&all, kind) && has(&on, kind), "{kind}");
    }
}

#[test]
fn definitions_stay_when_the_release_goes() {
    let Some(helm) = Helm::or_skip("definitions_stay_when_the_release_goes") else { return };
    for keep in [true, false] {
        let objects = helm.objects(RELEASE, &with(json!({ "crds": { "keep": keep } })));
        let kept = |object: &&Value| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
        let definitions: Vec<_> =
            objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
        assert_eq!(definitions.len(), integration_operator::api::crds().len());
        assert_eq!(definitions.iter().copied().filter(kept).count(), if keep { definitions.len() } else { 0 });
    }
    // But for them the definitions are those of the source.
    for crd in integration_operator::api::crds() {
        let wanted = serde_json::to_value(&crd).unwrap();
        let objects = helm.objects(RELEASE, &minimal());
        let found = object(&objects, "CustomResourceDefinition", wanted["metadata"]["name"].as_str().unwrap());
        assert_eq!(found["spec"], wanted["spec"]);
    }
}

#[test]
fn two_releases_share_no_name() {
    let Some(helm) = Helm::or_skip("two_releases_share_no_name") else { return };
    // As long as Helm takes them.
    let long = "r".repeat(53);
    let mut names = std::collections::BTreeSet::new();
    for release in [RELEASE, "second", long.as_str()] {
        let text = helm.template(release, "apps", &full(), &[]).unwrap();
        for object in crate::helm::documents(&text) {
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            assert!(name.len() <= 63, "{kind} {name}");
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let shared = kind == "CustomResourceDefinition" || (kind == "ServiceAccount" && name == "connector");
            assert!(names.insert((kind.to_owned(), namespace, name.to_owned())) || shared, "{release}: {kind} {name}");
        }
    }
}

#[test]
fn declared_providers_are_sound() {
    let Some(helm) = Helm::or_skip("declared_providers_are_sound") else { return };
    let objects = helm.objects(RELEASE, &full());
    let files = &object(&objects, "ConfigMap", "integration-operator-providers")["data"];
    assert_eq!(files.as_object().unwrap().keys().collect::<Vec<_>>(), ["acton.yaml", "code.yaml", "slack.yaml"]);
    for (name, text) in files.as_object().unwrap() {
        let text = text.as_str().unwrap();
        let wrong: Vec<_> = lint(text).into_iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{text}");
    }
    let spec: Value = serde_yaml::from_str(files["code.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(spec["spec"]["preset"], "github");
    assert_eq!(spec["spec"]["displayName"], "Code");
    let secret = object(&objects, "Secret", spec["spec"]["clientCredentialsRef"]["name"].as_str().unwrap());
    assert_eq!(secret["stringData"], json!({ "client_id": "our-client", "client_secret": "our-secret" }));
    assert!(!files.to_string().contains("our-secret"));
    let secrets = objects.iter().filter(|object| object["kind"] == "Secret").count();
    assert_eq!(secrets, 1, "one that exists already is not made");
}

#[test]
fn the_notes_tell_the_callback_addresses() {
    let Some(helm) = Helm::or_skip("the_notes_tell_the_callback_addresses") else { return };
    let chart = crate::helm::chart();
    let mut values = full();
    values["providers"][2]["spec"]["oauth2"]["redirectURI"] = json!("https://old.example.com/callback");
    let values = helm.values(&values);
    let output =
        helm.run(&["install", RELEASE, chart.to_str().unwrap(), "--dry-run=client", "-n", "apps", "-f", &values]);
    let said = String::from_utf8(output.stdout).unwrap();
    for line in [
        "slack: https://connect.example.com/apps/api/public/integrations/slack/callback",
        "code: https://connect.example.com/apps/api/public/integrations/code/callback",
        "acton: https://old.example.com/callback",
        "It must be one of: acme, globex.",
        "WARNING: allowInsecureProviderHosts",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!said.split("NOTES").nth(1).unwrap().contains("our-secret"));
}
