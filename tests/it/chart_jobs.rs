//! The chart's Jobs, run as processes with their own service accounts and arguments: cleaning up before an uninstall, and
//! declaring providers.

use std::path::Path;
use std::process::Stdio;

use integration_operator::api::ClusterIntegrationProvider;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::chart::{apply, only, values, world_with_helm};
use crate::connect::sandbox;
use crate::helm::object;
use crate::sandbox::{Consent, SandboxOptions};
use crate::world::{Flags, OPERATOR, World, eventually, is_ready};

const RIGHTS: [&str; 5] = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// The operator's binary as a Job runs it, with the arguments and the account of its Pod.
async fn job(world: &World, pod: &Value, arguments: Vec<String>) -> Command {
    let account = pod["serviceAccountName"].as_str().unwrap();
    let kubeconfig = world.cluster.service_account_kubeconfig(OPERATOR, account, &[]).await.unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_integration-operator"));
    command.args(arguments).env_clear().env("KUBECONFIG", kubeconfig).env("NAMESPACE", OPERATOR);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn arguments(pod: &Value) -> Vec<String> {
    let arguments = pod["containers"][0]["args"].as_array().unwrap().iter();
    arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_up_stops_the_operator_first() {
    for mode in ["cluster", "namespaces"] {
        let Some((world, helm)) = world_with_helm("cleaning_up_stops_the_operator_first").await else { return };
        let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
        let app = sandbox(&world, "app", options).await;
        world.tenant("acme").await;
        let per_namespace = mode == "namespaces";
        let objects = helm.objects(
            OPERATOR,
            &values(&json!({
                "rbac": { "mode": mode },
                "watchNamespaces": if per_namespace { json!(["acme"]) } else { json!([]) },
                "cleanup": { "revoke": per_namespace },
                "allowInsecureProviderHosts": ["127.0.0.1"],
            })),
        );
        apply(&world.client, &only(&objects, &[&RIGHTS[..], &["Deployment"]].concat())).await;
        let flags = if per_namespace { vec!["--watch-namespaces=acme".to_owned()] } else { vec![] };
        let mut operator = world.operator_with(Flags { arguments: flags, ..Flags::default() }).await;
        let token = world.admin_of("acme").await;
        world.connect(&token, "acme", "web", "app").await;
        world.wait("acme", "web.app", "ready", is_ready).await;

        let pod = object(&objects, "Job", "integration-operator-cleanup")["spec"]["template"]["spec"].clone();
        let mut cleaning = job(&world, &pod, arguments(&pod)).await.spawn().unwrap();
        // There is no controller of Deployments here; the test does what it would do.
        let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), OPERATOR);
        eventually("the operator is scaled to nothing", async || {
            deployments.get(OPERATOR).await.unwrap().spec.unwrap().replicas == Some(0)
        })
        .await;
        let generation = deployments.get(OPERATOR).await.unwrap().metadata.generation;
        let seen = Patch::Merge(json!({ "status": { "observedGeneration": generation, "replicas": 0 } }));
        deployments.patch_status(OPERATOR, &PatchParams::default(), &seen).await.unwrap();
        // It still has the Lease: nothing is taken off.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert!(cleaning.try_wait().unwrap().is_none(), "{mode}: it waits for the leader");
        let finalizers = async || world.integrations("acme").get("web.app").await.unwrap().metadata.finalizers;
        assert!(finalizers().await.is_some_and(|all| !all.is_empty()), "{mode}");
        operator.terminate().await;
        let done = cleaning.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{mode}: {said}");
        assert!(finalizers().await.is_none_or(|all| all.is_empty()), "{mode}: {said}");
        let ended = app.ledger().grants.iter().all(|grant| grant.ended.is_some());
        assert_eq!(ended, per_namespace, "{mode}: revoked only when told");
        // What is connected is kept, and nothing is stuck.
        assert!(world.grant("acme", "web.app").await.is_some(), "{mode}");
        world.integrations("acme").delete("web.app", &DeleteParams::default()).await.unwrap();
        world.wait_gone("acme", "web.app").await;
    }
}

/// The names of all cluster providers.
async fn names(world: &World) -> Vec<String> {
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    let found = api.list(&ListParams::default()).await.unwrap().items;
    found.into_iter().filter_map(|provider| provider.metadata.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_providers_are_made_changed_and_taken_away() {
    let Some((world, helm)) = world_with_helm("declared_providers_are_made_changed_and_taken_away").await else {
        return;
    };
    let declare = async |providers: Value| {
        let objects = helm.objects(OPERATOR, &values(&json!({ "providers": providers })));
        apply(&world.client, &only(&objects, &RIGHTS)).await;
        let pod = object(&objects, "Job", "integration-operator-providers")["spec"]["template"]["spec"].clone();
        let files = object(&objects, "ConfigMap", "integration-operator-providers")["data"].clone();
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files.as_object().unwrap() {
            std::fs::write(folder.path().join(name), text.as_str().unwrap()).unwrap();
        }
        let mut arguments = arguments(&pod);
        let mounted = pod["containers"][0]["volumeMounts"][0]["mountPath"].as_str().unwrap();
        let last = arguments.last_mut().unwrap();
        assert_eq!(last, mounted);
        *last = Path::new(folder.path()).to_str().unwrap().to_owned();
        let done = job(&world, &pod, arguments).await.output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.success(), said)
    };
    let slack = json!({ "preset": "slack", "existingSecret": "slack-client" });
    let (good, said) = declare(json!([slack, { "preset": "github", "name": "code", "existingSecret": "a" }])).await;
    assert!(good, "{said}");
    assert_eq!(names(&world).await, ["code", "slack"]);

    // What an administrator made is neither taken over nor taken away.
    world.provider("theirs", "id", "secret", json!({ "preset": "slack" })).await;
    let (good, said) = declare(json!([slack, { "preset": "github", "name": "theirs", "existingSecret": "a" }])).await;
    assert!(!good && said.contains("theirs exists and was not declared by"), "{said}");
    assert_eq!(names(&world).await, ["code", "slack", "theirs"], "as long as one is wrong, nothing is done");

    let (good, said) =
        declare(json!([{ "preset": "slack", "existingSecret": "b", "spec": { "displayName": "Ours" } }])).await;
    assert!(good && said.contains("slack applied") && said.contains("code deleted"), "{said}");
    assert_eq!(names(&world).await, ["slack", "theirs"]);
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    let found = api.get("slack").await.unwrap().spec.description;
    assert_eq!(found.client_credentials_ref.unwrap().name, "b");
    assert_eq!(found.display_name.as_deref(), Some("Ours"));
}
