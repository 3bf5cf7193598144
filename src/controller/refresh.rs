//! One refresh, by the protocol: an intent on the grant, one request, and the answer persisted before anything else.
//!
//! The whole of it runs in a task that neither a cancelled reconcile, nor a lost lease, nor SIGTERM can drop.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::clock::monotonic;
use super::context::Context;
use crate::api::Reason;
use crate::api::provider::Reauthorization;
use crate::causes::chain;
use crate::grant::plan::{REQUEST_TIMEOUT, SEND_WINDOW};
use crate::grant::sharing::Company;
use crate::grant::store::{Held, MAX_SIZE, Marks};
use crate::grant::{Ended, Grant, GrantView, Handled, Intent, Refusal, StoreError};
use crate::oauth::answer::{ErrorClass, TokenAnswer, TokenRefusal};
use crate::oauth::received;
use crate::oauth::revoke::revoke_tokens;
use crate::oauth::token::{TokenOutcome, TokenRequest, send};
use crate::provider::registry::Usable;
use crate::sensitive::Sensitive;
use crate::trace::{self, Kind, Span};

/// How long one waits for a provider's next free moment. Whoever waits is not troubled: nothing has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a refresh.
#[derive(Debug)]
pub enum Outcome {
    /// New tokens are held.
    Renewed(Box<Held>),
    /// The grant, or a further set of it, is dead, and says so itself now.
    Ended(Box<Held>),
    /// Nothing changed; try again later.
    Failed(Failure),
    /// Somebody else wrote to the grant, or it is gone; look again.
    Superseded,
}

/// Why a refresh failed.
#[derive(Debug)]
pub struct Failure {
    /// In one word.
    pub reason: Reason,
    /// In words for people.
    pub cause: String,
    /// The provider's own wish.
    pub retry_after: Option<Duration>,
}

/// What to refresh, and why.
#[derive(Clone, Debug)]
pub struct Job {
    /// The integration's uid.
    pub uid: String,
    /// The grant as it was when this was planned.
    pub view: GrantView,
    /// The further set whose tokens are refreshed; `None` for the main chain.
    pub set: Option<String>,
    /// When a request with this refresh token was first sent, if its outcome is unknown.
    pub replay: Option<Timestamp>,
    /// Requests that are handled by this refresh.
    pub handled: Option<Handled>,
    /// The provider has just said that the refresh token is good.
    pub known_good: bool,
}

/// Carries a refresh out, in a task of its own.
pub async fn refresh(context: &Arc<Context>, usable: &Usable, job: Job) -> Outcome {
    let (shared, usable) = (Arc::clone(context), usable.clone());
    let (uid, owner) = (job.uid.clone(), job.view.summary.integration.clone());
    let tasks = context.tasks.clone();
    let task = tasks.spawn(trace::carried(async move {
        let context = shared;
        let attempt = uuid::Uuid::new_v4().to_string();
        context.memories.update(&uid, |memory| memory.in_flight = Some(attempt.clone()));
        let run = Run { context: &context, usable: &usable, job: &job, attempt: &attempt };
        let outcome = Box::pin(run.carry_out()).await;
        context.memories.update(&uid, |memory| memory.in_flight = None);
        if let Ok(Outcome::Renewed(held) | Outcome::Ended(held)) = &outcome {
            context.wrote(&uid, &held.view);
        }
        if let Err(error) = &outcome
            && error.is_unreadable()
        {
            run.take_back(error).await;
        }
        log(&job, &outcome);
        outcome
    }));
    let result = task.await;
    if let Ok(Err(error)) = &result
        && error.is_conflict()
    {
        // Somebody else wrote, or the store went back to a backup.
        let known = context.stored_grant(&owner.namespace, &owner.name, &owner.uid).await;
        tracing::debug!(known = known.is_ok(), "a conflict: the grant was read again");
    }
    match result {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) if error.is_conflict() || error.is_missing() || error.is_unreadable() => Outcome::Superseded,
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the grant store failed during a refresh");
            Outcome::Failed(Failure {
                reason: Reason::StorageFailed,
                cause: format!("the grant could not be written before the refresh: {error}"),
                retry_after: None,
            })
        }
        Err(_) => Outcome::Superseded,
    }
}

