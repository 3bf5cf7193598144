//! What the cluster can bring: objects that cannot be read, Secrets of others, deletion in every form, answers of every kind.

use std::time::Duration;

use integration_operator::api::{ClusterIntegrationProvider, GROUP};
use integration_operator::flow::attempts::AttemptStore;
use integration_operator::grant::GrantStore;
use integration_operator::grant::store::grant_name;
use integration_operator::publish::{PublishError, publish};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::cluster::Part;
use crate::connect::description;
use crate::sandbox::{Consent, Effect, Endpoint, Fault, Rotation, Sandbox, SandboxOptions, Why};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, OPERATOR, World, condition, eventually, eventually_within, is_ready, now};

const CHECK: &str = "integrations.tms.dev/check-requested-at";
const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";

/// A sandbox that asks nobody, and its provider.
async fn willing(world: &World, name: &str, options: SandboxOptions) -> Sandbox {
    crate::connect::sandbox(world, name, SandboxOptions { consent: Consent::Allow(None), ..options }).await
}

/// Reasons of the Events about an integration.
async fn events(world: &World, namespace: &str, name: &str) -> Vec<String> {
    let api: Api<Event> = Api::namespaced(world.client.clone(), namespace);
    let all = api.list(&ListParams::default()).await.unwrap();
    all.items
        .into_iter()
        .filter(|event| event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some(name)))
        .filter_map(|event| event.reason)
        .collect()
}

