//! The chart's admission policies: who may say whose a namespace is, and who may ask for something by annotation.

use http::Method;
use integration_operator::api::TENANT_LABEL;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::chart::{apply, client_of, only, values, world_with_helm};
use crate::cluster::Part;
use crate::connect::sandbox;
use crate::helm::Helm;
use crate::sandbox::{Consent, SandboxOptions};
use crate::world::{OPERATOR, World, eventually, is_ready, now, rule};

/// Applies the policies, and waits until the API server holds everybody to them.
async fn guard(world: &World, helm: &Helm, more: Value) {
    let objects = helm.objects(OPERATOR, &values(&more));
    let kinds = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    apply(&world.client, &only(&objects, &kinds)).await;
    world.caller(OPERATOR, "nobody", &[]).await;
    grant(world, "nobody", OPERATOR, &[namespaces_rule(), rule(&["*"], &["projectintegrations"])]).await;
    let nobody = client_of(world, OPERATOR, "nobody").await;
    eventually("the policies are held to", async || {
        let tried = namespace("tried", Some("tried"));
        let api: Api<Namespace> = Api::all(nobody.clone());
        let refused = api.create(&PostParams { dry_run: true, ..PostParams::default() }, &tried).await.is_err();
        // As nobody in particular: the other policy.
        let asked = json!({
            "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
            "metadata": { "name": "a.b", "annotations": { "integrations.tms.dev/requested-by": "somebody" } },
            "spec": { "tenantId": "a", "projectId": "a", "type": "b" },
        });
        let path = format!("/apis/integrations.tms.dev/v1alpha1/namespaces/{OPERATOR}/projectintegrations?dryRun=All");
        let request =
            http::Request::post(path).header("Content-Type", "application/json").body(asked.to_string().into_bytes());
        let answer = nobody.send(request.unwrap().map(Into::into)).await.unwrap();
        refused && answer.status() == 403
    })
    .await;
}

fn namespaces_rule() -> PolicyRule {
    let resources = ["namespaces", "namespaces/status", "namespaces/finalize"];
    PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(resources.iter().map(ToString::to_string).collect()),
        verbs: vec!["*".to_owned()],
        ..PolicyRule::default()
    }
}

/// Gives a service account rights in the whole cluster.
async fn grant(world: &World, account: &str, namespace: &str, rules: &[PolicyRule]) {
    let role = ClusterRole {
        metadata: ObjectMeta { name: Some(account.to_owned()), ..ObjectMeta::default() },
        rules: Some(rules.to_vec()),
        ..ClusterRole::default()
    };
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    roles.patch(account, &PatchParams::apply("test").force(), &Patch::Apply(&role)).await.unwrap();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": account },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
    });
    apply(&world.client, &[binding]).await;
}