/// One line for each refresh; what went wrong is a warning.
fn log(job: &Job, outcome: &Result<Outcome, StoreError>) {
    let owner = &job.view.summary.integration;
    let (namespace, name, set) = (&owner.namespace, &owner.name, job.set.as_deref());
    let trace_id = trace::current().trace_id();
    match outcome {
        Ok(Outcome::Renewed(held)) => {
            let chain = held.view.summary.chain(set);
            let generation = chain.as_ref().map(|chain| chain.generation);
            let expires_at = chain.and_then(|chain| chain.expires_at).map(tracing::field::display);
            tracing::debug!(namespace, name, set, generation, expires_at, trace_id, "refreshed");
        }
        Ok(Outcome::Ended(held)) => {
            let message = match set {
                None => held.view.refused.as_ref().map(|refusal| refusal.message.as_str()),
                Some(set) => held.grant.sets.get(set).and_then(|set| Some(set.ended.as_ref()?.message.as_str())),
            };
            match set {
                None => tracing::warn!(namespace, name, message, "the grant has ended"),
                Some(set) => tracing::warn!(namespace, name, set, message, "a set of the grant has ended"),
            }
        }
        Ok(Outcome::Failed(failure)) => {
            let (reason, cause) = (failure.reason.as_str(), &failure.cause);
            tracing::warn!(namespace, name, set, reason, cause, trace_id, "not refreshed");
        }
        Ok(Outcome::Superseded) => tracing::debug!(namespace, name, set, "somebody else wrote to the grant"),
        Err(error) => tracing::warn!(namespace, name, set, error = chain(error), "not refreshed"),
    }
}

struct Run<'a> {
    context: &'a Context,
    usable: &'a Usable,
    job: &'a Job,
    attempt: &'a str,
}

