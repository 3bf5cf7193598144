//! The Helm chart on a real API server: everything it renders is taken, its Pods pass the restricted standard, and the
//! operator does all its work with the rights of either mode.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde_json::{Value, json};

use crate::cluster::{self, Options, Part};
use crate::connect::{description, sandbox};
use crate::documented::{Right, documented};
use crate::helm::{Helm, RELEASE, chart};
use crate::sandbox::{Consent, SandboxOptions};
use crate::world::{Flags, OPERATOR, World, eventually, is_ready, last_refreshed, now};

/// A world with a chart: of the test's own, since what it leaves in the cluster concerns everybody.
pub async fn world_with_helm(test: &str) -> Option<(World, Helm)> {
    let helm = Helm::or_skip(test)?;
    let world = World::start(test).await?;
    world.cluster.has_or_skip(Part::OwnApiServer, test).then_some((world, helm))
}

/// The least that the chart needs, and some values more.
pub fn values(more: &Value) -> Value {
    let mut values = json!({ "publicUrl": "https://connect.example.com" });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    values
}

/// Applies objects with strict field validation; those of other projects' groups are left out, as nothing knows them here.
pub async fn apply(client: &kube::Client, objects: &[Value]) -> usize {
    let mut applied = 0;
    for object in objects {
        let group = object["apiVersion"].as_str().unwrap();
        if group.starts_with("monitoring.coreos.com/") || group.starts_with("gateway.networking.k8s.io/") {
            continue;
        }
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
        let (resource, capabilities) = pinned_kind(client, &kind).await.unwrap();
        let name = object.metadata.name.clone().unwrap();
        let api: Api<DynamicObject> = if capabilities.scope == Scope::Cluster {
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), object.metadata.namespace.as_deref().unwrap(), &resource)
        };
        let strictly =
            PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test").force() };
        if let Err(error) = api.patch(&name, &strictly, &Patch::Apply(&object)).await {
            panic!("{} {name}: {error}", kind.kind);
        }
        applied += 1;
    }
    applied
}

/// Only these kinds.
pub fn only<'a>(objects: &'a [Value], kinds: &'a [&str]) -> Vec<Value> {
    objects.iter().filter(|object| kinds.contains(&object["kind"].as_str().unwrap())).cloned().collect()
}

