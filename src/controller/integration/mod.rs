//! The driver: one reconcile of one integration, as a row of steps over a [`Situation`].
//!
//! The steps that take more than a few lines lie beside it: `adopt`, `freshness`, `recovery`, `account`, `keys`,
//! `publication` and `replacement`.

mod account;
mod adopt;
mod doubt;
mod freshness;
mod keys;
mod publication;
mod recovery;
mod replacement;
mod unreadable;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use super::clock::monotonic;
use super::context::{Context, LONGEST_UNTOLD};
use super::finalize::{self, FinalizeError};
use super::key_secret::KeySecretError;
use super::memory;
use super::requests::{self, Requests};
use super::situation::Situation;
use super::status::{self, Facts};
use super::turns::Group;
use super::watched::Watched;
use super::{connect, health};
use crate::api::project_integration::DisconnectedKey;
use crate::api::{ProjectIntegration, ProviderKind, Reason, request};
use crate::causes::chain;
use crate::finalizer::{self, FinalizerError};
use crate::flow::api_key::KeepError;
use crate::flow::attempts::AttemptError;
use crate::grant::plan::Step;
use crate::grant::{Grant, GrantView, StoreError};
use crate::lanes::Lane;
use crate::publish::PublishError;
use crate::trace::{Kind, Span};
use freshness::all_planned;
use unreadable::unreadable;

/// How soon something that may mend itself is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// How long an authorization is told of whose tokens cannot be published.
const LONGEST_TRACE: SignedDuration = SignedDuration::from_mins(10);

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
    /// The Secret with the API key could not be read.
    #[error(transparent)]
    KeySecret(#[from] KeySecretError),
    /// A proved key could not be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
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
    /// The error of a grant that is there and cannot be read.
    fn unreadable(&self) -> Option<&StoreError> {
        let (Self::Grant(error) | Self::Finalize(FinalizeError::Grant(error)) | Self::Keep(KeepError::Store(error))) =
            self
        else {
            return None;
        };
        error.is_unreadable().then_some(error)
    }

    /// Whether a grant was not as the watch shows it.
    fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Grant(error) | Self::Finalize(FinalizeError::Grant(error)) | Self::Keep(KeepError::Store(error))
                if error.is_conflict()
        )
    }

    /// The reason that metrics carry.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Finalize(_) => Reason::Deleting,
            Self::Grant(_)
            | Self::Attempts(_)
            | Self::KeySecret(_)
            | Self::Keep(_)
            | Self::Publish(_)
            | Self::Finalizer(_)
            | Self::Status(_) => Reason::StorageFailed,
        }
    }
}

/// Reconciles one integration, when it is its turn.
pub async fn reconcile(object: Arc<Watched>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let name = (object.namespace().unwrap_or_default(), object.name_any());
    let (lane, expiry) = context.urgency(&object);
    let Some(_turn) = context.turns.take(&name, group(&object), lane, expiry) else {
        // Who only has to tell something does not wait in line for ever.
        let waits = lane == Lane::Report;
        return Ok(if waits { Action::requeue(LONGEST_UNTOLD.unsigned_abs()) } else { Action::await_change() });
    };
    match Box::pin(carry_out(&object, &context)).await {
        // Told on the integration, by the next reconcile.
        Err(error) if error.unreadable().is_some() => {
            let uid = object.uid().unwrap_or_default();
            if let Some(why) = error.unreadable().filter(|_| context.memories.get(&uid).unreadable.is_none()) {
                context.note_unreadable(&uid, why);
                return Ok(Action::requeue(Duration::from_millis(10)));
            }
            Err(error)
        }
        Err(error) if error.is_conflict() => {
            context.stored_grant(&name.0, &name.1, &object.uid().unwrap_or_default()).await.ok();
            Err(error)
        }
        outcome => outcome,
    }
}