impl Run<'_> {
    async fn carry_out(&self) -> Result<Outcome, StoreError> {
        let endpoint = &self.usable.endpoints.token;
        let host = endpoint.refresh_url().host_str().unwrap_or_default();
        let uid = &self.usable.provider.reference.uid;
        let admission = match self.context.gates.wait(uid, host, PATIENCE).await {
            Ok(admission) => admission,
            Err(busy) => {
                return Ok(Outcome::Failed(Failure {
                    reason: Reason::RefreshFailing,
                    cause: "the provider is being spared after failures or limits".to_owned(),
                    retry_after: Some(busy.retry_in),
                }));
            }
        };
        let send_by = monotonic() + SEND_WINDOW;
        let intending = Span::child("intent", Kind::Internal);
        let intended = intending.run(self.write_intent()).await;
        if intended.is_err() && self.job.replay.is_none() {
            // It may have been written nevertheless.
            self.context.memories.spent_nothing(&self.job.uid, self.attempt);
        }
        let held = intended?;
        self.context.passes(&self.job.uid, &held.view);
        let tokens = held.grant.tokens_of(self.set());
        let Some((refresh_token, access_token)) =
            tokens.and_then(|tokens| Some((tokens.refresh_token.clone()?, tokens.access_token.clone())))
        else {
            return Ok(Outcome::Superseded);
        };
        if held.grant.integration != self.job.view.summary.integration {
            return Ok(Outcome::Superseded);
        }
        // The intent promises that the request is over by its deadline. A process that was frozen in between must not
        // send; this clock runs while the machine is suspended.
        if monotonic() > send_by {
            self.drop_intent(&held.view).await;
            return Ok(Outcome::Superseded);
        }
        let started = std::time::Instant::now();
        let request = TokenRequest::Refresh { refresh_token, access_token };
        let outcome = send(&self.context.outbound, endpoint, &self.usable.credentials, &request).await;
        self.context.metrics.token_request(&self.usable.provider.reference.name, started.elapsed());
        outcome.tell(admission);
        match outcome {
            TokenOutcome::Tokens(answer) => {
                Span::child("persist", Kind::Internal).run(Box::pin(self.persist(held, &answer))).await
            }
            TokenOutcome::Refused { refusal, retry_after } => self.refused(&held, &refusal, retry_after).await,
            TokenOutcome::NotSent(error) => {
                self.drop_intent(&held.view).await;
                Ok(Outcome::Failed(Failure {
                    reason: Reason::RefreshFailing,
                    cause: format!("the provider could not be reached: {}", chain(&error)),
                    retry_after: None,
                }))
            }
            TokenOutcome::Ambiguous(why) => Ok(Outcome::Failed(Failure {
                reason: Reason::RefreshAmbiguous,
                cause: format!("it is not known whether the provider carried out the refresh: {why}"),
                retry_after: None,
            })),
        }
    }

    fn set(&self) -> Option<&str> {
        self.job.set.as_deref()
    }

    /// Whether nobody has authorized again or refreshed this chain between two looks at the grant.
    fn is_unchanged(&self, now: &Grant, before: &Grant) -> bool {
        now.epoch == before.epoch && now.generation_of(self.set()) == before.generation_of(self.set())
    }

    /// Lock, write-ahead record and proof that the store takes writes, in one request whose answer is the grant.
    async fn write_intent(&self) -> Result<Held, StoreError> {
        let now = Timestamp::now();
        let intent = Intent {
            attempt: self.attempt.to_owned(),
            set: self.job.set.clone(),
            epoch: self.job.view.summary.epoch,
            boot: self.context.boot.clone(),
            holder: self.context.holder.clone(),
            first_sent: self.job.replay.unwrap_or(now),
            deadline: now + SEND_WINDOW + REQUEST_TIMEOUT,
        };
        let mut intents = self.job.view.intents_but(self.set());
        intents.push(intent);
        let marks = Marks { intents: Some(intents), ..Marks::default() };
        match self.context.grants.mark(&self.job.view, &marks).await {
            // The client sends a write again when its answer was lost; then our own intent is the conflict. Where it has
            // given up, the write may have been carried out all the same.
            Err(error) if !error.is_missing() && !error.is_unreadable() => {
                match self.context.grants.get(&self.job.view.name).await? {
                    Some(held) if held.view.intent(self.set()).is_some_and(|intent| intent.attempt == self.attempt) => {
                        Ok(held)
                    }
                    _ => Err(error),
                }
            }
            result => result,
        }
    }

    /// Takes the intent back when it is certain that nothing was sent. One that carries on an older ambiguity stays.
    async fn drop_intent(&self, view: &GrantView) {
        if self.job.replay.is_some() {
            return;
        }
        self.context.memories.spent_nothing(&self.job.uid, self.attempt);
        let marks = Marks { intents: Some(view.intents_but(self.set())), ..Marks::default() };
        match self.context.grants.annotate(view, &marks).await {
            Ok(found) => self.context.wrote(&self.job.uid, &found.view),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "an intent could not be taken back"),
        }
    }

    /// The grant cannot be read, so nothing was sent: the intent, which the API server has taken, goes again.
    async fn take_back(&self, error: &StoreError) {
        if let Ok(Some(found)) = self.context.grants.find(&self.job.view.name).await
            && found.view.intent(self.set()).is_some_and(|intent| intent.attempt == self.attempt)
        {
            self.drop_intent(&found.view).await;
        }
        self.context.note_unreadable(&self.job.uid, error);
    }

    /// Writes the new tokens, without end: they exist nowhere else. Only a grant that is gone, or another's, ends it.
    async fn persist(&self, held: Held, answer: &TokenAnswer) -> Result<Outcome, StoreError> {
        let now = Timestamp::now();
        let mut base = held;
        let mut pause = Duration::from_millis(50);
        loop {
            let tokens = received::tokens(answer, &self.usable.client, now);
            let mut grant = base.grant.renewed(self.set(), self.attempt, tokens, answer.scopes.clone());
            if self.set().is_none() {
                grant.take_along(received::sets(answer, &self.usable.client, now));
            }
            // Secrets change while a grant lives; a revocation needs those of today.
            if let Some(client) = &mut grant.binding.client {
                client.clone_from(&self.usable.credentials);
            }
            grant.askable |= self.job.known_good;
            grant.missing_scopes = self.usable.client.missing_scopes(&grant.requested_scopes, &grant.scopes);
            let grant = grant.within(MAX_SIZE);
            let marks = Marks {
                intents: Some(base.view.intents_but(self.set())),
                // A set that works says nothing of the main chain.
                refused: self.set().is_none().then_some(None),
                handled: self.job.handled.clone(),
                ..Marks::default()
            };
            let error = match self.context.grants.replace(&base.view, &grant, &marks).await {
                Ok(view) => return Ok(Outcome::Renewed(Box::new(Held { grant, view }))),
                Err(error @ (StoreError::TooLarge { .. } | StoreError::Codec { .. })) => return Err(error),
                Err(error) => error,
            };
            if !error.is_conflict() {
                tracing::warn!(error = &error as &dyn std::error::Error, "storing refreshed tokens; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            match self.context.grants.get(&self.job.view.name).await {
                Ok(None) => return Ok(self.dropped(&grant, "the grant is gone").await),
                Ok(Some(now)) if now.grant.attempt_of(self.set()) == Some(self.attempt) => {
                    return Ok(Outcome::Renewed(Box::new(now)));
                }
                Ok(Some(now)) if now.grant.integration != base.grant.integration || now.view.uid != base.view.uid => {
                    return Ok(self.dropped(&grant, "the grant belongs to another life of the integration").await);
                }
                Ok(Some(now)) if now.grant.epoch != base.grant.epoch => {
                    return Ok(self.dropped(&grant, "somebody authorized again in the meantime").await);
                }
                Ok(Some(now)) if !self.is_unchanged(&now.grant, &base.grant) => {
                    return Ok(self.dropped(&grant, "another replica refreshed in the meantime").await);
                }
                Ok(Some(now)) => base = now,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "reading a grant; trying again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The tokens are of no use to anybody; revoked only where that revokes nothing else.
    async fn dropped(&self, grant: &Grant, why: &str) -> Outcome {
        tracing::info!(grant = self.job.view.name, why, "refreshed tokens are dropped");
        let client = Some(&*self.usable.credentials);
        let others = Company { living: true, same_token: false };
        if !grant.binding.revocation_harms(others)
            && let Some(tokens) = grant.tokens_of(self.set())
            && let Err(error) = revoke_tokens(&self.context.outbound, &grant.binding, tokens, client).await
        {
            tracing::info!(error = &error as &dyn std::error::Error, "dropped tokens could not be revoked");
        }
        Outcome::Superseded
    }

    async fn refused(
        &self,
        held: &Held,
        refusal: &TokenRefusal,
        retry_after: Option<Duration>,
    ) -> Result<Outcome, StoreError> {
        match refusal.class {
            ErrorClass::Permanent => self.ended(held, refusal).await,
            ErrorClass::Transient => {
                self.drop_intent(&held.view).await;
                Ok(Outcome::Failed(Failure {
                    reason: Reason::RefreshFailing,
                    cause: format!("the provider did not take the request up ({refusal})"),
                    retry_after,
                }))
            }
            ErrorClass::Configuration => {
                self.drop_intent(&held.view).await;
                self.context.registry.forget_credentials(&self.usable.provider);
                Ok(Outcome::Failed(Failure {
                    reason: Reason::ClientCredentialsInvalid,
                    cause: format!(
                        "the provider refuses this client, not the grant ({refusal}); check the Secret of provider {} and \
                         its description",
                        self.usable.provider.reference.name
                    ),
                    retry_after,
                }))
            }
        }
    }

    /// `invalid_grant`: somebody may have refreshed in between; if nobody has, the chain is dead.
    async fn ended(&self, held: &Held, refusal: &TokenRefusal) -> Result<Outcome, StoreError> {
        let now = match self.context.grants.get(&self.job.view.name).await? {
            Some(now) if self.is_unchanged(&now.grant, &held.grant) => now,
            _ => return Ok(Outcome::Superseded),
        };
        let cause = match self.job.replay {
            None => format!("the provider refused the refresh token ({refusal})"),
            Some(first) => format!(
                "the answer to the refresh sent at {first} was lost, and the provider has refused the refresh token since \
                 ({refusal})"
            ),
        };
        let replaced = self.set().is_none()
            && self.usable.client.reauthorization == Reauthorization::ReplacesEarlier
            && self.context.later_sibling(&now.view).is_some();
        let ended = if replaced {
            mark_replaced(self.context, &now.view).await
        } else {
            mark_ended(self.context, now, self.set(), &cause).await
        };
        ended.map(|held| Outcome::Ended(Box::new(held)))
    }
}

/// Writes onto the grant that it is dead, or that one of its sets is while the rest goes on.
pub async fn mark_ended(context: &Context, held: Held, set: Option<&str>, cause: &str) -> Result<Held, StoreError> {
    let Held { mut grant, view } = held;
    let Some(name) = set else { return mark_refused(context, &view, cause, false).await };
    if let Some(set) = grant.sets.get_mut(name) {
        set.ended = Some(Ended { at: Timestamp::now(), message: format!("{cause}; connect again") });
    }
    let marks = Marks { intents: Some(view.intents_but(set)), ..Marks::default() };
    let view = context.grants.replace(&view, &grant, &marks).await?;
    Ok(Held { grant, view })
}

/// Writes onto the grant that a later authorization of the same installation ended it. Whose that is, is not told: it
/// may be another tenant's.
pub async fn mark_replaced(context: &Context, view: &GrantView) -> Result<Held, StoreError> {
    mark_refused(context, view, "a later authorization of the same installation ended this one", true).await
}

async fn mark_refused(context: &Context, view: &GrantView, cause: &str, replaced: bool) -> Result<Held, StoreError> {
    let message = format!("{cause}; connect again");
    let refusal = Refusal { epoch: view.summary.epoch, at: Timestamp::now(), message, replaced };
    let marks = Marks { intents: Some(view.intents_but(None)), refused: Some(Some(refusal)), ..Marks::default() };
    context.grants.mark(view, &marks).await
}

/// The access token of a grant, from memory or from the store.
pub async fn access_token(context: &Context, uid: &str, view: &GrantView) -> Result<Option<Sensitive>, StoreError> {
    let wanted = (view.summary.epoch, view.summary.generation);
    if let Some((epoch, generation, token)) = context.memories.get(uid).access_token
        && (epoch, generation) == wanted
    {
        return Ok(Some(token));
    }
    let Some(held) = context.grants.get(&view.name).await? else { return Ok(None) };
    remember_token(context, uid, &held.grant);
    Ok(Some(held.grant.tokens.access_token))
}

/// Keeps the access token in memory for health checks.
pub fn remember_token(context: &Context, uid: &str, grant: &Grant) {
    let token = grant.tokens.access_token.clone();
    context.memories.update(uid, |memory| memory.access_token = Some((grant.epoch, grant.generation, token)));
}
