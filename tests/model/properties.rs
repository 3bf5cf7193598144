//! What must hold, in every state.
//!
//! What is wrong at a moment, and not in a state, is marked when it happens. Of a loss, the marks tell whether it could have
//! been avoided.

use std::hash::{DefaultHasher, Hash, Hasher};

use integration_operator::api::provider::Rotation;
use stateright::Property;

use super::decide::Decision;
use super::state::{Ended, Grant, LIFETIME, Second, Stage, State, Word};
use super::system::{Api, Net, Protocol};

/// A write put older tokens in the place of newer ones.
pub const OLDER_GENERATION: u32 = 1;
/// A write put tokens of an earlier authorization in the place of those of a later one.
pub const OLDER_EPOCH: u32 = 1 << 1;
/// A refresh created a grant that had been deleted.
pub const CREATED_AGAIN: u32 = 1 << 2;
/// Two requests with one refresh token were on their way.
pub const TOGETHER: u32 = 1 << 3;
/// The same; one of them was sent by a process that was frozen between its last check and the send.
pub const TOGETHER_LATE: u32 = 1 << 4;
/// The same; the sender of the other was gone.
pub const TOGETHER_WITH_GHOST: u32 = 1 << 5;
/// The provider ended the grant for a reuse that we need not have risked.
pub const BLIND: u32 = 1 << 6;
/// Nobody cared for an unfinished refresh while it could be replayed.
pub const IDLE_IN_WINDOW: u32 = 1 << 7;
/// What is held is worthless, somebody looked, and the conditions say that all is well.
pub const SILENT: u32 = 1 << 8;
/// The provider carried a refresh out, and its answer is nowhere.
pub const LOST: u32 = 1 << 9;
/// With a window of grace: nobody was able to replay within it.
pub const WINDOW: u32 = 1 << 10;
/// A process that has the answer was frozen until the last replay.
pub const WAITED: u32 = 1 << 11;
/// The reuse was by a process that was frozen between its last check and the send.
pub const LATE: u32 = 1 << 12;
/// The reuse was because an earlier request arrived after its sender was gone.
pub const GHOST: u32 = 1 << 13;
/// Such a request has arrived.
pub const GHOST_LANDED: u32 = 1 << 14;
/// A request has arrived that was sent by a process that was frozen between its last check and the send.
pub const LATE_LANDED: u32 = 1 << 15;
/// The same as [`TOGETHER`], where refresh tokens do not rotate: a process that was frozen with an answer stored it, and with
/// it took away the intent of the other.
pub const TOGETHER_UNROTATED: u32 = 1 << 16;
/// The last replay was begun while another process, which had been frozen, had the answer.
pub const HELD_AT_LAST: u32 = 1 << 17;

/// For how long after the first send a refresh is replayed where there is a window of grace.
pub const REPLAYABLE: Second = super::state::GRACE - 30;

/// The moment of the last replay.
pub fn last_replay(grant: &Grant) -> Second {
    grant.expires() - 60.min(LIFETIME / 10)
}

/// All properties.
pub fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(NEVER_OLDER, |_, state: &State| !state.is_marked(OLDER_GENERATION)),
        Property::always(NEVER_OLDER_EPOCH, |_, state: &State| !state.is_marked(OLDER_EPOCH)),
        Property::always(NEVER_AGAIN, |_, state: &State| !state.is_marked(CREATED_AGAIN)),
        Property::always(ONE_AT_A_TIME, |_, state: &State| !state.is_marked(TOGETHER)),
        Property::always(NO_REVOCATION, |_, state: &State| !state.is_marked(BLIND)),
        Property::always(NO_OUTLIVED, |_, state: &State| !state.is_marked(GHOST)),
        Property::always(NO_AVOIDABLE_LOSS, |model, state| !is_avoidable(model, state)),
        Property::always(NO_FALSE_END, |model, state| !is_falsely_ended(model, state)),
        Property::always(REPLAYED_IN_TIME, |_, state: &State| !state.is_marked(IDLE_IN_WINDOW)),
        Property::always(NOT_SILENT, |_, state: &State| !state.is_marked(SILENT)),
        Property::always(SETTLES, Protocol::settles),
    ]
}

pub const NEVER_OLDER: &str = "no write holds an older generation than the one before";
pub const NEVER_OLDER_EPOCH: &str = "an answer of an older epoch never replaces a newer one";
pub const NEVER_AGAIN: &str = "a deleted grant is never created again by a refresh";
pub const ONE_AT_A_TIME: &str = "never two requests with one refresh token";
pub const NO_REVOCATION: &str = "no revocation by a blind replay";
pub const NO_OUTLIVED: &str = "no revocation because a request outlived its sender";
pub const NO_AVOIDABLE_LOSS: &str = "no avoidable loss";
pub const NO_FALSE_END: &str = "a grant that works is not said to have ended";
pub const REPLAYED_IN_TIME: &str = "within the window of grace it is replayed";
pub const NOT_SILENT: &str = "no silent loss";
pub const SETTLES: &str = "without further faults: kept, or lost and told";

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What is held works, is published, and is told.
    Kept,
    /// What is held does not work, and a person is asked to connect again.
    Told,
    /// Nothing is held, as was wished.
    Gone,
    /// None of these.
    Stuck,
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn is_good(model: &Protocol, state: &State, grant: &Grant) -> bool {
    state.books[usize::from(grant.book)].is_good(model.kind, grant.serial, state.now)
}

