//! Paths of the model as scripts for the real program: which requests of one refresh go wrong, and how it ends.
//!
//! One replica that is restarted in place when it dies, and up to two faults. Of all such paths those are kept that are the
//! first to spoil a request in a way, at a kind of provider, for a first request or for a replay.
//! `UPDATE=1 cargo test --test model traces` writes them anew.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stateright::Model;

use super::properties::End;
use super::state::{Stage, State};
use super::system::{Action, Api, Net, Protocol};
use super::{Kind, QUICK, kinds};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/traces.jsonl");

/// A request that went wrong: its name at the proxy, how many of the name came before it, and the fault.
type Spoilt = (&'static str, usize, &'static str);
/// A name at the proxy, the fault, and whether it was a replay's.
type Covered = (&'static str, &'static str, bool);

/// A walk through the model.
#[derive(Clone)]
struct Walk {
    state: State,
    spoilt: Vec<Spoilt>,
    covered: Vec<Covered>,
    counts: BTreeMap<&'static str, usize>,
    /// The refresh was begun after the provider was asked; then the request of a person is acknowledged later.
    begun_again: bool,
}

impl Walk {
    fn apply(&mut self, protocol: &Protocol, actions: &[Action]) {
        for action in actions {
            if let Some(next) = protocol.next_state(&self.state, *action) {
                self.state = next;
            }
        }
    }

    /// The request that is made next, and whether it belongs to a replay.
    fn request(&self) -> Option<(&'static str, bool)> {
        let replay = |job: super::state::Job| job.replay.is_some() || self.begun_again;
        Some(match self.state.replicas[0].stage {
            Stage::Intend(job) => ("patch grant: intent", replay(job)),
            Stage::Await(job, _) => ("POST token: refresh", replay(job)),
            Stage::Persist(job, _) if self.begun_again => ("patch grant: tokens", replay(job)),
            Stage::Persist(job, _) => ("patch grant: tokens, handled", replay(job)),
            Stage::TakeBack(job) if job.replay.is_none() => ("patch grant: intent taken back", false),
            Stage::End(_) => ("patch grant: intent taken back, refused", true),
            Stage::Ask(.., false) => ("POST introspect", true),
            Stage::Publish(_) => ("patch token Secret", false),
            Stage::Tell(..) => ("patch integration/status", false),
            _ => return None,
        })
    }

    /// The ways in which this request can go wrong, as what then happens in the model.
    fn faults(&self) -> Vec<(&'static str, Vec<Action>)> {
        let killed = |arrives| Action::Kill(0, arrives);
        match self.state.replicas[0].stage {
            Stage::Await(..) => vec![
                ("not sent", vec![Action::Deliver(0, Net::Vanished)]),
                ("answer lost", vec![Action::Deliver(0, Net::AnswerLost)]),
                ("500 before", vec![Action::Deliver(0, Net::ServerError)]),
                ("killed before", vec![killed(Some(false)), Action::Restart(0)]),
                ("killed after", vec![killed(Some(true)), Action::Restart(0)]),
            ],
            Stage::Ask(..) => vec![
                ("500 before", vec![Action::Deliver(0, Net::Vanished)]),
                ("killed before", vec![killed(None), Action::Restart(0)]),
            ],
            _ => {
                vec![
                    ("answer lost", vec![Action::Step(0, Api::AnswerLost)]),
                    ("500 before", vec![Action::Step(0, Api::Failed)]),
                    ("killed before", vec![killed(None), Action::Restart(0)]),
                    ("killed after", vec![Action::Step(0, Api::Done), killed(None), Action::Restart(0)]),
                ]
            }
        }
    }

    /// Goes on to the end, and adds what came of it and of every way in which it could have gone wrong meanwhile.
    fn go_on(mut self, protocol: &Protocol, found: &mut Vec<(Self, End)>) {
        for _ in 0..200 {
            if let Stage::Ask(..) = self.state.replicas[0].stage {
                self.begun_again = true;
            }
            if let Some((request, replay)) = self.request() {
                let occurrence = *self.counts.entry(request).and_modify(|count| *count += 1).or_insert(0);
                if self.spoilt.len() < 2 {
                    for (fault, actions) in self.faults() {
                        let mut other = self.clone();
                        other.spoilt.push((request, occurrence, fault));
                        other.covered.push((request, fault, replay));
                        other.begun_again &= !fault.starts_with("killed");
                        other.apply(protocol, &actions);
                        other.go_on(protocol, found);
                    }
                }
            }
            let mut next = self.state.clone();
            if let Some(end) = protocol.go_on(&mut next) {
                found.push((self, end));
                return;
            }
            next.normalise();
            self.state = next;
        }
        panic!("does not end: {:?}", self.spoilt);
    }
}

/// The kinds of provider as the fault harness names them.
fn profiles() -> Vec<(&'static str, Kind)> {
    let name = |name| match name {
        "grace, introspection" | "grace, probe" => None,
        "strict, introspection" => Some("strict-asked"),
        "strict, probe" => Some("strict-probed"),
        name => Some(name),
    };
    kinds().into_iter().filter_map(|(own, kind)| Some((name(own)?, kind))).collect()
}

fn traces() -> Vec<Value> {
    let mut traces = vec![];
    for (profile, kind) in profiles() {
        let protocol = Protocol::new(kind, super::Bounds { replicas: 1, ..QUICK });
        let mut state = State::new(1);
        state.asked = 1;
        let mut found = vec![];
        let walk = Walk { state, spoilt: vec![], covered: vec![], counts: BTreeMap::new(), begun_again: false };
        walk.go_on(&protocol, &mut found);
        found.sort_by_key(|(walk, _)| walk.spoilt.len());
        let mut covered = BTreeSet::new();
        for (walk, end) in found {
            let new = walk.covered.iter().filter(|one| covered.insert(**one)).count() > 0;
            if !new && !walk.spoilt.is_empty() {
                continue;
            }
            let spoilt: Vec<_> = walk
                .spoilt
                .iter()
                .map(|(request, occurrence, fault)| {
                    json!({ "request": request, "occurrence": occurrence, "fault": fault })
                })
                .collect();
            let requests = walk.counts.get("POST token: refresh").map_or(0, |last| last + 1);
            let end = match end {
                End::Kept => "kept",
                End::Told => "lost, said",
                End::Gone | End::Stuck => panic!("{profile}: {spoilt:?} ends in {end:?}"),
            };
            traces.push(json!({ "profile": profile, "spoilt": spoilt, "end": end, "tokenRequests": requests }));
        }
    }
    traces
}

#[test]
fn traces_for_the_real_program() {
    let traces = traces();
    let text = traces.iter().fold(String::new(), |text, trace| text + &format!("{trace}\n"));
    println!("{} traces", traces.len());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == text, "{FILE} is of another model; UPDATE=1 cargo test --test model traces writes it anew");
}
