//! The steps of a replica, as `controller/refresh.rs`, `controller/integration/` and `controller/finalize.rs` have them.

use integration_operator::api::provider::Rotation;

use super::decide::{Decision, Question, decide};
use super::mutants::Broken;
use super::properties::{self as marks, last_replay};
use super::provider::Reply;
use super::state::{Ended, Grant, Intent, Job, Replica, Request, Second, Stage, State, Word};
use super::system::{Api, Net, Protocol};

/// The times of `grant::plan`, as whole seconds.
const SEND_WINDOW: Second = 10;
const REQUEST_TIMEOUT: Second = 30;
/// How long the intent of another is respected that was seen.
pub const IN_FLIGHT: Second = 45;
/// How far the provider's clock may be from ours.
const CLOCKS: Second = 5;

/// Why a write was not carried out.
enum Miss {
    Conflict,
    Missing,
}

impl Protocol {
    /// The clock of a replica.
    pub fn clock(&self, state: &State, index: usize) -> Second {
        state.now + self.skew.get(index).copied().unwrap_or(0)
    }

    /// What the plan says to a replica; `None` without a grant.
    pub fn decision(&self, state: &State, index: usize) -> Option<Decision> {
        let replica = &state.replicas[index];
        let mut view = replica.cache?;
        if replica.unspent.is_some() && intended(view) == replica.unspent {
            view.intent = None;
        }
        let holder = match view.intent {
            Some(intent) if self.is_broken(Broken::OthersAreDead) => intent.holder,
            _ => u8::try_from(index).unwrap(),
        };
        let intent = view.intent.map(|intent| intent.attempt);
        let seen = replica.seen.filter(|(attempt, _)| Some(*attempt) == intent);
        let seen_for = seen.map(|(_, since)| state.now - since);
        let asked = state.asked > view.handled;
        let now = self.clock(state, index);
        Some(decide(Question { view, holder, boot: replica.boot, asked, now, seen_for, kind: self.kind }))
    }

    /// What the conditions have to say.
    fn word(&self, state: &State, index: usize, view: &Grant) -> Word {
        let ambiguous = matches!(self.decision(state, index), Some(Decision::Ambiguous(_)));
        if view.refused {
            Word::Reauthorize
        } else if self.clock(state, index) >= view.expires() {
            Word::Expired
        } else if ambiguous && !self.is_broken(Broken::AmbiguityNotTold) {
            Word::Ambiguous
        } else {
            state.replicas[index].trouble.unwrap_or(Word::Fresh)
        }
    }

    /// What a replica that is between two reconciles does next; `None`: nothing.
    fn next_stage(&self, state: &State, index: usize) -> Option<Stage> {
        let replica = &state.replicas[index];
        if state.leaving {
            return Some(Stage::Forget);
        }
        let view = replica.cache?;
        let job = |view: Grant, replay| Job {
            attempt: 0,
            view,
            replay,
            send_by: state.now + SEND_WINDOW,
            handles: state.asked,
        };
        match self.decision(state, index)? {
            Decision::Refresh { replay } => return Some(Stage::Intend(job(view, replay))),
            Decision::Introspect => return Some(Stage::Unfinished(view.intent?, false)),
            Decision::Probe => return Some(Stage::Unfinished(view.intent?, true)),
            Decision::Wait(_) | Decision::InFlight(_) | Decision::Ambiguous(_) => {}
        }
        let word = self.word(state, index, &view);
        if state.told.0 != view.ident() {
            // The data is read for it, and may be newer than what the watch shows.
            return Some(Stage::Publish(state.grant?.ident()));
        }
        (state.told.1 != word).then_some(Stage::Tell(view.ident(), word))
    }

