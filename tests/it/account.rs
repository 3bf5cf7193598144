//! Whose a connection is: look-ups, a choice, scopes, and what follows a description that changes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use integration_operator::api::{ClusterIntegrationProvider, ProjectIntegration};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::connect::{description, sandbox};
use crate::sandbox::{Effect, Endpoint, Fault, Sandbox, SandboxOptions};
use crate::servers::serve;
use crate::world::{World, condition, eventually, is_ready, last_refreshed, now};

const CHECK: &str = "integrations.tms.dev/check-requested-at";
const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";

/// An app's API that knows of sites, and remembers the paths it was asked for.
#[derive(Clone)]
struct Vendor {
    url: String,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    sites: Vec<Value>,
    paths: Vec<String>,
}

impl Vendor {
    async fn start(sites: &[&str]) -> Self {
        let books = Arc::<Mutex<Books>>::default();
        let routes = Router::new()
            .route("/sites", get(list))
            .route("/sites/{id}/about", get(about))
            .with_state(Arc::clone(&books));
        let vendor = Self { url: serve(routes).await, books };
        vendor.has(sites);
        vendor
    }

    fn has(&self, sites: &[&str]) {
        let site = |id: &&str| json!({ "id": id, "name": format!("Site {id}") });
        self.books.lock().unwrap().sites = sites.iter().map(site).collect();
    }

    /// How often a path was asked for.
    fn times(&self, path: &str) -> usize {
        self.books.lock().unwrap().paths.iter().filter(|asked| *asked == path).count()
    }
}

async fn list(State(books): State<Arc<Mutex<Books>>>) -> axum::Json<Value> {
    let mut books = books.lock().unwrap();
    books.paths.push("/sites".to_owned());
    axum::Json(json!({ "sites": books.sites }))
}

async fn about(State(books): State<Arc<Mutex<Books>>>, Path(id): Path<String>) -> axum::Json<Value> {
    books.lock().unwrap().paths.push(format!("/sites/{id}/about"));
    axum::Json(json!({ "plan": format!("plan of {id}") }))
}

/// The sandbox, with an API beside it that has sites.
async fn with_sites(world: &World, vendor: &Vendor) -> Sandbox {
    let sandbox = Sandbox::start(SandboxOptions::default());
    let mut spec = description(&sandbox.base_url);
    spec["oauth2"]["grantIdentity"] = json!("lookup.site.id");
    spec["parameters"] = json!({ "site": { "optional": true, "title": "Site" } });
    spec["lookups"] = lookups(&vendor.url);
    spec["api"] = json!({ "baseURL": format!("{}/ex/{{site}}", vendor.url) });
    spec["metadata"] = json!({ "site": "lookup.site.name", "plan": "lookup.about.plan" });
    world.provider("app", "sandbox-client", "sandbox-secret", spec).await;
    sandbox
}

fn lookups(base: &str) -> Value {
    json!([
        {
            "name": "site",
            "url": format!("{base}/sites"),
            "choose": { "from": "lookup.site.sites", "value": "id", "title": "name", "parameter": "site" },
        },
        { "name": "about", "url": format!("{base}/sites/{{site}}/about") },
    ])
}

