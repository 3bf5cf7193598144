//! Three replicas, frozen and thawed at random, and a Lease that is taken away from them again and again.
//!
//! A process cannot fence a request that it sends right after it was frozen: between its last look at the clock and the
//! sending there is always a moment. So two requests with one refresh token may meet at the provider, but for no other
//! reason; each that did is explained here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use integration_operator::grant::plan::{REQUEST_TIMEOUT, SEND_WINDOW};
use integration_operator::grant::store::grant_name;
use integration_operator::leader;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cluster::Options;
use crate::crowd::{Crowd, Plan, TENANT};
use crate::figures::{chance, setting};
use crate::oracle;
use crate::sandbox::{Endpoint, Entry};
use crate::witness::Witness;
use crate::world::{Flags, OPERATOR, Operator, World};

const REPLICAS: u16 = 3;
/// Past the deadline of an intent, so that another replica takes it up meanwhile.
const LONG: std::ops::Range<f64> = 46.0..60.0;
/// Runs shorter than this have no long freezes: nothing would come of them.
const ROOM_FOR_LONG: u64 = 120;

/// A process that stood still.
#[derive(Clone, Debug)]
struct Freeze {
    holder: String,
    from: Timestamp,
    to: Timestamp,
}

/// Two requests with one refresh token at the provider at once.
#[derive(Debug)]
struct Meeting {
    integration: String,
    arrived: Timestamp,
    /// Freezes of processes that had intended a refresh of this grant, between the intent and the arrival.
    because_of: Vec<(Freeze, Timestamp)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_replicas_and_a_flapping_lease_do_not_make_two_requests_meet() {
    let test = "frozen_replicas_and_a_flapping_lease_do_not_make_two_requests_meet";
    let seconds = setting("SECONDS", 20);
    let Some(world) = World::start_with(test, Options::default()).await else { return };
    let mut chance = chance(test);
    let plan = Plan { size: setting("INTEGRATIONS", 40) as usize, lifetime: 9, latency: 120 };
    let crowd = Crowd::gather(&world, plan).await;
    let arguments = vec!["--log".to_owned(), "info".to_owned()];
    let mut operators: Vec<Operator> = (0..REPLICAS)
        .map(|index| world.spawn(&Flags { index, arguments: arguments.clone(), ..Flags::default() }))
        .collect();
    join_all(operators.iter().map(Operator::ready)).await;
    crowd.connect_all(&world).await;
    let witness = Witness::start(&world);

    let end = Instant::now() + Duration::from_secs(seconds);
    let freezes = Mutex::new(vec![]);
    let long = seconds >= ROOM_FOR_LONG;
    let freezing = operators.iter().enumerate().map(|(index, operator)| {
        let holder = format!("replica-{index}");
        freeze_at_random(operator, holder, &witness, &freezes, chance.fork(), long, end)
    });
    let flaps = Arc::new(Mutex::new(0));
    tokio::join!(join_all(freezing), flap(&world, chance.fork(), Arc::clone(&flaps), end));

    // What was cut off is taken up by another replica past the deadline of its intent.
    witness.settled(Duration::from_mins(3)).await;
    join_all(operators.iter_mut().map(Operator::terminate)).await;
    let freezes = freezes.into_inner().unwrap();
    let report = oracle::audit(&world, &crowd.apps).await;
    let refreshes: usize = crowd.apps.values().map(|app| app.ledger().token_requests("refresh_token")).sum();
    let meetings = meetings(&crowd, &witness, &freezes);
    let frozen: Vec<f64> = freezes.iter().map(|freeze| freeze.to.duration_since(freeze.from).as_secs_f64()).collect();
    println!(
        "{seconds} s, {REPLICAS} replicas: {refreshes} refresh requests, {} freezes ({:.0} s in all, the longest {:.0} s), the \
         Lease taken away {} times; requests that met: {}\n{report}",
        freezes.len(),
        frozen.iter().sum::<f64>(),
        frozen.iter().copied().fold(0.0, f64::max),
        flaps.lock().unwrap(),
        meetings.len()
    );
    for meeting in &meetings {
        println!("{} met at {}:", meeting.integration, meeting.arrived);
        for (freeze, intended) in &meeting.because_of {
            println!("  {} intended at {intended}, frozen from {} to {}", freeze.holder, freeze.from, freeze.to);
        }
    }
    assert!(meetings.iter().all(|meeting| !meeting.because_of.is_empty()), "unexplained: {meetings:#?}");
    let explained = meetings.len();
    assert!(report.reused <= explained, "a grant was ended by reuse without a freeze: {report}");
    assert!(report.faults().len() <= explained, "{:#?}", report.faults());
}

/// Freezes one process again and again, half of the time right after it has intended a refresh.
async fn freeze_at_random(
    operator: &Operator,
    holder: String,
    witness: &Witness,
    freezes: &Mutex<Vec<Freeze>>,
    mut chance: fastrand::Rng,
    long: bool,
    end: Instant,
) {
    loop {
        sleep(Duration::from_secs_f64(0.5 + chance.f64() * 5.0)).await;
        if chance.bool() {
            let mut intents = witness.intents();
            let own = async {
                while let Ok(intent) = intents.recv().await {
                    if intent.holder == holder {
                        return;
                    }
                }
            };
            let _ = timeout(Duration::from_secs(3), own).await;
        }
        if Instant::now() >= end {
            return;
        }
        let span = if long && chance.u32(0..10) == 0 {
            LONG.start + chance.f64() * (LONG.end - LONG.start)
        } else {
            0.1 + chance.f64().powi(2) * 11.0
        };
        operator.signal("STOP");
        let from = Timestamp::now();
        sleep_until((Instant::now() + Duration::from_secs_f64(span)).min(end.max(Instant::now()))).await;
        // Before the signal: the process may be faster than we are.
        let to = Timestamp::now();
        operator.signal("CONT");
        freezes.lock().unwrap().push(Freeze { holder: holder.clone(), from, to });
    }
}

/// Deletes the Lease, or gives it to one of the replicas or to a stranger.
async fn flap(world: &World, mut chance: fastrand::Rng, flaps: Arc<Mutex<usize>>, end: Instant) {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), OPERATOR);
    loop {
        sleep(Duration::from_secs_f64(1.0 + chance.f64() * 9.0)).await;
        if Instant::now() >= end {
            return;
        }
        let done = if chance.u32(0..3) == 0 {
            leases.delete(leader::NAME, &DeleteParams::default()).await.is_ok()
        } else {
            let holder = ["replica-0", "replica-1", "replica-2", "a-stranger"][chance.usize(0..4)];
            let spec = json!({ "spec": { "holderIdentity": holder, "renewTime": k8s_time() } });
            leases.patch(leader::NAME, &PatchParams::default(), &Patch::Merge(&spec)).await.is_ok()
        };
        *flaps.lock().unwrap() += usize::from(done);
    }
}