    /// Whether a replica has something to do.
    pub fn is_busy(&self, state: &State, index: usize) -> bool {
        let replica = &state.replicas[index];
        match replica.stage {
            Stage::Idle => self.next_stage(state, index).is_some(),
            Stage::Forget => {
                let seen = replica.seen.map(|(attempt, _)| attempt);
                let intent = state.grant.and_then(|grant| grant.intent);
                !flies(state, index) || seen != intent.map(|intent| intent.attempt)
            }
            _ => true,
        }
    }

    /// A write with the version that was read.
    fn write(&self, state: &mut State, seen: &Grant, change: impl FnOnce(&mut Grant)) -> Result<Grant, Miss> {
        let Some(before) = state.grant else {
            if self.is_broken(Broken::CreatesAgain) {
                let mut grant = *seen;
                change(&mut grant);
                state.mark(marks::CREATED_AGAIN);
                state.grant = Some(grant);
                return Ok(grant);
            }
            return Err(Miss::Missing);
        };
        let same = before.life == seen.life && before.version == seen.version;
        if before.life != seen.life || !(same || self.is_broken(Broken::NoCompareAndSwap)) {
            return Err(Miss::Conflict);
        }
        let mut after = before;
        change(&mut after);
        state.versions += 1;
        after.version = state.versions;
        if after.book < before.book {
            state.mark(marks::OLDER_EPOCH);
        } else if after.book == before.book && (after.serial, after.generation) < (before.serial, before.generation) {
            state.mark(marks::OLDER_GENERATION);
        }
        state.grant = Some(after);
        Ok(after)
    }

    /// Carries out the step that a replica stands before.
    pub fn step(&self, state: &mut State, index: usize, api: Api) {
        let stage = state.replicas[index].stage;
        let lost = api == Api::AnswerLost;
        let next = match stage {
            Stage::Idle => self.next_stage(state, index).unwrap_or(Stage::Idle),
            Stage::Intend(job) => self.intend(state, index, job, api),
            Stage::IntendAgain(job) => match (api, state.grant) {
                (Api::Done, Some(now)) if now.intent.is_some_and(|intent| intent.attempt == job.attempt) => {
                    Stage::Check(Job { view: now, ..job })
                }
                _ => {
                    spent_nothing(&mut state.replicas[index], &job);
                    if api == Api::Failed { fail(&mut state.replicas[index], Word::Failing) } else { Stage::Idle }
                }
            },
            Stage::Check(job) if state.now > job.send_by && !self.is_broken(Broken::SendsLate) => Stage::TakeBack(job),
            Stage::Check(job) => Stage::Send(job),
            Stage::Send(job) => self.send(state, index, job),
            Stage::Persist(job, serial) => self.persist(state, index, job, serial, api),
            Stage::PersistAgain(job, serial) if api == Api::Failed => Stage::PersistAgain(job, serial),
            Stage::PersistAgain(job, serial) => self.persist_again(state, index, job, serial),
            Stage::TakeBack(job) => {
                self.take_back(state, index, job, api);
                Stage::Idle
            }
            Stage::EndAgain(job) => match state.grant {
                Some(now) if api == Api::Done && unchanged(&now, &job.view) => Stage::End(now),
                Some(now) if self.is_broken(Broken::EndsUnseen) => Stage::End(now),
                _ => Stage::Idle,
            },
            Stage::End(seen) => {
                let done = (api != Api::Failed)
                    .then(|| self.write(state, &seen, |grant| (grant.intent, grant.refused) = (None, true)));
                match done {
                    Some(Ok(grant)) if !lost => note(&mut state.replicas[index], grant),
                    Some(Err(_)) => {}
                    _ => state.replicas[index].trouble = Some(Word::Failing),
                }
                Stage::Idle
            }
            Stage::Unfinished(intent, probe) => match state.grant {
                Some(now) if api == Api::Done && now.intent == Some(intent) => Stage::Ask(now, intent, probe),
                _ => Stage::Idle,
            },
            Stage::Publish(ident) => {
                if api != Api::Failed {
                    state.published = Some(ident);
                }
                match state.replicas[index].cache {
                    Some(view) if api == Api::Done => Stage::Tell(view.ident(), self.word(state, index, &view)),
                    _ => Stage::Idle,
                }
            }
            Stage::Tell(ident, word) => {
                if api != Api::Failed {
                    state.told = (ident, word);
                }
                Stage::Idle
            }
            Stage::Forget => match state.grant {
                _ if api == Api::Failed => Stage::Idle,
                Some(_) if flies(state, index) => {
                    self.sight(state, index);
                    Stage::Forget
                }
                Some(grant) => Stage::Revoke(grant),
                None => {
                    (state.leaving, state.published) = (false, None);
                    Stage::Idle
                }
            },
            Stage::Delete(seen) => {
                let same = state.grant.is_some_and(|now| (now.life, now.version) == (seen.life, seen.version));
                if api != Api::Failed && same {
                    (state.grant, state.published, state.leaving) = (None, None, false);
                }
                Stage::Idle
            }
            Stage::Await(..) | Stage::Ask(..) | Stage::Revoke(_) => stage,
        };
        state.replicas[index].stage = next;
    }