/// Whether what is held cannot be refreshed any more, and nobody has or will get what could.
pub fn is_lost(model: &Protocol, state: &State) -> bool {
    let Some(grant) = state.grant else { return false };
    let hopes = state.replicas.iter().any(|replica| match replica.stage {
        Stage::Persist(job, serial) | Stage::PersistAgain(job, serial) => {
            is_good(model, state, &Grant { serial, ..job.view }) && job.view.book == grant.book
        }
        _ => false,
    });
    !is_good(model, state, &grant) && !hopes
}

/// Whether what is held is lost although it could have been kept.
pub fn is_avoidable(model: &Protocol, state: &State) -> bool {
    let Some(grant) = state.grant.filter(|_| is_lost(model, state)) else { return false };
    let left = state.books[usize::from(grant.book)].ended == Some(Ended::Revoked);
    let excused = left
        || state.is_marked(LATE | GHOST | WAITED)
        || match model.kind.rotation {
            Rotation::None => false,
            Rotation::Grace => state.is_marked(LOST) && state.is_marked(WINDOW),
            Rotation::Lenient | Rotation::Strict => state.is_marked(LOST),
        };
    !excused
}

/// Whether a grant is marked as ended whose refresh token is good. One that was used does not count, although a window of
/// grace may be open for it longer than we can know.
fn is_falsely_ended(model: &Protocol, state: &State) -> bool {
    state.grant.is_some_and(|grant| grant.refused && is_good(model, state, &grant) && !is_used(state, &grant))
}

fn is_used(state: &State, grant: &Grant) -> bool {
    state.books[usize::from(grant.book)].used[usize::from(grant.serial)].is_some()
}

/// Whether the conditions say that nothing is wrong.
pub fn says_well(state: &State) -> bool {
    matches!(state.told.1, Word::Fresh | Word::Nothing)
}

impl Protocol {
    /// Whether everything ends well when no further fault happens.
    fn settles(&self, state: &State) -> bool {
        let mut state = state.clone();
        let mut passed = vec![];
        loop {
            let mark = fingerprint(&state);
            if self.settled.lock().unwrap().contains(&mark) {
                break;
            }
            passed.push(mark);
            match self.go_on(&mut state) {
                Some(End::Stuck) => return false,
                Some(End::Told) if is_avoidable(self, &state) => return false,
                Some(_) => break,
                None if passed.len() > 400 => return false,
                None => state.normalise(),
            }
        }
        self.settled.lock().unwrap().extend(passed);
        true
    }

    /// The next step of a world without faults, in which the first replica leads; or how it has ended.
    pub fn go_on(&self, state: &mut State) -> Option<End> {
        if state.ghosts.pop().is_some() {
            return None;
        }
        for index in 0..state.replicas.len() {
            let replica = &mut state.replicas[index];
            if !replica.up {
                if index == 0 {
                    self.restart(state, index);
                    return None;
                }
                continue;
            }
            replica.frozen = false;
            match replica.stage {
                Stage::Await(..) | Stage::Ask(..) | Stage::Revoke(_) => {
                    self.deliver(state, index, Net::Answered);
                    return None;
                }
                Stage::Idle if index > 0 => continue,
                Stage::Idle if replica.cache != state.grant => {
                    self.sync(state, index);
                    return None;
                }
                _ => {}
            }
            if self.is_busy(state, index) {
                self.step(state, index, Api::Done);
                return None;
            }
        }
        if let Some(end) = self.end(state) {
            return Some(end);
        }
        let next = match self.decision(state, 0) {
            _ if state.leaving => state.now + 50,
            Some(Decision::Wait(Some(at)) | Decision::InFlight(at) | Decision::Ambiguous(at)) => at.max(state.now + 1),
            _ => return Some(End::Stuck),
        };
        self.pass(state, next);
        None
    }

    fn end(&self, state: &State) -> Option<End> {
        let Some(grant) = state.grant else { return (!state.leaving).then_some(End::Gone) };
        let told = |word| state.told == (grant.ident(), word);
        if !grant.refused && grant.intent.is_none() && is_good(self, state, &grant) && told(Word::Fresh) {
            return Some(End::Kept);
        }
        (grant.refused && !is_falsely_ended(self, state) && told(Word::Reauthorize)).then_some(End::Told)
    }
}