/// A client with the token of a service account.
pub async fn client_of(world: &World, namespace: &str, name: &str) -> kube::Client {
    let path = world.cluster.service_account_kubeconfig(namespace, name, &[]).await.unwrap();
    let read = Kubeconfig::read_from(path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

async fn restrict(world: &World) {
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.patch(OPERATOR, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_chart_renders_is_taken() {
    let full = std::fs::read_to_string(chart().join("ci/full-values.yaml")).unwrap();
    for values in [values(&json!({ "ingress": { "enabled": true } })), serde_yaml::from_str(&full).unwrap()] {
        let Some((world, helm)) = world_with_helm("everything_that_the_chart_renders_is_taken").await else { return };
        restrict(&world).await;
        world.tenant("acme").await;
        world.tenant("globex").await;
        let objects = helm.objects(OPERATOR, &values);
        // The Pod of the test would be run.
        let (pods, objects): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| object["kind"] == "Pod");
        assert!(apply(&world.client, &objects).await > 15);

        let mut specs: Vec<Value> = pods.iter().map(|pod| pod["spec"].clone()).collect();
        let templates = only(&objects, &["Deployment", "Job"]);
        specs.extend(templates.iter().map(|object| object["spec"]["template"]["spec"].clone()));
        let api: Api<Pod> = Api::namespaced(world.client.clone(), OPERATOR);
        for spec in specs {
            admitted(&api, spec.clone()).await.unwrap_or_else(|error| panic!("{error}: {spec}"));
            let mut loose = spec.clone();
            loose["containers"][0]["securityContext"] = Value::Null;
            let error = admitted(&api, loose).await.unwrap_err().to_string();
            assert!(error.contains("violates PodSecurity"), "{error}");
        }
    }
}

/// Whether the API server would take a Pod.
async fn admitted(api: &Api<Pod>, spec: Value) -> Result<(), kube::Error> {
    let pod = serde_json::from_value(json!({ "metadata": { "generateName": "tried-" }, "spec": spec })).unwrap();
    let only_tried = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&only_tried, &pod).await.map(|_| ())
}

/// What an account may do in a namespace with what this project is about, as it sees it itself.
async fn sees(client: &kube::Client, namespace: &str) -> BTreeSet<Right> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
        ..SelfSubjectRulesReview::default()
    };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert!(!answer.incomplete);
    let mut rights = BTreeSet::new();
    for rule in answer.resource_rules {
        for resource in rule.resources.unwrap_or_default() {
            rights.extend(rule.verbs.iter().map(|verb| (resource.clone(), verb.clone())));
        }
    }
    rights
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_does_its_work_with_the_rights_of_either_mode() {
    for mode in ["cluster", "namespaces"] {
        let test = "the_operator_does_its_work_with_the_rights_of_either_mode";
        let Some((world, helm)) = world_with_helm(test).await else { return };
        let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
        let app = sandbox(&world, "app", options).await;
        world.tenant("acme").await;
        world.tenant("other").await;
        let per_namespace = mode == "namespaces";
        let watched = if per_namespace { json!(["acme"]) } else { json!([]) };
        let wanted =
            values(&json!({ "rbac": { "mode": mode }, "watchNamespaces": watched, "cleanup": { "enabled": false } }));
        let objects = helm.objects(OPERATOR, &wanted);
        let kinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
        apply(&world.client, &only(&objects, &kinds)).await;

        // What `kubectl auth can-i --list` would say is what the documentation says.
        let operator = client_of(&world, OPERATOR, "integration-operator").await;
        world.caller(OPERATOR, "nobody", &[]).await;
        let everybody = sees(&client_of(&world, OPERATOR, "nobody").await, OPERATOR).await;
        let of = |headings: &[&str]| -> BTreeSet<Right> {
            headings.iter().flat_map(|heading| documented(heading)).collect()
        };
        let (cluster, tenants, own) = (
            "The operator, in the cluster",
            "The operator, in tenants' namespaces",
            "The operator, in its own namespace",
        );
        let others = if per_namespace { of(&[cluster]) } else { of(&[cluster, tenants]) };
        let in_own = if per_namespace { of(&[cluster, own]) } else { of(&[cluster, tenants, own]) };
        for (namespace, wanted) in [("acme", of(&[cluster, tenants])), ("other", others), (OPERATOR, in_own)] {
            let seen: BTreeSet<Right> = sees(&operator, namespace).await.difference(&everybody).cloned().collect();
            assert_eq!(seen, wanted, "{mode}: {namespace}");
        }

        let arguments = if per_namespace { vec!["--watch-namespaces=acme".to_owned()] } else { vec![] };
        let operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
        let token = world.admin_of("acme").await;
        world.connect(&token, "acme", "web", "app").await;
        let before = world.wait("acme", "web.app", "ready", is_ready).await;
        let own_client = ("sandbox-client", "sandbox-secret");
        world.own_provider("acme", "own", own_client, description(&app.base_url)).await;
        world.create("acme", "web", "own", json!({ "providerKind": "IntegrationProvider" })).await;
        world.wait_reason("acme", "web.own", "Ready", "AuthorizationRequired").await;
        let was = last_refreshed(&before);
        world.annotate("acme", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
        world.wait("acme", "web.app", "refreshed", |found| is_ready(found) && last_refreshed(found) != was).await;
        world.annotate("acme", "web.own", "integrations.tms.dev/connect-requested-at", &now()).await;
        world
            .wait("acme", "web.own", "given a link", |found| {
                found.status.as_ref().is_some_and(|status| status.authorization.is_some())
            })
            .await;
        let events: Api<Event> = Api::namespaced(world.client.clone(), "acme");
        eventually("an Event is there", async || !events.list(&ListParams::default()).await.unwrap().items.is_empty())
            .await;
        for name in ["web.app", "web.own"] {
            world.integrations("acme").delete(name, &DeleteParams::default()).await.unwrap();
            world.wait_gone("acme", name).await;
        }
        assert!(app.ledger().grants.iter().all(|grant| grant.ended.is_some()), "{mode}: revoked");

        // Where it may do nothing, it does nothing, and says to callers what it says of tenants that it does not know.
        let theirs_token = world.admin_of("other").await;
        world.create("other", "web", "app", json!({})).await;
        if per_namespace {
            let theirs = world.integrations("other").get("web.app").await.unwrap();
            assert!(theirs.status.is_none_or(|status| status.conditions.is_empty()));
            let path = "/v1/tenants/other/projects/web/integrations";
            for path in [path.to_owned(), format!("{path}/app"), format!("{path}/app/install")] {
                let answer = world.get(&theirs_token, &path).await;
                assert_eq!(answer.status(), 403, "{path}: {}", answer.text().await.unwrap());
            }
        } else {
            world.wait_reason("other", "web.app", "Ready", "AuthorizationRequired").await;
        }
        let log = operator.log();
        // As the API server refuses; callers are refused in other words.
        assert!(!log.contains("is forbidden: "), "{mode}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_comes_changes_goes_back_and_goes() {
    let test = "a_release_comes_changes_goes_back_and_goes";
    let Some(helm) = Helm::or_skip(test) else { return };
    let Some(cluster) = cluster::start_or_skip(test, Options::default()).await else { return };
    if !cluster.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let kubeconfig = cluster.kubeconfig().to_str().unwrap().to_owned();
    let chart = chart().to_str().unwrap().to_owned();
    // Nobody runs Pods here, so hooks, which are Jobs, would wait for ever.
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--kubeconfig", &kubeconfig, "-n", RELEASE]);
        let output = helm.run(&all);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "helm {arguments:?}: {said}");
        said
    };
    let declared = json!({ "providers": [{ "preset": "slack", "existingSecret": "slack-client" }] });
    let first = helm.values(&values(&declared));
    let second = helm.values(&values(&json!({ "replicaCount": 5 })));
    run(&["install", RELEASE, &chart, "-f", &first, "--create-namespace", "--no-hooks"]);
    run(&["upgrade", RELEASE, &chart, "-f", &second, "--no-hooks"]);
    let client = cluster.client().unwrap();
    let replicas = async || {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client.clone(), RELEASE);
        api.get_opt(RELEASE).await.unwrap().map(|found| found.spec.unwrap().replicas.unwrap())
    };
    assert_eq!(replicas().await, Some(5));
    run(&["rollback", RELEASE, "1", "--no-hooks"]);
    assert_eq!(replicas().await, Some(2));
    let said = run(&["uninstall", RELEASE, "--no-hooks"]);
    assert!(said.contains("kept due to the resource policy"), "{said}");
    assert_eq!(replicas().await, None);
    let crds: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(client.clone());
    for crd in integration_operator::api::crds() {
        let found = crds.get_opt(&crd.metadata.name.unwrap()).await.unwrap();
        assert!(found.is_some_and(|found| found.metadata.deletion_timestamp.is_none()), "the definitions stay");
    }
    // The same release takes them up again.
    run(&["install", RELEASE, &chart, "-f", &first, "--no-hooks"]);
}
