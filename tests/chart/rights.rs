//! The rights that the chart asks for: each with its reason in `docs/rbac.md`, none beyond, and `deploy/rbac.yaml` is them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::documented::{Right, documented};
use crate::helm::{Helm, RELEASE, documents, object};
use crate::{full, minimal, read, with, words};

/// The rights of a role.
fn rights(role: &Value) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for (resource, verb) in words(&rule["resources"]).iter().flat_map(|resource| {
            let verbs = words(&rule["verbs"]);
            verbs.into_iter().map(move |verb| (resource.clone(), verb))
        }) {
            assert!(resource != "*" && verb != "*", "{role}");
            rights.insert((resource, verb));
        }
    }
    rights
}

/// The role of a kind, name and namespace.
fn role<'a>(objects: &'a [Value], kind: &str, name: &str, namespace: Option<&str>) -> &'a Value {
    let is = |object: &&Value| {
        object["kind"] == kind
            && object["metadata"]["name"] == name
            && object["metadata"]["namespace"].as_str() == namespace
    };
    objects.iter().find(is).unwrap_or_else(|| panic!("{kind} {name} in {namespace:?}"))
}

#[test]
fn every_right_has_its_reason() {
    let Some(helm) = Helm::or_skip("every_right_has_its_reason") else { return };
    let objects = helm.objects(RELEASE, &full());
    let own = Some(RELEASE);
    for (heading, kind, name, namespace) in [
        ("The operator, in the cluster", "ClusterRole", "", None),
        ("The operator, in tenants' namespaces", "Role", "", Some("acme")),
        ("The operator, in its own namespace", "Role", "", own),
        ("Cleaning up, in the cluster", "ClusterRole", "-cleanup", None),
        ("Cleaning up, in tenants' namespaces", "Role", "-cleanup", Some("acme")),
        ("Cleaning up, in its own namespace", "Role", "-cleanup", own),
        ("Declaring providers", "ClusterRole", "-providers", None),
        ("People: view", "ClusterRole", "-view", None),
        ("People: edit", "ClusterRole", "-edit", None),
        ("People: admin", "ClusterRole", "-admin", None),
        ("Setting up tenants", "ClusterRole", "-tenants", None),
    ] {
        let role = role(&objects, kind, &format!("{RELEASE}{name}"), namespace);
        assert_eq!(rights(role), documented(heading), "{heading}: left the chart, right docs/rbac.md");
    }
}

#[test]
fn the_cluster_mode_has_the_same_rights_for_the_whole_cluster() {
    let Some(helm) = Helm::or_skip("the_cluster_mode_has_the_same_rights_for_the_whole_cluster") else { return };
    let objects = helm.objects(RELEASE, &minimal());
    let cluster = documented("The operator, in the cluster");
    let tenants = documented("The operator, in tenants' namespaces");
    let wanted: BTreeSet<_> = cluster.union(&tenants).cloned().collect();
    assert_eq!(rights(object(&objects, "ClusterRole", RELEASE)), wanted);
    let roles = objects.iter().filter(|object| object["kind"] == "Role");
    let namespaces: BTreeSet<_> = roles.map(|role| role["metadata"]["namespace"].as_str().unwrap()).collect();
    assert_eq!(namespaces, BTreeSet::from([RELEASE]));
}

#[test]
fn with_roles_in_namespaces_nothing_cluster_wide_touches_secrets_or_integrations() {
    let Some(helm) = Helm::or_skip("with_roles_in_namespaces_nothing_cluster_wide_touches_secrets_or_integrations")
    else {
        return;
    };
    let objects = helm.objects(RELEASE, &full());
    let bound = objects.iter().filter(|object| object["kind"] == "ClusterRoleBinding");
    let names: Vec<_> = bound.map(|binding| binding["roleRef"]["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        for (resource, verb) in rights(object(&objects, "ClusterRole", name)) {
            assert!(resource != "secrets" && !resource.starts_with("projectintegrations"), "{name}: {verb} {resource}");
        }
    }
}

#[test]
fn secrets_of_tenants_are_never_listed() {
    let Some(helm) = Helm::or_skip("secrets_of_tenants_are_never_listed") else { return };
    for values in [minimal(), full()] {
        for object in helm.objects(RELEASE, &values) {
            let kind = object["kind"].as_str().unwrap();
            let own = kind == "Role" && object["metadata"]["namespace"] == RELEASE;
            if own || !matches!(kind, "Role" | "ClusterRole") {
                continue;
            }
            for verb in ["list", "watch", "deletecollection", "update"] {
                assert!(!rights(&object).contains(&("secrets".to_owned(), verb.to_owned())), "{object}");
            }
        }
    }
}

#[test]
fn nobody_is_given_tokens_by_an_aggregated_role() {
    let Some(helm) = Helm::or_skip("nobody_is_given_tokens_by_an_aggregated_role") else { return };
    let objects = helm.objects(RELEASE, &minimal());
    let label = |object: &Value, role: &str| {
        object["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{role}")] == "true"
    };
    let mut aggregated = 0;
    for object in objects.iter().filter(|object| ["view", "edit", "admin"].iter().any(|role| label(object, role))) {
        aggregated += 1;
        for (resource, verb) in rights(object) {
            assert_ne!(resource, "projectintegrations/token");
            assert!(!label(object, "view") || ["get", "list", "watch"].contains(&verb.as_str()), "{verb} {resource}");
        }
    }
    assert_eq!(aggregated, 3);
    let without = helm.objects(RELEASE, &with(json!({ "rbac": { "aggregate": false } })));
    assert!(!without.iter().any(|object| label(object, "view")));
}

/// The rights that all other tests run the operator with are those of the chart.
#[test]
fn the_tests_run_with_the_rights_of_the_chart() {
    let Some(helm) = Helm::or_skip("the_tests_run_with_the_rights_of_the_chart") else { return };
    let templates = ["-s", "templates/serviceaccount.yaml", "-s", "templates/rbac.yaml"];
    let rendered = helm.template(RELEASE, RELEASE, &minimal(), &templates).unwrap();
    let rendered = rendered.replace("---\n# Source: integration-operator/templates/", "---\n# ");
    let wanted = format!(
        "# What the operator may do, as the chart has it; docs/rbac.md says why. Generated by `make chart`; `deploy/` is what the\n\
         # tests and the demo run with.\n{rendered}"
    );
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/rbac.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert!(read("deploy/rbac.yaml") == wanted, "deploy/rbac.yaml is stale; run `make chart`");
    assert_eq!(documents(&wanted).len(), 5);
}

/// An annotation that is new would be asked for by anybody who may patch.
#[test]
fn every_annotation_that_asks_is_guarded() {
    let source = read("src/api/mod.rs");
    let policy = read("charts/integration-operator/templates/admission-requests.yaml");
    let asks: Vec<_> = source
        .split('"')
        .filter(|text| text.starts_with("integrations.tms.dev/requested-by") || text.ends_with("-requested-at"))
        .collect();
    assert!(asks.len() >= 5, "{asks:?}");
    for annotation in asks {
        assert!(policy.contains(&format!("'{annotation}'")), "{annotation} is in no policy");
    }
}
