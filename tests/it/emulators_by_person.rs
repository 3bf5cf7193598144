//! Apps that act for a person, against emulators of them: Google, Microsoft and Linear. Connect, identity, refresh, a token
//! that is withdrawn, and revocation. And Stripe, by a person's key.

use serde_json::{Value, json};

use crate::servers;
use crate::servers::browser::Browser;
use crate::servers::{Emulate, EmulateOptions, STRIPE_KEY};
use crate::world::{World, condition, eventually, is_ready, last_refreshed, now};

/// The person of all emulators.
const PERSON: &str = "dev@example.test";

/// What differs from app to app.
struct App {
    service: &'static str,
    /// By the emulator's address.
    description: fn(&str) -> Value,
    /// What the account's metadata must say.
    metadata: &'static [(&'static str, &'static str)],
    /// A call that a workload would make.
    call: fn(&str) -> Call,
    /// Whether a refresh token is given anew at each refresh.
    rotates: bool,
    /// Where the token endpoint and the revocation endpoint are.
    token_path: &'static str,
    revocation_path: Option<&'static str>,
}

struct Call {
    url: String,
    body: Option<Value>,
    /// Where the answer names the person.
    person: &'static str,
}

/// The preset at the emulator's addresses. The emulator has no `calendarList/primary`; the list says as little.
pub fn google(base: &str) -> Value {
    json!({
        "preset": "google-calendar",
        "oauth2": {
            "authorizationURL": format!("{base}/o/oauth2/v2/auth"),
            "tokenURL": format!("{base}/oauth2/token"),
            "revocation": { "url": format!("{base}/oauth2/revoke") },
        },
        "identity": { "url": format!("{base}/oauth2/v2/userinfo") },
        "lookups": [{ "name": "calendar", "url": format!("{base}/calendar/v3/users/me/calendarList") }],
    })
}

/// The preset at the emulator's addresses. The emulator has no `/organization`.
pub fn microsoft(base: &str) -> Value {
    json!({
        "preset": "teams",
        "oauth2": {
            "authorizationURL": format!("{base}/oauth2/v2.0/authorize"),
            "tokenURL": format!("{base}/oauth2/v2.0/token"),
        },
        "identity": { "url": format!("{base}/v1.0/me") },
        "lookups": [{ "name": "organization", "url": format!("{base}/v1.0/me") }],
    })
}

