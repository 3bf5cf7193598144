//! What can happen: the steps of replicas, faults, acts of people, and the passing of time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use integration_operator::api::provider::Rotation;
use stateright::{Model, Property};

use super::Kind;
use super::decide::Decision;
use super::mutants::Broken;
use super::properties as marks;
use super::provider::Reply;
use super::state::{Book, Ended, Grant, MOMENTS, Second, Stage, State};
use super::steps::{IN_FLIGHT, intended};

/// What becomes of a request to the API server.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Api {
    Done,
    /// Carried out, and told as an error.
    AnswerLost,
    Failed,
}

/// What becomes of a request to the provider.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Net {
    Answered,
    /// Carried out, and the answer lost.
    AnswerLost,
    /// Lost on the way, which the sender cannot tell from the one before.
    Vanished,
    /// An error before anything was carried out; nor can it tell this one.
    ServerError,
    /// The connection could not be made.
    NotSent,
    /// Refused for now: 429 or 503.
    Refused,
    /// The sender gives up, and the request is still on its way.
    Stalled,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Action {
    /// The watch of a replica delivers.
    Sync(usize),
    Step(usize, Api),
    Deliver(usize, Net),
    /// A process is killed; the request that it has on its way is carried out or not.
    Kill(usize, Option<bool>),
    /// The same Pod, a new process.
    Restart(usize),
    Freeze(usize),
    Thaw(usize),
    /// A request arrives whose sender is gone, or is lost.
    Ghost(bool),
    /// A person asks for a refresh.
    Ask,
    /// A person authorizes again.
    Reconnect,
    /// A person asks to disconnect.
    Disconnect,
    /// Somebody writes to the grant what has nothing to do with it.
    Touch,
    /// Time passes to the next moment.
    Tick,
}

/// The bounds of a search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub replicas: usize,
    /// Faults of all sorts and acts of people together.
    pub events: u8,
    pub kills: u8,
    pub freezes: u8,
    pub api: u8,
    pub net: u8,
    /// Acts of people.
    pub people: u8,
    /// Whether a request may arrive after its sender has given up.
    pub stalls: bool,
}

/// The protocol, with a provider of one kind.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub kind: Kind,
    pub bounds: Bounds,
    /// By how much the clocks of the replicas are wrong.
    pub skew: Vec<Second>,
    /// The step that is left out.
    pub broken: Option<Broken>,
    /// States from which everything is known to end well.
    pub settled: Arc<Mutex<HashSet<u64>>>,
}

impl Protocol {
    pub fn new(kind: Kind, bounds: Bounds) -> Self {
        Self { kind, bounds, skew: vec![], broken: None, settled: Arc::default() }
    }

    pub fn is_broken(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// Whether the request of a replica, or an answer that it waits for, is decided by the network.
    fn awaits(stage: Stage) -> bool {
        matches!(stage, Stage::Await(..) | Stage::Ask(..) | Stage::Revoke(_))
    }

    fn may_happen(&self, state: &State, spent: u8, most: u8) -> bool {
        spent < most && state.spent.events() < self.bounds.events
    }

    fn replica_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let (bounds, spent) = (self.bounds, state.spent);
        let replica = &state.replicas[index];
        let kills = self.may_happen(state, spent.kills, bounds.kills);
        if !replica.up {
            actions.push(Action::Restart(index));
            return;
        }
        if let (true, Stage::Await(..)) = (kills, replica.stage) {
            actions.extend([true, false].map(|arrives| Action::Kill(index, Some(arrives))));
            if bounds.stalls {
                actions.push(Action::Kill(index, None));
            }
        } else if kills {
            actions.push(Action::Kill(index, None));
        }
        if Self::awaits(replica.stage) {
            self.network_actions(state, index, actions);
        }
        if replica.frozen {
            actions.push(Action::Thaw(index));
            return;
        }
        if replica.stage != Stage::Idle && self.may_happen(state, spent.freezes, bounds.freezes) {
            actions.push(Action::Freeze(index));
        }
        if replica.stage == Stage::Idle && replica.cache != state.grant {
            actions.push(Action::Sync(index));
        }
        if !Self::awaits(replica.stage) && self.is_busy(state, index) {
            actions.push(Action::Step(index, Api::Done));
            if self.may_happen(state, spent.api, bounds.api) {
                let failures = failures(replica.stage);
                actions.extend(failures.iter().map(|api| Action::Step(index, *api)));
            }
        }
    }

