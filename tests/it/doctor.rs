//! `kubectl integration doctor`: nothing to say where all is well, and one thing at a time that is broken.

use std::collections::BTreeMap;

use base64::Engine as _;
use integration_operator::api::ClusterIntegrationProvider;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cluster::Options;
use crate::connect::sandbox;
use crate::plugin::plugin;
use crate::sandbox::SandboxOptions;
use crate::world::{OPERATOR, World, apply_yaml, eventually, is_ready, rule};

const CRD: &str = "projectintegrations.integrations.tms.dev";

/// What the doctor says, by the name of the check; and whether it was content.
pub struct Said {
    pub good: bool,
    pub checks: BTreeMap<String, Value>,
}

impl Said {
    #[track_caller]
    fn is(&self, name: &str, verdict: &str, says: &str) {
        let check = self.checks.get(name).unwrap_or_else(|| panic!("no check {name}: {:#?}", self.checks));
        let text = check["says"].as_str().unwrap();
        assert!(check["verdict"] == verdict && text.contains(says), "{name} is not {verdict} ({says}): {check:#}");
        assert!(verdict != "failed" || check["toDo"].is_string(), "{name} does not say what to do");
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.checks.iter().filter(|(_, check)| check["verdict"] == "failed");
        failed.map(|(name, _)| name.as_str()).collect()
    }
}

/// The doctor's words about a namespace, for whoever has this kubeconfig.
async fn examine(world: &World, kubeconfig: &std::path::Path, namespace: &str) -> Said {
    let mut command = plugin(world, &["doctor", "-n", namespace, "-o", "json"]);
    let output = command.env("KUBECONFIG", kubeconfig).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let checks = value["checks"].as_array().unwrap();
    let checks = checks.iter().map(|check| (check["name"].as_str().unwrap().to_owned(), check.clone())).collect();
    let said = Said { good: output.status.success(), checks };
    assert_eq!(said.good, said.failed().is_empty(), "{:#?}", said.checks);
    assert_eq!(value["failed"], !said.good);
    said
}

async fn of_acme(world: &World) -> Said {
    examine(world, world.cluster.kubeconfig(), "acme").await
}

/// A Deployment as if it ran the operator that runs as a process; not where somebody would really start its Pods.
pub async fn deployment(world: &World, container: Value) {
    if world.cluster.is_provided() {
        return;
    }
    let mut container = container;
    container["name"] = json!("operator");
    container["image"] = json!(format!("registry.example.com/integration-operator:{}", env!("CARGO_PKG_VERSION")));
    let labels = json!({ "app.kubernetes.io/name": "integration-operator" });
    let object: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "integration-operator" },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels, "annotations": { "example.com/note": "canary-of-the-template" } },
                "spec": { "serviceAccountName": "integration-operator", "containers": [container] },
            },
        },
    }))
    .unwrap();
    let api: Api<Deployment> = Api::namespaced(world.client.clone(), OPERATOR);
    api.create(&PostParams::default(), &object).await.unwrap();
    let status = json!({ "status": { "replicas": 1, "readyReplicas": 1 } });
    api.patch_status("integration-operator", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_broken() {
    let Some(world) = World::start("the_doctor_finds_what_is_broken").await else { return };
    let _sandbox = sandbox(&world, "app", SandboxOptions::default()).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;

    let said = of_acme(&world).await;
    said.is("operator", "skipped", "no Deployment of the operator was found in namespace integration-operator");
    assert!(said.checks["operator"]["toDo"].as_str().unwrap().contains("--operator-namespace"));
    deployment(&world, json!({ "env": [{ "name": "PUBLIC_URL", "value": world.public_url }] })).await;

    all_is_well(&world).await;
    definitions(&world).await;
    client_credentials(&world).await;
    tenant(&world).await;
    rights_of_the_operator(&world).await;
    providers(&world).await;
    all_is_well(&world).await;
    operator.kill();
    let said = of_acme(&world).await;
    said.is("lease", "failed", "did not renew it");
    said.is("public address", "failed", "cannot be reached from here");
    assert_eq!(said.failed(), ["lease", "public address"]);
    others_at_the_public_address(&world).await;
}

async fn all_is_well(world: &World) {
    let said = of_acme(world).await;
    assert!(said.good, "{:?}: {:#?}", said.failed(), said.checks);
    said.is("definition projectintegrations", "ok", "with every field");
    if !world.cluster.is_provided() {
        said.is("operator", "ok", "1 of 1 replicas ready");
        said.is("version", "ok", env!("CARGO_PKG_VERSION"));
        said.is("encryption at rest", "warning", "the operator runs without --grant-key-file");
    }
    said.is("lease", "ok", "replica-0 holds it and renewed it");
    said.is("operator's rights", "ok", "has all");
    said.is("your rights", "ok", "everything");
    said.is("tenant", "ok", "namespace acme belongs to tenant acme");
    said.is("provider app", "ok", "Accepted");
    said.is("client of app", "ok", "has client_id and client_secret");
    said.is("public address", "ok", "leads to the operator");
    said.is("clocks", "ok", "the API server and the public address");
    said.is("integrations", "ok", "1 of 1");
    let output = plugin(world, &["doctor", "-n", "acme"]).output().await.unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success());
}

