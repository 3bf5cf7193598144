//! `kill -9` at random moments under load, and a restart in place with the same identity.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::cluster::Options;
use crate::crowd::{Crowd, Plan, TENANT};
use crate::figures::{Durations, chance, setting};
use crate::oracle::{self, Finding, Verdict};
use crate::witness::Witness;
use crate::world::{Flags, Operator, World, eventually};

/// What a restart in place may take, by the hundredth worst of a hundred.
const PROMISED: Duration = Duration::from_secs(10);
/// A recovery that takes longer is printed with the log.
const SLOW: Duration = Duration::from_secs(4);
/// No recovery takes longer, or something is broken.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long an unfinished refresh may stay undecided where nobody is killed any more.
const LONGEST_LIFE_OF_A_REFRESH: Duration = Duration::from_secs(10);
/// How long a process may work, at most, before it is killed.
const LONGEST_LIFE: f64 = 0.8;
/// One of so many processes is killed while it is still starting.
const EARLY: u32 = 10;

/// What became of the kills so far.
#[derive(Default)]
struct Tally {
    /// From a kill to the first refresh that the next process has carried out and kept.
    recovered: Durations,
    /// From a kill to the moment when every refresh that it has cut off is decided.
    settled: Durations,
    /// Refreshes that a kill has cut off.
    cut_off: usize,
    /// Those among them that are not decided yet, and when they were cut off.
    open: BTreeMap<String, Instant>,
    /// Losses, by app; all of them connected again.
    lost: BTreeMap<String, usize>,
    /// Those among them that a crash does not explain.
    avoidable: Vec<Finding>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_at_random_loses_nothing_that_could_be_kept() {
    let test = "a_process_that_is_killed_at_random_loses_nothing_that_could_be_kept";
    let kills = setting("KILLS", 12) as usize;
    let Some(world) = World::start_with(test, Options::default()).await else { return };
    let mut chance = chance(test);
    let plan =
        Plan { size: setting("INTEGRATIONS", 40) as usize, lifetime: 9, latency: setting("LATENCY", 120) as u32 };
    let crowd = Crowd::gather(&world, plan).await;
    let mut operator = start(&world);
    operator.ready().await;
    crowd.connect_all(&world).await;
    let witness = Witness::start(&world);

    let (mut tally, began) = (Tally::default(), Instant::now());
    for number in 1..=kills {
        let early = chance.u32(0..EARLY) == 0;
        let life = Duration::from_secs_f64(chance.f64() * if early { 0.4 } else { LONGEST_LIFE });
        tally.live(&witness, life).await;
        let (boots, killed) = (witness.boots(), Instant::now());
        operator.kill();
        let cut_off = witness.unfinished();
        operator = start(&world);
        if early && number < kills {
            // Killed again before it may have come far; what the two left is counted with the next.
            continue;
        }
        for grant in cut_off {
            if let Entry::Vacant(place) = tally.open.entry(grant) {
                place.insert(killed);
                tally.cut_off += 1;
            }
        }
        recover(&witness, &boots, killed, &mut tally, &operator).await;
        mend(&world, &crowd, &witness, &operator, &mut tally).await;
        if number % 50 == 0 {
            println!("{number} kills in {:.0} s; {tally}", began.elapsed().as_secs_f64());
        }
    }

    tally.live(&witness, LONGEST_LIFE_OF_A_REFRESH).await;
    witness.settled(PATIENCE).await;
    mend(&world, &crowd, &witness, &operator, &mut tally).await;
    assert_eq!(operator.terminate().await, Some(0));
    let report = oracle::audit(&world, &crowd.apps).await;
    println!("{kills} kills in {:.0} s; {tally}\n{report}", began.elapsed().as_secs_f64());
    assert!(tally.avoidable.is_empty(), "{:#?}", tally.avoidable);
    assert!(report.faults().is_empty(), "{:#?}", report.faults());
    assert_eq!(report.reused, 0, "no used refresh token was shown to a provider");
    assert_eq!(report.most_in_flight, 1, "one request at a time");
    assert_eq!(tally.lost.keys().filter(|app| ["none", "grace"].contains(&app.as_str())).count(), 0);
    assert_eq!(report.unheld, tally.lost.values().sum::<usize>(), "what nobody holds was told as lost");
    assert!(tally.recovered.percentile(99) <= PROMISED, "{}", tally.recovered);
}

fn start(world: &World) -> Operator {
    world.spawn(&Flags { arguments: vec!["--log".to_owned(), "info".to_owned()], ..Flags::default() })
}

impl Tally {
    /// Lets a process work for a while, and looks what becomes of the refreshes that were cut off.
    async fn live(&mut self, witness: &Witness, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look(witness);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn look(&mut self, witness: &Witness) {
        let unfinished = witness.unfinished();
        let settled = &mut self.settled;
        self.open.retain(|grant, since| {
            let open = unfinished.contains(grant);
            if !open {
                settled.push(since.elapsed());
            }
            open
        });
    }
}

/// Waits until the new process has refreshed something.
async fn recover(witness: &Witness, boots: &BTreeSet<String>, killed: Instant, tally: &mut Tally, operator: &Operator) {
    let held = loop {
        assert!(killed.elapsed() < PATIENCE, "not recovered: {}", operator.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
        tally.look(witness);
        if let Some(held) = witness.first_held_by_another(boots) {
            break held;
        }
    };
    tally.recovered.push(held.duration_since(killed));
    if killed.elapsed() > SLOW {
        println!("a slow recovery, in {:.1} s:\n{}", killed.elapsed().as_secs_f64(), operator.log());
    }
}

/// Looks at each loss, and connects again, so that the load stays.
async fn mend(world: &World, crowd: &Crowd, witness: &Witness, operator: &Operator, tally: &mut Tally) {
    let ended = witness.ended();
    if ended.is_empty() {
        return;
    }
    operator.ready().await;
    for (_, name) in ended {
        crowd.told(world, &name).await;
        let found = oracle::look(world, &crowd.apps, TENANT, &name).await;
        if !matches!(found.verdict, Verdict::LostAndTold { answer_lost: true, .. }) {
            println!("avoidable: {found:#?}\n{}", operator.log());
            tally.avoidable.push(found);
        }
        let app = name.split_once('.').unwrap().1.to_owned();
        *tally.lost.entry(app).or_default() += 1;
        crowd.connect(world, &name).await;
        eventually("the new authorization is seen", async || !witness.ended().contains(&(TENANT.into(), name.clone())))
            .await;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { recovered, settled, cut_off, lost, avoidable, .. } = self;
        write!(
            formatter,
            "from kill to recovered {recovered}; to all settled {settled}; {cut_off} refreshes cut off, lost and told \
             {lost:?}, {} of them avoidable",
            avoidable.len()
        )
    }
}
