//! Further token sets: a person's tokens beside the app's, each held, refreshed, lost and revoked by itself.

use integration_operator::api::ProjectIntegration;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::connect::description;
use crate::sandbox::{Consent, Effect, Fault, GrantId, Rotation, Sandbox, SandboxOptions, Why};
use crate::world::{World, condition, eventually, is_ready, last_refreshed, now};

const NAME: &str = "web.app";
const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";

/// Tokens that live so many seconds: the app's, and the person's.
fn options(rotation: Rotation, app: u32, person: u32) -> SandboxOptions {
    SandboxOptions {
        consent: Consent::Allow(None),
        rotation,
        access_token_lifetime: Some(app),
        user_token_lifetime: Some(person),
        ..SandboxOptions::default()
    }
}

/// A sandbox that gives a person's tokens too, and its description with this `refresh`.
async fn app(world: &World, options: SandboxOptions, refresh: Value) -> Sandbox {
    let sandbox = Sandbox::start(options);
    let mut description = description(&sandbox.base_url);
    description["oauth2"]["refresh"] = refresh;
    description["oauth2"]["tokenSets"] = json!({
        "user": {
            "scopes": ["search:read", "users:read"],
            "scopeParameter": "user_scope",
            "accessToken": "/authed_user/access_token",
        },
    });
    world.provider("app", "sandbox-client", "sandbox-secret", description).await;
    sandbox
}

/// Connects `acme/web.app` and waits until it is ready.
async fn connect(world: &World) -> ProjectIntegration {
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", NAME, "ready", is_ready).await
}

/// The grants at the provider that hold what we hold: the app's, and the person's.
async fn grants(world: &World, sandbox: &Sandbox) -> (GrantId, GrantId) {
    let held = world.grant("acme", NAME).await.unwrap();
    let of = |tokens: &Value| sandbox.grant_of(tokens["refreshToken"].as_str().unwrap()).unwrap();
    (of(&held["tokens"]), of(&held["sets"]["user"]["tokens"]))
}

async fn published(world: &World, key: &str) -> Option<String> {
    world.secret("acme", NAME).await?.remove(key)
}

fn message(found: &ProjectIntegration, type_: &str) -> String {
    let conditions = &found.status.as_ref().unwrap().conditions;
    conditions.iter().find(|condition| condition.type_ == type_).unwrap().message.clone()
}