    fn intend(&self, state: &mut State, index: usize, mut job: Job, api: Api) -> Stage {
        if self.is_broken(Broken::NoIntent) {
            return Stage::Check(job);
        }
        let now = self.clock(state, index);
        state.attempts += 1;
        job.attempt = state.attempts;
        if api == Api::Failed {
            return Stage::IntendAgain(job);
        }
        let replay = job.replay.filter(|_| !self.is_broken(Broken::FirstSendForgotten));
        let intent = Intent {
            attempt: job.attempt,
            epoch: job.view.epoch,
            holder: u8::try_from(index).unwrap(),
            boot: state.replicas[index].boot,
            first: replay.unwrap_or(now),
            deadline: now + SEND_WINDOW + REQUEST_TIMEOUT,
        };
        if now >= last_replay(&job.view) && state.spent.freezes > 0 && has_answer(state, &job.view) {
            state.mark(marks::HELD_AT_LAST);
        }
        match self.write(state, &job.view, |grant| grant.intent = Some(intent)) {
            Ok(_) if api == Api::AnswerLost => Stage::IntendAgain(job),
            Ok(grant) => Stage::Check(Job { view: grant, ..job }),
            Err(Miss::Conflict) => Stage::IntendAgain(job),
            Err(Miss::Missing) => Stage::Idle,
        }
    }

    fn send(&self, state: &mut State, index: usize, job: Job) -> Stage {
        let request = Request {
            book: job.view.book,
            serial: job.view.serial,
            late: state.now > job.send_by && !self.is_broken(Broken::SendsLate),
            last: self.clock(state, index) >= last_replay(&job.view),
        };
        let same = |other: &Request| (other.book, other.serial) == (request.book, request.serial);
        let others: Vec<_> = state.in_flight().filter(same).collect();
        let ghost = state.ghosts.iter().any(same);
        if let Some(other) = others.first() {
            state.mark(match () {
                () if request.late || other.late => marks::TOGETHER_LATE,
                () if ghost => marks::TOGETHER_WITH_GHOST,
                () if self.kind.rotation == Rotation::None && state.spent.freezes > 0 => marks::TOGETHER_UNROTATED,
                () => marks::TOGETHER,
            });
        }
        Stage::Await(job, request)
    }

