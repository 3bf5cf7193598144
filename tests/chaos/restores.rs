//! etcd goes back to an older backup: every grant is of the past then, and so are the tokens in it.
//!
//! What was refreshed since is lost where the app rotates for good, and nobody can mend that. But nothing may be sent blindly:
//! a strict app that is shown a used refresh token ends the grant, and with it what others may still use.

use std::time::Duration;

use crate::cluster::{Options, Part};
use crate::crowd::{Crowd, Plan};
use crate::figures::setting;
use crate::oracle::{self, Report, Verdict};
use crate::witness::Witness;
use crate::world::{Flags, Operator, World, eventually_within};

/// Seconds that an access token lives.
const LIFETIME: u32 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_restored_while_the_operator_is_stopped() {
    let Some((world, crowd, mut operator)) = begin("etcd_is_restored_while_the_operator_is_stopped").await else {
        return;
    };
    world.cluster.back_up("early").await.unwrap();
    refreshed(&crowd, 2).await;
    assert_eq!(operator.terminate().await, Some(0));
    world.cluster.restore("early").await.unwrap();
    operator = start(&world).await;
    end(&world, &crowd, operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_restored_while_the_operator_is_running() {
    let Some((world, crowd, operator)) = begin("etcd_is_restored_while_the_operator_is_running").await else { return };
    world.cluster.back_up("early").await.unwrap();
    refreshed(&crowd, 2).await;
    world.cluster.restore("early").await.unwrap();
    end(&world, &crowd, operator).await;
}

/// A crowd that is connected, and was refreshed once.
async fn begin(test: &str) -> Option<(World, Crowd, Operator)> {
    let world = World::start_with(test, Options::default()).await?;
    if !world.cluster.has_or_skip(Part::OwnApiServer, test) {
        return None;
    }
    let plan = Plan { size: setting("INTEGRATIONS", 16) as usize, lifetime: LIFETIME, latency: 0 };
    let crowd = Crowd::gather(&world, plan).await;
    let operator = start(&world).await;
    crowd.connect_all(&world).await;
    refreshed(&crowd, 1).await;
    Some((world, crowd, operator))
}

async fn start(world: &World) -> Operator {
    world.operator_with(Flags { arguments: vec!["--log".to_owned(), "info".to_owned()], ..Flags::default() }).await
}

/// Waits until each grant was refreshed so many times more.
async fn refreshed(crowd: &Crowd, times: u32) {
    let generations = || {
        let ledgers = crowd.apps.values().map(|app| app.ledger().grants);
        ledgers.flatten().filter(|grant| grant.ended.is_none()).map(|grant| grant.generation).collect::<Vec<_>>()
    };
    let before = generations();
    eventually_within(Duration::from_secs(90), "all are refreshed", async || {
        generations().iter().zip(&before).all(|(now, before)| *now >= before + times)
    })
    .await;
}

/// Waits until all is decided: each grant is refreshed again, or its end is told.
async fn end(world: &World, crowd: &Crowd, mut operator: Operator) {
    let witness = Witness::start(world);
    let decided = async || {
        let report = oracle::audit(world, &crowd.apps).await;
        let told = |verdict: &Verdict| matches!(verdict, Verdict::Kept | Verdict::LostAndTold { .. });
        report.count(told) == crowd.plan.size
    };
    let began = std::time::Instant::now();
    while !decided().await && began.elapsed() < Duration::from_mins(1) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("decided {:.1} s after the restore", began.elapsed().as_secs_f64());
    // The load goes on: those that were kept are refreshed, those that were lost are left alone.
    tokio::time::sleep(Duration::from_secs(LIFETIME.into())).await;
    witness.settled(Duration::from_mins(1)).await;
    let log = operator.log();
    assert_eq!(operator.terminate().await, Some(0));
    let report = oracle::audit(world, &crowd.apps).await;
    println!("{report}");
    judge(&report, &log);
}

fn judge(report: &Report, log: &str) {
    for finding in &report.findings {
        let app = finding.name.split_once('.').unwrap().1;
        let right = match &finding.verdict {
            Verdict::Kept => ["none", "grace"].contains(&app),
            // What the provider has given since is nowhere here any more.
            Verdict::LostAndTold { reason, .. } => {
                ["lenient", "strict"].contains(&app) && reason == "ReauthorizationRequired"
            }
            _ => false,
        };
        assert!(right, "{finding:#?}\n{log}");
        let ended = finding.record.as_ref().and_then(|record| record.ended);
        assert_eq!(ended, None, "{}: the provider was given no reason to end it", finding.name);
    }
    assert_eq!(report.reused, 0, "no used refresh token was shown to a provider");
}