/// The preset at the emulator's addresses.
pub fn linear(base: &str) -> Value {
    json!({
        "preset": "linear",
        "oauth2": {
            "authorizationURL": format!("{base}/oauth/authorize"),
            "tokenURL": format!("{base}/oauth/token"),
            "revocation": { "url": format!("{base}/oauth/revoke") },
        },
        "identity": { "url": format!("{base}/graphql") },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn google_microsoft_and_linear_as_a_person_sees_them() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("google_microsoft_and_linear_as_a_person_sees_them").await else { return };
    let apps = [
        App {
            service: "google",
            description: google,
            metadata: &[("email", PERSON)],
            call: |base| Call { url: format!("{base}/oauth2/v2/userinfo"), body: None, person: "/email" },
            rotates: false,
            token_path: "/oauth2/token",
            revocation_path: Some("/oauth2/revoke"),
        },
        App {
            service: "microsoft",
            description: microsoft,
            metadata: &[("email", PERSON), ("displayName", "Dev Eloper")],
            call: |base| Call { url: format!("{base}/v1.0/me"), body: None, person: "/mail" },
            rotates: true,
            token_path: "/oauth2/v2.0/token",
            revocation_path: None,
        },
        App {
            service: "linear",
            description: linear,
            metadata: &[("email", PERSON), ("workspaceName", "Acme")],
            call: |base| Call {
                url: format!("{base}/graphql"),
                body: Some(json!({ "query": "{ viewer { email } }" })),
                person: "/data/viewer/email",
            },
            rotates: true,
            token_path: "/oauth/token",
            revocation_path: Some("/oauth/revoke"),
        },
    ];
    let callback = |app: &App| format!("{}/api/public/integrations/{}/callback", world.public_url, app.service);
    let options = EmulateOptions { redirect_uris: apps.iter().map(callback).collect(), ..EmulateOptions::new("") };
    let emulate = Emulate::start(&["google", "microsoft", "linear"], options).await;
    for app in &apps {
        let description = (app.description)(emulate.url(app.service));
        world.provider(app.service, &emulate.client_id, &emulate.client_secret, description).await;
    }
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for app in &apps {
        comes_and_goes(&world, &emulate, &token, app).await;
    }
}

async fn comes_and_goes(world: &World, emulate: &Emulate, token: &str, app: &App) {
    let name = format!("web.{}", app.service);
    let service = app.service;
    world.create("acme", "web", service, json!({ "healthCheck": { "interval": "1h", "failureThreshold": 1 } })).await;
    connect(world, token, service).await;
    let connected = world
        .wait("acme", &name, "ready, with its account", |found| {
            let metadata = found.status.as_ref().map(|status| status.metadata.clone()).unwrap_or_default();
            is_ready(found) && app.metadata.iter().all(|(name, value)| metadata.get(*name) == Some(&json!(value)))
        })
        .await;
    assert_eq!(condition(&connected, "TokenFresh"), ("True".into(), "Refreshed".into()), "{service}");
    assert_eq!(world.secret("acme", &name).await.unwrap()["token_type"], "Bearer");
    let first = access_token(world, &name).await;
    assert_eq!(person(world, emulate, app, &first).await, Some(PERSON.to_owned()), "{service}");

    // Refreshed: another token, which works as well.
    let before = refresh_token(world, &name).await;
    refresh(world, &name).await;
    let second = access_token(world, &name).await;
    assert_ne!(first, second, "{service}");
    assert_eq!(person(world, emulate, app, &second).await, Some(PERSON.to_owned()), "{service}");
    assert_eq!(refresh_token(world, &name).await != before, app.rotates, "{service}");
    let refreshes = emulate.ledger(service).await.iter().filter(|request| request.is_refresh()).count();
    assert_eq!(refreshes, 1, "{service}");

    // Its access tokens are withdrawn: where there is a call to see it by, it is seen; and a refresh mends it.
    emulate.revoke_all(service).await;
    assert_eq!(person(world, emulate, app, &second).await, None, "{service}");
    let provable = condition(&connected, "Healthy").1 != "NotChecked";
    if provable {
        world.annotate("acme", &name, "integrations.tms.dev/check-requested-at", &now()).await;
        world.wait_reason("acme", &name, "Healthy", "Rejected").await;
    }
    refresh(world, &name).await;
    if provable {
        world.wait_reason("acme", &name, "Healthy", "Verified").await;
    }
    let third = access_token(world, &name).await;
    assert_eq!(person(world, emulate, app, &third).await, Some(PERSON.to_owned()), "{service}");

    // Deleted: revoked where the app has a way to, and with it the refresh token.
    let last = refresh_token(world, &name).await;
    world.integrations("acme").delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", &name).await;
    let requests = emulate.requests(service).await;
    let revocations = requests.iter().filter(|request| request["path"].as_str() == app.revocation_path).count();
    assert_eq!(revocations, usize::from(app.revocation_path.is_some()), "{service}");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &last),
        ("client_id", &emulate.client_id),
        ("client_secret", &emulate.client_secret),
    ];
    let url = format!("{}{}", emulate.url(service), app.token_path);
    let status = world.http.post(url).form(&form).send().await.unwrap().status();
    assert_eq!(status == 400, app.revocation_path.is_some(), "{service}: the refresh token is dead: {status}");
}