    fn network_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        actions.push(Action::Deliver(index, Net::Answered));
        if self.may_happen(state, state.spent.net, self.bounds.net) {
            let mut failures = vec![Net::Vanished];
            if let Stage::Await(..) = state.replicas[index].stage {
                failures.extend([Net::AnswerLost, Net::ServerError, Net::NotSent, Net::Refused]);
                if self.bounds.stalls {
                    failures.push(Net::Stalled);
                }
            }
            actions.extend(failures.into_iter().map(|net| Action::Deliver(index, net)));
        }
    }

    /// Whether everybody who can act has come to rest, and no request is on its way: a request is over by its deadline.
    pub fn is_quiet(&self, state: &State) -> bool {
        let rests = |index: usize| {
            let replica = &state.replicas[index];
            let waits = matches!(replica.stage, Stage::Idle | Stage::Forget) && !self.is_busy(state, index);
            let knows = replica.stage != Stage::Idle || replica.cache == state.grant;
            !replica.up || (!Self::awaits(replica.stage) && (replica.frozen || (waits && knows)))
        };
        state.in_flight().next().is_none() && (0..state.replicas.len()).all(rests)
    }

    fn kill(&self, state: &mut State, index: usize, arrives: Option<bool>) {
        match state.replicas[index].stage {
            Stage::Await(_, request) if arrives == Some(true) => {
                if let Reply::Tokens(_) = self.arrive(state, request) {
                    state.mark(marks::LOST);
                }
            }
            Stage::Await(_, request) if arrives.is_none() => state.ghosts.push(request),
            Stage::Persist(job, serial) | Stage::PersistAgain(job, serial) => self.forget_answer(state, &job, serial),
            _ => {}
        }
        let replica = &mut state.replicas[index];
        (replica.up, replica.frozen, replica.stage, replica.cache) = (false, false, Stage::Idle, None);
        (replica.trouble, replica.seen, replica.unspent) = (None, None, None);
        replica.boot += 1;
    }

    /// The watch of a replica delivers, or its first list does.
    pub fn sync(&self, state: &mut State, index: usize) {
        let grant = state.grant;
        let replica = &mut state.replicas[index];
        replica.cache = grant;
        replica.unspent = replica.unspent.filter(|attempt| grant.and_then(intended) == Some(*attempt));
        self.sight(state, index);
    }

    /// A replica notes whose intent lies on the grant, and since when.
    pub fn sight(&self, state: &mut State, index: usize) {
        let (now, intent) = (state.now, state.grant.and_then(|grant| grant.intent));
        let replica = &mut state.replicas[index];
        replica.seen = intent.map(|intent| match replica.seen {
            Some((attempt, since)) if attempt == intent.attempt => (attempt, since),
            _ => (intent.attempt, now),
        });
    }

    pub fn restart(&self, state: &mut State, index: usize) {
        state.replicas[index].up = true;
        self.sync(state, index);
    }

    fn reconnect(&self, state: &mut State) {
        let book = u8::try_from(state.books.len()).unwrap();
        state.books.push(Book { used: vec![None], ended: None });
        state.versions += 1;
        let before = state.grant;
        if before.is_none() {
            state.lives += 1;
        }
        state.grant = Some(Grant {
            life: state.lives,
            version: state.versions,
            epoch: before.map_or(1, |grant| grant.epoch + 1),
            generation: 1,
            book,
            serial: 0,
            attempt: 0,
            obtained: state.now,
            intent: None,
            refused: false,
            handled: before.map_or(state.asked, |grant| grant.handled),
        });
    }

    /// The next moment: one of the fixed ones, or sooner where somebody waits for it.
    fn next_moment(&self, state: &State) -> Option<Second> {
        let next = MOMENTS.into_iter().find(|at| *at > state.now)?;
        let healthy = |index: &usize| state.replicas[*index].up && !state.replicas[*index].frozen;
        let awaited = (0..state.replicas.len()).filter(healthy).filter_map(|index| {
            let (skew, replica) = (self.clock(state, index) - state.now, &state.replicas[index]);
            if replica.stage == Stage::Forget {
                return Some(replica.seen?.1 + IN_FLIGHT);
            }
            match self.decision(state, index)? {
                Decision::Wait(Some(at)) | Decision::InFlight(at) | Decision::Ambiguous(at) => Some(at - skew),
                _ => None,
            }
        });
        awaited.filter(|at| *at > state.now).chain([next]).min()
    }

    /// Time passes, and what it shows is written down.
    pub fn pass(&self, state: &mut State, to: Second) {
        let lost = marks::is_lost(self, state);
        let healthy = |index: &usize| state.replicas[*index].up && !state.replicas[*index].frozen;
        let minds: Vec<_> = (0..state.replicas.len()).filter(healthy).collect();
        let decisions: Vec<_> = minds.iter().filter_map(|index| self.decision(state, *index)).collect();
        let waiting = decisions.iter().any(|decision| matches!(decision, Decision::InFlight(_)));
        let left = state.leaving || state.books.iter().any(|book| book.ended == Some(Ended::Revoked));
        let unknown = state.is_marked(marks::LATE | marks::GHOST | marks::WAITED);
        if lost && !left && !unknown && !decisions.is_empty() && !waiting && marks::says_well(state) {
            state.mark(marks::SILENT);
        }
        let unfinished = state.grant.and_then(|grant| grant.intent).filter(|_| self.kind.rotation == Rotation::Grace);
        let replayable = unfinished.is_some_and(|intent| state.now <= intent.first + marks::REPLAYABLE);
        if replayable && decisions.iter().any(|decision| matches!(decision, Decision::Ambiguous(_))) {
            state.mark(marks::IDLE_IN_WINDOW);
        }
        // Whoever looks at it again notes the intent that lies there.
        for index in &minds {
            self.sight(state, *index);
        }
        state.now = to;
        if !lost && marks::is_lost(self, state) && state.is_marked(marks::LOST) {
            state.mark(marks::WINDOW);
        }
    }
}

