//! What holding connections costs the API server: requests by the operator's own user, from the audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::ApiRequest;
use crate::connect::sandbox;
use crate::sandbox::{Consent, Endpoint, SandboxOptions};
use crate::world::{OPERATOR, World, is_ready};

const USER: &str = "system:serviceaccount:integration-operator:integration-operator";
const PROJECTS: usize = 8;

/// Requests of the operator by verb, resource and place, watches that are merely open left out.
fn table(events: &[Value]) -> BTreeMap<String, usize> {
    let mut table = BTreeMap::new();
    let own = |event: &&Value| event["user"]["username"] == USER && event["verb"] != "watch";
    for event in events.iter().filter(own) {
        let object = &event["objectRef"];
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let place = match text("namespace").as_str() {
            OPERATOR => "operator",
            "" => "cluster",
            _ => "tenant",
        };
        let status = event["responseStatus"]["code"].as_i64().unwrap_or_default();
        let verb = event["verb"].as_str().unwrap_or_default();
        let resource = [text("resource"), text("subresource")].join("/");
        *table.entry(format!("{verb} {} ({place}, {status})", resource.trim_end_matches('/'))).or_default() += 1;
    }
    table
}

async fn during(world: &World, seconds: u64) -> BTreeMap<String, usize> {
    let before = world.cluster.audit_events().await.unwrap().len();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = world.cluster.audit_events().await.unwrap();
    table(&after[before..])
}

/// What the process asks for whatever it holds (the Lease, and whether the API server is there), and all the rest.
fn apart(table: &BTreeMap<String, usize>) -> (usize, usize) {
    let standing = |what: &str| what.contains(" leases ") || what.starts_with("get  ");
    let standing = table.iter().filter(|(what, _)| standing(what)).map(|(_, count)| count).sum();
    (standing, table.values().sum::<usize>() - standing)
}

/// Patches of Secrets and of integrations' status so far, by the API server's own metrics.
async fn derivates(world: &World) -> u64 {
    let patches = |request: &ApiRequest| {
        let status = request.resource == "projectintegrations" && request.subresource == "status";
        ["PATCH", "APPLY"].contains(&request.verb.as_str()) && (request.resource == "secrets" || status)
    };
    let counts = world.cluster.api_request_counts().await.unwrap();
    counts.iter().filter(|(request, _)| patches(request)).map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_requests_a_refresh_and_none_a_check() {
    let Some(world) = World::start("four_requests_a_refresh_and_none_a_check").await else { return };
    let willing = || SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let calm = sandbox(&world, "calm", willing()).await;
    let busy = sandbox(&world, "busy", SandboxOptions { access_token_lifetime: Some(6), ..willing() }).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let connect = async |project: String, type_: &str, spec: Value| {
        world.create("acme", &project, type_, spec).await;
        world.connect(&token, "acme", &project, type_).await;
        world.wait("acme", &format!("{project}.{type_}"), "ready", is_ready).await;
    };
    for index in 0..3 {
        connect(format!("p{index}"), "calm", json!({ "healthCheck": { "interval": "1s" } })).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    calm.clear_entries();
    let requests = during(&world, 10).await;
    let checks = calm.ledger().of(Endpoint::Userinfo).count();
    let (standing, others) = apart(&requests);
    println!(
        "COUNT {checks} checks that passed in 10 s: {others} requests, and {standing} for Lease and readiness: {requests:?}"
    );
    assert!(checks >= 20, "{checks}");
    assert_eq!(others, 0, "{requests:?}");

    // From here on the calm ones are checked along, for nothing.
    for index in 0..PROJECTS {
        connect(format!("p{index}"), "busy", json!({})).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    busy.clear_entries();
    let before = derivates(&world).await;
    let requests = during(&world, 20).await;
    let by_metrics = derivates(&world).await - before;
    let refreshes = busy.ledger().token_requests("refresh_token");
    let (standing, others) = apart(&requests);
    println!(
        "COUNT {refreshes} refreshes of {PROJECTS} integrations in 20 s: {others} requests, {standing} for Lease and readiness"
    );
    println!("COUNT by apiserver_request_total: {by_metrics} patches of Secrets and status");
    assert!(by_metrics.abs_diff(4 * refreshes as u64) <= PROJECTS as u64, "{by_metrics} for {refreshes} refreshes");
    for (what, count) in &requests {
        println!("COUNT   {count:5}  {what}");
    }
    assert!(refreshes >= 3 * PROJECTS, "{refreshes}");
    let grants = requests.get("patch secrets (operator, 200)").copied().unwrap_or_default();
    assert!(grants.abs_diff(2 * refreshes) <= PROJECTS, "intent and answer: {requests:#?}");
    // Four each; refreshes that were under way when counting began or ended are counted by halves.
    assert!(others <= 4 * refreshes + PROJECTS, "{others} requests for {refreshes} refreshes: {requests:#?}");
    assert!(busy.ledger().grants.iter().all(|grant| grant.ended.is_none() && grant.max_in_flight <= 1));
}
