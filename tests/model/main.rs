//! The refresh protocol and the provider as a model, searched exhaustively.
//!
//! What a replica decides is asked of `grant::plan::next`, the operator's own function. Around it are modelled the grant at
//! the API server, replicas that all believe to lead, the provider's books, the network, people and time. `docs/model.md`
//! says what is in it and what is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::similar_names,
    clippy::trivially_copy_pass_by_ref,
    clippy::unused_self,
    missing_docs,
    unreachable_pub
)]

mod decide;
mod mutants;
mod properties;
mod provider;
mod state;
mod steps;
mod system;
mod traces;

use std::time::Instant;

use integration_operator::api::provider::{OldAccessToken, Rotation};
use stateright::{Checker, Model};

use system::{Bounds, Protocol};

/// How a provider treats tokens, and what its description says of it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Kind {
    pub rotation: Rotation,
    pub described: Rotation,
    pub old_access_token: OldAccessToken,
    pub introspection: bool,
    pub probe: bool,
}

const QUICK: Bounds = Bounds { replicas: 2, events: 2, kills: 2, freezes: 1, api: 2, net: 2, people: 1, stalls: false };

fn kind(rotation: Rotation) -> Kind {
    let old_access_token = OldAccessToken::Lives;
    Kind { rotation, described: rotation, old_access_token, introspection: false, probe: false }
}

fn kinds() -> Vec<(&'static str, Kind)> {
    use Rotation::{Grace, Lenient, None, Strict};
    let asks = |rotation| Kind { introspection: true, ..kind(rotation) };
    let probes = |rotation| Kind { old_access_token: OldAccessToken::Dies, probe: true, ..kind(rotation) };
    vec![
        ("none", kind(None)),
        ("lenient", kind(Lenient)),
        ("grace", kind(Grace)),
        ("grace, introspection", asks(Grace)),
        ("grace, probe", probes(Grace)),
        ("strict", kind(Strict)),
        ("strict, introspection", asks(Strict)),
        ("strict, probe", probes(Strict)),
    ]
}

/// The bounds of a search: quick ones, unless `MODEL_EVENTS`, `MODEL_REPLICAS` and `MODEL_PEOPLE` name larger ones.
fn bounds() -> Bounds {
    let named = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u8>().unwrap());
    let events = named("MODEL_EVENTS").unwrap_or(QUICK.events);
    Bounds {
        replicas: named("MODEL_REPLICAS").map_or(QUICK.replicas, usize::from),
        events,
        kills: events,
        api: events,
        net: events,
        people: named("MODEL_PEOPLE").unwrap_or(QUICK.people),
        ..QUICK
    }
}

/// Searches everything, prints what it was, and returns the properties that are violated.
fn search(name: &str, protocol: Protocol) -> Vec<&'static str> {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = protocol.checker().threads(threads).spawn_bfs().join();
    println!(
        "{name:<24} {:>9} states {:>9} unique, depth {:>3}, {} properties, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        checker.model().properties().len(),
        started.elapsed().as_secs_f64()
    );
    let violated = checker.discoveries();
    for (property, path) in &violated {
        println!("  violated: {property}");
        for action in path.clone().into_actions() {
            println!("    {action:?}");
        }
        println!("    {:?}", path.last_state());
    }
    violated.into_keys().collect()
}

fn kinds_named() -> impl Iterator<Item = (&'static str, Kind)> {
    let only = std::env::var("MODEL_KIND").unwrap_or_default();
    kinds().into_iter().filter(move |(name, _)| name.starts_with(&only))
}

#[test]
fn every_kind_of_provider() {
    for (name, kind) in kinds_named() {
        assert!(search(name, Protocol::new(kind, bounds())).is_empty(), "{name}");
    }
}

/// A request may arrive although its sender has given up, or is dead. Then one that follows too soon can end a strict grant:
/// the last replay, which has nothing to lose, and one after the provider has said that the token is unused.
#[test]
fn requests_that_outlive_their_senders() {
    for (name, kind) in kinds_named() {
        let found = search(name, Protocol::new(kind, Bounds { events: 1, stalls: true, people: 0, ..bounds() }));
        let expected = kind.rotation == Rotation::Strict;
        assert!(found.iter().all(|property| expected && *property == properties::NO_OUTLIVED), "{name}: {found:?}");
    }
}

/// The clock of one machine is wrong by more than a window's margin. Windows of grace are then missed or overrun, since the
/// moment of the first send is told by the clock of who sent; nothing else is lost by it.
#[test]
fn a_clock_that_is_wrong() {
    for (name, kind) in kinds_named() {
        for skew in [-100, 100] {
            let bounds = Bounds { events: 1, people: 0, ..bounds() };
            let found = search(name, Protocol { skew: vec![0, skew], ..Protocol::new(kind, bounds) });
            let always = [properties::ONE_AT_A_TIME, properties::NEVER_OLDER, properties::NEVER_OLDER_EPOCH];
            assert!(!found.iter().any(|property| always.contains(property)), "{name}: {found:?}");
            assert!(kind.rotation == Rotation::Grace || found.is_empty(), "{name}: {found:?}");
        }
    }
}