async fn edit(world: &World, name: &str, spec: Value) {
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    let patch = json!({ "spec": spec });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

fn message(found: &ProjectIntegration, type_: &str) -> String {
    let conditions = &found.status.as_ref().unwrap().conditions;
    conditions.iter().find(|condition| condition.type_ == type_).unwrap().message.clone()
}

fn metadata(found: &ProjectIntegration) -> Value {
    json!(found.status.as_ref().map(|status| status.metadata.clone()).unwrap_or_default())
}

fn exchanges(sandbox: &Sandbox) -> usize {
    sandbox.ledger().token_requests("authorization_code")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_sites_is_chosen_without_new_consent() {
    let Some(world) = World::start("one_of_several_sites_is_chosen_without_new_consent").await else { return };
    let vendor = Vendor::start(&["s-1", "s-2"]).await;
    let sandbox = with_sites(&world, &vendor).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;

    let open = world.wait_reason("acme", "web.app", "Ready", "ChoiceRequired").await;
    assert_eq!(condition(&open, "Authorized"), ("True".into(), "Granted".into()));
    assert_eq!(condition(&open, "Stalled").0, "True");
    let told = message(&open, "Ready");
    for part in ["s-1 (Site s-1), s-2 (Site s-2)", "kubectl patch projectintegration web.app -n acme", "No new consent"]
    {
        assert!(told.contains(part), "{told}");
    }
    let choices = json!(open.status.as_ref().unwrap().choices);
    let options = json!([{ "value": "s-1", "title": "Site s-1" }, { "value": "s-2", "title": "Site s-2" }]);
    assert_eq!(choices, json!([{ "parameter": "site", "options": options }]));
    assert_eq!(metadata(&open), json!({}));
    let published = world.secret("acme", "web.app").await.unwrap();
    assert!(published.contains_key("access_token") && !published.contains_key("api_base_url"));

    world.patch_spec("acme", "web.app", json!({ "parameters": { "site": "s-2" } })).await;
    let chosen = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(metadata(&chosen), json!({ "site": "Site s-2", "plan": "plan of s-2" }));
    assert!(chosen.status.as_ref().unwrap().choices.is_empty());
    let secret = world.secret("acme", "web.app").await.unwrap();
    assert_eq!(secret["api_base_url"], format!("{}/ex/s-2", vendor.url));
    assert_eq!(secret["access_token"], published["access_token"]);
    assert_eq!(exchanges(&sandbox), 1);
    assert_eq!(vendor.times("/sites"), 1, "the list that is held is enough");
    let installation = world.grant("acme", "web.app").await.unwrap()["installation"].clone();
    assert!(installation.is_string());

    world.patch_spec("acme", "web.app", json!({ "parameters": { "site": "s-1" } })).await;
    world
        .wait("acme", "web.app", "the other site's", |found| {
            metadata(found) == json!({ "site": "Site s-1", "plan": "plan of s-1" })
        })
        .await;
    assert_ne!(world.grant("acme", "web.app").await.unwrap()["installation"], installation);

    // A wish that names none is not passed over, and there may be a new site by now.
    world.patch_spec("acme", "web.app", json!({ "parameters": { "site": "s-3" } })).await;
    let wrong = world.wait_reason("acme", "web.app", "Ready", "ChoiceRequired").await;
    assert!(message(&wrong, "Ready").starts_with("spec.parameters.site names none of them."));
    vendor.has(&["s-1", "s-2", "s-3"]);
    world.annotate("acme", "web.app", CHECK, &now()).await;
    let found = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(metadata(&found)["site"], json!("Site s-3"));

    // Credentials go where the connection was made for: a look-up that leads elsewhere is not followed.
    let elsewhere = Vendor::start(&["s-3"]).await;
    edit(&world, "app", json!({ "lookups": lookups(&elsewhere.url), "metadata": { "plan": "lookup.site.name" } }))
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let kept = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(metadata(&kept)["site"], json!("Site s-3"));
    assert_eq!(elsewhere.times("/sites"), 0);
    assert_eq!(exchanges(&sandbox), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_site_needs_no_choice_and_none_is_told() {
    let Some(world) = World::start("the_only_site_needs_no_choice_and_none_is_told").await else { return };
    let vendor = Vendor::start(&["only"]).await;
    let _sandbox = with_sites(&world, &vendor).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let connected = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(metadata(&connected), json!({ "site": "Site only", "plan": "plan of only" }));

    vendor.has(&[]);
    world.connect(&token, "acme", "docs", "app").await;
    let none = world.wait_reason("acme", "docs.app", "Ready", "ChoiceRequired").await;
    assert!(message(&none, "Ready").contains("has none that could be chosen as site"));
    vendor.has(&["new"]);
    world.annotate("acme", "docs.app", CHECK, &now()).await;
    let found = world.wait("acme", "docs.app", "ready", is_ready).await;
    assert_eq!(metadata(&found)["site"], json!("Site new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_known_after_a_crash_and_follows_the_description() {
    let Some(world) = World::start("the_account_is_known_after_a_crash_and_follows_the_description").await else {
        return;
    };
    let sandbox = Sandbox::start(SandboxOptions::default());
    let mut spec = description(&sandbox.base_url);
    spec["metadata"] = json!({ "user": "identity.sub" });
    world.provider("app", "sandbox-client", "sandbox-secret", spec).await;
    sandbox.fault(Fault::new(Effect::Delay { millis: 60_000 }).at(Endpoint::Userinfo).always());
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    eventually("the grant is there", async || world.grant("acme", "web.app").await.is_some()).await;
    operator.kill();
    sandbox.clear_faults();
    assert_eq!(world.grant("acme", "web.app").await.unwrap()["metadata"], json!({}));
    let _operator = world.operator().await;
    let known = |found: &ProjectIntegration| {
        metadata(found) == json!({ "user": "ada@acme.example" }) && condition(found, "Healthy").1 == "Verified"
    };
    world.wait("acme", "web.app", "known", known).await;
    let before = sandbox.ledger().entries.len();

    edit(
        &world,
        "app",
        json!({ "metadata": { "user": null, "workspace": "response.workspace.name", "who": "identity.name" } }),
    )
    .await;
    let follows = |found: &ProjectIntegration| {
        metadata(found) == json!({ "workspace": "Acme Workspace", "who": "ada@acme.example" })
    };
    let told = world.wait("acme", "web.app", "as described now", follows).await;
    assert!(is_ready(&told));
    let secret = world.secret("acme", "web.app").await.unwrap();
    assert_eq!((secret["who"].as_str(), secret.contains_key("user")), ("ada@acme.example", false));
    assert_eq!(exchanges(&sandbox), 1);
    assert_eq!(sandbox.ledger().entries.len(), before, "what the provider said is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_scopes_and_more_wishes_are_told_while_the_old_grant_works() {
    let Some(world) = World::start("fewer_scopes_and_more_wishes_are_told_while_the_old_grant_works").await else {
        return;
    };
    let sandbox = sandbox(&world, "app", SandboxOptions::default()).await;
    let narrowed = || Fault::new(Effect::Set { fields: [("scope".to_owned(), json!("read"))].into_iter().collect() });
    sandbox.fault(narrowed().on_exchange());
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let fewer = world.wait_reason("acme", "web.app", "Authorized", "ScopesInsufficient").await;
    assert_eq!(condition(&fewer, "Ready"), ("False".into(), "ScopesInsufficient".into()));
    assert_eq!(condition(&fewer, "Stalled").0, "True");
    assert!(message(&fewer, "Ready").starts_with("Sandbox did not grant write."), "{}", message(&fewer, "Ready"));
    assert_eq!(fewer.status.as_ref().unwrap().scopes, ["read"]);
    eventually("what was granted is published", async || world.secret("acme", "web.app").await.is_some()).await;

    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;

    // A refresh that narrows is noticed too.
    sandbox.fault(narrowed().on_refresh());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    world.wait_reason("acme", "web.app", "Authorized", "ScopesInsufficient").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;

    world.patch_spec("acme", "web.app", json!({ "scopes": ["read", "write", "admin"] })).await;
    let more = world.wait_reason("acme", "web.app", "Authorized", "ScopesInsufficient").await;
    assert!(message(&more, "Ready").starts_with("admin"), "{}", message(&more, "Ready"));
    let before = last_refreshed(&more);
    let published = world.secret("acme", "web.app").await.unwrap()["access_token"].clone();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    let refreshed = world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != before).await;
    assert_eq!(condition(&refreshed, "Authorized").1, "ScopesInsufficient");
    assert_eq!(condition(&refreshed, "TokenFresh"), ("True".into(), "Refreshed".into()));
    assert_ne!(world.secret("acme", "web.app").await.unwrap()["access_token"], published);

    world.connect(&token, "acme", "web", "app").await;
    let all = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(all.status.as_ref().unwrap().scopes, ["read", "write", "admin"]);
    world.patch_spec("acme", "web.app", json!({ "scopes": ["read"] })).await;
    let generation = async || world.integrations("acme").get("web.app").await.unwrap().metadata.generation;
    let generation = generation().await;
    let fewer = world
        .wait("acme", "web.app", "looked at", |found| {
            found.status.as_ref().is_some_and(|status| status.observed_generation == generation)
        })
        .await;
    assert!(is_ready(&fewer), "giving scopes up asks for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apis_address_and_parameters_of_the_callback() {
    let Some(world) = World::start("the_apis_address_and_parameters_of_the_callback").await else { return };
    let sandbox = Sandbox::start(SandboxOptions::default());
    let mut spec = description(&sandbox.base_url);
    let callback = format!("{}/api/public/integrations/app/callback?shop=acme&other=1", world.public_url);
    spec["oauth2"]["redirectURI"] = json!(callback);
    spec["oauth2"]["callbackParams"] = json!(["shop"]);
    spec["metadata"] = json!({ "shop": "request.query.shop", "other": "request.query.other" });
    spec["api"] = json!({
        "baseURL": "https://api.app.example/v1",
        "baseURLFrom": "response.api_url",
        "hosts": ["*.app.example"],
    });
    world.provider("app", "sandbox-client", "sandbox-secret", spec).await;
    let says = |url: &str| {
        let fields = [("api_url".to_owned(), json!(url))].into_iter().collect();
        sandbox.fault(Fault::new(Effect::Set { fields }).on_exchange());
    };
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for (project, said, expected) in [
        ("web", "https://evil.example/", "https://api.app.example/v1"),
        ("docs", "https://eu.app.example/v2", "https://eu.app.example/v2"),
    ] {
        says(said);
        world.connect(&token, "acme", project, "app").await;
        let connected = world.wait("acme", &format!("{project}.app"), "ready", is_ready).await;
        assert_eq!(metadata(&connected), json!({ "shop": "acme" }));
        let secret = world.secret("acme", &format!("{project}.app")).await.unwrap();
        assert_eq!(secret["api_base_url"], expected);
    }
}