/// All that use the same provider.
fn group(object: &Watched) -> Group {
    let (kind, type_) = (object.facts.provider_kind, object.facts.type_.to_string());
    (kind, object.namespace().filter(|_| kind == ProviderKind::IntegrationProvider), type_)
}

async fn carry_out(object: &Watched, context: &Arc<Context>) -> Result<Action, ReconcileError> {
    let integration = &match object.open() {
        Ok(integration) => integration,
        Err(broken) => return unreadable(context, &broken).await,
    };
    if integration.metadata.deletion_timestamp.is_some() {
        return finalized(context, integration).await;
    }
    if let Some(pause) = context.lag(integration) {
        return Ok(Action::requeue(pause));
    }
    let mut situation = Situation::gather(context, integration).await?;
    let forgone = integration.status.as_ref().and_then(|status| status.disconnected_key.clone());
    let mut run = Run {
        context,
        held: None,
        handled: vec![],
        again: None,
        step: Step::Wait(None),
        forgone,
        proved: false,
        trace: situation.grant.as_ref().map(authorization).unwrap_or_default(),
        adopting: None,
        group: group(object),
    };
    let adopted = Box::pin(run.adopt(&situation)).await?;
    if adopted.is_some() {
        situation = Situation::gather(context, integration).await?;
    }
    let mirrored = integration.status.as_ref().map(|status| status.handled.clone()).unwrap_or_default();
    let mut asked = requests::requests(&situation, &mirrored);
    if adopted == Some(true) {
        asked.refresh.get_or_insert_with(|| Timestamp::now().to_string());
    }
    run.handled.extend(asked.stale.clone());
    // What cannot be read cannot be revoked: such a request waits until it can.
    if situation.tenancy.is_ok()
        && situation.unreadable.is_none()
        && let Some(value) = &asked.disconnect
    {
        if let finalize::Progress::Wait(pause) = finalize::forget(context, integration).await? {
            return Ok(Action::requeue(pause));
        }
        connect::withdraw(context, &situation.namespace, &situation.name).await.ok();
        run.forgo(&situation).await?;
        run.handled.push((request::DISCONNECT, value.clone()));
        situation.grant = None;
        let note = "What was held was revoked, or forgotten, on request.";
        context.events.normal(integration, Reason::Disconnected, "Disconnect", note).await;
    }
    run.stay(&mut situation).await?;
    let connecting = run.connect(&mut situation, &asked).await?;
    if situation.unreadable.is_none() || asked.connect.is_some() {
        run.take_key(&mut situation, &asked).await?;
    }
    if situation.unreadable.is_some() {
        run.look_again(Timestamp::now() + LOOK_AGAIN);
    } else if situation.served().is_some() && situation.grant.is_some() {
        finalizer::put_on(&context.client, integration).await?;
        Box::pin(run.keep_fresh(&mut situation, &asked)).await?;
        run.know_account(&mut situation, &asked).await?;
        run.publish(&mut situation, &asked).await?;
        run.prove(&situation, &asked).await;
        Box::pin(run.face_replacement(&mut situation, &asked)).await?;
    } else if situation.tenancy.is_ok() && situation.grant.is_none() && !situation.foreign {
        run.clear(&situation).await?;
    }
    Box::pin(run.finish(situation, connecting, &mirrored)).await
}

/// The authorization that a new grant came from is told to the end: up to its publication.
fn authorization(grant: &GrantView) -> Span {
    let age = Timestamp::now().duration_since(grant.summary.obtained_at);
    match &grant.trace {
        Some(trace) if age <= LONGEST_TRACE => {
            Span::continuing(Some(trace), "reconcile", Kind::Internal, SystemTime::now())
        }
        _ => Span::default(),
    }
}

