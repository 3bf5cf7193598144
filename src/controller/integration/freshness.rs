//! The refresh protocol, step by step: what the plan says is carried out until the plan says to wait.

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
use crate::grant::schedule::refresh_at;
use crate::grant::store::Held;
use crate::grant::{Intent, StoreError};
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
        if situation.served_by_key().is_some() {
            // A key has nothing to be refreshed with: asked and answered.
            self.handled.extend(requested.map(|value| (request::REFRESH, value)));
            return Ok(());
        }
        // Each turn ends in a wait, or has changed the grant; three are enough for recover, refresh, wait.
        for _ in 0..4 {
            self.step = self.plan(situation, requested.is_some());
            let usable = match situation.served_by_oauth() {
                Some((_, usable)) => usable.clone(),
                None => return Ok(()),
            };
            let outcome = match self.step.clone() {
                Step::Wait(at) => {
                    if let (Some(value), None) = (&requested, at) {
                        // There is nothing to refresh with: asked and answered.
                        self.handled.push((request::REFRESH, value.clone()));
                    }
                    if let Some(at) = at {
                        self.look_again(at);
                    }
                    return Ok(());
                }
                Step::InFlight(until) | Step::Ambiguous { until } => {
                    self.look_again(until);
                    return Ok(());
                }
                Step::Refresh { replay } => self.refresh(situation, &usable, replay, requested.as_ref()).await,
                Step::Introspect(intent) => self.introspect(situation, &usable, &intent).await?,
                Step::Probe(intent) => self.probe(situation, &usable, &intent).await?,
            };
            if matches!(outcome, Outcome::Renewed(_))
                && let Some(value) = requested.take()
            {
                self.handled.push((request::REFRESH, value));
            }
            let superseded = matches!(outcome, Outcome::Superseded);
            self.take(situation, outcome);
            if superseded {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what came of a refresh into what is known.
    pub(super) fn take(&mut self, situation: &mut Situation<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Renewed(held) => self.renewed(situation, *held),
            Outcome::Ended(view) => {
                self.trouble(situation, None);
                situation.grant = Some(*view);
            }
            Outcome::Failed(failure) => {
                self.trouble(situation, Some(failure));
                let latest = self.context.grant(&situation.namespace, &situation.name, &situation.uid);
                situation.grant = latest.or(situation.grant.take());
            }
            Outcome::Superseded => self.look_again(Timestamp::now() + SignedDuration::from_secs(1)),
        }
    }

    pub(super) fn plan(&self, situation: &Situation<'_>, requested: bool) -> Step {
        let (Some(grant), Some((settings, usable))) = (&situation.grant, situation.served_by_oauth()) else {
            return Step::Wait(None);
        };
        let memory = self.context.memories.get(&situation.uid);
        let in_flight = memory.in_flight.is_some()
            && memory.in_flight == grant.intent.as_ref().map(|intent| intent.attempt.clone());
        let asker = Asker { holder: &self.context.holder, boot: &self.context.boot, in_flight };
        let moment = Moment {
            now: Timestamp::now(),
            requested,
            not_before: memory.trouble.as_ref().map(|trouble| trouble.retry_at),
        };
        plan::next(grant, settings.timing(usable.client.refresh_every), usable.client.profile(), asker, moment)
    }

    pub(super) async fn refresh(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        replay: Option<Timestamp>,
        requested: Option<&String>,
    ) -> Outcome {
        let Some(view) = situation.grant.clone() else { return Outcome::Superseded };
        let planned = planned(situation);
        let lane = if requested.is_some() { Lane::Request } else { Lane::Expiry };
        let _pass = self.context.lanes.enter(lane, view.summary.expires_at).await;
        let handled = requested.map(|value| {
            requests::with(situation, &std::collections::BTreeMap::new(), &[(request::REFRESH, value.clone())])
        });
        let job = Job { uid: situation.uid.clone(), view, replay, handled };
        let started = Timestamp::now();
        let outcome = refresh::refresh(self.context, usable, job).await;
        let provider = &usable.provider.reference.name;
        self.context.metrics.refresh(provider, outcome_label(&outcome));
        if let (Outcome::Renewed(_), Some(planned), None) = (&outcome, planned, requested) {
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
        let (Some(url), Some(refresh_token)) = (&usable.endpoints.introspection, &held.grant.tokens.refresh_token)
        else {
            return Ok(Outcome::Superseded);
        };
        let endpoint = &usable.endpoints.token;
        let networks = Arc::clone(&endpoint.private_networks);
        let asked = introspect::is_active(
            &self.context.outbound,
            url,
            endpoint.into(),
            &usable.credentials,
            refresh_token,
            networks,
        );
        let unused = asked.await.map_err(|error| chain(&error));
        self.after_asking(situation, usable, &held, intent, unused).await
    }

    /// Tries the old access token, which a refresh would have ended. If it works, nothing was done.
    async fn probe(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        intent: &Intent,
    ) -> Result<Outcome, ReconcileError> {
        let Some(held) = self.unfinished(situation, intent).await? else { return Ok(Outcome::Superseded) };
        let Some(endpoint) = &usable.endpoints.identity else { return Ok(Outcome::Superseded) };
        let unused = match identity::verify(&self.context.outbound, endpoint, &held.grant.tokens.access_token).await {
            identity::Verdict::Accepted(_) => Ok(true),
            identity::Verdict::Rejected { .. } => Ok(false),
            _ => Err("the provider cannot be asked what became of it".to_owned()),
        };
        self.after_asking(situation, usable, &held, intent, unused).await
    }

    /// The provider was asked what became of an unfinished refresh: nothing (`true`), or it was carried out (`false`).
    async fn after_asking(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        held: &Held,
        intent: &Intent,
        unused: Result<bool, String>,
    ) -> Result<Outcome, ReconcileError> {
        Ok(match unused {
            Ok(true) => self.begin_again(situation, usable, held).await,
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
        Ok(held.filter(|held| held.view.intent.as_ref() == Some(intent)))
    }

    /// The provider has not carried out the earlier refresh: a new one is as good as the first.
    async fn begin_again(&self, situation: &Situation<'_>, usable: &Usable, held: &Held) -> Outcome {
        let _pass = self.context.lanes.enter(Lane::Expiry, held.view.summary.expires_at).await;
        let job = Job { uid: situation.uid.clone(), view: held.view.clone(), replay: None, handled: None };
        refresh::refresh(self.context, usable, job).await
    }

    async fn lost(&self, held: &Held, intent: &Intent) -> Result<Outcome, ReconcileError> {
        let cause = format!(
            "the provider carried out the refresh sent at {}, but its answer was lost on the way",
            intent.first_sent
        );
        let view = refresh::mark_ended(self.context, &held.view, &cause).await?;
        Ok(Outcome::Ended(Box::new(view)))
    }

    fn renewed(&mut self, situation: &mut Situation<'_>, held: Held) {
        self.trouble(situation, None);
        refresh::remember_token(self.context, &situation.uid, &held.grant);
        situation.grant = Some(held.view);
        self.held = Some(held.grant);
    }

    fn trouble(&self, situation: &Situation<'_>, failure: Option<Failure>) {
        let now = Timestamp::now();
        self.context.memories.update(&situation.uid, |memory| {
            memory.trouble = failure.map(|failure| {
                let failures = memory.trouble.as_ref().map_or(0, |trouble| trouble.failures) + 1;
                let own = memory::pause(failures, memory::chance());
                let wished = failure.retry_after.and_then(|pause| SignedDuration::try_from(pause).ok());
                Trouble {
                    failures,
                    reason: failure.reason,
                    cause: failure.cause,
                    retry_at: now + wished.map_or(own, |wished| own.max(wished)),
                }
            });
        });
    }
}

/// The planned moment of the next refresh.
pub(super) fn planned(situation: &Situation<'_>) -> Option<Timestamp> {
    let (settings, usable) = situation.served_by_oauth()?;
    refresh_at(&situation.grant.as_ref()?.summary, settings.timing(usable.client.refresh_every))
}

fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Renewed(_) => "renewed",
        Outcome::Ended(_) => "refused",
        Outcome::Failed(failure) => failure.reason.as_str(),
        Outcome::Superseded => "superseded",
    }
}
