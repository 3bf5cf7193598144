//! The driver: one reconcile of one integration, as a row of steps over a [`Situation`].

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;

use super::context::{Context, Watched};
use super::finalize::{self, FinalizeError};
use super::memory::{self, Trouble};
use super::publish::{self, PublishError};
use super::refresh::{self, Failure, Job, Outcome};
use super::requests::{self, Requests};
use super::situation::Situation;
use super::status::{self, Facts};
use super::{connect, health};
use crate::api::{ProjectIntegration, Reason, request};
use crate::causes::chain;
use crate::finalizer::{self, FinalizerError};
use crate::flow::attempts::AttemptError;
use crate::grant::plan::{self, Asker, Moment, Step};
use crate::grant::schedule::refresh_at;
use crate::grant::store::{Held, Marks};
use crate::grant::{Grant, Intent, StoreError};
use crate::lanes::Lane;
use crate::oauth::{identity, introspect};
use crate::provider::registry::Usable;

/// How often a published Secret is looked at; the actual time varies by a tenth.
const VERIFY_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// How soon something that may mend itself is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// A reconcile that has to be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The grant could not be read or written.
    #[error(transparent)]
    Grant(#[from] StoreError),
    /// Open attempts could not be changed.
    #[error(transparent)]
    Attempts(#[from] AttemptError),
    /// The way out failed.
    #[error(transparent)]
    Finalize(#[from] FinalizeError),
    /// The published Secret could not be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The finalizer could not be put on.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
    /// The status could not be written.
    #[error("the status could not be written")]
    Status(#[source] Box<kube::Error>),
}

impl ReconcileError {
    /// The reason that metrics carry.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Finalize(_) => Reason::Deleting,
            Self::Grant(_) | Self::Attempts(_) | Self::Publish(_) | Self::Finalizer(_) | Self::Status(_) => {
                Reason::StorageFailed
            }
        }
    }
}

/// Reconciles one integration.
pub async fn reconcile(object: Arc<Watched>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let integration = match &object.0 {
        Ok(integration) => integration,
        Err(broken) => return unreadable(&context, broken).await,
    };
    if integration.metadata.deletion_timestamp.is_some() {
        return Ok(match finalize::finalize(&context, integration).await? {
            finalize::Progress::Done => Action::await_change(),
            finalize::Progress::Wait(pause) => Action::requeue(pause),
        });
    }
    let mut situation = Situation::gather(&context, integration).await;
    let mut run = Run { context: &context, held: None, handled: vec![], again: None, step: Step::Wait(None) };
    let mirrored = integration.status.as_ref().map(|status| status.handled.clone()).unwrap_or_default();
    let asked = requests::requests(&situation, &mirrored);
    run.handled.extend(asked.stale.clone());
    if situation.tenancy.is_ok()
        && let Some(value) = &asked.disconnect
    {
        if let finalize::Progress::Wait(pause) = finalize::forget(&context, integration).await? {
            return Ok(Action::requeue(pause));
        }
        connect::withdraw(&context, &situation.namespace, &situation.name).await.ok();
        run.handled.push((request::DISCONNECT, value.clone()));
        situation.grant = None;
        let note = "What was held was revoked, or forgotten, on request.";
        context.events.normal(integration, Reason::Disconnected, "Disconnect", note).await;
    }
    let connecting = run.connect(&mut situation, &asked).await?;
    if situation.served().is_some() && situation.grant.is_some() {
        finalizer::put_on(&context.client, integration).await?;
        run.keep_fresh(&mut situation, &asked).await?;
        run.publish(&mut situation, &asked).await?;
        run.prove(&situation, &asked).await;
    }
    run.finish(situation, connecting, &mirrored).await
}

/// A link that was asked for: how it stands.
#[derive(Default)]
struct Connecting {
    authorization: Option<crate::api::project_integration::AuthorizationStatus>,
    denied: bool,
    error: Option<String>,
}

/// One reconcile: what was read and done on the way.
struct Run<'a> {
    context: &'a Arc<Context>,
    /// The grant with its data, once it was read.
    held: Option<Grant>,
    /// Requests that are handled now.
    handled: Vec<(&'static str, String)>,
    /// When to look again at the latest.
    again: Option<Timestamp>,
    /// What the plan says next.
    step: Step,
}

impl Run<'_> {
    fn look_again(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |before| before.min(at)));
    }

    /// The connect annotation: makes a link, or sees how the one that was made stands.
    async fn connect(&mut self, situation: &mut Situation<'_>, asked: &Requests) -> Result<Connecting, ReconcileError> {
        let now = Timestamp::now();
        let standing = situation.integration.status.clone().unwrap_or_default();
        let mut connecting = Connecting::default();
        if let (Some(value), Some(_)) = (&asked.connect, situation.served()) {
            finalizer::put_on(&self.context.client, situation.integration).await?;
            match connect::begin(self.context, situation, value).await {
                Ok(authorization) => {
                    connecting.authorization = Some(authorization);
                    self.handled.push((request::CONNECT, value.clone()));
                }
                Err(error) => {
                    connecting.error = Some(error.message());
                    self.look_again(now + LOOK_AGAIN);
                }
            }
        } else if let Some(authorization) = standing.authorization {
            let connected_since = standing.token.is_none() && situation.grant.is_some();
            let expires: Option<Timestamp> = authorization.expires_at.parse().ok();
            let progress = connect::progress(self.context, situation, now);
            let over = expires.is_none_or(|at| at <= now);
            if progress == connect::Progress::Open && !over && !connected_since {
                self.look_again(expires.unwrap_or(now + LOOK_AGAIN));
                connecting.authorization = Some(authorization);
            } else {
                // Connected, denied, expired, or consumed by an exchange that is on its way: the link is of no use.
                connecting.denied = progress == connect::Progress::Denied;
                connect::withdraw(self.context, &situation.namespace, &situation.name).await.ok();
            }
        } else {
            let denied_before = standing.conditions.iter().any(|condition| {
                condition.type_ == "Authorized" && condition.reason == Reason::AuthorizationDenied.as_str()
            });
            connecting.denied = denied_before;
        }
        Ok(connecting)
    }

    /// The refresh protocol: what the plan says, until it says to wait.
    async fn keep_fresh(&mut self, situation: &mut Situation<'_>, asked: &Requests) -> Result<(), ReconcileError> {
        if situation.settings.as_ref().is_ok_and(|settings| settings.suspend) || !situation.is_bound() {
            return Ok(());
        }
        let mut requested = asked.refresh.clone();
        // Each turn ends in a wait, or has changed the grant; three are enough for recover, refresh, wait.
        for _ in 0..4 {
            self.step = self.plan(situation, requested.is_some());
            let usable = match situation.served() {
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
            match outcome {
                Outcome::Renewed(held) => {
                    if let Some(value) = requested.take() {
                        self.handled.push((request::REFRESH, value));
                    }
                    self.renewed(situation, *held);
                }
                Outcome::Ended(view) => {
                    self.trouble(situation, None);
                    situation.grant = Some(*view);
                }
                Outcome::Failed(failure) => {
                    self.trouble(situation, Some(failure));
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

    fn plan(&self, situation: &Situation<'_>, requested: bool) -> Step {
        let (Some(grant), Some((settings, usable))) = (&situation.grant, situation.served()) else {
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

    async fn refresh(
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
            endpoint.authentication,
            &usable.credentials,
            refresh_token,
            networks,
        );
        Ok(match asked.await {
            Ok(true) => self.begin_again(situation, usable, &held).await,
            Ok(false) => self.lost(&held, intent).await?,
            Err(error) => Outcome::Failed(Failure {
                reason: Reason::RefreshAmbiguous,
                cause: format!("the answer to a refresh was lost, and {}", chain(&error)),
                retry_after: None,
            }),
        })
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
        Ok(match identity::verify(&self.context.outbound, endpoint, &held.grant.tokens.access_token).await {
            identity::Verdict::Accepted(_) => self.begin_again(situation, usable, &held).await,
            identity::Verdict::Rejected { .. } => self.lost(&held, intent).await?,
            _ => Outcome::Failed(Failure {
                reason: Reason::RefreshAmbiguous,
                cause: "the answer to a refresh was lost, and the provider cannot be asked what became of it"
                    .to_owned(),
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

    /// The Secret for workloads follows the grant; once an hour, or when asked, it is looked at.
    async fn publish(&mut self, situation: &mut Situation<'_>, asked: &Requests) -> Result<(), ReconcileError> {
        let Some((settings, _)) = situation.served() else { return Ok(()) };
        let wanted = settings.secret_name.clone();
        let Some(view) = situation.grant.clone() else { return Ok(()) };
        let now = Timestamp::now();
        let memory = self.context.memories.get(&situation.uid);
        let told = situation.integration.status.as_ref().and_then(|status| status.token.as_ref());
        let fresh = told.is_some_and(|token| token.last_refreshed_at == view.summary.obtained_at.to_string());
        let named = view.published.as_ref().map(|published| &published.name) == wanted.as_ref();
        // After a start, what the status tells is believed at first, and looked at some time within the hour.
        let verified_at = memory.verified_at.unwrap_or_else(|| now - VERIFY_EVERY.mul_f64(memory::chance()));
        let verify_at = verified_at + VERIFY_EVERY;
        let due = verify_at <= now || asked.check.is_some();
        if fresh && named && !due && memory.conflict.is_none() && self.held.is_none() {
            self.context.memories.update(&situation.uid, |memory| memory.verified_at = Some(verified_at));
            self.look_again(verify_at);
            return Ok(());
        }
        let grant = match self.held.take() {
            Some(grant) => grant,
            None => match self.context.grants.get(&view.name).await? {
                Some(held) if held.grant.integration == view.summary.integration => held.grant,
                _ => return Ok(()),
            },
        };
        refresh::remember_token(self.context, &situation.uid, &grant);
        let result = self.write_secret(situation, &view, &grant, wanted, fresh && named).await;
        self.held = Some(grant);
        let spread = VERIFY_EVERY.mul_f64(memory::chance() / 10.0);
        let (conflict, verified_at) = match result {
            Ok(()) => (None, Some(now - spread)),
            Err(ReconcileError::Publish(error @ PublishError::Conflict { .. })) => {
                self.look_again(now + LOOK_AGAIN * 4);
                (Some(error.to_string()), memory.verified_at)
            }
            Err(error) => return Err(error),
        };
        self.context.memories.update(&situation.uid, |memory| {
            memory.conflict = conflict;
            memory.verified_at = verified_at;
        });
        self.look_again(now + VERIFY_EVERY);
        Ok(())
    }

    async fn write_secret(
        &self,
        situation: &mut Situation<'_>,
        view: &crate::grant::GrantView,
        grant: &Grant,
        wanted: Option<String>,
        looks_right: bool,
    ) -> Result<(), ReconcileError> {
        let client = &self.context.client;
        let integration = situation.integration;
        let standing = view.published.as_ref();
        if let Some(published) = standing.filter(|published| wanted.as_ref() != Some(&published.name)) {
            publish::withdraw(client, &situation.namespace, published).await?;
        }
        if looks_right
            && let Some(published) = standing
            && publish::is_intact(client, integration, grant, published).await?
        {
            return Ok(());
        }
        let published = match wanted {
            Some(name) => Some(publish::publish(client, integration, grant, standing, &name).await?),
            None => None,
        };
        if published.as_ref() != standing {
            let marks = Marks { published: Some(published), ..Marks::default() };
            let held = self.context.grants.mark(view, &marks).await?;
            self.context.wrote(&situation.uid, &held.view);
            situation.grant = Some(held.view);
        }
        Ok(())
    }

    /// The health check, when it is due or asked for.
    async fn prove(&mut self, situation: &Situation<'_>, asked: &Requests) {
        if !situation.is_bound() {
            return;
        }
        let requested = asked.check.is_some();
        let remembered = self.context.memories.get(&situation.uid).health;
        if health::next_check(situation, &remembered, requested).is_some_and(|due| due <= Timestamp::now()) {
            health::check(self.context, situation).await;
        }
        if let Some(value) = &asked.check {
            self.handled.push((request::CHECK, value.clone()));
        }
        let remembered = self.context.memories.get(&situation.uid).health;
        if let Some(next) = health::next_check(situation, &remembered, false) {
            self.look_again(next.max(Timestamp::now() + SignedDuration::from_secs(1)));
        }
    }

    /// Acknowledges requests and tells what came of everything.
    async fn finish(
        mut self,
        mut situation: Situation<'_>,
        connecting: Connecting,
        mirrored: &std::collections::BTreeMap<String, String>,
    ) -> Result<Action, ReconcileError> {
        let context = self.context;
        let handled = requests::with(&situation, mirrored, &self.handled);
        if !self.handled.is_empty() {
            requests::acknowledge(context, &mut situation, &handled).await?;
        }
        let suspended = situation.settings.as_ref().is_ok_and(|settings| settings.suspend);
        let next_refresh = planned(&situation).filter(|_| {
            !suspended && situation.is_bound() && situation.grant.as_ref().is_some_and(|grant| grant.refused.is_none())
        });
        let now = Timestamp::now();
        if let Some(Err(error)) = &situation.provider {
            let pause = if error.is_transient() { LOOK_AGAIN } else { LOOK_AGAIN * 4 };
            self.look_again(now + pause);
        }
        if let Some(expires_at) = situation.grant.as_ref().and_then(|grant| grant.summary.expires_at)
            && expires_at > now
        {
            // The moment of expiry is news, whatever else happens.
            self.look_again(expires_at);
        }
        let memory = context.memories.get(&situation.uid);
        let status = status::compute(&Facts {
            situation: &situation,
            memory: &memory,
            held: self.held.as_ref(),
            step: &self.step,
            next_refresh,
            authorization: connecting.authorization,
            denied: connecting.denied,
            connect_error: connecting.error,
            handled: handled.0,
            now,
        });
        status::apply(context, situation.integration, status)
            .await
            .map_err(|source| ReconcileError::Status(Box::new(source)))?;
        Ok(match self.again {
            Some(at) => {
                let pause = at.duration_since(Timestamp::now()).max(SignedDuration::from_millis(10));
                Action::requeue(pause.unsigned_abs())
            }
            None => Action::await_change(),
        })
    }
}

/// The planned moment of the next refresh.
fn planned(situation: &Situation<'_>) -> Option<Timestamp> {
    let (settings, usable) = situation.served()?;
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

/// An object that the schema takes and this version does not: told on the object itself, and nobody else is stopped.
async fn unreadable(
    context: &Context,
    broken: &kube::core::error_boundary::InvalidObject,
) -> Result<Action, ReconcileError> {
    let namespace = broken.metadata.namespace.clone().unwrap_or_default();
    let name = broken.metadata.name.clone().unwrap_or_default();
    tracing::warn!(namespace, name, error = broken.error, "an integration cannot be read");
    let generation = broken.metadata.generation.unwrap_or_default();
    let message = format!("This object cannot be read: {}", crate::oauth::answer::printable(&broken.error, 256));
    let observed = [
        crate::api::condition::Observed::no(crate::api::ConditionType::Ready, Reason::InvalidSpec, message.clone()),
        crate::api::condition::Observed::yes(crate::api::ConditionType::Stalled, Reason::InvalidSpec, message),
    ];
    let conditions = crate::api::condition::merge(&[], &observed, generation, Timestamp::now());
    let patch = json!({
        "apiVersion": format!("{}/v1alpha1", crate::api::GROUP),
        "kind": "ProjectIntegration",
        "metadata": { "name": name, "uid": broken.metadata.uid },
        "status": { "observedGeneration": generation, "conditions": conditions },
    });
    let api: Api<ProjectIntegration> = Api::namespaced(context.client.clone(), &namespace);
    let parameters = PatchParams::apply(publish::MANAGER).force();
    // The answer cannot be decoded either, so only its being there counts.
    match api.patch_status(&name, &parameters, &Patch::Apply(&patch)).await {
        Ok(_) | Err(kube::Error::SerdeError(_)) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(source) => return Err(ReconcileError::Status(Box::new(source))),
    }
    Ok(Action::await_change())
}

/// What to do after a reconcile that failed: again, with a pause that chance spreads.
pub fn error_policy(object: &Arc<Watched>, error: &ReconcileError, context: &Arc<Context>) -> Action {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::warn!(namespace, name, error = chain(error), "a reconcile is made again");
    context.metrics.reconcile_error(error.reason());
    Action::requeue(Duration::from_millis(500) + Duration::from_secs(5).mul_f64(memory::chance()))
}
