//! The protocol with one step left out, or done wrongly: each must be found out.

use std::collections::BTreeSet;

use integration_operator::api::provider::Rotation;
use stateright::{Checker, HasDiscoveries, Model};

use super::properties as holds;
use super::system::{Bounds, Protocol};
use super::{Kind, QUICK, kind};

/// What is left out, or done wrongly.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Broken {
    /// Nothing is written before a request is sent.
    NoIntent,
    /// Writes do not care for what was written in between.
    NoCompareAndSwap,
    /// A conflict on storing an answer ends it.
    NoSecondLook,
    /// An error on storing an answer ends it.
    PersistsOnce,
    /// An intent of another replica is taken for dead.
    OthersAreDead,
    /// The time to send is not checked.
    SendsLate,
    /// The answer to a refresh of an older epoch is stored.
    EpochIgnored,
    /// A grant that is gone is created with the answer.
    CreatesAgain,
    /// A refusal is believed without another look.
    EndsUnseen,
    /// An intent is taken back when it is not known what became of the request.
    AmbiguityTakenBack,
    /// The intent of a replay is taken back when the replay was not sent.
    ReplayTakenBack,
    /// A replay counts as the first send.
    FirstSendForgotten,
    /// New tokens leave it standing that the grant has ended.
    RefusalStays,
    /// The condition does not tell of an ambiguous refresh.
    AmbiguityNotTold,
}

/// Searches for the property that tells that the step is missing.
fn is_found_out(protocol: Protocol, property: &'static str) {
    let name = protocol
        .broken
        .map_or_else(|| format!("described as {:?}", protocol.kind.described), |broken| format!("{broken:?}"));
    let rotation = protocol.kind.rotation;
    let finish = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checker = protocol.checker().threads(2).finish_when(finish).spawn_bfs().join();
    let steps = checker.discovery(property).map(|path| path.into_actions().len());
    println!("{name:<20} at {rotation:<7?} {:>7} states: {property}: {steps:?} steps", checker.unique_state_count());
    let found: Vec<_> = checker.discoveries().into_keys().collect();
    assert!(steps.is_some(), "{name}: {property} still holds; {found:?} does not");
}

fn without(broken: Broken, kind: Kind, bounds: Bounds, property: &'static str) {
    is_found_out(Protocol { broken: Some(broken), ..Protocol::new(kind, bounds) }, property);
}

const STRICT: Rotation = Rotation::Strict;
/// One fault or act of a person is enough for most.
const ONE: Bounds = Bounds { events: 1, ..QUICK };
/// One replica that is killed and restarted.
const ALONE: Bounds = Bounds { replicas: 1, events: 3, kills: 3, freezes: 0, people: 0, ..QUICK };

#[test]
fn without_an_intent() {
    without(Broken::NoIntent, kind(STRICT), ONE, holds::ONE_AT_A_TIME);
    without(Broken::NoIntent, kind(STRICT), ONE, holds::NO_REVOCATION);
}

#[test]
fn without_compare_and_swap() {
    without(Broken::NoCompareAndSwap, kind(STRICT), ONE, holds::ONE_AT_A_TIME);
    without(Broken::NoCompareAndSwap, kind(STRICT), ONE, holds::NEVER_OLDER_EPOCH);
}

#[test]
fn without_a_second_look_at_a_conflict() {
    without(Broken::NoSecondLook, kind(STRICT), ONE, holds::NO_AVOIDABLE_LOSS);
}

#[test]
fn storing_an_answer_once() {
    without(Broken::PersistsOnce, kind(STRICT), ONE, holds::NO_AVOIDABLE_LOSS);
}

#[test]
fn taking_the_intents_of_others_for_dead() {
    without(Broken::OthersAreDead, kind(Rotation::Lenient), ONE, holds::ONE_AT_A_TIME);
    let asks = Kind { introspection: true, ..kind(STRICT) };
    without(Broken::OthersAreDead, asks, ONE, holds::NO_REVOCATION);
}

#[test]
fn sending_without_a_look_at_the_time() {
    without(Broken::SendsLate, kind(Rotation::Lenient), ONE, holds::ONE_AT_A_TIME);
}

#[test]
fn storing_the_answer_of_an_older_epoch() {
    without(Broken::EpochIgnored, kind(STRICT), ONE, holds::NEVER_OLDER_EPOCH);
}

#[test]
fn creating_a_grant_that_is_gone() {
    without(Broken::CreatesAgain, kind(STRICT), ONE, holds::NEVER_AGAIN);
}

#[test]
fn believing_a_refusal_unseen() {
    without(Broken::EndsUnseen, kind(Rotation::Lenient), ONE, holds::NO_FALSE_END);
}

#[test]
fn taking_an_ambiguous_intent_back() {
    without(Broken::AmbiguityTakenBack, kind(STRICT), ONE, holds::NO_REVOCATION);
}

#[test]
fn taking_the_intent_of_a_replay_back() {
    without(Broken::ReplayTakenBack, kind(Rotation::Grace), ALONE, holds::NO_REVOCATION);
}

#[test]
fn forgetting_when_it_was_first_sent() {
    without(Broken::FirstSendForgotten, kind(Rotation::Grace), ALONE, holds::NO_REVOCATION);
}

#[test]
fn leaving_a_refusal_beside_new_tokens() {
    let asks = Kind { introspection: true, ..kind(STRICT) };
    without(Broken::RefusalStays, asks, ONE, holds::NO_FALSE_END);
}

#[test]
fn not_telling_of_an_ambiguous_refresh() {
    without(Broken::AmbiguityNotTold, kind(STRICT), ONE, holds::NOT_SILENT);
}

/// The description says that reuse is harmless, and it is not: what a replay at once would do at a strict provider.
#[test]
fn replaying_at_once_at_a_strict_provider() {
    for described in [Rotation::None, Rotation::Lenient] {
        is_found_out(Protocol::new(Kind { described, ..kind(STRICT) }, ONE), holds::NO_REVOCATION);
    }
}
