//! The code becomes a grant. This is the only place where a grant is made or begins a new epoch.
//!
//! Runs in a task of its own. The grant is written before anything else is asked of the provider or looked at, so that
//! from the moment the provider has given tokens there is as little as possible that can lose them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;

use super::Flow;
use super::account::{Haste, ask};
use super::giving_back::{give_back, give_back_tokens, revoke_before};
use crate::api::provider::Pkce;
use crate::api::{ProjectIntegration, ProviderKind, request};
use crate::grant::store::{Found, Marks, grant_name};
use crate::grant::{ClientCredentials, Grant, GrantView, Handled, Owner, StoreError};
use crate::oauth::account::{Answers, Subject};
use crate::oauth::answer::{ErrorClass, TokenAnswer, TokenRefusal};
use crate::oauth::attempt::Attempt;
use crate::oauth::authorize::{first_grant, subject};
use crate::oauth::token::{Ambiguity, TokenOutcome, TokenRequest, send};
use crate::provider::outbound::SendError;
use crate::provider::registry::Usable;
use crate::sensitive::Sensitive;
use crate::shard;
use crate::trace::{self, Kind, Span};

/// How long tokens that the provider has given are held in memory while the API server takes no writes.
const STORE_PATIENCE: Duration = Duration::from_mins(5);
/// Times a code is sent again when it is certain that it did not arrive.
const SENDS: u32 = 3;