pub async fn connect(world: &World, token: &str, service: &str) {
    let landed = world.connect_as(&mut Browser::as_user(PERSON), token, "acme", "web", service).await;
    assert!(landed.ends_with("status=success"), "{service}: {landed}");
}

async fn refresh(world: &World, name: &str) {
    // A request is one by its time, which has seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let before = last_refreshed(&world.integrations("acme").get(name).await.unwrap());
    let published = access_token(world, name).await;
    world.annotate("acme", name, "integrations.tms.dev/refresh-requested-at", &now()).await;
    world.wait("acme", name, "refreshed", |found| last_refreshed(found) != before).await;
    eventually("the new token is published", async || access_token(world, name).await != published).await;
}

async fn access_token(world: &World, name: &str) -> String {
    world.secret("acme", name).await.unwrap()["access_token"].clone()
}

async fn refresh_token(world: &World, name: &str) -> String {
    world.grant("acme", name).await.unwrap()["tokens"]["refreshToken"].as_str().unwrap().to_owned()
}

/// Whom the app takes the bearer of this token for.
async fn person(world: &World, emulate: &Emulate, app: &App, token: &str) -> Option<String> {
    let Call { url, body, person } = (app.call)(emulate.url(app.service));
    let request = match body {
        Some(body) => world.http.post(url).json(&body),
        None => world.http.get(url),
    };
    let answer: Value = request.bearer_auth(token).send().await.unwrap().json().await.unwrap();
    answer.pointer(person)?.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_by_a_key() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("stripe_by_a_key").await else { return };
    let emulate = Emulate::start(&["stripe"], EmulateOptions::new("")).await;
    let base = emulate.url("stripe");
    let description = json!({
        "preset": "stripe",
        // The emulator has no account to read.
        "identity": { "url": format!("{base}/v1/customers?limit=1") },
        "metadata": { "customer": "identity.data[0].email" },
    });
    let provider: integration_operator::api::ClusterIntegrationProvider =
        serde_json::from_value(json!({ "metadata": { "name": "stripe" }, "spec": description })).unwrap();
    let api: kube::api::Api<integration_operator::api::ClusterIntegrationProvider> =
        kube::api::Api::all(world.client.clone());
    api.create(&kube::api::PostParams::default(), &provider).await.unwrap();
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.create("acme", "web", "stripe", json!({ "healthCheck": { "interval": "1h", "failureThreshold": 1 } })).await;
    let give = async |key: &str| {
        let url = format!("{}/v1/tenants/acme/projects/web/integrations/stripe/credentials", world.public_url);
        let answer = world.http.put(url).bearer_auth(&token).json(&json!({ "api_key": key })).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };

    // Neither of these is kept: one does not look like a key, and one Stripe does not know.
    for (wrong, why) in [("pk_test_public", "looks like"), ("rk_test_unknown", "HTTP 401")] {
        let (status, said) = give(wrong).await;
        assert!((400..500).contains(&status) && said.contains(why) && !said.contains(wrong), "{status} {said}");
        assert!(world.grant("acme", "web.stripe").await.is_none());
    }
    let (status, said) = give(STRIPE_KEY).await;
    assert!((200..300).contains(&status), "{status} {said}");
    let connected = world.wait("acme", "web.stripe", "ready", is_ready).await;
    assert_eq!(connected.status.unwrap().metadata.get("customer"), Some(&json!(PERSON)));
    let published = access_token(&world, "web.stripe").await;
    let found: Value = world
        .http
        .get(format!("{base}/v1/customers"))
        .bearer_auth(&published)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(found["data"][0]["email"], json!(PERSON));

    // Rolled at Stripe: the next check says so.
    emulate.revoke_all("stripe").await;
    world.annotate("acme", "web.stripe", "integrations.tms.dev/check-requested-at", &now()).await;
    let rejected = world.wait_reason("acme", "web.stripe", "Healthy", "Rejected").await;
    assert_eq!(condition(&rejected, "Ready").0, "False");
}
