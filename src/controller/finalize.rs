//! The way out: revoke by what the grant holds, then forget. Validation is skipped, so that a broken spec, a missing
//! provider or an app that cannot be reached never blocks deletion for ever.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::context::Context;
use crate::api::{FINALIZER, ProjectIntegration, Reason};
use crate::causes::chain;
use crate::finalizer::{self, FinalizerError};
use crate::flow::attempts::AttemptError;
use crate::grant::binding::ProviderRef;
use crate::grant::plan::IN_FLIGHT;
use crate::grant::store::Held;
use crate::grant::{ClientCredentials, GrantView, Intent, Owner, StoreError};
use crate::oauth::revoke::{revoke, revoke_sets};
use crate::publish::{PublishError, withdraw};

/// How long a provider is asked to revoke.
const REVOKE_PATIENCE: Duration = Duration::from_secs(40);
/// The pauses after which it is asked again where that may help.
const REVOKE_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// How long deletion waits for a grant that cannot be read.
const UNREAD_PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Forgetting failed.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    /// The grant could not be read or removed.
    #[error(transparent)]
    Grant(#[from] StoreError),
    /// The open attempts could not be removed.
    #[error(transparent)]
    Attempts(#[from] AttemptError),
    /// The published Secret could not be removed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The finalizer could not be taken off.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is held any more.
    Done,
    /// A refresh may be on its way; its tokens are the ones to revoke. Look again then.
    Wait(Duration),
}

/// Deletes: revokes, forgets, and takes the finalizer off.
pub async fn finalize(context: &Context, integration: &ProjectIntegration) -> Result<Progress, FinalizeError> {
    if !integration.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Progress::Done);
    }
    if let Progress::Wait(pause) = forget(context, integration).await? {
        return Ok(Progress::Wait(pause));
    }
    finalizer::take_off(&context.client, integration).await?;
    context.memories.forget(&integration.uid().unwrap_or_default());
    Ok(Progress::Done)
}

/// Revokes and forgets what is held for this integration: the grant, open attempts, and the published Secret.
pub async fn forget(context: &Context, integration: &ProjectIntegration) -> Result<Progress, FinalizeError> {
    let namespace = integration.namespace().unwrap_or_default();
    let owner = Owner {
        namespace: namespace.clone(),
        name: integration.name_any(),
        uid: integration.uid().unwrap_or_default(),
    };
    // Attempts first: a callback that comes later finds nothing to consume.
    context.flow.attempts.delete_of(&owner).await?;
    let name = crate::grant::store::grant_name(&owner.namespace, &owner.name);
    // Not the cache: whether a grant is there must be known for certain.
    let Some(found) = context.grants.find(&name).await? else { return Ok(Progress::Done) };
    if let Err(error) = &found.grant
        && found.view.summary.integration == owner
    {
        return leave_unread(context, integration, &found.view, error).await;
    }
    if found.view.summary.integration != owner {
        tracing::info!(namespace, name = owner.name, "a grant of another life is left where it is");
        return Ok(Progress::Done);
    }
    let held = found.held()?;
    if let Some(pause) = in_flight(context, &owner, &held) {
        return Ok(Progress::Wait(pause));
    }
    let held = Box::pin(end(context, integration, held)).await?;
    if let Some(published) = &held.view.published {
        withdraw(&context.client, &namespace, published).await?;
    }
    context.grants.delete(&held.view).await?;
    context.memories.update(&owner.uid, |memory| *memory = super::memory::Memory::default());
    Ok(Progress::Done)
}

/// What cannot be read can be neither revoked nor told to be worthless. Deletion waits a little for the key to come back,
/// and then leaves the grant where it is: an orphan, which is kept for thirty days.
async fn leave_unread(
    context: &Context,
    integration: &ProjectIntegration,
    view: &GrantView,
    error: &StoreError,
) -> Result<Progress, FinalizeError> {
    let (namespace, name) = (integration.namespace().unwrap_or_default(), integration.name_any());
    let deleted = integration.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let now = Timestamp::now();
    let waited = deleted.is_some_and(|at| now.duration_since(at) >= UNREAD_PATIENCE);
    tracing::warn!(namespace, name, waited, error = chain(error), "a grant to be revoked cannot be read");
    if !waited {
        return Ok(Progress::Wait(LOOK_AGAIN));
    }
    let note = format!(
        "The grant could not be revoked at the provider, since it cannot be read ({}). It stays in the operator's \
         namespace as {} for 30 days. Remove this app in the provider's own settings.",
        chain(error),
        view.name
    );
    context.events.warning(integration, Reason::RevocationFailed, "Revoke", &note).await;
    if let Some(published) = &view.published {
        withdraw(&context.client, &namespace, published).await?;
    }
    Ok(Progress::Done)
}