/// A code did not become a grant.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The provider refused the code or the client.
    #[error("the provider refused the code: {0}")]
    Token(#[source] TokenRefusal),
    /// The provider could not be reached.
    #[error("the provider could not be reached")]
    NotSent(#[source] SendError),
    /// It is not known what the provider made of the code; codes are not sent twice (RFC 6749 §4.1.2).
    #[error("the provider's answer was lost; authorize again")]
    Ambiguous(#[source] Ambiguity),
    /// The integration was deleted, re-created, suspended or moved to another provider in the meantime.
    #[error("the integration is not the one that the flow was begun for any more")]
    Gone,
    /// The integration could not be looked at.
    #[error("the integration could not be read")]
    Integration(#[source] Box<kube::Error>),
    /// The person authorized with another account than the connected one.
    #[error("another account of the app is connected; confirm with accept=true, or disconnect first")]
    AccountMismatch,
    /// The grant could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ExchangeError {
    /// In a word.
    const fn word(&self) -> &'static str {
        match self {
            Self::Token(_) => "refused",
            Self::NotSent(_) => "not sent",
            Self::Ambiguous(_) => "ambiguous",
            Self::Gone => "gone",
            Self::AccountMismatch => "account mismatch",
            Self::Integration(_) | Self::Store(_) => "storage failed",
        }
    }
}

/// Exchanges `code` for tokens and keeps them, in the trace that is under way or else that of the attempt. `accept`:
/// another account may replace the connected one.
pub async fn exchange(
    flow: &Flow,
    attempt: &Attempt,
    usable: &Usable,
    code: Sensitive,
    accept: bool,
) -> Result<(), ExchangeError> {
    let parent = attempt.traceparent.as_deref();
    let span = match Span::child("exchange", Kind::Internal) {
        span if span.is_some() => span,
        _ => Span::continuing(parent, "exchange", Kind::Internal, SystemTime::now()),
    };
    span.set("integration.namespace", &*attempt.integration.namespace);
    span.set("integration.name", &*attempt.integration.name);
    let outcome = span.within(Box::pin(carry_out(flow, attempt, usable, code, accept))).await;
    if let Err(error) = &outcome {
        span.fail(error.word());
    }
    outcome
}

async fn carry_out(
    flow: &Flow,
    attempt: &Attempt,
    usable: &Usable,
    code: Sensitive,
    accept: bool,
) -> Result<(), ExchangeError> {
    let wanted = still_wanted(flow, &attempt.integration, attempt.provider.kind).await?;
    let shard = shard::label_of(wanted.ok_or(ExchangeError::Gone)?.metadata.labels.as_ref());
    let answer = tokens_for(flow, attempt, usable, code).await?;
    let keeping = Span::child("write grant", Kind::Internal);
    let grant = keeping.run(Box::pin(keep(flow, attempt, usable, &answer, accept, shard.clone()))).await?;
    match still_wanted(flow, &attempt.integration, attempt.provider.kind).await {
        Ok(Some(integration)) => follow(flow, &integration, shard).await,
        Ok(None) => {
            // Deletion may have passed by before the grant was there; nobody else will clean it up.
            give_back(flow, Some(&usable.credentials), &grant).await;
            return Err(ExchangeError::Gone);
        }
        Err(_) => {}
    }
    Ok(())
}

/// A grant that was written for `before` goes where its integration has gone meanwhile. One that goes later is looked for
/// by the shard it comes to, which is not told of grants of others.
pub(super) async fn follow(flow: &Flow, integration: &ProjectIntegration, before: Option<String>) {
    let now = shard::label_of(integration.metadata.labels.as_ref());
    if now == before {
        return;
    }
    let name = grant_name(&integration.namespace().unwrap_or_default(), &integration.name_any());
    let marks = Marks { shard: Some(now), ..Marks::default() };
    for _ in 0..3 {
        let Ok(Some((view, _))) = flow.grants.look(&name).await else { return };
        match flow.grants.annotate(&view, &marks).await {
            Err(error) if error.is_conflict() => {}
            _ => return,
        }
    }
}

/// The integration, where it is still there, the same, and served.
pub(super) async fn still_wanted(
    flow: &Flow,
    owner: &Owner,
    kind: ProviderKind,
) -> Result<Option<ProjectIntegration>, ExchangeError> {
    let api: Api<ProjectIntegration> = Api::namespaced(flow.client.clone(), &owner.namespace);
    let found = api.get_opt(&owner.name).await.map_err(|source| ExchangeError::Integration(Box::new(source)))?;
    Ok(found.filter(|integration| {
        integration.metadata.uid.as_deref() == Some(owner.uid.as_str())
            && integration.metadata.deletion_timestamp.is_none()
            && !integration.spec.suspend
            && integration.spec.provider_kind == kind
            && flow.tenants.check(&owner.namespace, &integration.spec.tenant_id).is_ok()
    }))
}

async fn tokens_for(
    flow: &Flow,
    attempt: &Attempt,
    usable: &Usable,
    code: Sensitive,
) -> Result<TokenAnswer, ExchangeError> {
    let token_request = TokenRequest::Code {
        code,
        redirect_uri: attempt.redirect_uri.clone(),
        verifier: (usable.client.pkce == Pkce::S256).then(|| attempt.verifier.clone()),
    };
    let endpoint = &usable.endpoints.token;
    let host = endpoint.url.host_str().unwrap_or_default();
    let mut sends = 0;
    loop {
        sends += 1;
        // A person is waiting, so the gate is told what happens but not asked for leave.
        let admission = flow.gates.admit(&usable.provider.reference.uid, host).ok();
        let outcome = send(&flow.outbound, endpoint, &usable.credentials, &token_request).await;
        if let Some(admission) = admission {
            outcome.tell(admission);
        }
        match outcome {
            TokenOutcome::Tokens(answer) => return Ok(*answer),
            TokenOutcome::Refused { refusal, .. } => {
                if refusal.class == ErrorClass::Configuration {
                    flow.registry.forget_credentials(&usable.provider);
                }
                return Err(ExchangeError::Token(refusal));
            }
            TokenOutcome::Ambiguous(why) => return Err(ExchangeError::Ambiguous(why)),
            TokenOutcome::NotSent(error) => {
                if sends >= SENDS || matches!(error, SendError::Forbidden(_)) {
                    return Err(ExchangeError::NotSent(error));
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// Writes the grant, and afterwards what the provider says of the account.
async fn keep(
    flow: &Flow,
    attempt: &Attempt,
    usable: &Usable,
    answer: &TokenAnswer,
    accept: bool,
    shard: Option<String>,
) -> Result<Grant, ExchangeError> {
    let name = grant_name(&attempt.integration.namespace, &attempt.integration.name);
    let subject = subject(attempt, usable);
    let received = Timestamp::now();
    let make = |epoch: u64| first_grant(attempt, usable, answer, epoch, received);
    let client = Some(&*usable.credentials);
    let (mut asked, mut answers, mut before) = (false, None, None);
    let started = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let written = match flow.grants.find(&name).await {
            Err(error) => Err(error),
            Ok(None) => {
                let grant = make(1);
                flow.grants.create(&grant, &answered(attempt, None), shard.clone()).await.map(|_| grant)
            }
            // Written already: the answer to it was lost.
            Ok(Some(found)) if is_this(&found.view, attempt, received) => {
                let held = found.held();
                if let (Some(old), Ok(held)) = (&before, &held) {
                    revoke_before(flow, client, old, &held.grant).await;
                }
                held.map(|held| held.grant)
            }
            Ok(Some(found)) => {
                let mut grant = make(found.view.summary.epoch + 1);
                // The account must be known before one grant takes the place of another.
                if !asked {
                    (asked, answers) = (true, ask_now(flow, &subject, &grant).await);
                }
                if let Some(answers) = &answers {
                    grant = subject.conclude(&grant, Some(answers), Timestamp::now());
                }
                if !accept && is_other_account(&found, &grant) {
                    return refuse_other_account(flow, usable, &found.view, &grant).await;
                }
                let handled = answered(attempt, Some(&found.view));
                let written = replace(flow, client, &found, &grant, handled, shard.clone()).await;
                before = Some(found);
                written.map(|_| grant)
            }
        };
        match written {
            Ok(grant) if !asked && grant.account.described.is_none() => {
                return Ok(complete(flow, &subject, grant).await);
            }
            Ok(grant) => return Ok(grant),
            Err(error) if error.is_conflict() || error.is_missing() => {}
            Err(error @ (StoreError::TooLarge { .. } | StoreError::Codec { .. } | StoreError::View(_))) => {
                give_back_tokens(flow, usable, &make(0)).await;
                return Err(error.into());
            }
            Err(error) if started.elapsed() >= STORE_PATIENCE => {
                give_back_tokens(flow, usable, &make(0)).await;
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(grant = name, error = &error as &dyn std::error::Error, "storing a grant; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

/// Adds to a new grant what only the provider can tell. Where it cannot now, the controller asks again.
async fn complete(flow: &Flow, subject: &Subject<'_>, grant: Grant) -> Grant {
    let Some(answers) = ask_now(flow, subject, &grant).await else { return grant };
    let name = grant_name(&grant.integration.namespace, &grant.integration.name);
    for _ in 0..3 {
        let Ok(Some(held)) = flow.grants.get(&name).await else { break };
        if held.grant.epoch != grant.epoch
            || held.grant.integration != grant.integration
            || held.grant.account.described.is_some()
        {
            break;
        }
        let completed = subject.conclude(&held.grant, Some(&answers), Timestamp::now());
        if flow.grants.replace(&held.view, &completed, &Marks::default()).await.is_ok() {
            return completed;
        }
    }
    grant
}

async fn ask_now(flow: &Flow, subject: &Subject<'_>, grant: &Grant) -> Option<Answers> {
    match ask(flow.into(), subject, grant, Haste::Now).await {
        Ok(answers) => Some(answers),
        Err(error) => {
            let owner = &grant.integration;
            let (namespace, name) = (&owner.namespace, &owner.name);
            tracing::info!(namespace, name, error = &error as &dyn std::error::Error, "the account is not known yet");
            None
        }
    }
}

/// Whether what is held came of this very answer: no other was received at this moment for this integration.
fn is_this(view: &GrantView, attempt: &Attempt, received: Timestamp) -> bool {
    view.summary.integration == attempt.integration && view.summary.installed_at == received
}

fn is_other_account(found: &Found, new: &Grant) -> bool {
    let summary = &found.view.summary;
    let lives = found.view.refused.is_none() && summary.integration.uid == new.integration.uid;
    // Installations of two clients cannot be compared.
    let same_client = match (&found.grant, &summary.parts) {
        (Ok(old), _) => old.binding.client_at() == new.binding.client_at(),
        (Err(_), Some(parts)) => {
            let now = new.binding.parts();
            (&parts.client, &parts.token) == (&now.client, &now.token)
        }
        (Err(_), None) => false,
    };
    let differs = match (&summary.installation, &new.installation) {
        (Some(old), Some(new)) => same_client && old != new,
        _ => false,
    };
    lives && differs
}

/// Keeps what is held, says so on the grant, and gives the new tokens back where that harms nothing else.
async fn refuse_other_account(
    flow: &Flow,
    usable: &Usable,
    view: &GrantView,
    new: &Grant,
) -> Result<Grant, ExchangeError> {
    let marks = Marks { mismatch: Some(Some(Timestamp::now())), ..Marks::default() };
    match flow.grants.annotate(view, &marks).await {
        Ok(_) => {}
        // A refresh wrote in between; the mark is news for people and not worth more than a second try.
        Err(error) if error.is_conflict() => {
            if let Ok(Some(now)) = flow.grants.find(&view.name).await {
                let _ = flow.grants.annotate(&now.view, &marks).await;
            }
        }
        Err(error) => return Err(error.into()),
    }
    give_back_tokens(flow, usable, new).await;
    Err(ExchangeError::AccountMismatch)
}

/// The requests that are handled once this grant is written: the one that asked for it, and those before.
fn answered(attempt: &Attempt, before: Option<&GrantView>) -> Handled {
    let same_life = before.filter(|view| view.summary.integration == attempt.integration);
    let mut handled = same_life.map(|view| view.handled.clone()).unwrap_or_default();
    handled.0.extend(attempt.request.clone().map(|value| (request::CONNECT.to_owned(), value)));
    handled
}

/// Begins a new epoch in the place of what is held.
pub(super) async fn replace(
    flow: &Flow,
    client: Option<&ClientCredentials>,
    found: &Found,
    grant: &Grant,
    handled: Handled,
    shard: Option<String>,
) -> Result<GrantView, StoreError> {
    let same_life = found.view.summary.integration.uid == grant.integration.uid;
    let marks = Marks {
        intents: Some(vec![]),
        refused: Some(None),
        mismatch: Some(None),
        // The published Secret of another life is not ours to write to.
        published: (!same_life).then_some(None),
        handled: Some(handled),
        orphaned: Some(None),
        leaving: Some(None),
        trace: Some(trace::current().kept_traceparent()),
        adopted: true,
        shard: Some(shard),
    };
    let view = flow.grants.replace(&found.view, grant, &marks).await?;
    revoke_before(flow, client, found, grant).await;
    Ok(view)
}