/// How a step of this stage can fail at the API server.
fn failures(stage: Stage) -> &'static [Api] {
    match stage {
        Stage::Intend(_)
        | Stage::Persist(..)
        | Stage::TakeBack(_)
        | Stage::End(_)
        | Stage::Publish(_)
        | Stage::Tell(..)
        | Stage::Delete(_) => &[Api::AnswerLost, Api::Failed],
        Stage::IntendAgain(_)
        | Stage::PersistAgain(..)
        | Stage::EndAgain(_)
        | Stage::Unfinished(..)
        | Stage::Forget => &[Api::Failed],
        Stage::Idle | Stage::Check(_) | Stage::Send(_) | Stage::Await(..) | Stage::Ask(..) | Stage::Revoke(_) => &[],
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.bounds.replicas)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for index in 0..state.replicas.len() {
            self.replica_actions(state, index, actions);
        }
        if !state.ghosts.is_empty() {
            actions.extend([true, false].map(Action::Ghost));
        }
        if self.may_happen(state, state.spent.people, self.bounds.people) {
            if state.grant.is_some() && !state.leaving {
                actions.extend([Action::Ask, Action::Touch, Action::Disconnect]);
            }
            if !state.leaving {
                actions.push(Action::Reconnect);
            }
        }
        if MOMENTS.iter().any(|at| *at > state.now) && self.is_quiet(state) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Sync(index) => self.sync(&mut state, index),
            Action::Step(index, api) => {
                state.spent.api += u8::from(api != Api::Done);
                self.step(&mut state, index, api);
            }
            Action::Deliver(index, net) => {
                state.spent.net += u8::from(net != Net::Answered);
                self.deliver(&mut state, index, net);
            }
            Action::Kill(index, arrives) => {
                state.spent.kills += 1;
                self.kill(&mut state, index, arrives);
            }
            Action::Restart(index) => self.restart(&mut state, index),
            Action::Freeze(index) => {
                state.spent.freezes += 1;
                state.replicas[index].frozen = true;
            }
            Action::Thaw(index) => state.replicas[index].frozen = false,
            Action::Ghost(arrives) => {
                let request = state.ghosts.remove(0);
                if arrives && matches!(self.arrive(&mut state, request), Reply::Tokens(_)) {
                    state.mark(marks::LOST | marks::GHOST_LANDED);
                }
            }
            Action::Ask | Action::Touch | Action::Reconnect | Action::Disconnect => {
                state.spent.people += 1;
                match action {
                    Action::Ask => state.asked += 1,
                    Action::Reconnect => self.reconnect(&mut state),
                    Action::Disconnect => state.leaving = true,
                    _ => {
                        state.versions += 1;
                        let version = state.versions;
                        state.grant.iter_mut().for_each(|grant| grant.version = version);
                    }
                }
            }
            Action::Tick => {
                let next = self.next_moment(&state)?;
                self.pass(&mut state, next);
            }
        }
        state.normalise();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        marks::properties()
    }
}
