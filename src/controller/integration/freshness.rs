//! The refresh protocol, step by step: what the plan says is carried out until the plan says to wait.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::doubt::Doubt;
use super::{ReconcileError, Run};
use crate::api::request;
use crate::controller::memory::{self, Trouble};
use crate::controller::refresh::{self, Failure, Job, Outcome};
use crate::controller::requests::{self, Requests};
use crate::controller::situation::Situation;
use crate::grant::GrantView;
use crate::grant::plan::{self, Asker, Moment, Step};
use crate::grant::schedule::{Timing, refresh_at};
use crate::grant::store::Held;
use crate::lanes::Lane;
use crate::provider::registry::Usable;
use crate::trace::{self, Kind, Span};

impl Run<'_> {
    /// The refresh protocol: what the plan says, until it says to wait.
    pub(super) async fn keep_fresh(
        &mut self,
        situation: &mut Situation<'_>,
        asked: &Requests,
    ) -> Result<(), ReconcileError> {
        if situation.settings.as_ref().is_ok_and(|settings| settings.suspend) || !situation.is_bound() {
            return Ok(());
        }
        self.forget_old_troubles(situation);
        let mut requested = asked.refresh.clone();
        if situation.served_by_key().is_some() {
            // A key has nothing to be refreshed with: asked and answered.
            self.handled.extend(requested.map(|value| (request::REFRESH, value)));
            return Ok(());
        }
        // Each turn ends in a wait, or has changed the grant; three are enough for recover, refresh, wait, and a few more
        // for chains that fail one after the other.
        for _ in 0..8 {
            let left = self.left(situation, requested.as_deref());
            self.step = self.plan(situation, &left);
            let Some((_, usable)) = situation.served_by_oauth() else { return Ok(()) };
            let usable = usable.clone();
            let (set, outcome) = match self.step.clone() {
                Step::Wait(at) => {
                    if at.is_none() || left.is_empty() {
                        // There is nothing to refresh with: asked and answered.
                        self.handled.extend(requested.map(|value| (request::REFRESH, value)));
                    }
                    if let Some(at) = at {
                        self.look_again(at);
                    }
                    return Ok(());
                }
                Step::InFlight(next) | Step::Ambiguous { next, .. } => {
                    self.look_again(next);
                    return Ok(());
                }
                // What has changed is published before the next chain has its turn: workloads may be waiting for it.
                _ if self.held.is_some() => {
                    self.look_again(Timestamp::now());
                    return Ok(());
                }
                Step::Refresh { set, replay } => {
                    let trace = self.traced(situation, &usable);
                    let last = left.iter().all(|left| *left == set);
                    let asked = requested.clone().map(|value| Asked { value, last });
                    let work = Box::pin(self.refresh(situation, &usable, set.clone(), replay, asked));
                    let outcome = trace.within(work).await;
                    (set, outcome)
                }
                Step::Introspect(intent) => {
                    let trace = self.traced(situation, &usable);
                    let outcome = trace.within(Box::pin(self.introspect(situation, &usable, &intent))).await?;
                    (intent.set, outcome)
                }
                Step::Probe(intent) => {
                    let trace = self.traced(situation, &usable);
                    let outcome = trace.within(Box::pin(self.probe(situation, &usable, &intent))).await?;
                    (intent.set, outcome)
                }
            };
            let renewed = matches!(outcome, Outcome::Renewed(_));
            let superseded = matches!(outcome, Outcome::Superseded);
            if renewed {
                self.take_note(situation, set.clone(), requested.as_deref());
            }
            self.take(situation, set.as_deref(), outcome);
            if renewed && self.left(situation, requested.as_deref()).is_empty() {
                self.handled.extend(requested.take().map(|value| (request::REFRESH, value)));
            }
            if superseded {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Forgets failures to refresh tokens that are no longer held: somebody authorized again, or another replica refreshed.
    fn forget_old_troubles(&self, situation: &Situation<'_>) {
        let Some(grant) = &situation.grant else { return };
        let troubled = self.context.memories.look(&situation.uid, |memory| !memory.troubles.is_empty());
        if troubled == Some(true) {
            self.context.memories.update(&situation.uid, |memory| {
                memory.troubles.retain(|set, trouble| trouble.about == grant.version_of(set.as_deref()));
            });
        }
    }

    /// A refresh is a trace, with what is published and told of it.
    fn traced(&mut self, situation: &Situation<'_>, usable: &Usable) -> Span {
        if !self.trace.is_some() {
            self.trace = Span::root("refresh", Kind::Internal);
            self.trace.set("integration.namespace", &*situation.namespace);
            self.trace.set("integration.name", &*situation.name);
            self.trace.set("integration.provider", &*usable.provider.reference.name);
        }
        self.trace.clone()
    }

    /// Takes what came of a refresh of a chain into what is known.
    pub(super) fn take(&mut self, situation: &mut Situation<'_>, set: Option<&str>, outcome: Outcome) {
        match outcome {
            Outcome::Renewed(held) => {
                self.trouble(situation, set, None);
                self.be_sure(situation, &held.view, set);
                self.took_over(situation, *held);
            }
            Outcome::Ended(held) => {
                self.trouble(situation, set, None);
                match set {
                    None => situation.grant = Some(held.view),
                    // What is published changes with it.
                    Some(_) => self.took_over(situation, *held),
                }
            }
            Outcome::Failed(failure) => {
                self.trouble(situation, set, Some(failure));
                let latest = self.context.grant(&situation.namespace, &situation.name, &situation.uid);
                situation.grant = latest.or(situation.grant.take());
            }
            Outcome::Superseded => self.look_again(Timestamp::now() + SignedDuration::from_secs(1)),
        }
    }

    /// The chains that the request for a refresh with this value still has to reach.
    fn left(&self, situation: &Situation<'_>, value: Option<&str>) -> BTreeSet<Option<String>> {
        let (Some(value), Some(grant), Some(timing)) = (value, &situation.grant, timing(situation)) else {
            return BTreeSet::new();
        };
        if timing.never {
            return BTreeSet::new();
        }
        let asked = self.context.memories.get(&situation.uid).asked;
        let renewed = asked.filter(|(of, _)| of == value).map(|(_, renewed)| renewed).unwrap_or_default();
        grant.summary.refreshable_but(&renewed)
    }

    /// Remembers that a chain was refreshed for the request with this value.
    fn take_note(&self, situation: &Situation<'_>, set: Option<String>, value: Option<&str>) {
        let Some(value) = value else { return };
        self.context.memories.update(&situation.uid, |memory| {
            let same = memory.asked.take().filter(|(of, _)| of == value);
            let (_, mut renewed) = same.unwrap_or_default();
            renewed.insert(set);
            memory.asked = Some((value.to_owned(), renewed));
        });
    }

    pub(super) fn plan(&self, situation: &Situation<'_>, requested: &BTreeSet<Option<String>>) -> Step {
        let (Some(grant), Some((_, usable)), Some(timing)) =
            (&situation.grant, situation.served_by_oauth(), timing(situation))
        else {
            return Step::Wait(None);
        };
        let memory = self.context.memories.get(&situation.uid);
        let in_flight = memory.in_flight.as_deref();
        let seen_for = self.context.memories.sight(&situation.uid, &grant.intents);
        let (holder, boot) = (&self.context.holder, &self.context.boot);
        let asker = Asker { holder, boot, in_flight, seen_for: &seen_for };
        let moment = Moment { now: Timestamp::now(), requested, not_before: &memory.not_before() };
        if !memory.unspent.is_empty() {
            let grant = self.context.memories.without_unspent(&situation.uid, grant);
            return plan::next(&grant, timing, usable.client.profile(), asker, moment);
        }
        plan::next(grant, timing, usable.client.profile(), asker, moment)
    }

    pub(super) async fn refresh(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        set: Option<String>,
        replay: Option<Timestamp>,
        asked: Option<Asked>,
    ) -> Outcome {
        let Some(view) = situation.grant.clone() else { return Outcome::Superseded };
        let planned = planned(situation, set.as_deref());
        let lane = if asked.is_some() { Lane::Request } else { Lane::Expiry };
        let _pass = self.context.lanes.enter(lane, expiry(&view, set.as_deref())).await;
        let doubt = if replay.is_none() { self.doubt(situation, usable, set.as_deref()).await } else { Doubt::Unknown };
        if let Doubt::Past(outcome) = doubt {
            return outcome;
        }
        let requested = asked.is_some();
        let handled = asked
            .filter(|asked| asked.last)
            .map(|asked| requests::with(situation, &BTreeMap::new(), &[(request::REFRESH, asked.value)]));
        let known_good = matches!(doubt, Doubt::Good);
        let job = Job { uid: situation.uid.clone(), view, set, replay, handled, known_good };
        let started = Timestamp::now();
        let outcome = refresh::refresh(self.context, usable, job).await;
        let provider = &usable.provider.reference.name;
        let label = outcome_label(&outcome);
        self.context.metrics.refresh(provider, label);
        let trace = trace::current();
        trace.set("integration.outcome", label);
        if matches!(outcome, Outcome::Failed(_) | Outcome::Ended(_)) {
            trace.fail(label);
        }
        if let (Outcome::Renewed(_), Some(planned), false) = (&outcome, planned, requested) {
            self.context.metrics.lateness(started.duration_since(planned).max(SignedDuration::ZERO).unsigned_abs());
        }
        outcome
    }

    fn took_over(&mut self, situation: &mut Situation<'_>, held: Held) {
        refresh::remember_token(self.context, &situation.uid, &held.grant);
        situation.grant = Some(held.view);
        self.held = Some(held.grant);
    }

    fn trouble(&self, situation: &Situation<'_>, set: Option<&str>, failure: Option<Failure>) {
        let (now, set) = (Timestamp::now(), set.map(str::to_owned));
        self.context.memories.update(&situation.uid, |memory| {
            let before = memory.troubles.remove(&set);
            let Some(failure) = failure else { return };
            let failures = before.map_or(0, |trouble| trouble.failures) + 1;
            let own = memory::pause(failures, memory::chance());
            let wished = failure.retry_after.and_then(|pause| SignedDuration::try_from(pause).ok());
            let trouble = Trouble {
                about: situation.grant.as_ref().and_then(|grant| grant.version_of(set.as_deref())),
                failures,
                reason: failure.reason,
                cause: failure.cause,
                retry_at: now + wished.map_or(own, |wished| own.max(wished)),
            };
            memory.troubles.insert(set, trouble);
        });
    }
}

/// A person's request for a refresh.
pub(super) struct Asked {
    /// The time that the annotation holds.
    value: String,
    /// No other chain has to be refreshed for it.
    last: bool,
}

fn timing(situation: &Situation<'_>) -> Option<Timing> {
    let (settings, usable) = situation.served_by_oauth()?;
    Some(settings.timing(usable.client.timing))
}

/// When the access token of a chain expires: what is nearest goes first.
pub(super) fn expiry(view: &GrantView, set: Option<&str>) -> Option<Timestamp> {
    view.summary.chain(set)?.expires_at
}

/// The planned moments of the next refreshes of all chains that will be refreshed.
pub(super) fn all_planned(situation: &Situation<'_>) -> BTreeMap<Option<String>, Timestamp> {
    let Some(grant) = situation.grant.as_ref().filter(|grant| grant.refused.is_none() && situation.is_bound()) else {
        return BTreeMap::new();
    };
    let moment = |set: Option<&str>| Some((set.map(str::to_owned), planned(situation, set)?));
    grant.summary.chains().filter_map(|(set, _)| moment(set)).collect()
}

/// The planned moment of a chain's next refresh.
pub(super) fn planned(situation: &Situation<'_>, set: Option<&str>) -> Option<Timestamp> {
    refresh_at(&situation.grant.as_ref()?.summary, set, timing(situation)?)
}

fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Renewed(_) => "renewed",
        Outcome::Ended(_) => "refused",
        Outcome::Failed(failure) => failure.reason.as_str(),
        Outcome::Superseded => "superseded",
    }
}