async fn finalized(context: &Context, integration: &ProjectIntegration) -> Result<Action, ReconcileError> {
    Ok(match finalize::finalize(context, integration).await? {
        finalize::Progress::Done => Action::await_change(),
        finalize::Progress::Wait(pause) => Action::requeue(pause),
    })
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
    /// The key that a disconnect was about.
    forgone: Option<DisconnectedKey>,
    /// Whether what is held was proved in this very reconcile.
    proved: bool,
    /// What this is a part of, or begins, once there is something to tell.
    trace: Span,
    /// Why a grant of another life was not taken over yet, where that is asked for.
    adopting: Option<String>,
    /// Whose turns this one's is of.
    group: Group,
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
        let wanted = asked.connect.as_ref().filter(|_| situation.can_authorize());
        if let Some(value) = wanted {
            finalizer::put_on(&self.context.client, situation.integration).await?;
            let span = Span::root("connect", Kind::Internal);
            match span.run(Box::pin(connect::begin(self.context, situation, value))).await {
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

    /// The health check, when it is due or asked for.
    async fn prove(&mut self, situation: &Situation<'_>, asked: &Requests) {
        if !situation.is_bound() {
            // Nothing is sent; that is what the condition says.
            self.handled.extend(asked.check.clone().map(|value| (request::CHECK, value)));
            return;
        }
        let requested = asked.check.is_some();
        health::believe(self.context, situation);
        let remembered = self.context.memories.get(&situation.uid).health;
        let requested = requested && !self.proved;
        if health::next_check(situation, &remembered, requested).is_some_and(|due| due <= Timestamp::now()) {
            let found = health::check(self.context, situation).await;
            if found == Some(Reason::Rejected) {
                self.read_key_soon(situation.integration, &situation.uid);
            }
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
        mirrored: &BTreeMap<String, String>,
    ) -> Result<Action, ReconcileError> {
        let context = self.context;
        let handled = requests::with(&situation, mirrored, &self.handled);
        if !self.handled.is_empty() {
            requests::acknowledge(context, &mut situation, &handled).await?;
        }
        let suspended = situation.settings.as_ref().is_ok_and(|settings| settings.suspend);
        let next_refresh = if suspended { BTreeMap::new() } else { all_planned(&situation) };
        let now = Timestamp::now();
        if let Some(Err(error)) = &situation.provider {
            let pause = if error.is_transient() { LOOK_AGAIN } else { LOOK_AGAIN * 4 };
            self.look_again(now + pause);
        }
        if let Some(expires_at) = situation.grant.as_ref().and_then(|grant| grant.summary.next_expiry(now)) {
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
            disconnected_key: self.forgone.clone(),
            adopting: self.adopting.clone(),
            handled: handled.0,
            now,
        });
        let standing = situation.integration.status.as_ref();
        let waits = memory.untold.is_none() && standing.is_some_and(|standing| status::is_no_news(standing, &status));
        if waits && context.turns.are_wanted(&self.group) {
            // Tokens first, and then the telling of them.
            context.memories.update(&situation.uid, |memory| memory.untold = Some(monotonic()));
            return Ok(Action::requeue(Duration::ZERO));
        }
        let telling = self.trace.part("status");
        telling
            .run(status::apply(context, situation.integration, status))
            .await
            .map_err(|source| ReconcileError::Status(Box::new(source)))?;
        if memory.untold.is_some() {
            context.memories.update(&situation.uid, |memory| memory.untold = None);
        }
        Ok(match self.again {
            Some(at) => {
                let pause = at.duration_since(Timestamp::now()).max(SignedDuration::from_millis(10));
                Action::requeue(pause.unsigned_abs())
            }
            None => Action::await_change(),
        })
    }
}

/// What to do after a reconcile that failed: again, with a pause that chance spreads.
pub fn error_policy(object: &Arc<Watched>, error: &ReconcileError, context: &Arc<Context>) -> Action {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::warn!(namespace, name, error = chain(error), "a reconcile is made again");
    context.metrics.reconcile_error(error.reason());
    Action::requeue(Duration::from_millis(500) + Duration::from_secs(5).mul_f64(memory::chance()))
}