fn k8s_time() -> serde_json::Value {
    json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(Timestamp::now()))
}

/// The requests that found another one with the same refresh token at the provider, with what explains them.
fn meetings(crowd: &Crowd, witness: &Witness, freezes: &[Freeze]) -> Vec<Meeting> {
    let mut meetings = vec![];
    for (app, sandbox) in &crowd.apps {
        let ledger = sandbox.ledger();
        assert_eq!(ledger.dropped, 0, "the books are complete");
        let met = |entry: &&Entry| entry.endpoint == Endpoint::Token && entry.in_flight > 1;
        for entry in ledger.entries.iter().filter(met) {
            let record = entry.grant.and_then(|grant| sandbox.grant(grant)).unwrap();
            let integration = format!("{}.{app}", record.workspace.trim_start_matches("W-"));
            let intents = witness.intents_of(&grant_name(TENANT, &integration), entry.at);
            // Both requests belong to the last attempts at this token.
            let because_of = intents.iter().rev().take(3).flat_map(|(intent, _)| {
                let intended = intent.deadline - SEND_WINDOW - REQUEST_TIMEOUT;
                let own = freezes.iter().filter(|freeze| freeze.holder == intent.holder);
                let between = own.filter(move |freeze| freeze.to >= intended && freeze.from <= entry.at);
                between.map(move |freeze| (freeze.clone(), intended))
            });
            meetings.push(Meeting { integration, arrived: entry.at, because_of: because_of.collect() });
        }
    }
    meetings
}
