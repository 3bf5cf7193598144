//! Who may do what: callers of the HTTP API, people on the Kubernetes API, and namespaces that claim to be a tenant's.

use std::collections::BTreeMap;

use http::Request;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::acting::with_app;
use crate::connect::{description, sandbox};
use crate::sandbox::{Consent, Endpoint, SandboxOptions};
use crate::world::{OPERATOR, World, condition, eventually, is_ready, last_refreshed, now, rule};

const HERE: &str = "/v1/tenants/acme/projects/web/integrations";

/// One answer of the HTTP API, without what differs from one second to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn ask(world: &World, token: Option<&str>, method: Method, path: &str) -> Answer {
    let mut request = world.http.request(method.clone(), format!("{}{path}", world.public_url));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if path.ends_with("/confirm") {
        request = request.json(&json!({ "confirmation": "x.y" }));
    }
    if method == Method::POST && (path.ends_with("/messages") || path.contains("/actions/")) {
        request = request.json(&json!({}));
    }
    let answer = request.send().await.unwrap();
    let headers = answer
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "set-cookie"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    Answer { status: answer.status().as_u16(), headers, body: answer.text().await.unwrap() }
}

/// A client of the Kubernetes API that acts as a service account.
async fn client_of(world: &World, namespace: &str, name: &str) -> kube::Client {
    let path = world.cluster.service_account_kubeconfig(namespace, name, &[]).await.unwrap();
    let config = Kubeconfig::read_from(path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

/// The status of a request to the Kubernetes API.
async fn status_of(client: &kube::Client, method: &str, path: &str, body: &Value) -> u16 {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if ["PATCH", "POST"].contains(&method) { serde_json::to_vec(body).unwrap() } else { vec![] };
    let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
    match client.request_text(request).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

async fn label(world: &World, namespace: &str, tenant: Option<&str>) {
    let patch = json!({ "metadata": { "labels": { "integrations.tms.dev/tenant": tenant } } });
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// Acme, which is connected to the app, and globex, which is not; gives the token of globex's administrator.
async fn two_tenants(world: &World) -> String {
    world.tenant("acme").await;
    world.tenant("globex").await;
    let (admin, globex) = (world.admin_of("acme").await, world.admin_of("globex").await);
    world.connect(&admin, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    globex
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_at_every_endpoint() {
    let Some(world) = World::start("every_actor_at_every_endpoint").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    world.namespace("bare", None).await;
    let admin = world.admin_of("acme").await;
    let globex = world.admin_of("globex").await;
    let viewer = world.caller("acme", "viewer", &[rule(&["get", "list"], &["projectintegrations"])]).await;
    let nobody = world.caller("bare", "nobody", &[]).await;
    let installer = world.caller("acme", "installer", &[rule(&["create"], &["projectintegrations/install"])]).await;
    let mut only_web = rule(&["create", "get", "update"], &["projectintegrations", "projectintegrations/install"]);
    only_web.resource_names = Some(vec!["web.app".to_owned()]);
    let named = world.caller("acme", "named", &[only_web]).await;
    // A token of acme's administrator, made for the API server instead of for the operator; and one for somebody else.
    let for_api_server = world.cluster.service_account_token("acme", "frontend", &[]).await.unwrap();
    let for_another = world.cluster.service_account_token("acme", "frontend", &["vault"]).await.unwrap();
    let forged = {
        let (head, signature) = admin.rsplit_once('.').unwrap();
        format!("{head}.{}", signature.chars().rev().collect::<String>())
    };
    world.connect(&admin, "acme", "web", "app").await;
    // Of another account, so that what one holds is not the other's too.
    app.reconfigure(|options| options.consent = Consent::Allow(Some("W-GLOBEX".to_owned())));
    world.connect(&admin, "acme", "other", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;

    let get = || Method::GET;
    let endpoints = [
        (get(), HERE.to_owned()),
        (get(), format!("{HERE}/app")),
        (get(), format!("{HERE}/app/install")),
        (Method::POST, format!("{HERE}/app/confirm")),
        (get(), "/v1/providers".to_owned()),
        (get(), "/v1/tenants/nobody/projects/web/integrations/app".to_owned()),
        // Not there yet: install would create it.
        (get(), HERE.replace("/web/", "/fresh/") + "/app/install"),
        (get(), HERE.replace("/web/", "/other/") + "/app/install"),
        (Method::POST, format!("{HERE}/app/refresh")),
        (Method::DELETE, format!("{HERE}/app")),
    ];
    let unauthenticated = [401; 10];
    let stranger = [403, 403, 403, 403, 200, 403, 403, 403, 403, 403];
    for (actor, token, expected) in [
        ("anonymous", None, unauthenticated),
        ("an empty token", Some(""), unauthenticated),
        ("a garbage token", Some("garbage"), unauthenticated),
        ("a forged token", Some(forged.as_str()), unauthenticated),
        ("a token for the API server", Some(&for_api_server), unauthenticated),
        ("a token for another audience", Some(&for_another), unauthenticated),
        ("a service account without rights", Some(&nobody), stranger),
        ("globex's administrator", Some(&globex), stranger),
        ("acme's viewer", Some(&viewer), [200, 200, 403, 403, 200, 403, 403, 403, 403, 403]),
        ("acme's installer", Some(&installer), [403, 403, 200, 410, 200, 403, 403, 200, 403, 403]),
        ("who may web.app only", Some(&named), [403, 200, 200, 410, 200, 403, 403, 403, 202, 403]),
        ("acme's administrator", Some(&admin), [200, 200, 200, 410, 200, 403, 200, 200, 429, 202]),
    ] {
        for ((method, path), status) in endpoints.iter().zip(expected) {
            let answer = ask(&world, token, method.clone(), path).await;
            assert_eq!(answer.status, status, "{actor}: {method} {path}: {}", answer.body);
            let word = match status {
                401 => "unauthenticated",
                403 => "forbidden",
                410 => "confirmation_invalid",
                429 => "rate_limited",
                _ => continue,
            };
            assert_eq!(answer.code(), word, "{actor}: {method} {path}");
            assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
            assert_eq!(answer.headers.contains_key("retry-after"), status == 429);
        }
        let there = world.integrations("acme").get_opt("fresh.app").await.unwrap().is_some();
        assert_eq!(there, actor == "acme's administrator", "{actor}");
    }
    world.wait_gone("acme", "web.app").await;
    assert_eq!(ask(&world, Some(&admin), Method::GET, &format!("{HERE}/app")).await.status, 404);
    assert_eq!(ask(&world, Some(&admin), Method::DELETE, &format!("{HERE}/app")).await.status, 404);
    assert_eq!(app.ledger().of(Endpoint::Revoke).count(), 1, "only what the administrator deleted was given back");

    // An unknown tenant, a namespace that is none, the operator's own and a forbidden tenant: the very same bytes.
    for (method, path) in &endpoints {
        if !path.contains("/acme/") {
            continue;
        }
        let forbidden = ask(&world, Some(&globex), method.clone(), path).await;
        for tenant in ["unknown", "bare", OPERATOR, "kube-system"] {
            let path = path.replace("/acme/", &format!("/{tenant}/"));
            assert_eq!(ask(&world, Some(&globex), method.clone(), &path).await, forbidden, "{method} {path}");
        }
    }
    // Names that are none.
    for path in
        ["/v1/tenants/acme%2F..%2Fglobex/projects/web/integrations", "/v1/tenants/ACME/projects/web/integrations"]
    {
        let status = ask(&world, Some(&globex), Method::GET, path).await.status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    // What a right reaches ends at once with the right.
    let roles: Api<k8s_openapi::api::rbac::v1::RoleBinding> = Api::namespaced(world.client.clone(), "acme");
    assert_eq!(ask(&world, Some(&viewer), Method::GET, HERE).await.status, 200);
    roles.delete("viewer", &kube::api::DeleteParams::default()).await.unwrap();
    eventually("the right is gone", async || ask(&world, Some(&viewer), Method::GET, HERE).await.status == 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_to_act_reaches_its_own_endpoint() {
    let Some(world) = World::start("each_right_to_act_reaches_its_own_endpoint").await else { return };
    let (_sandbox, app, _) = with_app(&world, None).await;
    let _operator = world.operator().await;
    let globex = two_tenants(&world).await;
    let on = |verbs: &[&str], what: &str| rule(verbs, &[&format!("projectintegrations/{what}")]);
    let every = ["get", "create", "update", "patch", "delete", "list", "watch"];
    let acting = ["messages", "actions", "token", "proxy"].map(|what| format!("projectintegrations/{what}"));
    let acting = acting.each_ref().map(String::as_str);
    let mut of_other = rule(&every, &acting);
    of_other.resource_names = Some(vec!["other.app".to_owned()]);
    let mut of_web = rule(&every, &acting);
    of_web.resource_names = Some(vec!["web.app".to_owned()]);
    let resources = ["projectintegrations", "projectintegrations/install", "projectintegrations/credentials"];

    let endpoints = [
        (Method::POST, "messages"),
        (Method::GET, "actions"),
        (Method::POST, "actions/send-message"),
        (Method::GET, "token"),
        (Method::GET, "proxy/echo/a"),
        (Method::HEAD, "proxy/echo/a"),
        (Method::POST, "proxy/echo/a"),
        (Method::PUT, "proxy/echo/a"),
        (Method::PATCH, "proxy/echo/a"),
        (Method::DELETE, "proxy/echo/a"),
    ];
    // What may be asked is refused for its content where it has to have one, and done where not.
    let allowed = [400, 200, 400, 200, 200, 200, 200, 200, 200, 200];
    let nothing = [403; 10];
    let only = |places: &[usize]| std::array::from_fn(|at| if places.contains(&at) { allowed[at] } else { 403 });
    for (actor, rules, expected) in [
        ("messages", vec![on(&["create"], "messages")], only(&[0])),
        ("reads-messages", vec![on(&["get", "list", "update"], "messages")], nothing),
        ("lists-actions", vec![on(&["get"], "actions")], only(&[1])),
        ("acts", vec![on(&["create"], "actions")], only(&[2])),
        ("has-token", vec![on(&["get"], "token")], only(&[3])),
        ("makes-token", vec![on(&["create", "list"], "token")], nothing),
        ("proxy-get", vec![on(&["get"], "proxy")], only(&[4, 5])),
        ("proxy-create", vec![on(&["create"], "proxy")], only(&[6])),
        ("proxy-update", vec![on(&["update"], "proxy")], only(&[7])),
        ("proxy-patch", vec![on(&["patch"], "proxy")], only(&[8])),
        ("proxy-delete", vec![on(&["delete"], "proxy")], only(&[9])),
        ("everything-else", vec![rule(&every, &resources)], nothing),
        (
            "edits",
            vec![
                rule(&every, &["projectintegrations"]),
                on(&["get", "create"], "messages"),
                on(&["get", "create"], "actions"),
            ],
            only(&[0, 1, 2]),
        ),
        ("of-web", vec![of_web], allowed),
        ("of-other", vec![of_other], nothing),
    ] {
        let token = world.caller("acme", actor, &rules).await;
        for ((method, rest), status) in endpoints.iter().zip(expected) {
            let answer = ask(&world, Some(&token), method.clone(), &format!("{HERE}/app/{rest}")).await;
            assert_eq!(answer.status, status, "{actor}: {method} {rest}: {}", answer.body);
        }
    }
    assert!(app.posted.lock().unwrap().is_empty());

    // Nobody without a token; and another tenant's administrator cannot tell this tenant from one that is not there.
    for (method, rest) in &endpoints {
        let path = format!("{HERE}/app/{rest}");
        assert_eq!(ask(&world, None, method.clone(), &path).await.status, 401, "{method} {rest}");
        let forbidden = ask(&world, Some(&globex), method.clone(), &path).await;
        assert_eq!(forbidden.status, 403, "{method} {rest}");
        for tenant in ["unknown", OPERATOR] {
            let path = path.replace("/acme/", &format!("/{tenant}/"));
            assert_eq!(ask(&world, Some(&globex), method.clone(), &path).await, forbidden, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_reach_each_other_on_the_kubernetes_api() {
    let Some(world) = World::start("tenants_do_not_reach_each_other_on_the_kubernetes_api").await else { return };
    let _app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    let globex = two_tenants(&world).await;
    world.connect(&globex, "globex", "web", "app").await;
    world.wait("globex", "web.app", "ready", is_ready).await;
    let client = client_of(&world, "globex", "frontend").await;

    let group = "/apis/integrations.tms.dev/v1alpha1";
    let theirs = format!("{group}/namespaces/acme/projectintegrations");
    let own = format!("{group}/namespaces/globex/projectintegrations");
    let patch = json!({ "metadata": { "annotations": { "integrations.tms.dev/refresh-requested-at": now() } } });
    let made = |namespace: &str| {
        json!({
            "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
            "metadata": { "name": "evil.app", "namespace": namespace },
            "spec": { "tenantId": "acme", "projectId": "evil", "type": "app" },
        })
    };
    assert_eq!(status_of(&client, "GET", &own, &Value::Null).await, 200, "one's own can be reached");
    assert_eq!(status_of(&client, "PATCH", &format!("{own}/web.app"), &patch).await, 200);
    let token_secret = "/api/v1/namespaces/acme/secrets/web.app";
    let grant = integration_operator::grant::store::grant_name("globex", "web.app");
    let own_grant = format!("/api/v1/namespaces/{OPERATOR}/secrets/{grant}");
    let key = format!("/api/v1/namespaces/{OPERATOR}/secrets/integration-operator-signing-key");
    let operators = format!("/api/v1/namespaces/{OPERATOR}/secrets");
    let providers = format!("{group}/clusterintegrationproviders");
    for (method, path) in [
        ("GET", theirs.clone()),
        ("GET", format!("{theirs}?watch=true")),
        ("GET", format!("{theirs}/web.app")),
        ("PATCH", format!("{theirs}/web.app")),
        ("DELETE", format!("{theirs}/web.app")),
        ("DELETE", theirs.clone()),
        ("PATCH", format!("{theirs}/web.app/status")),
        // Status is the operator's, in one's own namespace too.
        ("PATCH", format!("{own}/web.app/status")),
        ("GET", format!("{group}/projectintegrations")),
        ("GET", token_secret.to_owned()),
        ("PATCH", token_secret.to_owned()),
        ("GET", "/api/v1/namespaces/acme/secrets".to_owned()),
        ("GET", "/api/v1/secrets".to_owned()),
        ("GET", own_grant),
        ("GET", key),
        ("GET", operators.clone()),
        ("GET", format!("{operators}?watch=true")),
        ("PATCH", format!("{providers}/app")),
        ("DELETE", format!("{providers}/app")),
        ("PATCH", "/api/v1/namespaces/globex".to_owned()),
    ] {
        assert_eq!(status_of(&client, method, &path, &patch).await, 403, "{method} {path}");
    }
    assert_eq!(status_of(&client, "POST", &theirs, &made("acme")).await, 403);
    // In one's own namespace anybody's tenant can be named; it is not served.
    assert_eq!(status_of(&client, "POST", &own, &made("globex")).await, 200);
    world.wait_reason("globex", "evil.app", "Ready", "TenantMismatch").await;
    let answer = ask(&world, Some(&globex), Method::GET, "/v1/tenants/globex/projects/evil/integrations").await;
    assert_eq!(answer.body, r#"{"integrations":[]}"#);
    let path = "/v1/tenants/globex/projects/evil/integrations/app";
    assert_eq!(ask(&world, Some(&globex), Method::GET, path).await.status, 404);
    assert_eq!(ask(&world, Some(&globex), Method::GET, &format!("{path}/install")).await.status, 403);
    assert!(world.grant("globex", "evil.app").await.is_none());
    let untouched = world.wait("acme", "web.app", "ready", is_ready).await;
    assert!(untouched.metadata.annotations.is_none_or(|all| all.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_its_labels_tenant_and_no_other() {
    let Some(world) = World::start("a_namespace_is_its_labels_tenant_and_no_other").await else { return };
    let app = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.tenant("initech").await;
    world.namespace("bare", None).await;
    world.namespace("masked", Some("somebody")).await;
    label(&world, OPERATOR, Some(OPERATOR)).await;
    // Objects are as old as whole seconds tell.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    world.namespace("a-second", Some("acme")).await;

    let mismatched = [("bare", "bare"), ("masked", "masked"), (OPERATOR, OPERATOR), ("a-second", "acme")];
    for (namespace, tenant) in mismatched {
        world.create(namespace, "web", "app", json!({ "tenantId": tenant })).await;
        let token = world.admin_of(namespace).await;
        let found = world.wait_reason(namespace, "web.app", "Ready", "TenantMismatch").await;
        assert_eq!(condition(&found, "Stalled").0, "True", "{namespace}");
        world.annotate(namespace, "web.app", "integrations.tms.dev/connect-requested-at", &now()).await;
        for what in ["", "/app", "/app/install"] {
            let path = format!("/v1/tenants/{tenant}/projects/web/integrations{what}");
            assert_eq!(ask(&world, Some(&token), Method::GET, &path).await.status, 403, "{namespace}: {path}");
        }
    }
    // A tenant's own provider in a namespace that is none of the tenant's does not serve either.
    let client = ("sandbox-client", "sandbox-secret");
    world.own_provider("a-second", "own", client, description(&app.base_url)).await;
    let admin = world.admin_of("acme").await;
    let path = "/v1/tenants/acme/projects/web/integrations/own/install";
    let answer = ask(&world, Some(&admin), Method::GET, path).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "unknown_integration_type"));

    // The label moves away and comes back: nothing is done meanwhile, and nothing is lost.
    let token = world.admin_of("initech").await;
    world.connect(&token, "initech", "web", "app").await;
    world.wait("initech", "web.app", "ready", is_ready).await;
    let published = world.secret("initech", "web.app").await.unwrap();
    let grant = world.grant("initech", "web.app").await.unwrap();
    for moved in [Some("elsewhere"), None] {
        label(&world, "initech", moved).await;
        world.wait_reason("initech", "web.app", "Ready", "TenantMismatch").await;
        let asked = app.ledger().entries.len();
        world.annotate("initech", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
        let path = "/v1/tenants/initech/projects/web/integrations/app";
        assert_eq!(ask(&world, Some(&token), Method::GET, path).await.status, 403);
        if let Some(moved) = moved {
            // The new tenant finds nothing that is its own.
            let path = path.replace("/initech/", &format!("/{moved}/"));
            assert_eq!(ask(&world, Some(&token), Method::GET, &path).await.status, 404);
            assert_eq!(ask(&world, Some(&token), Method::DELETE, &path).await.status, 404);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(app.ledger().entries.len(), asked, "the provider is left alone");
        assert_eq!(world.grant("initech", "web.app").await.as_ref(), Some(&grant));
        assert_eq!(world.secret("initech", "web.app").await.as_ref(), Some(&published));
    }
    let before = world.integrations("initech").get("web.app").await.unwrap();
    label(&world, "initech", Some("initech")).await;
    world.wait("initech", "web.app", "ready", is_ready).await;
    world.annotate("initech", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
    let was = last_refreshed(&before);
    world.wait("initech", "web.app", "refreshed", |found| is_ready(found) && last_refreshed(found) != was).await;
    assert!(app.ledger().grants.iter().all(|grant| grant.ended.is_none()));

    // None of the others ever came to a link or a grant; and the second namespace is served when the first is gone.
    for (namespace, _) in mismatched {
        let status = world.integrations(namespace).get("web.app").await.unwrap().status.unwrap();
        assert!(status.authorization.is_none(), "{namespace}");
        assert!(world.grant(namespace, "web.app").await.is_none(), "{namespace}");
    }
    for (label_of_first, reason) in [(None, "AuthorizationRequired"), (Some("acme"), "TenantMismatch")] {
        label(&world, "acme", label_of_first).await;
        world.wait_reason("a-second", "web.app", "Ready", reason).await;
    }
}
