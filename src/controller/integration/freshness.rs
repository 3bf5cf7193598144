//! The refresh protocol, step by step: what the plan says is carried out until the plan says to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{ReconcileError, Run};
use crate::api::{Reason, request};
use crate::causes::chain;
use crate::controller::memory::{self, Trouble};
use crate::controller::refresh::{self, Failure, Job, Outcome};
use crate::controller::requests::{self, Requests};
use crate::controller::situation::Situation;
use crate::grant::plan::{self, Asker, Moment, Step};
use crate::grant::schedule::{Timing, refresh_at};
use crate::grant::store::Held;
use crate::grant::{GrantView, Intent, StoreError};
use crate::lanes::Lane;
use crate::oauth::{identity, introspect};
use crate::provider::registry::Usable;

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
        let mut requested = asked.refresh.clone();
        // Each turn ends in a wait, or has changed the grant; three are enough for recover, refresh, wait, and a few more
        // for sets that end or fail one after the other.
        for _ in 0..8 {
            let renewed = self.renewed_for(situation, requested.as_deref());
            self.step = self.plan(situation, requested.as_ref().map(|_| &renewed));
            let usable = match situation.served() {
                Some((_, usable)) => usable.clone(),
                None => return Ok(()),
            };
            let set = match self.step.clone() {
                Step::Refresh { set, .. } => set,
                Step::Introspect(intent) | Step::Probe(intent) => intent.set,
                _ => None,
            };
            let outcome = match self.step.clone() {
                Step::Wait(at) => {
                    let nothing_left = at.is_none() || self.left(situation, &renewed).is_empty();
                    if let Some(value) = requested.filter(|_| nothing_left) {
                        // There is nothing to refresh with: asked and answered.
                        self.handled.push((request::REFRESH, value));
                    }
                    if let Some(at) = at {
                        self.look_again(at);
                    }
                    return Ok(());
                }
                Step::InFlight(until) | Step::Ambiguous { next: until, .. } => {
                    self.look_again(until);
                    return Ok(());
                }
                // What was renewed is published first: workloads may be waiting for it.
                _ if self.held.is_some() => {
                    self.look_again(Timestamp::now());
                    return Ok(());
                }
                Step::Refresh { replay, .. } => {
                    let last = self.left(situation, &renewed).iter().all(|left| *left == set);
                    let asked = requested.as_ref().map(|value| Asked { value: value.clone(), last });
                    self.refresh(situation, &usable, set.clone(), replay, asked).await
                }
                Step::Introspect(intent) => self.introspect(situation, &usable, &intent).await?,
                Step::Probe(intent) => self.probe(situation, &usable, &intent).await?,
            };
            match outcome {
                Outcome::Renewed(held) => {
                    self.trouble(situation, &set, None);
                    self.take_note(situation, &set, requested.as_deref());
                    self.took_over(situation, *held);
                    let renewed = self.renewed_for(situation, requested.as_deref());
                    if self.left(situation, &renewed).is_empty()
                        && let Some(value) = requested.take()
                    {
                        self.handled.push((request::REFRESH, value));
                    }
                }
                Outcome::Ended(held) => {
                    self.trouble(situation, &set, None);
                    match set {
                        None => situation.grant = Some(held.view),
                        // What is published changes with it.
                        Some(_) => self.took_over(situation, *held),
                    }
                }
                Outcome::Failed(failure) => {
                    self.trouble(situation, &set, Some(failure));
                    let latest = self.context.grant(&situation.namespace, &situation.name, &situation.uid);
                    situation.grant = latest.or(situation.grant.take());
                }
                Outcome::Superseded => {
                    self.look_again(Timestamp::now() + SignedDuration::from_secs(1));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The chains that were refreshed already for the request with this value.
    fn renewed_for(&self, situation: &Situation<'_>, value: Option<&str>) -> BTreeSet<Option<String>> {
        let asked = self.context.memories.get(&situation.uid).asked;
        asked.filter(|(of, _)| Some(of.as_str()) == value).map(|(_, renewed)| renewed).unwrap_or_default()
    }

    /// The chains that a request for a refresh still has to reach.
    fn left(&self, situation: &Situation<'_>, renewed: &BTreeSet<Option<String>>) -> BTreeSet<Option<String>> {
        match (&situation.grant, timing(situation)) {
            (Some(grant), Some(timing)) if !timing.never => grant.summary.not_among(renewed),
            _ => BTreeSet::new(),
        }
    }

    /// Remembers that a chain was refreshed for the request with this value.
    fn take_note(&self, situation: &Situation<'_>, set: &Option<String>, value: Option<&str>) {
        let Some(value) = value else { return };
        let mut renewed = self.renewed_for(situation, Some(value));
        renewed.insert(set.clone());
        self.context.memories.update(&situation.uid, |memory| memory.asked = Some((value.to_owned(), renewed)));
    }

    fn plan(&self, situation: &Situation<'_>, requested: Option<&BTreeSet<Option<String>>>) -> Step {
        let (Some(grant), Some((_, usable)), Some(timing)) = (&situation.grant, situation.served(), timing(situation))
        else {
            return Step::Wait(None);
        };
        let memory = self.context.memories.get(&situation.uid);
        let in_flight = memory.in_flight.as_deref();
        let asker = Asker { holder: &self.context.holder, boot: &self.context.boot, in_flight };
        let moment = Moment { now: Timestamp::now(), requested, not_before: &memory.not_before() };
        plan::next(grant, timing, usable.client.profile(), asker, moment)
    }

    async fn refresh(
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
        let requested = asked.is_some();
        let handled = asked
            .filter(|asked| asked.last)
            .map(|asked| requests::with(situation, &BTreeMap::new(), &[(request::REFRESH, asked.value)]));
        let job = Job { uid: situation.uid.clone(), view, set, replay, handled };
        let started = Timestamp::now();
        let outcome = refresh::refresh(self.context, usable, job).await;
        let provider = &usable.provider.reference.name;
        self.context.metrics.refresh(provider, outcome_label(&outcome));
        if let (Outcome::Renewed(_), Some(planned), false) = (&outcome, planned, requested) {
            self.context.metrics.lateness(started.duration_since(planned).max(SignedDuration::ZERO).unsigned_abs());
        }
        outcome
    }

    /// Asks the provider whether the refresh token of an unfinished refresh is still good. If it is, nothing was done.
    async fn introspect(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        intent: &Intent,
    ) -> Result<Outcome, ReconcileError> {
        let Some(held) = self.unfinished(situation, intent).await? else { return Ok(Outcome::Superseded) };
        let tokens = held.grant.tokens_of(intent.set.as_deref());
        let (Some(url), Some(refresh_token)) =
            (&usable.endpoints.introspection, tokens.and_then(|tokens| tokens.refresh_token.as_ref()))
        else {
            return Ok(Outcome::Superseded);
        };
        let endpoint = &usable.endpoints.token;
        let networks = Arc::clone(&endpoint.private_networks);
        let asked = introspect::is_active(
            &self.context.outbound,
            url,
            endpoint.authentication,
            &usable.credentials,
            refresh_token,
            networks,
        );
        let unused = asked.await.map_err(|error| chain(&error));
        self.after_asking(situation, usable, held, intent, unused).await
    }

    /// Tries the old access token, which a refresh would have ended. If it works, nothing was done.
    async fn probe(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        intent: &Intent,
    ) -> Result<Outcome, ReconcileError> {
        let Some(held) = self.unfinished(situation, intent).await? else { return Ok(Outcome::Superseded) };
        let (Some(endpoint), Some(tokens)) = (&usable.endpoints.identity, held.grant.tokens_of(intent.set.as_deref()))
        else {
            return Ok(Outcome::Superseded);
        };
        let unused = match identity::verify(&self.context.outbound, endpoint, &tokens.access_token).await {
            identity::Verdict::Accepted(_) => Ok(true),
            identity::Verdict::Rejected { .. } => Ok(false),
            _ => Err("the provider cannot be asked what became of it".to_owned()),
        };
        self.after_asking(situation, usable, held, intent, unused).await
    }

    /// The provider was asked what became of an unfinished refresh: nothing (`true`), or it was carried out (`false`).
    async fn after_asking(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        held: Held,
        intent: &Intent,
        unused: Result<bool, String>,
    ) -> Result<Outcome, ReconcileError> {
        Ok(match unused {
            Ok(true) => self.begin_again(situation, usable, held, intent).await,
            Ok(false) => self.lost(held, intent).await?,
            Err(cause) => Outcome::Failed(Failure {
                reason: Reason::RefreshAmbiguous,
                cause: format!("the answer to a refresh was lost, and {cause}"),
                retry_after: None,
            }),
        })
    }

    async fn unfinished(&self, situation: &Situation<'_>, intent: &Intent) -> Result<Option<Held>, StoreError> {
        let Some(view) = &situation.grant else { return Ok(None) };
        let held = self.context.grants.get(&view.name).await?;
        Ok(held.filter(|held| held.view.intent(intent.set.as_deref()) == Some(intent)))
    }

    /// The provider has not carried out the earlier refresh: a new one is as good as the first.
    async fn begin_again(&self, situation: &Situation<'_>, usable: &Usable, held: Held, intent: &Intent) -> Outcome {
        let _pass = self.context.lanes.enter(Lane::Expiry, expiry(&held.view, intent.set.as_deref())).await;
        let (uid, set) = (situation.uid.clone(), intent.set.clone());
        let job = Job { uid, view: held.view, set, replay: None, handled: None };
        refresh::refresh(self.context, usable, job).await
    }

    async fn lost(&self, held: Held, intent: &Intent) -> Result<Outcome, ReconcileError> {
        let cause = format!(
            "the provider carried out the refresh sent at {}, but its answer was lost on the way",
            intent.first_sent
        );
        let held = refresh::mark_ended(self.context, held, intent.set.as_deref(), &cause).await?;
        Ok(Outcome::Ended(Box::new(held)))
    }

    fn took_over(&mut self, situation: &mut Situation<'_>, held: Held) {
        refresh::remember_token(self.context, &situation.uid, &held.grant);
        situation.grant = Some(held.view);
        self.held = Some(held.grant);
    }

    fn trouble(&self, situation: &Situation<'_>, set: &Option<String>, failure: Option<Failure>) {
        let now = Timestamp::now();
        self.context.memories.update(&situation.uid, |memory| {
            let before = memory.troubles.remove(set);
            let Some(failure) = failure else { return };
            let failures = before.map_or(0, |trouble| trouble.failures) + 1;
            let own = memory::pause(failures, memory::chance());
            let wished = failure.retry_after.and_then(|pause| SignedDuration::try_from(pause).ok());
            let trouble = Trouble {
                failures,
                reason: failure.reason,
                cause: failure.cause,
                retry_at: now + wished.map_or(own, |wished| own.max(wished)),
            };
            memory.troubles.insert(set.clone(), trouble);
        });
    }
}

/// A person's request for a refresh.
struct Asked {
    /// The time that the annotation holds.
    value: String,
    /// No other chain has to be refreshed for it.
    last: bool,
}

fn timing(situation: &Situation<'_>) -> Option<Timing> {
    let (settings, usable) = situation.served()?;
    Some(settings.timing(usable.client.timing))
}

/// When the access token of a chain expires: what is nearest goes first.
fn expiry(view: &GrantView, set: Option<&str>) -> Option<Timestamp> {
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
fn planned(situation: &Situation<'_>, set: Option<&str>) -> Option<Timestamp> {
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