/// How long to wait for a refresh that may be on its way.
fn in_flight(context: &Context, owner: &Owner, held: &Held) -> Option<Duration> {
    let ours = context.memories.get(&owner.uid).in_flight;
    let seen_for = context.memories.sight(&owner.uid, &held.view.intents);
    let flies = |intent: &Intent| {
        let dead = ours.as_ref() != Some(&intent.attempt) && intent.holder == context.holder;
        !dead && seen_for.get(&intent.attempt).is_none_or(|seen| *seen < IN_FLIGHT)
    };
    held.view.intents.iter().any(flies).then_some(Duration::from_secs(1))
}

/// Asks the provider to revoke, unless that would end what others hold. Bounded, and its failure is told, not obeyed.
/// Returns the grant as it lies there then.
async fn end(context: &Context, integration: &ProjectIntegration, held: Held) -> Result<Held, StoreError> {
    let refused = held.view.refused.as_ref().is_some_and(|refusal| refusal.epoch == held.grant.epoch);
    let sets_live = held.grant.sets.values().any(|set| set.ended.is_none());
    if held.grant.binding.revocation.is_none() || (refused && !sets_live) {
        return Ok(held);
    }
    let (held, company) = context.grants.leave(&held).await?;
    context.wrote(&held.grant.integration.uid, &held.view);
    if held.grant.binding.revocation_harms(company) {
        let note =
            "Other integrations hold the same installation: it was forgotten here and not revoked at the provider.";
        context.events.normal(integration, Reason::RevocationSkippedShared, "Revoke", note).await;
        return Ok(held);
    }
    let client = client_of(context, &held).await;
    let ask = async || {
        if refused {
            revoke_sets(&context.outbound, &held.grant, client.as_ref()).await
        } else {
            revoke(&context.outbound, &held.grant, client.as_ref()).await
        }
    };
    let insist = async {
        for pause in REVOKE_PAUSES {
            match ask().await {
                Err(error) if error.may_pass() => tokio::time::sleep(pause).await,
                done => return done,
            }
        }
        ask().await
    };
    match tokio::time::timeout(REVOKE_PATIENCE, insist).await {
        Ok(Ok(())) => {
            context
                .events
                .normal(integration, Reason::Revoked, "Revoke", "The grant was revoked at the provider.")
                .await;
        }
        Ok(Err(error)) => failed(context, integration, &chain(&error)).await,
        Err(_) => failed(context, integration, "the provider did not answer in time").await,
    }
    Ok(held)
}

async fn failed(context: &Context, integration: &ProjectIntegration, cause: &str) {
    let note = format!(
        "The grant could not be revoked at the provider ({cause}); it was forgotten here. Remove this app in the \
         provider's own settings."
    );
    context.events.warning(integration, Reason::RevocationFailed, "Revoke", &note).await;
}

/// The client's credentials as its Secret has them now, if provider and client are the same; else, for a tenant's
/// provider, those that the grant holds.
async fn client_of(context: &Context, held: &Held) -> Option<ClientCredentials> {
    let binding = &held.grant.binding;
    let current = async {
        let ProviderRef { kind, namespace, name, uid } = &binding.provider;
        let provider = context.registry.find(*kind, namespace.as_deref().unwrap_or_default(), name).await.ok()?;
        let credentials = context.registry.credentials(&provider).await.ok()?;
        let same = provider.reference.uid == *uid && credentials.client_id == binding.client_id;
        same.then(|| (*credentials).clone())
    };
    current.await.or_else(|| binding.client.clone())
}