    fn persist(&self, state: &mut State, index: usize, job: Job, serial: u8, api: Api) -> Stage {
        let (now, base) = (self.clock(state, index), job.view);
        if api == Api::Failed {
            if self.is_broken(Broken::PersistsOnce) {
                return fail(&mut state.replicas[index], Word::Failing);
            }
            return Stage::PersistAgain(job, serial);
        }
        let done = self.write(state, &base, |grant| {
            let refused = grant.refused && self.is_broken(Broken::RefusalStays);
            *grant = Grant {
                generation: base.generation + 1,
                serial,
                attempt: job.attempt,
                obtained: now,
                intent: None,
                refused,
                handled: job.handles.max(base.handled),
                ..base
            };
        });
        match done {
            Ok(_) if api == Api::AnswerLost => Stage::PersistAgain(job, serial),
            Ok(grant) => self.renewed(state, index, grant),
            Err(_) if self.is_broken(Broken::NoSecondLook) => Stage::Idle,
            Err(_) => Stage::PersistAgain(job, serial),
        }
    }

    fn persist_again(&self, state: &mut State, index: usize, job: Job, serial: u8) -> Stage {
        let base = job.view;
        match state.grant {
            Some(now) if now.attempt == job.attempt && now.life == base.life => self.renewed(state, index, now),
            Some(now) if now.life != base.life => Stage::Idle,
            Some(now) if self.is_broken(Broken::EpochIgnored) => {
                let view = Grant { version: now.version, generation: now.generation, ..base };
                Stage::Persist(Job { view, ..job }, serial)
            }
            Some(now) if unchanged(&now, &base) => Stage::Persist(Job { view: now, ..job }, serial),
            None if self.is_broken(Broken::CreatesAgain) => Stage::Persist(job, serial),
            // Dropped: somebody authorized again, another replica has refreshed, or the grant is gone.
            Some(_) | None => Stage::Idle,
        }
    }

    fn renewed(&self, state: &mut State, index: usize, grant: Grant) -> Stage {
        let replica = &mut state.replicas[index];
        replica.trouble = None;
        note(replica, grant);
        Stage::Publish(grant.ident())
    }

    fn take_back(&self, state: &mut State, index: usize, job: Job, api: Api) {
        if job.replay.is_some() && !self.is_broken(Broken::ReplayTakenBack) {
            return;
        }
        state.replicas[index].unspent = Some(job.attempt);
        if api == Api::Failed {
            return;
        }
        let done = self.write(state, &job.view, |grant| grant.intent = None);
        if let (Ok(grant), true) = (done, api == Api::Done) {
            note(&mut state.replicas[index], grant);
        }
    }

    /// What came of a request on the network and at the provider.
    pub fn deliver(&self, state: &mut State, index: usize, net: Net) {
        let next = match state.replicas[index].stage {
            Stage::Await(job, request) => self.answered(state, index, job, request, net),
            Stage::Ask(held, intent, probe) => self.told_of(state, index, held, intent, probe, net),
            Stage::Revoke(held) => {
                if net == Net::Answered {
                    state.books[usize::from(held.book)].ended = Some(Ended::Revoked);
                }
                Stage::Delete(held)
            }
            stage => stage,
        };
        state.replicas[index].stage = next;
    }

    fn answered(&self, state: &mut State, index: usize, job: Job, request: Request, net: Net) -> Stage {
        let ambiguous = |state: &mut State| {
            let stage = fail(&mut state.replicas[index], Word::Ambiguous);
            if self.is_broken(Broken::AmbiguityTakenBack) {
                Stage::TakeBack(Job { replay: None, ..job })
            } else {
                stage
            }
        };
        match net {
            Net::Answered => match self.arrive(state, request) {
                Reply::Tokens(serial) => Stage::Persist(job, serial),
                Reply::Refused => Stage::EndAgain(job),
            },
            Net::AnswerLost => {
                if matches!(self.arrive(state, request), Reply::Tokens(_)) {
                    state.mark(marks::LOST);
                }
                ambiguous(state)
            }
            Net::Vanished | Net::ServerError => ambiguous(state),
            Net::Stalled => {
                state.ghosts.push(request);
                ambiguous(state)
            }
            Net::NotSent | Net::Refused => {
                fail(&mut state.replicas[index], Word::Failing);
                Stage::TakeBack(job)
            }
        }
    }

