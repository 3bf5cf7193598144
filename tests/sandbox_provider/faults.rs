//! Misbehaviour: each fault spoils what it says it spoils, for the requests it was meant for, and the provider's memory
//! tells whether the request was carried out.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    browser::{client, code, consenting, exchange, read, refresh, try_refresh, works},
    sandbox::{Effect, Endpoint, Fault, GrantId, Sandbox, SandboxOptions},
};

fn seeded() -> (Sandbox, GrantId, String) {
    let sandbox = consenting(SandboxOptions::default());
    let (grant, issued) = sandbox.seed("W-ACME", "read");
    (sandbox, grant, issued.refresh_token.unwrap())
}

fn generation(sandbox: &Sandbox, grant: GrantId) -> u32 {
    sandbox.grant(grant).unwrap().generation
}

#[tokio::test]
async fn a_status_with_retry_after_leaves_the_grant_alone() {
    let (sandbox, grant, token) = seeded();
    sandbox.fault(Fault::new(Effect::rate_limited("120")).times(2));
    for _ in 0..2 {
        let response = try_refresh(&sandbox, &token).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"120".parse().unwrap()));
    }
    assert_eq!(generation(&sandbox, grant), 1);
    assert_eq!(refresh(&sandbox, &token).await.0, StatusCode::OK);
    let entry = &sandbox.ledger().entries[0];
    assert_eq!((entry.fault, entry.processed, entry.outcome), (Some("status"), false, "pending"));
}

#[tokio::test]
async fn an_answer_may_be_lost_before_or_after_the_commit() {
    let (sandbox, grant, token) = seeded();
    sandbox.fault(Fault::new(Effect::Close));
    assert!(try_refresh(&sandbox, &token).await.is_err());
    assert_eq!(generation(&sandbox, grant), 1);
    assert_eq!(sandbox.current_refresh_token(grant).as_ref(), Some(&token));

    for effect in [Effect::Close, Effect::status(500), Effect::json("{\"access_token\": \"")] {
        let before = generation(&sandbox, grant);
        let token = sandbox.current_refresh_token(grant).unwrap();
        sandbox.fault(Fault::new(effect).after_commit());
        let answer = try_refresh(&sandbox, &token).await;
        assert!(answer.is_err() || read(answer.unwrap()).await.1.is_null());
        assert_eq!(generation(&sandbox, grant), before + 1);
    }
    assert!(sandbox.ledger().entries[1..].iter().all(|entry| entry.processed && entry.outcome == "refreshed"));
}

#[tokio::test]
async fn half_an_answer_is_an_error_of_the_body() {
    let (sandbox, grant, token) = seeded();
    sandbox.fault(Fault::new(Effect::Truncate));
    let response = try_refresh(&sandbox, &token).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.bytes().await.is_err());
    assert_eq!(generation(&sandbox, grant), 2);
}

#[tokio::test]
async fn a_request_may_wait_or_hang() {
    let (sandbox, grant, token) = seeded();
    sandbox.fault(Fault::new(Effect::Delay { millis: 150 }));
    let begun = Instant::now();
    let (_, answer) = refresh(&sandbox, &token).await;
    assert!(begun.elapsed() >= Duration::from_millis(150));

    sandbox.fault(Fault::new(Effect::Hang));
    let token = answer["refresh_token"].as_str().unwrap();
    let attempt = tokio::time::timeout(Duration::from_millis(200), try_refresh(&sandbox, token)).await;
    assert!(attempt.is_err());
    assert_eq!(generation(&sandbox, grant), 2);
    assert_eq!(sandbox.ledger().entries.len(), 2, "written down on arrival");
}

#[tokio::test]
async fn requests_with_one_token_at_once_are_counted() {
    let (sandbox, grant, token) = seeded();
    sandbox.fault(Fault::new(Effect::Delay { millis: 200 }).times(3));
    let answers = futures::future::join_all((0..3).map(|_| refresh(&sandbox, &token))).await;
    assert_eq!(answers.iter().filter(|(status, _)| status.is_success()).count(), 1);
    assert_eq!(sandbox.grant(grant).unwrap().max_in_flight, 3);
}

