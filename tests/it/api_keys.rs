//! API keys: named by a spec or given over HTTP, proved at a vendor that remembers everything it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use integration_operator::api::{ClusterIntegrationProvider, ProjectIntegration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::canary::Haul;
use crate::servers::serve;
use crate::world::{Flags, World, condition, eventually, is_ready, now, rule};

const CHECK: &str = "integrations.tms.dev/check-requested-at";
const CONNECT: &str = "integrations.tms.dev/connect-requested-at";
const DISCONNECT: &str = "integrations.tms.dev/disconnect-requested-at";

/// A vendor that takes keys.
#[derive(Clone)]
struct Vendor {
    url: String,
    state: Arc<Mutex<Books>>,
}

/// What a vendor knows.
#[derive(Default)]
struct Books {
    /// The credential is in this header.
    header: String,
    /// What it answers to a header; 401 to all others.
    answers: BTreeMap<String, u16>,
    /// Everything that came: path and headers.
    ledger: Vec<(String, BTreeMap<String, String>)>,
}

impl Vendor {
    /// Starts one that looks at `header`.
    async fn start(header: &str) -> Self {
        let state = Arc::new(Mutex::new(Books { header: header.to_owned(), ..Books::default() }));
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&state));
        Self { url: serve(routes).await, state }
    }

    fn knows(&self, credential: &str, status: u16) {
        self.state.lock().unwrap().answers.insert(credential.to_owned(), status);
    }

    /// How often a credential was sent here.
    fn times(&self, credential: &str) -> usize {
        let state = self.state.lock().unwrap();
        state
            .ledger
            .iter()
            .filter(|(_, headers)| headers.get(&state.header).is_some_and(|sent| sent == credential))
            .count()
    }

    fn requests(&self) -> usize {
        self.state.lock().unwrap().ledger.len()
    }

    fn paths(&self) -> Vec<String> {
        self.state.lock().unwrap().ledger.iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn answer(State(books): State<Arc<Mutex<Books>>>, request: Request) -> Response {
    let headers: BTreeMap<String, String> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut books = books.lock().unwrap();
    let credential = headers.get(&books.header).cloned().unwrap_or_default();
    books.ledger.push((request.uri().path().to_owned(), headers));
    let status = books.answers.get(&credential).copied().unwrap_or(401);
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    // Some vendors repeat what they were sent, in errors and otherwise.
    let body = json!({ "id": "acct_1", "name": "Acme", "echo": credential, "error": format!("not {credential}") });
    (status, axum::Json(body)).into_response()
}

/// A provider that needs no client.
async fn provider(world: &World, name: &str, spec: Value) {
    let provider: ClusterIntegrationProvider =
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    api.create(&PostParams::default(), &provider).await.unwrap();
}

async fn edit(world: &World, name: &str, spec: Value) {
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    let patch = json!({ "spec": spec });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// A payment provider: keys of a certain look, as Bearer.
fn payments(vendor: &Vendor) -> Value {
    json!({
        "displayName": "Payments",
        "apiKey": { "title": "Restricted key", "pattern": "rk_(live|test)_[A-Za-z0-9]+" },
        "identity": { "url": format!("{}/v1/account", vendor.url), "limited": [403] },
        "metadata": { "accountId": "identity.id", "accountName": "identity.name", "echo": "identity.echo" },
    })
}

/// Puts a Secret with a key in place, or changes it.
async fn secret(world: &World, name: &str, readable: bool, data: Value) {
    let encode = |text: &Value| json!(base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap()));
    let data: serde_json::Map<_, _> = data.as_object().unwrap().iter().map(|(k, v)| (k.clone(), encode(v))).collect();
    let labels = if readable { json!({ "integrations.tms.dev/readable": "true" }) } else { json!({}) };
    let object: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "labels": labels }, "data": data,
    }))
    .unwrap();
    world.secrets("acme").patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
}

fn named(secret: &str) -> Value {
    json!({ "apiKey": { "secretRef": { "name": secret, "key": "key" } } })
}

async fn check(world: &World, name: &str) {
    let at = now();
    world.annotate("acme", name, CHECK, &at).await;
    world
        .wait("acme", name, "checked", |found| {
            found.status.as_ref().is_some_and(|status| status.handled.get(CHECK) == Some(&at))
        })
        .await;
}