    /// A request reaches the provider.
    pub fn arrive(&self, state: &mut State, request: Request) -> Reply {
        let now = state.now;
        let alive = state.books[usize::from(request.book)].ended.is_none();
        let reply = state.books[usize::from(request.book)].refresh(self.kind, request.serial, now);
        let ended = state.books[usize::from(request.book)].ended;
        if alive && ended == Some(Ended::Reuse) {
            let late = request.late || state.is_marked(marks::TOGETHER_LATE | marks::LATE_LANDED);
            state.mark(match () {
                () if late => marks::LATE,
                () if state.is_marked(marks::TOGETHER_WITH_GHOST | marks::GHOST_LANDED) => marks::GHOST,
                () if request.last && state.is_marked(marks::HELD_AT_LAST) => marks::WAITED,
                () if request.last && state.is_marked(marks::LOST) => 0,
                () => marks::BLIND,
            });
        }
        if request.late {
            state.mark(marks::LATE_LANDED);
        }
        reply
    }

    fn told_of(&self, state: &mut State, index: usize, held: Grant, intent: Intent, probe: bool, net: Net) -> Stage {
        if net != Net::Answered {
            return fail(&mut state.replicas[index], Word::Ambiguous);
        }
        let book = &state.books[usize::from(held.book)];
        let unused = if probe {
            book.accepts(self.kind, held.serial, held.expires(), state.now)
        } else {
            book.is_good(self.kind, held.serial, state.now)
        };
        if probe && !unused && self.clock(state, index) + CLOCKS >= held.expires() {
            return fail(&mut state.replicas[index], Word::Ambiguous);
        }
        if unused {
            let handles = state.asked;
            let send_by = state.now + SEND_WINDOW;
            Stage::Intend(Job { attempt: intent.attempt, view: held, replay: None, send_by, handles })
        } else {
            Stage::End(held)
        }
    }

    /// An answer that only this process had is gone.
    pub fn forget_answer(&self, state: &mut State, job: &Job, serial: u8) {
        let kept = state.grant.is_some_and(|now| now.book == job.view.book && now.serial >= serial);
        if !kept && self.kind.rotation != Rotation::None {
            state.mark(marks::LOST);
        }
    }
}

/// Whether nobody has authorized again or refreshed between two looks at the grant.
fn unchanged(now: &Grant, before: &Grant) -> bool {
    (now.life, now.epoch, now.generation) == (before.life, before.epoch, before.generation)
}

/// Whether a process has the answer to a refresh of this grant in memory.
fn has_answer(state: &State, grant: &Grant) -> bool {
    let has = |replica: &Replica| match replica.stage {
        Stage::Persist(job, _) | Stage::PersistAgain(job, _) => job.view.book == grant.book,
        _ => false,
    };
    state.replicas.iter().any(has)
}

/// The attempt of an unfinished refresh.
pub fn intended(grant: Grant) -> Option<u8> {
    grant.intent.map(|intent| intent.attempt)
}

/// Whether a refresh that a disconnect has to wait for may be on its way.
fn flies(state: &State, index: usize) -> bool {
    let seen = state.replicas[index].seen;
    state.grant.and_then(|grant| grant.intent).is_some_and(|intent| {
        let over = seen.is_some_and(|(of, since)| of == intent.attempt && state.now >= since + IN_FLIGHT);
        usize::from(intent.holder) != index && !over
    })
}

/// Nothing was sent, although the intent may have been written.
fn spent_nothing(replica: &mut Replica, job: &Job) {
    if job.replay.is_none() {
        replica.unspent = Some(job.attempt);
    }
}

fn fail(replica: &mut Replica, word: Word) -> Stage {
    replica.trouble = Some(word);
    Stage::Idle
}

/// Remembers a grant as it was just written, so that a watch that lags behind does no harm.
fn note(replica: &mut Replica, grant: Grant) {
    replica.cache = Some(grant);
}