#[tokio::test]
async fn one_who_hangs_up_is_no_longer_in_flight() {
    let (sandbox, grant, token) = seeded();
    sandbox.fault(Fault::new(Effect::Hang));
    let _ = tokio::time::timeout(Duration::from_millis(100), try_refresh(&sandbox, &token)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(refresh(&sandbox, &token).await.0, StatusCode::OK);
    assert_eq!(sandbox.grant(grant).unwrap().max_in_flight, 1);
}

#[tokio::test]
async fn fields_are_dropped_and_bent() {
    let (sandbox, grant, _) = seeded();
    let refreshed = async |effect: Effect| {
        sandbox.fault(Fault::new(effect).on_refresh());
        refresh(&sandbox, &sandbox.current_refresh_token(grant).unwrap()).await.1
    };
    assert!(refreshed(Effect::drop_refresh_token()).await.get("refresh_token").is_none());
    assert!(refreshed(Effect::without("expires_in")).await.get("expires_in").is_none());
    for odd in [json!("3600"), json!(0), json!(-1), json!(1e99), Value::Null] {
        assert_eq!(refreshed(Effect::expires_in(odd.clone())).await["expires_in"], odd);
    }
    assert_eq!(refreshed(Effect::set("token_type", "bEaReR")).await["token_type"], "bEaReR");
}

#[tokio::test]
async fn answers_may_be_huge_or_packed_or_elsewhere() {
    let (sandbox, _, token) = seeded();
    sandbox.fault(Fault::new(Effect::Huge { bytes: 5_000_000 }));
    let body = try_refresh(&sandbox, &token).await.unwrap().bytes().await.unwrap();
    assert!(body.len() >= 5_000_000);

    sandbox.fault(Fault::new(Effect::GzipBomb { bytes: 5_000_000 }));
    let response = try_refresh(&sandbox, &token).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(response.bytes().await.unwrap().len() < 50_000);

    sandbox.fault(Fault::new(Effect::redirect("http://169.254.169.254/")));
    let response = try_refresh(&sandbox, &token).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (307, &"http://169.254.169.254/".parse().unwrap())
    );
}

#[tokio::test]
async fn a_fault_waits_for_the_request_it_is_meant_for() {
    let (sandbox, grant, token) = seeded();
    let (other, issued) = sandbox.seed("W-GLOBEX", "read");
    sandbox.fault(Fault::new(Effect::status(503)).on_grant(other));
    sandbox.fault(Fault::new(Effect::status(502)).on_exchange());
    sandbox.fault(Fault::new(Effect::status(504)).at(Endpoint::Userinfo).always());
    assert_eq!(refresh(&sandbox, &token).await.0, StatusCode::OK);
    assert_eq!(refresh(&sandbox, &issued.refresh_token.unwrap()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(exchange(&sandbox, &code(&sandbox).await, &[]).await.0, StatusCode::BAD_GATEWAY);
    let access = sandbox.current_access_token(grant).unwrap();
    assert!(!works(&sandbox, &access).await && !works(&sandbox, &access).await);
    sandbox.clear_faults();
    assert!(works(&sandbox, &access).await);
}

#[tokio::test]
async fn faults_can_be_laid_out_over_http() {
    let (sandbox, grant, token) = seeded();
    let url = format!("{}/_sandbox/fault", sandbox.base_url);
    let fault = json!({"effect": "status", "status": 500, "times": 2, "grant": grant, "after_commit": true});
    let response = client().post(&url).json(&fault).send().await.unwrap();
    assert_eq!(read(response).await, (StatusCode::ACCEPTED, json!({"pending": 2})));
    assert_eq!(refresh(&sandbox, &token).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(generation(&sandbox, grant), 2);
    client().delete(&url).send().await.unwrap();
    assert_eq!(sandbox.pending_faults(), 0);

    let seed = client().post(format!("{}/_sandbox/grants", sandbox.base_url)).json(&json!({"scope": "read"}));
    let seeded = read(seed.send().await.unwrap()).await.1;
    assert_eq!(seeded["grant"], "grant-1");
    let record =
        read(client().get(format!("{}/_sandbox/grants/grant-1", sandbox.base_url)).send().await.unwrap()).await.1;
    assert_eq!((&record["generation"], &record["workspace"]), (&json!(1), &json!("W-ACME")));
}

#[tokio::test]
async fn an_outage_forgets_nothing_and_a_dropped_sandbox_is_gone() {
    let (sandbox, _, token) = seeded();
    sandbox.go_offline().await;
    assert!(try_refresh(&sandbox, &token).await.unwrap_err().is_connect());
    sandbox.go_online();
    assert_eq!(refresh(&sandbox, &token).await.0, StatusCode::OK);

    let keeping_alive = client();
    let url = format!("{}/jwks", sandbox.base_url);
    keeping_alive.get(&url).send().await.unwrap().bytes().await.unwrap();
    drop(sandbox);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(keeping_alive.get(&url).send().await.is_err());
}
