//! The refresh protocol and the provider as a model, searched exhaustively.
//!
//! What a replica decides is asked of `grant::plan::next`, the operator's own function. Around it are modelled the grant at
//! the API server, replicas that all believe to lead, the provider's books, the network, people and time. `docs/model.md`
//! says what is in it and what is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::trivially_copy_pass_by_ref,
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

const QUICK: Bounds = Bounds { replicas: 2, faults: 2, kills: 2, freezes: 1, api: 2, net: 2, people: 1, stalls: false };

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

#[test]
fn every_kind_of_provider() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let number = |name: &str, default: u8| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    for (name, kind) in kinds().into_iter().filter(|(name, _)| name.starts_with(&only)) {
        let bounds =
            Bounds { faults: number("FAULTS", 2), people: number("PEOPLE", 1), freezes: number("FREEZES", 1), ..QUICK };
        let started = Instant::now();
        let checker = Protocol::new(kind, bounds).checker().threads(2).spawn_bfs().join();
        println!(
            "{name}: {} states, {} unique, depth {}, {:?}",
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth(),
            started.elapsed()
        );
        for (property, path) in checker.discoveries() {
            println!("VIOLATED {property}");
            for action in path.clone().into_actions() {
                println!("   {action:?}");
            }
            println!("   {:?}", path.last_state());
        }
    }
}