fn namespace(name: &str, tenant: Option<&str>) -> Namespace {
    let labels = tenant.map(|tenant| json!({ TENANT_LABEL: tenant }));
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_assign_tenants_says_whose_a_namespace_is() {
    let Some((world, helm)) = world_with_helm("only_who_may_assign_tenants_says_whose_a_namespace_is").await else {
        return;
    };
    guard(&world, &helm, json!({})).await;
    world.tenant("acme").await;
    world.namespace("plain", None).await;
    world.caller("plain", "mover", &[]).await;
    let as_mover = client_of(&world, "plain", "mover").await;
    let api: Api<Namespace> = Api::all(as_mover);
    let label = |tenant: Option<&str>| Patch::Merge(json!({ "metadata": { "labels": { TENANT_LABEL: tenant } } }));
    let how = PatchParams::default();
    grant(&world, "mover", "plain", &[namespaces_rule()]).await;
    eventually("its rights are known", async || api.get("plain").await.is_ok()).await;

    let refused = |result: Result<Namespace, kube::Error>| {
        let said = result.expect_err("it is refused").to_string();
        assert!(said.contains("needs the verb assign on tenants.integrations.tms.dev"), "{said}");
    };
    for name in ["plain", "acme"] {
        refused(api.patch(name, &how, &label(Some("globex"))).await);
        refused(api.patch_status(name, &how, &label(Some("globex"))).await);
    }
    refused(api.patch("acme", &how, &label(None)).await);
    refused(api.create(&PostParams::default(), &namespace("new", Some("globex"))).await);
    let mut finalized = serde_json::to_value(api.get("plain").await.unwrap()).unwrap();
    finalized["metadata"]["labels"][TENANT_LABEL] = json!("globex");
    let request = kube::core::Request::new("/api/v1/namespaces")
        .replace_subresource("finalize", "plain", &PostParams::default(), finalized.to_string().into_bytes())
        .unwrap();
    refused(world_request(&world, request).await);
    // What does not touch the label is nobody's concern here.
    let other = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
    api.patch("acme", &how, &other).await.unwrap();
    api.create(&PostParams::default(), &namespace("new", None)).await.unwrap();

    // With the right for one tenant: that one can be given and taken, another not.
    let one = PolicyRule { resource_names: Some(vec!["globex".to_owned()]), ..rule(&["assign"], &["tenants"]) };
    grant(&world, "mover", "plain", &[namespaces_rule(), one]).await;
    eventually("it may assign globex", async || api.patch("plain", &how, &label(Some("globex"))).await.is_ok()).await;
    refused(api.patch("plain", &how, &label(Some("acme"))).await);
    refused(api.patch("acme", &how, &label(Some("globex"))).await);
    api.patch("plain", &how, &label(None)).await.unwrap();
    // Whoever may do everything may do this.
    let all: Api<Namespace> = Api::all(world.client.clone());
    all.patch("new", &how, &label(Some("initech"))).await.unwrap();

    // A namespace with a tenant is deleted by whoever may delete it, through all its finalizers.
    if world.cluster.has_or_skip(Part::ControllerManager, "only_who_may_assign_tenants_says_whose_a_namespace_is") {
        api.delete("new", &DeleteParams::default()).await.unwrap();
        eventually("the namespace is gone", async || all.get_opt("new").await.unwrap().is_none()).await;
    }
}

/// A request with the rights of the account `mover`.
async fn world_request(world: &World, request: http::Request<Vec<u8>>) -> Result<Namespace, kube::Error> {
    client_of(world, "plain", "mover").await.request(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_needs_the_right_of_its_endpoint() {
    let Some((world, helm)) = world_with_helm("an_annotation_needs_the_right_of_its_endpoint").await else { return };
    guard(&world, &helm, json!({})).await;
    world.tenant("acme").await;
    world.create("acme", "web", "app", json!({})).await;
    let base = rule(&["get", "create", "patch"], &["projectintegrations", "projectintegrations/status"]);
    let install = rule(&["create"], &["projectintegrations/install"]);
    for (account, more, allowed) in [
        ("patcher", None, vec![]),
        ("connector", Some(install), vec!["connect"]),
        ("refresher", Some(rule(&["update"], &["projectintegrations"])), vec!["refresh", "check"]),
        ("remover", Some(rule(&["delete"], &["projectintegrations"])), vec!["disconnect"]),
    ] {
        let rules: Vec<_> = [Some(base.clone()), more].into_iter().flatten().collect();
        world.caller("acme", account, &rules).await;
        let client = client_of(&world, "acme", account).await;
        let api: Api<integration_operator::api::ProjectIntegration> = Api::namespaced(client, "acme");
        eventually("its rights are known", async || api.get("web.app").await.is_ok()).await;
        let annotate = async |annotations: Value| {
            let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
            api.patch("web.app", &PatchParams::default(), &patch).await.map_err(|error| error.to_string())
        };
        let own_name = format!("system:serviceaccount:acme:{account}");
        for word in ["connect", "refresh", "check", "disconnect"] {
            let asked = annotate(json!({ format!("integrations.tms.dev/{word}-requested-at"): now() })).await;
            match asked {
                Ok(_) => assert!(allowed.contains(&word), "{account} asked for {word}"),
                Err(error) => {
                    assert!(!allowed.contains(&word), "{account}: {error}");
                    assert!(error.contains(&format!("{own_name} may not ask")), "{error}");
                }
            }
        }
        // In nobody's name but one's own.
        let error = annotate(json!({ "integrations.tms.dev/requested-by": "alice" })).await.unwrap_err();
        assert!(error.contains("whoever asks sets it to their own name"), "{error}");
        annotate(json!({ "integrations.tms.dev/requested-by": own_name })).await.unwrap();
        annotate(json!({ "note": "anything" })).await.unwrap();
        // Through the status nothing is set, and a new object is held to the same.
        let patch =
            Patch::Merge(json!({ "metadata": { "annotations": { "integrations.tms.dev/requested-by": "alice" } } }));
        let status = api.patch_status("web.app", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(status.metadata.annotations.unwrap()["integrations.tms.dev/requested-by"], own_name);
        let made = json!({
            "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
            "metadata": { "name": "other.app", "annotations": { "integrations.tms.dev/connect-requested-at": now() } },
            "spec": { "tenantId": "acme", "projectId": "other", "type": "app" },
        });
        let only_tried = PostParams { dry_run: true, ..PostParams::default() };
        let created = api.create(&only_tried, &serde_json::from_value(made).unwrap()).await;
        assert_eq!(created.is_ok(), allowed.contains(&"connect"), "{account}: {created:?}");
        // Taking annotations away asks for nothing, and makes room for the next.
        annotate(json!({
            "integrations.tms.dev/requested-by": null, "integrations.tms.dev/connect-requested-at": null,
            "integrations.tms.dev/refresh-requested-at": null, "integrations.tms.dev/check-requested-at": null,
            "integrations.tms.dev/disconnect-requested-at": null,
        }))
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_api_and_plugin_work_under_the_policies() {
    let Some((world, helm)) = world_with_helm("operator_api_and_plugin_work_under_the_policies").await else { return };
    guard(&world, &helm, json!({})).await;
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let app = sandbox(&world, "app", options).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    // Over HTTP: the operator writes the caller's name.
    let url = format!("{}/v1/tenants/acme/projects/web/integrations/app/refresh", world.public_url);
    let answer = world.http.request(Method::POST, url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    eventually("it is refreshed", async || app.ledger().token_requests("refresh_token") == 1).await;
    let found = world.integrations("acme").get("web.app").await.unwrap();
    let by = &found.metadata.annotations.unwrap()["integrations.tms.dev/requested-by"];
    assert_eq!(by, "system:serviceaccount:acme:frontend");
    // The plugin writes its user's.
    let kubeconfig = world.cluster.service_account_kubeconfig("acme", "frontend", &[]).await.unwrap();
    for arguments in [&["check", "web.app"][..], &["disconnect", "web.app", "--yes"]] {
        let done = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubectl-integration"))
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .await
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    // And nothing stands in the way of the end, not even a label that is gone.
    let all: Api<Namespace> = Api::all(world.client.clone());
    let unlabelled = Patch::Merge(json!({ "metadata": { "labels": { TENANT_LABEL: null } } }));
    all.patch("acme", &PatchParams::default(), &unlabelled).await.unwrap();
    world.integrations("acme").delete("web.app", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.app").await;
}
