//! What the operator sees is not what is: watches that lie, two leaders at once, clocks that jump. It may be late; it may not
//! lose a grant, and may not send a refresh token twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{self, Options};
use crate::crowd::{Crowd, PROFILES, Plan};
use crate::figures::{chance, setting};
use crate::liar::Liar;
use crate::oracle;
use crate::witness::Witness;
use crate::world::{Flags, Operator, World};

fn plan() -> Plan {
    Plan { size: setting("INTEGRATIONS", 24) as usize, lifetime: 9, latency: 120 }
}

/// There is not more to be seen in a longer time.
fn seconds() -> u64 {
    setting("SECONDS", 12).min(120)
}

fn flags(index: u16, more: &[&str]) -> Flags {
    let arguments = ["--log", "info"].iter().chain(more).map(ToString::to_string).collect();
    Flags { arguments, index, ..Flags::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_lie() {
    let test = "watches_that_lie";
    let Some(world) = World::start_with(test, Options::default()).await else { return };
    let mut chance = chance(test);
    let crowd = Crowd::gather(&world, plan()).await;
    let liar = Liar::start(&world).await;
    let environment = vec![("KUBECONFIG".to_owned(), liar.kubeconfig.display().to_string())];
    let operator = world.operator_with(Flags { environment, ..flags(0, &[]) }).await;
    crowd.connect_all(&world).await;
    let witness = Witness::start(&world);
    liar.lie(true);
    let end = Instant::now() + Duration::from_secs(seconds());
    while Instant::now() < end {
        sleep(Duration::from_secs_f64(1.0 + chance.f64() * 4.0)).await;
        // Somebody authorizes anew, while the operator believes what was before.
        let (project, app) =
            (chance.usize(0..crowd.plan.size / PROFILES.len()), PROFILES[chance.usize(0..PROFILES.len())].0);
        crowd.connect(&world, &format!("p{project}.{app}")).await;
    }
    liar.lie(false);
    println!("{}", liar.told());
    judge(&world, &crowd, &witness, vec![operator]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_at_once() {
    let test = "two_leaders_at_once";
    let Some(world) = World::start_with(test, Options::default()).await else { return };
    let crowd = Crowd::gather(&world, plan()).await;
    let alone = ["--leader-elect=false"];
    let operators = vec![world.operator_with(flags(0, &alone)).await, world.operator_with(flags(1, &alone)).await];
    crowd.connect_all(&world).await;
    let witness = Witness::start(&world);
    sleep(Duration::from_secs(seconds())).await;
    judge(&world, &crowd, &witness, operators).await;
}

/// Where Debian and its like put it.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps() {
    let test = "a_clock_that_jumps";
    let Some(library) = FAKETIME.iter().find(|path| Path::new(path).exists()) else {
        cluster::skip(test, "libfaketime is not there; Debian has it in the package `libfaketime`");
        return;
    };
    let Some(world) = World::start_with(test, Options::default()).await else { return };
    let mut chance = chance(test);
    let crowd = Crowd::gather(&world, plan()).await;
    let clock = world.cluster.directory().join("clock");
    set(&clock, 0);
    let environment = [
        ("LD_PRELOAD", *library),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let operator = world.operator_with(Flags { environment, ..flags(0, &[]) }).await;
    crowd.connect_all(&world).await;
    let witness = Witness::start(&world);
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut jumps = 0;
    while Instant::now() < end {
        set(&clock, [0, 45, -45, 600, -600, 7_200, -7_200][chance.usize(0..7)]);
        jumps += 1;
        sleep(Duration::from_secs_f64(1.0 + chance.f64() * 5.0)).await;
    }
    set(&clock, 0);
    println!("the clock jumped {jumps} times");
    judge(&world, &crowd, &witness, vec![operator]).await;
}

/// Sets the operator's clock this far from ours, in seconds. It reads the file at every look at the clock, so that it must
/// never be half written.
fn set(clock: &Path, seconds: i64) {
    let new: PathBuf = clock.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(new, clock).unwrap();
}

/// Everything is decided in the end; nothing was lost, and nothing was sent twice at once.
async fn judge(world: &World, crowd: &Crowd, witness: &Witness, mut operators: Vec<Operator>) {
    witness.settled(Duration::from_mins(3)).await;
    for operator in &mut operators {
        assert_eq!(operator.terminate().await, Some(0));
    }
    let report = oracle::audit(world, &crowd.apps).await;
    let refreshes: usize = crowd.apps.values().map(|app| app.ledger().token_requests("refresh_token")).sum();
    println!("{refreshes} refresh requests; {report}");
    assert_eq!(report.count(|verdict| *verdict == oracle::Verdict::Kept), crowd.plan.size, "{:#?}", report.faults());
    assert_eq!(report.reused, 0, "no used refresh token was shown to a provider");
    assert!(report.most_in_flight <= 1, "one request at a time");
}