/// A definition of an earlier release, told to who may read it and to who may not.
async fn definitions(world: &World) {
    let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let mut older = api.get(CRD).await.unwrap();
    let schema = older.spec.versions[0].schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()).unwrap();
    let spec = schema.properties.as_mut().and_then(|properties| properties.get_mut("spec")).unwrap();
    spec.properties.as_mut().unwrap().remove("apiKey").unwrap();
    api.replace(CRD, &PostParams::default(), &older).await.unwrap();
    let said = of_acme(world).await;
    said.is("definition projectintegrations", "failed", "lacks spec.apiKey; what is written there is dropped");
    assert_eq!(said.failed(), ["definition projectintegrations"]);
    world.caller("acme", "reader", &[rule(&["get", "list"], &["projectintegrations"])]).await;
    let reader = world.cluster.service_account_kubeconfig("acme", "reader", &[]).await.unwrap();
    eventually("the published schema lacks it as well", async || {
        let said = examine(world, &reader, "acme").await;
        said.checks["definition projectintegrations"]["verdict"] == "failed"
    })
    .await;
    for crd in integration_operator::api::crds().into_iter().filter(|crd| crd.metadata.name.as_deref() == Some(CRD)) {
        api.patch(CRD, &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
    }
}

async fn client_credentials(world: &World) {
    let secrets = world.secrets(OPERATOR);
    let empty = json!({ "data": { "client_secret": "" } });
    secrets.patch("app-client", &PatchParams::default(), &Patch::Merge(&empty)).await.unwrap();
    of_acme(world).await.is("client of app", "failed", "has nothing under client_secret");
    secrets.delete("app-client", &DeleteParams::default()).await.unwrap();
    let said = of_acme(world).await;
    said.is("client of app", "failed", "Secret app-client is not in namespace integration-operator");
    world.client_secret(OPERATOR, "app-client", "sandbox-client", "sandbox-secret", false).await;
    // The operator may have noticed meanwhile; it looks again within a quarter of a minute.
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    eventually("the provider is ready again", async || {
        let status = api.get("app").await.unwrap().status.unwrap_or_default();
        status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
    .await;
}

async fn tenant(world: &World) {
    let api: Api<Namespace> = Api::all(world.client.clone());
    let label = |tenant: Value| json!({ "metadata": { "labels": { "integrations.tms.dev/tenant": tenant } } });
    api.patch("acme", &PatchParams::default(), &Patch::Merge(&label(Value::Null))).await.unwrap();
    world.wait_reason("acme", "web.app", "Ready", "TenantMismatch").await;
    let said = of_acme(world).await;
    said.is("tenant", "failed", "namespace acme has no label integrations.tms.dev/tenant");
    said.is("integration web.app", "failed", "TenantMismatch");
    assert_eq!(said.failed(), ["integration web.app", "tenant"]);
    api.patch("acme", &PatchParams::default(), &Patch::Merge(&label(json!("acme")))).await.unwrap();
    world.wait("acme", "web.app", "ready", is_ready).await;
    world.namespace("acme-too", Some("acme")).await;
    let said = examine(world, world.cluster.kubeconfig(), "acme-too").await;
    said.is("tenant", "failed", "served in an older namespace");
}

async fn rights_of_the_operator(world: &World) {
    let api: Api<ClusterRole> = Api::all(world.client.clone());
    let mut role = api.get("integration-operator").await.unwrap();
    let rules = role.rules.as_mut().unwrap();
    rules.retain(|rule| rule.resources.as_deref() != Some(&["events".to_owned()]));
    api.replace("integration-operator", &PostParams::default(), &role).await.unwrap();
    eventually("the right is missed", async || !of_acme(world).await.good).await;
    let said = of_acme(world).await;
    said.is("operator's rights", "failed", "may not create, patch events");
    assert_eq!(said.failed(), ["operator's rights"]);
    apply_yaml(&world.client, include_str!("../../deploy/rbac.yaml")).await;
    eventually("the right is there again", async || of_acme(world).await.good).await;
}

/// One that does not exist is named by an integration; one that waits for a person is no failure.
async fn providers(world: &World) {
    world.create("acme", "web", "gone", json!({})).await;
    world.create("acme", "two", "app", json!({})).await;
    world.wait_reason("acme", "web.gone", "Ready", "ProviderNotFound").await;
    world.wait_reason("acme", "two.app", "Ready", "AuthorizationRequired").await;
    let said = of_acme(world).await;
    said.is("provider gone", "failed", "there is no clusterintegrationprovider gone");
    said.is("integration web.gone", "failed", "ProviderNotFound");
    said.is("integration two.app", "warning", "AuthorizationRequired");
    said.is("integrations", "ok", "1 of 3");
    for name in ["web.gone", "two.app"] {
        world.integrations("acme").delete(name, &DeleteParams::default()).await.unwrap();
        world.wait_gone("acme", name).await;
    }
}

/// Answers every request alike.
async fn serve(listener: TcpListener, answer: &'static str) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let _ = connection.read(&mut [0; 4096]).await;
        let _ = connection.write_all(answer.as_bytes()).await;
    }
}

async fn others_at_the_public_address(world: &World) {
    let address = world.public_url.trim_start_matches("http://");
    for (answer, says) in [
        ("HTTP/1.1 302 Found\r\nlocation: https://login.example.com/\r\nconnection: close\r\n\r\n", "is redirected to"),
        ("HTTP/1.1 410 Gone\r\nserver: another\r\nconnection: close\r\n\r\n", "somebody else (another) answers"),
        ("HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\n", "does not reach the operator"),
        (
            "HTTP/1.1 410 Gone\r\nreferrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\n\
             x-frame-options: DENY\r\ndate: Fri, 01 May 2020 12:00:00 GMT\r\nconnection: close\r\n\r\n",
            "leads to the operator",
        ),
    ] {
        let server = tokio::spawn(serve(TcpListener::bind(address).await.unwrap(), answer));
        let said = of_acme(world).await;
        server.abort();
        let _ = server.await;
        let ours = says.starts_with("leads");
        said.is("public address", if ours { "ok" } else { "failed" }, says);
        if ours {
            said.is("clocks", "failed", "seconds behind this machine");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_may_not_be_seen() {
    let Some(world) = World::start("the_doctor_says_what_may_not_be_seen").await else { return };
    let _sandbox = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.create("acme", "web", "app", json!({})).await;
    world.wait_reason("acme", "web.app", "Ready", "AuthorizationRequired").await;
    world.caller("acme", "viewer", &[rule(&["get", "list", "watch"], &["projectintegrations"])]).await;
    world.caller("acme", "nobody", &[]).await;

    let viewer = world.cluster.service_account_kubeconfig("acme", "viewer", &[]).await.unwrap();
    let said = examine(&world, &viewer, "acme").await;
    said.is("definition projectintegrations", "ok", "with every field");
    said.is("operator", "skipped", "cannot be seen");
    said.is("lease", "skipped", "cannot get resource");
    said.is("operator's rights", "skipped", "you may not ask what others may do");
    said.is("your rights", "warning", "ask for something (connect, refresh, check, disconnect)");
    said.is("tenant", "skipped", "could not be read");
    said.is("provider app", "skipped", "cannot get resource");
    said.is("integration web.app", "warning", "AuthorizationRequired");
    assert!(said.good, "{:?}", said.failed());

    let nobody = world.cluster.service_account_kubeconfig("acme", "nobody", &[]).await.unwrap();
    let said = examine(&world, &nobody, "acme").await;
    said.is("integrations", "skipped", "cannot list resource");
    said.is("your rights", "failed", "list integrations (status)");
    assert!(said.checks["your rights"]["toDo"].as_str().unwrap().contains("get, list"), "{:#?}", said.checks);
    assert_eq!(said.failed(), ["your rights"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_sees_encryption_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("encryption.yaml");
    let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [{ "aesgcm": { "keys": [{ "name": "one", "secret": key }] } }, { "identity": {} }],
        }],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let flag = format!("--encryption-provider-config={}", file.display());
    let options = Options { extra_apiserver_args: vec![flag], ..Options::default() };
    let Some(world) = World::start_with("the_doctor_sees_encryption_at_rest", options).await else { return };
    if world.cluster.is_provided() {
        return;
    }
    world.client_secret(OPERATOR, "any", "id", "secret", false).await;
    let said = of_acme(&world).await;
    said.is("encryption at rest", "ok", "the API server encrypts Secrets as it stores them, by aesgcm");
    // Nothing else is there, and that is told as well.
    said.is("lease", "failed", "the operator never ran here");
    said.is("tenant", "failed", "namespace acme does not exist");
}