async fn works(world: &World, sandbox: &Sandbox, key: &str) -> bool {
    let token = published(world, key).await.unwrap();
    let url = format!("{}/userinfo", sandbox.base_url);
    world.http.get(url).bearer_auth(token).send().await.unwrap().status() == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_each_on_its_own_schedule_until_both_are_revoked() {
    let Some(world) = World::start("two_chains_each_on_its_own_schedule_until_both_are_revoked").await else { return };
    let sandbox = app(&world, options(Rotation::Strict, 12, 5), json!({ "grantLifetime": "240h" })).await;
    let _operator = world.operator().await;
    let connected = connect(&world).await;
    let (of_app, of_person) = grants(&world, &sandbox).await;
    assert_eq!(sandbox.grant(of_person).unwrap().scope, "search:read users:read", "what was asked for");
    assert_eq!(published(&world, "user_token_type").await.as_deref(), Some("user"));
    assert_eq!(published(&world, "token_type").await.as_deref(), Some("Bearer"));
    assert!(published(&world, "user_expires_at").await.unwrap().parse::<jiff::Timestamp>().is_ok());
    let secret = world.secret("acme", NAME).await.unwrap();
    assert!(!secret.keys().any(|key| key.contains("refresh")), "{:?}", secret.keys());
    let told = connected.status.as_ref().unwrap().token.clone().unwrap();
    assert!(told.sets["user"].next_refresh_at < told.next_refresh_at, "{told:?}");

    // Fewer than fourteen days are left of 240 hours.
    let ends: jiff::Timestamp = told.authorization_expires_at.unwrap().parse().unwrap();
    let left = ends.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((239..=240).contains(&left), "{left}");
    assert!(message(&connected, "TokenFresh").contains(&format!("ends this authorization at {ends}")));

    let generations = || (sandbox.grant(of_app).unwrap().generation, sandbox.grant(of_person).unwrap().generation);
    eventually("the person's tokens are refreshed thrice", async || generations().1 >= 4).await;
    assert!(generations().0 < generations().1, "the app's live longer: {:?}", generations());
    eventually("the app's are refreshed", async || generations().0 >= 2).await;
    for key in ["access_token", "user_access_token"] {
        eventually("what is published works", async || works(&world, &sandbox, key).await).await;
    }

    world.integrations("acme").delete(NAME, &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", NAME).await;
    for grant in [of_app, of_person] {
        let record = sandbox.grant(grant).unwrap();
        assert_eq!(record.ended.map(|ended| ended.why), Some(Why::Revoked), "{record:?}");
        assert!(record.max_in_flight <= 1, "{record:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_refreshes_both_chains_once() {
    let Some(world) = World::start("a_request_refreshes_both_chains_once").await else { return };
    let sandbox = app(&world, options(Rotation::Strict, 3600, 3600), json!({})).await;
    let _operator = world.operator().await;
    connect(&world).await;
    let (of_app, of_person) = grants(&world, &sandbox).await;
    // The person's chain cannot be refreshed at first; the app's must not be refreshed again and again meanwhile.
    sandbox.fault(Fault::new(Effect::status(503)).on_grant(of_person).on_refresh().times(2));
    let asked = now();
    world.annotate("acme", NAME, REFRESH, &asked).await;
    world
        .wait("acme", NAME, "refreshed on request", |found| {
            found.status.as_ref().is_some_and(|status| status.handled.get(REFRESH) == Some(&asked))
        })
        .await;
    assert_eq!(sandbox.pending_faults(), 0);
    for grant in [of_app, of_person] {
        assert_eq!(sandbox.grant(grant).unwrap().generation, 2);
    }
    for key in ["access_token", "user_access_token"] {
        assert!(works(&world, &sandbox, key).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_leaves_does_not_take_the_app_along() {
    let Some(world) = World::start("a_person_who_leaves_does_not_take_the_app_along").await else { return };
    let sandbox = app(&world, options(Rotation::Strict, 6, 6), json!({})).await;
    let _operator = world.operator().await;
    connect(&world).await;
    let (of_app, of_person) = grants(&world, &sandbox).await;
    sandbox.end_grant(of_person);

    let told = world.wait_reason("acme", NAME, "Authorized", "ReauthorizationRequired").await;
    let said = message(&told, "Authorized");
    assert!(said.contains("token set user") && said.contains("The main token goes on working"), "{said}");
    assert!(told.status.as_ref().unwrap().token.as_ref().unwrap().sets["user"].ended);
    eventually("it is not published any more", async || published(&world, "user_access_token").await.is_none()).await;
    assert!(published(&world, "user_expires_at").await.is_none());

    let requests = |grant| sandbox.ledger().entries.iter().filter(|entry| entry.grant == Some(grant)).count();
    let before = requests(of_person);
    let mut last = last_refreshed(&told);
    for _ in 0..2 {
        let next = world.wait("acme", NAME, "refreshed", |found| last_refreshed(found) != last).await;
        last = last_refreshed(&next);
        assert_eq!(condition(&next, "Authorized").1, "ReauthorizationRequired");
        assert!(works(&world, &sandbox, "access_token").await);
    }
    assert_eq!(requests(of_person), before, "what has ended is left alone");
    assert!(sandbox.grant(of_app).unwrap().ended.is_none());

    connect_again(&world).await;
    world.wait("acme", NAME, "mended", |found| is_ready(found) && condition(found, "Authorized").1 == "Granted").await;
    eventually("both are published", async || published(&world, "user_access_token").await.is_some()).await;
}

async fn connect_again(world: &World) {
    let token = world.cluster.service_account_token("acme", "frontend", &["integration-operator"]).await.unwrap();
    world.connect(&token, "acme", "web", "app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_persons_refresh_is_recovered() {
    let Some(world) = World::start("a_kill_in_the_middle_of_a_persons_refresh_is_recovered").await else { return };
    let grace = json!({ "rotation": "Grace", "graceSeconds": 300 });
    let sandbox = app(&world, options(Rotation::Grace { seconds: 300 }, 3600, 9), grace).await;
    let mut operator = world.operator().await;
    connect(&world).await;
    let (of_app, of_person) = grants(&world, &sandbox).await;
    let before = published(&world, "user_access_token").await;
    sandbox.fault(Fault::new(Effect::Delay { millis: 20_000 }).on_grant(of_person).on_refresh().after_commit());
    eventually("the provider has refreshed", async || sandbox.grant(of_person).unwrap().generation == 2).await;
    operator.kill();
    operator = world.operator().await;
    eventually("it is refreshed after all", async || {
        let now = published(&world, "user_access_token").await;
        now.is_some() && now != before
    })
    .await;
    assert!(works(&world, &sandbox, "user_access_token").await);
    let outcomes: Vec<_> = sandbox.ledger().entries.iter().map(|entry| entry.outcome).collect();
    assert!(outcomes.contains(&"replayed"), "{outcomes:?}");
    for grant in [of_app, of_person] {
        assert!(sandbox.grant(grant).unwrap().ended.is_none());
    }
    assert_eq!(sandbox.grant(of_app).unwrap().generation, 1, "the app's tokens were not touched");
    drop(operator);
}

/// Strict, without any way to ask: the person's refresh rests, and meanwhile the app's chain is refreshed on time.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_persons_refresh_is_ambiguous_the_app_goes_on() {
    let Some(world) = World::start("while_a_persons_refresh_is_ambiguous_the_app_goes_on").await else { return };
    let sandbox = app(&world, options(Rotation::Strict, 6, 3600), json!({})).await;
    let mut operator = world.operator().await;
    connect(&world).await;
    let (of_app, of_person) = grants(&world, &sandbox).await;
    sandbox.fault(Fault::new(Effect::Close).on_grant(of_person).on_refresh().after_commit());
    world.annotate("acme", NAME, REFRESH, &now()).await;
    let ambiguous = world.wait_reason("acme", NAME, "TokenFresh", "RefreshAmbiguous").await;
    assert!(message(&ambiguous, "TokenFresh").contains("of token set user"), "{}", message(&ambiguous, "TokenFresh"));
    // Not even a restart makes it send again, nor holds up the app's tokens.
    operator.kill();
    operator = world.operator().await;
    let generation = sandbox.grant(of_app).unwrap().generation;
    eventually("the app's tokens are refreshed", async || sandbox.grant(of_app).unwrap().generation >= generation + 2)
        .await;
    let still = world.wait_reason("acme", NAME, "TokenFresh", "RefreshAmbiguous").await;
    assert!(is_ready(&still));
    assert_eq!(sandbox.grant(of_person).unwrap().generation, 2, "nothing is sent blindly");
    for grant in [of_app, of_person] {
        assert!(sandbox.grant(grant).unwrap().ended.is_none());
    }
    drop(operator);
}