fn message(found: &ProjectIntegration, type_: &str) -> String {
    let conditions = found.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|condition| condition.type_ == type_).map(|condition| condition.message.clone()).collect()
}

/// Gives a key over HTTP.
async fn put(world: &World, token: &str, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/v1/tenants/{path}/credentials", world.public_url);
    let answer = world.http.put(url).bearer_auth(token).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_spec_names() {
    let Some(world) = World::start("a_key_that_the_spec_names").await else { return };
    let vendor = Vendor::start("authorization").await;
    provider(&world, "payments", payments(&vendor)).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.create("acme", "web", "payments", named("stripe")).await;

    // Not there, not allowed, not under this name, not such a key: nothing is sent, and each says what to do.
    let found = world.wait_reason("acme", "web.payments", "Authorized", "ApiKeyMissing").await;
    assert!(message(&found, "Authorized").contains("kubectl create secret generic stripe -n acme"), "{found:?}");
    assert_eq!(condition(&found, "Stalled").0, "True");
    secret(&world, "stripe", false, json!({ "key": "rk_live_1" })).await;
    check(&world, "web.payments").await;
    let found = world.integrations("acme").get("web.payments").await.unwrap();
    assert!(message(&found, "Authorized").contains("kubectl label secret stripe -n acme"), "{found:?}");
    secret(&world, "stripe", true, json!({ "other": "rk_live_1" })).await;
    check(&world, "web.payments").await;
    let found = world.integrations("acme").get("web.payments").await.unwrap();
    assert!(message(&found, "Authorized").contains("no text under key"), "{found:?}");
    secret(&world, "stripe", true, json!({ "key": "pk_live_1" })).await;
    check(&world, "web.payments").await;
    let found = world.integrations("acme").get("web.payments").await.unwrap();
    let said = message(&found, "Authorized");
    assert!(said.contains("a Restricted key looks like rk_(live|test)_") && !said.contains("pk_live"), "{said}");
    assert_eq!(vendor.requests(), 0);
    assert!(world.grant("acme", "web.payments").await.is_none());

    // Refused by the app: told at once, and nothing is held.
    secret(&world, "stripe", true, json!({ "key": "rk_live_0" })).await;
    check(&world, "web.payments").await;
    let found = world.integrations("acme").get("web.payments").await.unwrap();
    for type_ in ["Ready", "Healthy", "Authorized"] {
        assert_eq!(condition(&found, type_), ("False".into(), "Rejected".into()), "{found:?}");
    }
    assert!(world.grant("acme", "web.payments").await.is_none());
    assert_eq!(vendor.times("Bearer rk_live_0"), 1);

    // Accepted. The line break at the end of a file is not part of a key.
    vendor.knows("Bearer rk_live_1", 200);
    secret(&world, "stripe", true, json!({ "key": "rk_live_1\n" })).await;
    check(&world, "web.payments").await;
    let found = world.wait("acme", "web.payments", "ready", is_ready).await;
    assert_eq!(condition(&found, "Authorized"), ("True".into(), "Granted".into()));
    assert_eq!(condition(&found, "TokenFresh"), ("True".into(), "NeverExpires".into()));
    assert_eq!(condition(&found, "Healthy"), ("True".into(), "Verified".into()));
    let metadata = &found.status.as_ref().unwrap().metadata;
    assert_eq!(metadata.get("accountId"), Some(&json!("acct_1")));
    assert!(!metadata.contains_key("echo"), "a key that an app repeats is no metadata");
    let published = world.secret("acme", "web.payments").await.unwrap();
    assert_eq!(published["access_token"], "rk_live_1");
    assert_eq!((published["token_type"].as_str(), published["accountName"].as_str()), ("ApiKey", "Acme"));
    assert_eq!(vendor.times("Bearer rk_live_1"), 1, "proved once, not by a health check again");
    let grant = world.grant("acme", "web.payments").await.unwrap();
    assert_eq!((&grant["epoch"], &grant["apiKey"]), (&json!(1), &json!("Spec")));
    assert!(grant["tokens"].get("refreshToken").is_none() && grant["binding"].get("tokenUrl").is_none());

    // Another key that the app refuses: the one before stays in use.
    secret(&world, "stripe", true, json!({ "key": "rk_live_bad" })).await;
    check(&world, "web.payments").await;
    let found = world.wait_reason("acme", "web.payments", "Ready", "Rejected").await;
    assert_eq!(condition(&found, "Authorized").0, "True");
    assert!(message(&found, "Healthy").contains("the earlier key stays in use"), "{found:?}");
    assert_eq!(world.secret("acme", "web.payments").await.unwrap()["access_token"], "rk_live_1");
    // One that it accepts takes its place.
    vendor.knows("Bearer rk_live_2", 200);
    secret(&world, "stripe", true, json!({ "key": "rk_live_2" })).await;
    check(&world, "web.payments").await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    eventually("the new key is published", async || {
        world.secret("acme", "web.payments").await.unwrap()["access_token"] == "rk_live_2"
    })
    .await;
    assert_eq!(world.grant("acme", "web.payments").await.unwrap()["epoch"], 2);

    // The app ends it; the health check finds that out, and the new key with it.
    world
        .patch_spec("acme", "web.payments", json!({ "healthCheck": { "interval": "1s", "failureThreshold": 2 } }))
        .await;
    // A changed spec is a reason to read the Secret, so that has to be over first.
    world
        .wait("acme", "web.payments", "up to date", |found| {
            found.metadata.generation == found.status.as_ref().and_then(|status| status.observed_generation)
        })
        .await;
    vendor.knows("Bearer rk_live_3", 200);
    secret(&world, "stripe", true, json!({ "key": "rk_live_3" })).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(vendor.times("Bearer rk_live_3"), 0, "a check that passes reads no Secret");
    vendor.knows("Bearer rk_live_2", 401);
    eventually("the new key is found", async || {
        world.grant("acme", "web.payments").await.unwrap()["tokens"]["accessToken"] == "rk_live_3"
    })
    .await;
    world.wait("acme", "web.payments", "ready", is_ready).await;

    // The Secret goes: what is held is not lost. The reference goes: it is forgotten.
    world.secrets("acme").delete("stripe", &DeleteParams::default()).await.unwrap();
    check(&world, "web.payments").await;
    let found = world.wait_reason("acme", "web.payments", "Authorized", "ApiKeyMissing").await;
    assert!(message(&found, "Authorized").contains("The earlier key stays in use"), "{found:?}");
    assert!(world.secret("acme", "web.payments").await.is_some());
    world.patch_spec("acme", "web.payments", json!({ "apiKey": null })).await;
    eventually("the grant is gone", async || world.grant("acme", "web.payments").await.is_none()).await;
    let found = world.wait_reason("acme", "web.payments", "Authorized", "ApiKeyMissing").await;
    assert!(world.secret("acme", "web.payments").await.is_none());
    world
        .wait("acme", "web.payments", "told", |found| {
            message(found, "Authorized").contains("PUT the key to /v1/tenants/acme/projects/web/")
        })
        .await;
    drop(found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_over_http() {
    let Some(world) = World::start("a_key_over_http").await else { return };
    let vendor = Vendor::start("x-api-key").await;
    let basic = Vendor::start("authorization").await;
    let closed = Vendor::start("authorization").await;
    let mut mail = json!({
        "displayName": "Mail",
        "apiKey": { "header": "X-Api-Key", "prefix": "", "pattern": "SG\\..+" },
        "identity": { "url": format!("{}/v3/scopes", vendor.url), "limited": [403] },
    });
    provider(&world, "mail", mail.clone()).await;
    mail["identity"] = json!({ "url": format!("{}/slow", closed.url) });
    provider(&world, "closed", mail).await;
    closed.knows("", 503);
    let calls = json!({
        "displayName": "Calls",
        "apiKey": { "basic": { "username": "{accountSid}" } },
        "identity": { "url": format!("{}/2010/Accounts/{{accountSid}}.json", basic.url) },
        "parameters": { "accountSid": { "pattern": "AC[0-9a-f]+", "title": "Account SID" } },
    });
    provider(&world, "calls", calls).await;
    world
        .provider("oauth", "sandbox-client", "sandbox-secret", crate::connect::description("http://127.0.0.1:1"))
        .await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    let token = world.admin_of("acme").await;
    let stranger = world.admin_of("globex").await;
    let only = world.caller("acme", "keys-only", &[rule(&["create"], &["projectintegrations/credentials"])]).await;
    let web = |type_: &str| format!("acme/projects/web/integrations/{type_}");
    vendor.knows("SG.good", 200);
    vendor.knows("SG.limited", 403);

    // Refused before anything is stored, or created.
    for (token, path, body, status, code) in [
        (&token, web("mail"), json!({ "api_key": "nonsense" }), 422, "credential_malformed"),
        (&token, web("mail"), json!({ "api_key": "SG.bad" }), 422, "credential_rejected"),
        (&token, web("mail"), json!({ "api_key": 7 }), 422, "invalid_request"),
        (&token, web("mail"), json!({ "api_key": "SG.good", "agent_id": "a b" }), 400, "invalid_request"),
        (&token, web("mail"), json!({ "api_key": "k".repeat(17 * 1024) }), 413, "invalid_request"),
        (&token, web("closed"), json!({ "api_key": "SG.good" }), 502, "provider_unavailable"),
        (&token, web("calls"), json!({ "api_key": "secret" }), 400, "missing_parameter"),
        (
            &token,
            web("calls"),
            json!({ "api_key": "secret", "parameters": { "accountSid": "no" } }),
            400,
            "invalid_parameter",
        ),
        (&token, web("oauth"), json!({ "api_key": "SG.good" }), 400, "api_keys_not_used"),
        (&token, web("unknown"), json!({ "api_key": "SG.good" }), 400, "unknown_integration_type"),
        (&stranger, web("mail"), json!({ "api_key": "SG.good" }), 403, "forbidden"),
        (&only, web("mail"), json!({ "api_key": "SG.good" }), 403, "forbidden"),
    ] {
        let said = put(&world, token, &path, body).await;
        assert_eq!((said.0, said.1["code"].as_str()), (status, Some(code)), "{path}: {said:?}");
        assert!(!said.1.to_string().contains("SG."), "{said:?}");
    }
    let unknown =
        put(&world, &stranger, "nobody/projects/web/integrations/mail", json!({ "api_key": "SG.good" })).await;
    let foreign = put(&world, &stranger, &web("mail"), json!({ "api_key": "SG.good" })).await;
    assert_eq!(unknown, foreign, "another tenant's caller learns nothing");
    assert_eq!(vendor.times("SG.good"), 0);
    assert!(world.integrations("acme").list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    // An app that cannot say.
    edit(&world, "closed", json!({ "identity": { "url": "http://127.0.0.1:1/" } })).await;
    eventually("the app cannot be reached", async || {
        let said = put(&world, &token, &web("closed"), json!({ "api_key": "SG.good" })).await;
        (said.0, said.1["code"].as_str()) == (502, Some("provider_unavailable"))
    })
    .await;

    // Given, with the header as described and nothing before the key.
    let body = json!({ "api_key": "SG.good", "agent_id": "agent-7" });
    let (status, view) = put(&world, &token, &web("mail"), body).await;
    assert_eq!((status, view["integration_type"].as_str()), (200, Some("mail")), "{view}");
    let found = world.wait("acme", "web.mail", "ready", is_ready).await;
    let installation = found.status.unwrap().installation.unwrap();
    assert_eq!(installation.agent_id.as_deref(), Some("agent-7"));
    assert_eq!(installation.installed_by.as_deref(), Some("system:serviceaccount:acme:frontend"));
    assert_eq!(world.secret("acme", "web.mail").await.unwrap()["access_token"], "SG.good");
    // A key whose rights do not reach this far is a good key; a new one takes the place of the one before.
    let (status, view) = put(&world, &only, &web("mail"), json!({ "api_key": "SG.limited" })).await;
    assert_eq!(status, 200, "{view}");
    eventually("the new key is published", async || {
        world.secret("acme", "web.mail").await.unwrap()["access_token"] == "SG.limited"
    })
    .await;
    let found = world.wait("acme", "web.mail", "ready", is_ready).await;
    assert_eq!(condition(&found, "Healthy"), ("True".into(), "Verified".into()));
    assert_eq!(world.grant("acme", "web.mail").await.unwrap()["epoch"], 2);

    // HTTP Basic, with a value of the form for a name.
    let sid = "AC0f";
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{sid}:secret"));
    basic.knows(&format!("Basic {credentials}"), 200);
    let body = json!({ "api_key": "secret", "parameters": { "accountSid": sid } });
    let (status, view) = put(&world, &token, &web("calls"), body).await;
    assert_eq!(status, 200, "{view}");
    world.wait("acme", "web.calls", "ready", is_ready).await;
    assert_eq!(basic.paths()[0], "/2010/Accounts/AC0f.json");
    let body = json!({ "api_key": "secret", "parameters": { "accountSid": "AC1" } });
    let said = put(&world, &token, &web("calls"), body).await;
    assert_eq!((said.0, said.1["code"].as_str()), (409, Some("parameter_differs")), "{said:?}");

    // A person cannot be sent anywhere, and a key that the spec names has no rival.
    let answer = world.get(&token, &format!("/v1/tenants/{}/install", web("mail"))).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "api_key_wanted");
    world.create("acme", "named", "mail", named("absent")).await;
    let path = "acme/projects/named/integrations/mail";
    let said = put(&world, &token, path, json!({ "api_key": "SG.good" })).await;
    assert_eq!((said.0, said.1["code"].as_str()), (409, Some("api_key_in_spec")), "{said:?}");
    world.patch_spec("acme", "web.mail", json!({ "suspend": true })).await;
    let said = put(&world, &token, &web("mail"), json!({ "api_key": "SG.good" })).await;
    assert_eq!((said.0, said.1["code"].as_str()), (409, Some("suspended")), "{said:?}");

    // Deleted: forgotten, and nobody is told.
    let sent = basic.requests();
    world.integrations("acme").delete("web.calls", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.calls").await;
    assert!(world.grant("acme", "web.calls").await.is_none());
    assert_eq!(basic.requests(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_nowhere_else() {
    let Some(world) = World::start("a_key_goes_nowhere_else").await else { return };
    let vendor = Vendor::start("authorization").await;
    let evil = Vendor::start("authorization").await;
    provider(&world, "payments", payments(&vendor)).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    vendor.knows("Bearer rk_live_1", 200);
    vendor.knows("Bearer rk_live_2", 200);
    evil.knows("Bearer rk_live_1", 200);
    secret(&world, "stripe", true, json!({ "key": "rk_live_1" })).await;
    let mut spec = named("stripe");
    spec["healthCheck"] = json!({ "interval": "1s" });
    world.create("acme", "web", "payments", spec).await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    let given = json!({ "api_key": "rk_live_2" });
    let (status, view) = put(&world, &token, "acme/projects/shop/integrations/payments", given).await;
    assert_eq!(status, 200, "{view}");
    world.wait("acme", "shop.payments", "ready", is_ready).await;

    edit(&world, "payments", json!({ "identity": { "url": format!("{}/v1/account", evil.url) } })).await;
    for name in ["web.payments", "shop.payments"] {
        world.wait_reason("acme", name, "Authorized", "ProviderChanged").await;
        check(&world, name).await;
    }
    // Neither a change of the spec nor a start is a reason to send it there.
    world.patch_spec("acme", "web.payments", json!({ "healthCheck": { "interval": "2s" } })).await;
    operator.kill();
    drop(operator);
    let _operator = world.operator().await;
    check(&world, "web.payments").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for name in ["web.payments", "shop.payments"] {
        world.wait_reason("acme", name, "Ready", "ProviderChanged").await;
        assert!(world.grant("acme", name).await.is_some());
    }
    assert_eq!(evil.requests(), 0, "{:?}", evil.paths());

    // Back again all is well; and whoever asks for the new place gets it.
    edit(&world, "payments", json!({ "identity": { "url": format!("{}/v1/account", vendor.url) } })).await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    edit(&world, "payments", json!({ "identity": { "url": format!("{}/v1/account", evil.url) } })).await;
    world.wait_reason("acme", "web.payments", "Authorized", "ProviderChanged").await;
    world.annotate("acme", "web.payments", CONNECT, &now()).await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    assert!(evil.times("Bearer rk_live_1") > 0);
    assert_eq!(evil.times("Bearer rk_live_2"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_key_stays_away() {
    let Some(world) = World::start("a_disconnected_key_stays_away").await else { return };
    let vendor = Vendor::start("authorization").await;
    provider(&world, "payments", payments(&vendor)).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    for key in ["rk_live_1", "rk_live_2"] {
        vendor.knows(&format!("Bearer {key}"), 200);
    }
    secret(&world, "stripe", true, json!({ "key": "rk_live_1" })).await;
    world.create("acme", "web", "payments", named("stripe")).await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    let disconnect = async || {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        world.annotate("acme", "web.payments", DISCONNECT, &now()).await;
        world.wait_reason("acme", "web.payments", "Authorized", "Disconnected").await
    };

    let found = disconnect().await;
    let said = message(&found, "Authorized");
    assert!(said.contains("kubectl integration connect web.payments"), "{said}");
    assert!(world.grant("acme", "web.payments").await.is_none());
    assert!(world.secret("acme", "web.payments").await.is_none());
    // Neither a look nor a start brings it back, and its Secret may change in other ways.
    let sent = vendor.requests();
    check(&world, "web.payments").await;
    secret(&world, "stripe", true, json!({ "key": "rk_live_1", "other": "x" })).await;
    operator.kill();
    drop(operator);
    let _operator = world.operator().await;
    check(&world, "web.payments").await;
    world.wait_reason("acme", "web.payments", "Ready", "Disconnected").await;
    assert_eq!(vendor.requests(), sent);

    // Another key does, and so do a request and a change of the spec.
    secret(&world, "stripe", true, json!({ "key": "rk_live_2" })).await;
    check(&world, "web.payments").await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    disconnect().await;
    world.annotate("acme", "web.payments", CONNECT, &now()).await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    disconnect().await;
    world.patch_spec("acme", "web.payments", json!({ "healthCheck": { "failureThreshold": 5 } })).await;
    let found = world.wait("acme", "web.payments", "ready", is_ready).await;
    assert_eq!(found.status.unwrap().disconnected_key, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_in_secrets() {
    let Some(world) = World::start("keys_stay_in_secrets").await else { return };
    let vendor = Vendor::start("authorization").await;
    provider(&world, "payments", payments(&vendor)).await;
    let arguments = ["--log", "trace", "--log-format", "json"].map(str::to_owned).to_vec();
    let operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let keys = ["rk_live_canary1", "rk_live_canary2", "rk_live_canary3", "pk_canary4"];
    vendor.knows(&format!("Bearer {}", keys[0]), 200);
    vendor.knows(&format!("Bearer {}", keys[1]), 200);
    let mut haul = Haul::default();

    secret(&world, "stripe", true, json!({ "key": keys[0] })).await;
    world.create("acme", "web", "payments", named("stripe")).await;
    world.wait("acme", "web.payments", "ready", is_ready).await;
    for bad in [keys[2], keys[3]] {
        secret(&world, "stripe", true, json!({ "key": bad })).await;
        check(&world, "web.payments").await;
        haul.objects(&world).await;
    }
    let path = format!("{}/v1/tenants/acme/projects/shop/integrations/payments", world.public_url);
    for key in [keys[2], keys[3], keys[1]] {
        let request = world.http.put(format!("{path}/credentials")).bearer_auth(&token);
        haul.ask(request.json(&json!({ "api_key": key })), "put").await;
    }
    haul.ask(world.http.put(format!("{path}/credentials")).bearer_auth(&token).body(keys[1]), "put").await;
    let broken = format!(r#"{{"api_key": "{}", "parameters": "x"}}"#, keys[1]);
    let request = world.http.put(format!("{path}/credentials")).bearer_auth(&token);
    haul.ask(request.header("content-type", "application/json").body(broken), "put").await;
    world.wait("acme", "shop.payments", "ready", is_ready).await;
    haul.ask(world.http.get(&path).bearer_auth(&token), "get").await;
    // The app ends them.
    for key in &keys[..2] {
        vendor.knows(&format!("Bearer {key}"), 401);
    }
    world.patch_spec("acme", "shop.payments", json!({ "healthCheck": { "failureThreshold": 1 } })).await;
    check(&world, "shop.payments").await;
    world.wait_reason("acme", "shop.payments", "Healthy", "Rejected").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.annotate("acme", "web.payments", DISCONNECT, &now()).await;
    eventually("disconnected", async || world.grant("acme", "web.payments").await.is_none()).await;
    haul.objects(&world).await;
    haul.ask(world.http.get(format!("{}/metrics", operator.probes)), "metrics").await;
    let log = operator.log();
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "a log at trace");
    haul.add("the log", log);
    haul.search(&keys.map(|key| ("a key".to_owned(), key.to_owned())));
    haul.sees("web.payments");
}
