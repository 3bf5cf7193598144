//! The process: probes that tell the truth, two replicas and one Lease, a kill at any moment.

use std::time::Duration;

use serde_json::json;

use crate::cluster::Part;
use crate::connect::sandbox;
use crate::sandbox::{Consent, Effect, Fault, Rotation, SandboxOptions};
use crate::world::{Flags, World, condition, eventually, is_ready, last_refreshed, now};

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_the_truth_and_metrics_count() {
    let Some(world) = World::start("probes_tell_the_truth_and_metrics_count").await else { return };
    let sandbox =
        sandbox(&world, "app", SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() }).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    world.annotate("acme", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
    eventually("a refresh is counted", async || operator.metric("integration_operator_refreshes_total").await >= 1.0)
        .await;
    assert!(operator.metric("integration_operator_callbacks_total").await >= 1.0);
    assert!(operator.metric("integration_operator_leader").await >= 1.0);
    assert_eq!(sandbox.ledger().token_requests("refresh_token"), 1);
    let live = world.http.get(format!("{}/livez", operator.probes)).send().await.unwrap();
    assert_eq!(live.status(), 200);

    if world.cluster.has_or_skip(Part::OwnApiServer, "probes_tell_the_truth_and_metrics_count") {
        world.cluster.stop_api_server().await.unwrap();
        let probe = format!("{}/readyz", operator.probes);
        eventually("not ready without an API server", async || {
            world.http.get(&probe).send().await.unwrap().status() == 503
        })
        .await;
        assert_eq!(world.http.get(format!("{}/livez", operator.probes)).send().await.unwrap().status(), 200);
        world.cluster.restart_api_server().await.unwrap();
        operator.ready().await;
    }
    assert_eq!(operator.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_when_the_leader_is_killed() {
    let Some(world) = World::start("another_replica_takes_over_when_the_leader_is_killed").await else { return };
    let options = SandboxOptions {
        consent: Consent::Allow(None),
        access_token_lifetime: Some(6),
        rotation: Rotation::Strict,
        ..SandboxOptions::default()
    };
    let sandbox = sandbox(&world, "app", options).await;
    let mut first = world.operator().await;
    let second = world.operator_with(Flags { index: 1, ..Flags::default() }).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let connected = world.wait("acme", "web.app", "ready", is_ready).await;
    assert!((second.metric("integration_operator_leader").await - 0.0).abs() < f64::EPSILON);
    first.kill();
    let last = last_refreshed(&connected);
    world
        .wait("acme", "web.app", "refreshed by the other", |found| last_refreshed(found) != last && is_ready(found))
        .await;
    eventually("the other leads", async || second.metric("integration_operator_leader").await >= 1.0).await;
    let grants = sandbox.ledger().grants;
    assert!(grants.iter().all(|grant| grant.ended.is_none() && grant.max_in_flight <= 1), "{grants:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_place_goes_on_at_once() {
    let Some(world) = World::start("a_restart_in_place_goes_on_at_once").await else { return };
    let options = SandboxOptions {
        consent: Consent::Allow(None),
        access_token_lifetime: Some(5),
        rotation: Rotation::Strict,
        ..SandboxOptions::default()
    };
    let sandbox = sandbox(&world, "app", options).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let mut last = last_refreshed(&world.wait("acme", "web.app", "ready", is_ready).await);
    for _ in 0..5 {
        operator.kill();
        operator = world.operator().await;
        let found = world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != last).await;
        last = last_refreshed(&found);
    }
    let grants = sandbox.ledger().grants;
    assert!(grants.iter().all(|grant| grant.ended.is_none() && grant.max_in_flight <= 1), "{grants:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_survives_sigterm() {
    let Some(world) = World::start("a_refresh_under_way_survives_sigterm").await else { return };
    let options =
        SandboxOptions { consent: Consent::Allow(None), rotation: Rotation::Strict, ..SandboxOptions::default() };
    let sandbox = sandbox(&world, "app", options).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    sandbox.fault(Fault::new(Effect::Delay { millis: 4_000 }).on_refresh());
    world.annotate("acme", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
    eventually("the refresh is under way", async || sandbox.ledger().token_requests("refresh_token") == 1).await;
    assert_eq!(operator.terminate().await, Some(0));
    let grant = world.grant("acme", "web.app").await.unwrap();
    assert_eq!(grant["generation"], json!(2), "the answer was kept");
    let held = grant["tokens"]["refreshToken"].as_str().unwrap();
    let id = sandbox.grant_of(held).expect("the provider knows what is held");
    assert_eq!(sandbox.current_refresh_token(id).as_deref(), Some(held));
}

/// What the conditions and the provider say after the answer to a refresh was lost, for each way refresh tokens behave.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_by_profile() {
    let Some(world) = World::start("a_lost_answer_by_profile").await else { return };
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let profiles = [
        ("none", Rotation::None, json!({ "rotation": "None" }), true),
        ("grace", Rotation::Grace { seconds: 300 }, json!({ "rotation": "Grace", "graceSeconds": 300 }), true),
        ("lenient", Rotation::Lenient, json!({ "rotation": "Lenient" }), false),
        ("strict", Rotation::Strict, json!({ "rotation": "Strict" }), false),
    ];
    for (name, rotation, profile, survives) in profiles {
        let options = SandboxOptions { consent: Consent::Allow(None), rotation, ..SandboxOptions::default() };
        let sandbox = crate::sandbox::Sandbox::start(options);
        let mut description = crate::connect::description(&sandbox.base_url);
        description["oauth2"]["refresh"] = profile;
        if name == "strict" {
            description["oauth2"]["introspectionURL"] = json!(format!("{}/introspect", sandbox.base_url));
        }
        world.provider(name, "sandbox-client", "sandbox-secret", description).await;
        eventually("the provider is known", async || {
            let answer = world.get(&token, &format!("/v1/tenants/acme/projects/web/integrations/{name}/install")).await;
            answer.status() == 200
        })
        .await;
        world.connect(&token, "acme", "web", name).await;
        let object = format!("web.{name}");
        let connected = world.wait("acme", &object, "ready", is_ready).await;
        sandbox.fault(Fault::new(Effect::Close).on_refresh().after_commit());
        world.annotate("acme", &object, "integrations.tms.dev/refresh-requested-at", &now()).await;
        if survives {
            let last = last_refreshed(&connected);
            world
                .wait("acme", &object, "refreshed after all", |found| last_refreshed(found) != last && is_ready(found))
                .await;
        } else {
            let lost = world.wait_reason("acme", &object, "Authorized", "ReauthorizationRequired").await;
            let message = &lost.status.as_ref().unwrap().conditions;
            let message = &message.iter().find(|condition| condition.type_ == "Authorized").unwrap().message;
            assert!(message.contains("lost"), "said: {message}");
        }
        // Whatever happened, it was not our replay that ended the grant at the provider.
        let grants = sandbox.ledger().grants;
        assert!(grants.iter().all(|grant| grant.ended.is_none()), "{name}: {grants:#?}");
    }
}

/// Strict, without any way to ask: the old access token stays in use, and nothing is sent until it is about to expire.
#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_refresh_of_a_strict_provider_waits() {
    let Some(world) = World::start("an_ambiguous_refresh_of_a_strict_provider_waits").await else { return };
    let options =
        SandboxOptions { consent: Consent::Allow(None), rotation: Rotation::Strict, ..SandboxOptions::default() };
    let sandbox = sandbox(&world, "app", options).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    sandbox.fault(Fault::new(Effect::Close).on_refresh().after_commit());
    world.annotate("acme", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
    let ambiguous = world.wait_reason("acme", "web.app", "TokenFresh", "RefreshAmbiguous").await;
    assert!(is_ready(&ambiguous), "the access token still works");
    // Not even a restart makes it send again.
    operator.kill();
    operator = world.operator().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let still = world.wait_reason("acme", "web.app", "TokenFresh", "RefreshAmbiguous").await;
    assert_eq!(condition(&still, "Ready").0, "True");
    assert_eq!(sandbox.ledger().token_requests("refresh_token"), 1, "nothing is sent blindly");
    drop(operator);
}