fn untyped(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{GROUP}/v1alpha1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Status and reason of a condition of an object of any form.
fn told(object: &DynamicObject, type_: &str) -> (String, String) {
    let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_unreadable_object_stops_nobody_else() {
    let Some(world) = World::start("one_unreadable_object_stops_nobody_else").await else { return };
    let sandbox = willing(&world, "app", SandboxOptions::default()).await;
    world.tenant("acme").await;
    // A schema without bounds, as an older or a hand-made one may be.
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (name, path) in [
        ("projectintegrations", format!("{spec}/healthCheck/properties/failureThreshold")),
        ("clusterintegrationproviders", format!("{spec}/oauth2/properties/refresh/properties/graceSeconds")),
    ] {
        let name = format!("{name}.{GROUP}");
        let mut crd = serde_json::to_value(crds.get(&name).await.unwrap()).unwrap();
        *crd.pointer_mut(&path).unwrap() = json!({ "type": "integer", "format": "int64" });
        let crd: CustomResourceDefinition = serde_json::from_value(crd).unwrap();
        crds.replace(&name, &PostParams::default(), &crd).await.unwrap();
    }
    let integrations: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), "acme", &untyped("ProjectIntegration", "projectintegrations"));
    let absurd = |project: &str| -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
            "metadata": { "name": format!("{project}.app") },
            "spec": {
                "tenantId": "acme", "projectId": project, "type": "app",
                "healthCheck": { "failureThreshold": 5_000_000_000_i64 },
            },
        }))
        .unwrap()
    };
    eventually("the looser schema is in force", async || {
        integrations.create(&PostParams::default(), &absurd("early")).await.is_ok()
    })
    .await;
    let providers: Api<DynamicObject> =
        Api::all_with(world.client.clone(), &untyped("ClusterIntegrationProvider", "clusterintegrationproviders"));
    let mut absurd_provider = description(&sandbox.base_url);
    absurd_provider["oauth2"]["refresh"] = json!({ "rotation": "Grace", "graceSeconds": 5_000_000_000_i64 });
    let absurd_provider: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ClusterIntegrationProvider",
        "metadata": { "name": "absurd" }, "spec": absurd_provider,
    }))
    .unwrap();
    eventually("the looser schema is in force", async || {
        providers.create(&PostParams::default(), &absurd_provider).await.is_ok()
    })
    .await;

    let operator = world.operator().await;
    let token = world.admin_of("acme").await;
    let invalid = async |name: &str| {
        eventually(name, async || {
            let found = integrations.get(name).await.unwrap();
            told(&found, "Ready") == ("False".into(), "InvalidSpec".into())
                && told(&found, "Stalled") == ("True".into(), "InvalidSpec".into())
        })
        .await;
    };
    invalid("early.app").await;
    world.connect(&token, "acme", "good", "app").await;
    world.wait("acme", "good.app", "ready", is_ready).await;
    integrations.create(&PostParams::default(), &absurd("late")).await.unwrap();
    invalid("late.app").await;
    world.connect(&token, "acme", "fine", "app").await;
    world.wait("acme", "fine.app", "ready", is_ready).await;

    // An integration of the unreadable provider says so on itself.
    world.create("acme", "web", "absurd", json!({})).await;
    let told_so = world.wait("acme", "web.absurd", "looked at", |found| !condition(found, "Ready").0.is_empty()).await;
    assert_eq!(condition(&told_so, "Ready").0, "False");
    assert_eq!(condition(&told_so, "Stalled").0, "True", "{:?}", told_so.status);
    let listed = world.get(&token, "/v1/tenants/acme/projects/good/integrations").await;
    assert_eq!(listed.status(), 200, "{}", listed.text().await.unwrap());

    // Mended, it is as any other.
    let mend = json!({ "spec": { "healthCheck": { "failureThreshold": 3 } } });
    integrations.patch("early.app", &PatchParams::default(), &Patch::Merge(&mend)).await.unwrap();
    world.wait_reason("acme", "early.app", "Ready", "AuthorizationRequired").await;

    // One that is held for and becomes unreadable can still be deleted, and is revoked.
    let spoil = json!({ "spec": { "healthCheck": { "failureThreshold": 5_000_000_000_i64 } } });
    integrations.patch("good.app", &PatchParams::default(), &Patch::Merge(&spoil)).await.unwrap();
    invalid("good.app").await;
    assert!(world.grant("acme", "good.app").await.is_some());
    integrations.delete("good.app", &DeleteParams::default()).await.unwrap();
    eventually("it is gone", async || integrations.get_opt("good.app").await.unwrap().is_none()).await;
    assert!(world.grant("acme", "good.app").await.is_none());
    assert!(!operator.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_times_harm_nobody() {
    let Some(world) = World::start("absurd_times_harm_nobody").await else { return };
    let sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let mut absurd = description(&sandbox.base_url);
    absurd["oauth2"]["refresh"] = json!({ "every": "9999999999h" });
    absurd["oauth2"]["accessTokenLifetime"] = json!("9999999999h");
    absurd["oauth2"]["grantIdentity"] = json!("response.workspace.id");
    world.provider("absurd", "sandbox-client", "sandbox-secret", absurd).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let long = json!({ "refresh": { "before": "9999999999h" }, "healthCheck": { "interval": "9999999999h" } });
    world.create("acme", "long", "absurd", long).await;
    world.connect(&token, "acme", "long", "absurd").await;
    world.wait("acme", "long.absurd", "ready", is_ready).await;
    let short = json!({ "refresh": { "before": "0s" }, "healthCheck": { "interval": "0s" } });
    world.create("acme", "short", "app", short).await;
    world.connect(&token, "acme", "short", "app").await;
    world.wait("acme", "short.app", "ready", is_ready).await;
    // Tokens that are dead at once are refreshed again and again, but not as fast as one can.
    sandbox.fault(Fault::new(Effect::expires_in(0.001)).always());
    world.annotate("acme", "short.app", REFRESH, &now()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = sandbox.ledger().token_requests("refresh_token");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let made = sandbox.ledger().token_requests("refresh_token") - before;
    println!("refreshes in five seconds with tokens of a millisecond: {made}");
    assert!(made <= 10, "{made}");
    sandbox.clear_faults();
    world.wait("acme", "long.absurd", "ready", is_ready).await;
    assert!(!operator.log().contains("panicked"), "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_others_and_our_own() {
    let Some(world) = World::start("secrets_of_others_and_our_own").await else { return };
    let _sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let secrets = world.secrets("acme");
    let foreign: Secret = serde_json::from_value(json!({
        "metadata": { "name": "web.app", "labels": { "app": "billing" }, "annotations": { "note": "ours" } },
        "stringData": { "access_token": "of-billing", "password": "hunter2" },
    }))
    .unwrap();
    let foreign = secrets.create(&PostParams::default(), &foreign).await.unwrap();
    world.connect(&token, "acme", "web", "app").await;
    let conflict = world.wait_reason("acme", "web.app", "Ready", "SecretConflict").await;
    assert_eq!(condition(&conflict, "Stalled"), ("True".into(), "SecretConflict".into()));
    assert_eq!(condition(&conflict, "Authorized").0, "True", "what is held is held");
    world.annotate("acme", "web.app", CHECK, &now()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(secrets.get("web.app").await.unwrap(), foreign, "not a byte of it, no owner, no field manager");

    // Another name mends it at once.
    world.patch_spec("acme", "web.app", json!({ "secret": { "name": "web.token" } })).await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let published = world.secret("acme", "web.token").await.unwrap();
    assert_eq!(published["workspaceId"], "W-ACME");
    assert_eq!(secrets.get("web.app").await.unwrap(), foreign);

    // Back again it conflicts again, the Secret of ours is not left behind, and a deletion of the other's mends it.
    world.patch_spec("acme", "web.app", json!({ "secret": { "name": null } })).await;
    world.wait_reason("acme", "web.app", "Ready", "SecretConflict").await;
    eventually("the first one is gone", async || secrets.get_opt("web.token").await.unwrap().is_none()).await;
    secrets.delete("web.app", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.annotate("acme", "web.app", CHECK, &now()).await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let ours = secrets.get("web.app").await.unwrap();
    assert_ne!(ours.metadata.uid, foreign.metadata.uid);
    assert_eq!(ours.metadata.owner_references.as_ref().unwrap().len(), 1);
    let intact = world.secret("acme", "web.app").await.unwrap();
    assert_eq!(intact, published);

    // Edited, with a key added, or deleted: repaired at a check.
    for edit in ["edit", "add", "delete"] {
        match edit {
            "edit" => {
                let patch = json!({ "stringData": { "access_token": "mallory" } });
                secrets.patch("web.app", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            }
            "add" => {
                let patch = json!({ "data": { "access_token": null } });
                secrets.patch("web.app", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            }
            _ => {
                secrets.delete("web.app", &DeleteParams::default()).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
        world.annotate("acme", "web.app", CHECK, &now()).await;
        eventually(edit, async || world.secret("acme", "web.app").await.as_ref() == Some(&intact)).await;
    }
    // Deleted, and another's in its place: left alone.
    secrets.delete("web.app", &DeleteParams::default()).await.unwrap();
    let mut squatter = foreign.clone();
    squatter.metadata = kube::api::ObjectMeta { name: Some("web.app".into()), ..kube::api::ObjectMeta::default() };
    let squatter = secrets.create(&PostParams::default(), &squatter).await.unwrap();
    world.annotate("acme", "web.app", CHECK, &now()).await;
    world.wait_reason("acme", "web.app", "Ready", "SecretConflict").await;
    assert_eq!(secrets.get("web.app").await.unwrap(), squatter);
    secrets.delete("web.app", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.annotate("acme", "web.app", CHECK, &now()).await;
    world.wait("acme", "web.app", "ready", is_ready).await;

    world.patch_spec("acme", "web.app", json!({ "secret": { "name": "moved", "publish": true } })).await;
    eventually("it moved", async || {
        world.secret("acme", "moved").await.as_ref() == Some(&intact) && world.secret("acme", "web.app").await.is_none()
    })
    .await;
    world.patch_spec("acme", "web.app", json!({ "secret": { "publish": false } })).await;
    eventually("none is published", async || world.secret("acme", "moved").await.is_none()).await;
    let quiet = world
        .wait("acme", "web.app", "ready without a Secret", |found| {
            let token = found.status.as_ref().and_then(|status| status.token.clone());
            is_ready(found) && token.is_some_and(|token| token.secret_name.is_none())
        })
        .await;
    assert_eq!(condition(&quiet, "Authorized").0, "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_token_is_not_written_over_a_newer_one() {
    let Some(world) = World::start("an_older_token_is_not_written_over_a_newer_one").await else { return };
    let _sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let integration = world.wait("acme", "web.app", "ready", is_ready).await;
    let store = GrantStore::new(world.client.clone(), OPERATOR);
    let held = async || store.get(&grant_name("acme", "web.app")).await.unwrap().unwrap();
    let older = held().await;
    let version = async || world.secrets("acme").get("web.app").await.unwrap().metadata.resource_version;
    let seen = version().await;

    // Somebody else writes to the Secret: the next token gets there all the same.
    let label = json!({ "metadata": { "labels": { "team": "billing" } } });
    world.secrets("acme").patch("web.app", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    eventually("the newer token is published", async || {
        let published = world.secret("acme", "web.app").await.unwrap();
        let now = held().await;
        now.grant.generation > older.grant.generation
            && published["access_token"] == now.grant.tokens.access_token.expose()
    })
    .await;
    assert_eq!(world.secrets("acme").get("web.app").await.unwrap().labels()["team"], "billing");
    operator.terminate().await;

    // A process that was frozen with the older one in hand.
    let newer = held().await;
    let write = async |grant, version| {
        let standing = older.view.published.as_ref();
        publish(&world.client, &integration, grant, standing, "web.app", version).await
    };
    let late = write(&older.grant, seen).await;
    assert!(matches!(late, Err(PublishError::Changed { .. })), "{late:?}");
    assert_eq!(
        world.secret("acme", "web.app").await.unwrap()["access_token"],
        newer.grant.tokens.access_token.expose()
    );
    let current = version().await;
    let written = write(&newer.grant, current.clone()).await.unwrap();
    assert_eq!(written.version, current, "the same once more is no new version");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_deletes_one_wins() {
    let Some(world) = World::start("of_a_hundred_deletes_one_wins").await else { return };
    let _sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for round in 0..5 {
        world.install(&token, "acme", &format!("round-{round}"), "app").await;
        let attempts = ListParams::default().labels("integrations.tms.dev/kind=attempt");
        let attempts = world.secrets(OPERATOR).list_metadata(&attempts).await.unwrap();
        assert_eq!(attempts.items.len(), 1);
        let name = attempts.items[0].metadata.name.clone().unwrap();
        let store = AttemptStore::new(world.client.clone(), OPERATOR);
        let stored = store.get(&name).await.unwrap().unwrap();
        let tries = (0..100).map(|_| {
            let (store, stored) = (store.clone(), stored.clone());
            tokio::spawn(async move { store.consume(&stored).await })
        });
        let results = futures::future::join_all(tries).await;
        let won = results.into_iter().filter(|result| *result.as_ref().unwrap().as_ref().unwrap()).count();
        assert_eq!(won, 1, "in round {round}");
        assert!(store.get(&name).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_everything_in_it() {
    let Some(world) = World::start("a_namespace_goes_with_everything_in_it").await else { return };
    if !world.cluster.has(Part::ControllerManager) {
        return;
    }
    let sandbox = Sandbox::start(SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() });
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let client = ("sandbox-client", "sandbox-secret");
    world.own_provider("acme", "mine", client, description(&sandbox.base_url)).await;
    let token = world.admin_of("acme").await;
    for project in ["web", "shop"] {
        world.create("acme", project, "mine", json!({ "providerKind": "IntegrationProvider" })).await;
        world.connect(&token, "acme", project, "mine").await;
        world.wait("acme", &format!("{project}.mine"), "ready", is_ready).await;
        sandbox.reconfigure(|options| options.consent = Consent::Allow(Some("W-GLOBEX".into())));
    }
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete("acme", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt("acme").await.unwrap().is_none()).await;
    for project in ["web", "shop"] {
        assert!(world.grant("acme", &format!("{project}.mine")).await.is_none());
    }
    for grant in sandbox.ledger().grants {
        assert_eq!(grant.ended.map(|ending| ending.why), Some(Why::Revoked), "{grant:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_ends_whatever_is_missing_and_spares_siblings() {
    let Some(world) = World::start("deletion_ends_whatever_is_missing_and_spares_siblings").await else { return };
    let sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for project in ["one", "two"] {
        world.connect(&token, "acme", project, "app").await;
        world.wait("acme", &format!("{project}.app"), "ready", is_ready).await;
    }
    let delete = async |name: &str| {
        world.integrations("acme").delete(name, &DeleteParams::default()).await.unwrap();
        world.wait_gone("acme", name).await;
    };
    delete("one.app").await;
    assert_eq!(sandbox.ledger().of(Endpoint::Revoke).count(), 0, "the other holds the same workspace");
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()));
    eventually("it is told", async || {
        events(&world, "acme", "one.app").await.contains(&"RevocationSkippedShared".to_owned())
    })
    .await;
    delete("two.app").await;
    assert_eq!(sandbox.ledger().of(Endpoint::Revoke).count(), 1);
    eventually("it is told", async || events(&world, "acme", "two.app").await.contains(&"Revoked".to_owned())).await;

    world.connect(&token, "acme", "late", "app").await;
    world.wait("acme", "late.app", "ready", is_ready).await;
    let providers: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    providers.delete("app", &DeleteParams::default()).await.unwrap();
    world.wait_reason("acme", "late.app", "Ready", "ProviderNotFound").await;
    sandbox.go_offline().await;
    delete("late.app").await;
    assert!(world.grant("acme", "late.app").await.is_none());
    eventually("it is told", async || {
        events(&world, "acme", "late.app").await.contains(&"RevocationFailed".to_owned())
    })
    .await;
}

/// Whether nothing is lost: the grant holds the provider's newest refresh token, or the conditions say that it may not.
async fn nothing_is_lost(world: &World, sandbox: &Sandbox, name: &str, why: &str) {
    let held = world.grant("acme", name).await.unwrap();
    let refresh_token = held["tokens"]["refreshToken"].as_str().unwrap();
    let grant = sandbox.grant_of(refresh_token).unwrap();
    if sandbox.current_refresh_token(grant).as_deref() == Some(refresh_token) {
        return;
    }
    let found = world.integrations("acme").get(name).await.unwrap();
    let said = [condition(&found, "TokenFresh").1, condition(&found, "Authorized").1];
    assert!(
        said.iter().any(|reason| reason == "RefreshAmbiguous" || reason == "ReauthorizationRequired"),
        "lost in silence after {why}: {said:?}"
    );
}

fn nonsense() -> Vec<(&'static str, Effect)> {
    vec![
        ("HTML", Effect::Answer { status: 200, content_type: "text/html".into(), body: "<html>no</html>".into() }),
        ("a list", Effect::json("[]")),
        ("a token with a line break", Effect::json(r#"{"access_token":"a\r\nx: y"}"#)),
        ("half an answer", Effect::Truncate),
        ("a huge answer", Effect::Huge { bytes: 100 << 20 }),
        ("a bomb", Effect::GzipBomb { bytes: 64 << 20 }),
    ]
}

fn forms() -> Vec<(Effect, bool)> {
    vec![
        (Effect::expires_in("3600"), true),
        (Effect::expires_in(0), false),
        (Effect::expires_in(-1), false),
        (Effect::expires_in(1e99), true),
        (Effect::expires_in(Value::Null), false),
        (Effect::expires_in("soon"), false),
        (Effect::set("token_type", "bEaReR"), true),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_kind_to_an_exchange() {
    let Some(world) = World::start("answers_of_every_kind_to_an_exchange").await else { return };
    let sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let elsewhere = Sandbox::start(SandboxOptions::default());
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for (index, (effect, expires)) in forms().into_iter().enumerate() {
        let project = format!("form-{index}");
        sandbox.fault(Fault::new(effect.clone()).on_exchange());
        world.connect(&token, "acme", &project, "app").await;
        let name = format!("{project}.app");
        let found = world.wait("acme", &name, "ready", is_ready).await;
        let told = condition(&found, "TokenFresh");
        assert_eq!(told, ("True".into(), if expires { "Refreshed" } else { "NeverExpires" }.into()), "{effect:?}");
        let published = world.secret("acme", &name).await.unwrap();
        assert_eq!(published["token_type"], "Bearer", "{effect:?}");
        assert_eq!(published["expires_at"].is_empty(), !expires, "{effect:?}");
        nothing_is_lost(&world, &sandbox, &name, &format!("{effect:?}")).await;
    }
    let redirect = Effect::redirect(&format!("{}/token", elsewhere.base_url));
    let refusals = [
        ("a redirect", redirect),
        ("a limit", Effect::rate_limited("99999999999999999999")),
        ("an error with status 200", Effect::json(r#"{"error":"invalid_grant"}"#)),
    ];
    for (index, (what, effect)) in nonsense().into_iter().chain(refusals).enumerate() {
        let project = format!("bad-{index}");
        sandbox.fault(Fault::new(effect).on_exchange());
        let mut browser = Browser::as_user("dev");
        let landed = world.connect_as(&mut browser, &token, "acme", &project, "app").await;
        // On a busy machine a browser is sent on before a large answer was read.
        let pending = landed == format!("{FRONTEND}/dashboard?integration=app&status=pending");
        assert!(pending || landed == format!("{FRONTEND}/dashboard?error=token_exchange_failed"), "{what}: {landed}");
        assert!(world.grant("acme", &format!("{project}.app")).await.is_none(), "{what}");
    }
    assert!(elsewhere.ledger().entries.is_empty(), "a redirect is not followed");
    assert_eq!(sandbox.pending_faults(), 0);
    assert_eq!(sandbox.ledger().token_requests("authorization_code"), 7 + 9, "a code is sent once");
    // None of it stands in anybody else's way.
    world.connect(&token, "acme", "after", "app").await;
    world.wait("acme", "after.app", "ready", is_ready).await;
    assert!(!operator.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_kind_to_a_refresh() {
    let Some(world) = World::start("answers_of_every_kind_to_a_refresh").await else { return };
    let sandbox = willing(&world, "app", SandboxOptions::default()).await;
    let elsewhere = Sandbox::start(SandboxOptions::default());
    let mut asking = description(&sandbox.base_url);
    asking["oauth2"]["introspectionURL"] = json!(format!("{}/introspect", sandbox.base_url));
    world.provider("asking", "sandbox-client", "sandbox-secret", asking).await;
    world.provider("limited", "sandbox-client", "sandbox-secret", description(&sandbox.base_url)).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let handled = async |name: &str, value: &str, what: &str| {
        world
            .wait("acme", name, what, |found| {
                let handled = found.status.as_ref().and_then(|status| status.handled.get(REFRESH).cloned());
                handled.as_deref() == Some(value)
            })
            .await
    };
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    for (effect, expires) in forms() {
        sandbox.fault(Fault::new(effect.clone()).on_refresh());
        let asked = now();
        world.annotate("acme", "web.app", REFRESH, &asked).await;
        let found = handled("web.app", &asked, &format!("{effect:?}")).await;
        let told = condition(&found, "TokenFresh");
        assert_eq!(told, ("True".into(), if expires { "Refreshed" } else { "NeverExpires" }.into()), "{effect:?}");
        nothing_is_lost(&world, &sandbox, "web.app", &format!("{effect:?}")).await;
    }
    // A redirect and a failure that was not taken up: said, tried again, and carried out.
    for effect in [Effect::redirect(&format!("{}/token", elsewhere.base_url)), Effect::status(503)] {
        sandbox.fault(Fault::new(effect.clone()).on_refresh());
        let asked = now();
        world.annotate("acme", "web.app", REFRESH, &asked).await;
        let failing = world.wait_reason("acme", "web.app", "TokenFresh", "RefreshFailing").await;
        assert!(is_ready(&failing), "the old token works: {effect:?}");
        handled("web.app", &asked, &format!("{effect:?}")).await;
        nothing_is_lost(&world, &sandbox, "web.app", &format!("{effect:?}")).await;
    }
    assert!(elsewhere.ledger().entries.is_empty(), "a redirect is not followed");
    // Without a refresh token in the answer the old one stays.
    sandbox.reconfigure(|options| options.rotation = Rotation::None);
    let before = world.grant("acme", "web.app").await.unwrap();
    let asked = now();
    world.annotate("acme", "web.app", REFRESH, &asked).await;
    handled("web.app", &asked, "refreshed without rotation").await;
    let after = world.grant("acme", "web.app").await.unwrap();
    assert_eq!(before["tokens"]["refreshToken"], after["tokens"]["refreshToken"]);
    assert_ne!(before["tokens"]["accessToken"], after["tokens"]["accessToken"]);
    nothing_is_lost(&world, &sandbox, "web.app", "no refresh token").await;
    sandbox.reconfigure(|options| options.rotation = Rotation::Strict);

    for (index, (what, effect)) in nonsense().into_iter().enumerate() {
        let commits = matches!(effect, Effect::Truncate);
        // Nobody can be asked: the old token stays in use, and the condition says why.
        let (project, name) = (format!("p{index}"), format!("p{index}.app"));
        world.connect(&token, "acme", &project, "app").await;
        world.wait("acme", &name, "ready", is_ready).await;
        sandbox.fault(Fault::new(effect.clone()).on_refresh());
        world.annotate("acme", &name, REFRESH, &now()).await;
        let found = world.wait_reason("acme", &name, "TokenFresh", "RefreshAmbiguous").await;
        assert!(is_ready(&found), "{what}");
        nothing_is_lost(&world, &sandbox, &name, what).await;
        // The provider can be asked: it is refreshed after all, or said to be lost.
        let name = format!("p{index}.asking");
        world.connect(&token, "acme", &project, "asking").await;
        world.wait("acme", &name, "ready", is_ready).await;
        sandbox.fault(Fault::new(effect).on_refresh());
        let asked = now();
        world.annotate("acme", &name, REFRESH, &asked).await;
        if commits {
            world.wait_reason("acme", &name, "Authorized", "ReauthorizationRequired").await;
        } else {
            world
                .wait("acme", &name, what, |found| {
                    let grant = found.status.as_ref().and_then(|status| status.token.clone());
                    condition(found, "TokenFresh").1 == "Refreshed"
                        && grant.is_some_and(|token| token.last_refreshed_at > asked)
                })
                .await;
            nothing_is_lost(&world, &sandbox, &name, what).await;
        }
    }
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()), "no reuse was ever seen");

    // An absurd wait is cut to an hour, and said.
    world.connect(&token, "acme", "web", "limited").await;
    world.wait("acme", "web.limited", "ready", is_ready).await;
    sandbox.fault(Fault::new(Effect::rate_limited("99999999999999999999")).on_refresh());
    world.annotate("acme", "web.limited", REFRESH, &now()).await;
    let found = world.wait_reason("acme", "web.limited", "TokenFresh", "RefreshFailing").await;
    assert!(is_ready(&found));
    nothing_is_lost(&world, &sandbox, "web.limited", "429").await;
    assert!(!operator.log().contains("panicked"));
    eventually_within(Duration::from_secs(5), "it lives", async || {
        world.http.get(format!("{}/readyz", operator.probes)).send().await.unwrap().status() == 200
    })
    .await;
}
