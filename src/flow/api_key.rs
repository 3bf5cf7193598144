//! An API key becomes a grant: proved first, then kept.
//!
//! Used where somebody gives a key over HTTP, and where the controller reads the one that a spec names. A key is sent
//! to nobody but the identity call of its provider, and told to nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use super::Flow;
use super::exchange::{ExchangeError, follow, replace, still_wanted};
use super::giving_back::give_back;
use crate::api::ProjectIntegration;
use crate::finalizer::{self, FinalizerError};
use crate::grant::store::{Held, grant_name};
use crate::grant::{Account, Grant, Handled, Installed, KeySource, Owner, StoreError, Tokens};
use crate::oauth::account::{Answers, Names, Subject, told};
use crate::oauth::identity::{self, Verdict};
use crate::provider::connection::Keyed;
use crate::sensitive::Sensitive;
use crate::shard;

/// What a grant and a published Secret call the type of an API key.
pub const TOKEN_TYPE: &str = "ApiKey";
/// Times a key is written again because somebody wrote in between.
const TRIES: u32 = 5;

/// A key that was proved.
#[derive(Clone, Debug)]
pub struct Proved<'a> {
    /// Whose it is to be.
    pub integration: &'a ProjectIntegration,
    /// Its provider.
    pub keyed: &'a Keyed,
    /// The key.
    pub key: Sensitive,
    /// Where it came from.
    pub source: KeySource,
    /// The Kubernetes user that gave it, where known.
    pub by: Option<String>,
    /// The person of the product on whose behalf it was given.
    pub agent_id: Option<String>,
    /// What the identity call answered; `null` where there is none, or nothing that could be read.
    pub identity: Value,
}

/// A key was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The finalizer could not be set.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
    /// The grant could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The integration was deleted, re-created, suspended or moved meanwhile, or could not be read.
    #[error(transparent)]
    Integration(#[from] ExchangeError),
}

/// Tries a key at its provider. Where the description has no identity call, every key passes.
pub async fn prove(flow: &Flow, keyed: &Keyed, key: &Sensitive) -> Verdict {
    let Some(endpoint) = &keyed.identity else { return Verdict::Accepted(Value::Null) };
    let host = endpoint.call.url.host_str().unwrap_or_default();
    let admission = match flow.gates.admit(&keyed.provider.reference.uid, host) {
        Ok(admission) => admission,
        Err(busy) => return Verdict::Limited { retry_after: Some(busy.retry_in) },
    };
    let verdict = identity::verify(&flow.outbound, endpoint, key).await;
    verdict.tell(admission);
    verdict
}

/// Writes the grant of a proved key: a new epoch in the place of what is held. The finalizer is on before.
pub async fn keep(flow: &Flow, proved: &Proved<'_>) -> Result<Held, KeepError> {
    finalizer::put_on(&flow.client, proved.integration).await?;
    let owner = owner(proved.integration);
    let name = grant_name(&owner.namespace, &owner.name);
    let shard = shard::label_of(proved.integration.metadata.labels.as_ref());
    let mut tries = 0;
    loop {
        tries += 1;
        let written = match flow.grants.find(&name).await? {
            None => {
                let grant = key_grant(proved, owner.clone(), 1);
                flow.grants.create(&grant, &Handled::default(), shard.clone()).await.map(|view| Held { grant, view })
            }
            Some(found) => {
                let grant = key_grant(proved, owner.clone(), found.view.summary.epoch + 1);
                let same_life = found.view.summary.integration == owner;
                let handled = if same_life { found.view.handled.clone() } else { Handled::default() };
                // Tokens of an authorization before this key are given back where that harms nothing else.
                let client = match &proved.keyed.provider.oauth {
                    Some(_) => flow.registry.credentials(&proved.keyed.provider).await.ok(),
                    None => None,
                };
                let written = replace(flow, client.as_deref(), &found, &grant, handled, shard.clone()).await;
                written.map(|view| Held { grant, view })
            }
        };
        match written {
            Err(error) if (error.is_conflict() || error.is_missing()) && tries < TRIES => {}
            written => return Ok(written?),
        }
    }
}

/// The same for a key that somebody gave: afterwards the integration is looked at again, and the grant goes where it
/// has gone. Deletion may have passed by before there was a grant, and nobody else would clean it up.
pub async fn keep_given(flow: &Flow, proved: &Proved<'_>) -> Result<(), KeepError> {
    let held = keep(flow, proved).await?;
    let kind = proved.integration.spec.provider_kind;
    match still_wanted(flow, &held.grant.integration, kind).await {
        Ok(Some(now)) => follow(flow, &now, shard::label_of(proved.integration.metadata.labels.as_ref())).await,
        Ok(None) => {
            give_back(flow, None, &held.grant).await;
            return Err(ExchangeError::Gone.into());
        }
        Err(_) => {}
    }
    Ok(())
}

fn owner(integration: &ProjectIntegration) -> Owner {
    Owner {
        namespace: integration.namespace().unwrap_or_default(),
        name: integration.name_any(),
        uid: integration.uid().unwrap_or_default(),
    }
}

/// The grant that a proved key becomes.
pub fn key_grant(proved: &Proved<'_>, owner: Owner, epoch: u64) -> Grant {
    let spec = &proved.integration.spec;
    let now = Timestamp::now();
    let grant = Grant {
        integration: owner,
        epoch,
        generation: 1,
        attempt: None,
        api_key: Some(proved.source),
        tokens: Tokens {
            access_token: proved.key.clone(),
            token_type: TOKEN_TYPE.to_owned(),
            refresh_token: None,
            obtained_at: now,
            expires_at: None,
            refresh_obtained_at: None,
            refresh_expires_at: None,
        },
        sets: BTreeMap::new(),
        scopes: vec![],
        requested_scopes: vec![],
        missing_scopes: vec![],
        askable: false,
        account: Account::default(),
        installation: None,
        metadata: BTreeMap::new(),
        secret_metadata: BTreeMap::new(),
        parameters: proved.keyed.provider.parameters.values(&[&spec.parameters]),
        installed: Installed { by: proved.by.clone(), agent_id: proved.agent_id.clone(), at: now },
        binding: proved.keyed.binding(),
    };
    let owner = &grant.integration;
    let (namespace, name) = (&*owner.namespace, &*owner.name);
    let names = Names { namespace, name, tenant: &spec.tenant_id, project: &spec.project_id, type_: &spec.type_ };
    let subject = Subject::of_key(proved.keyed, names, &[&spec.parameters]);
    // The key was proved a moment ago: what the app said then need not be asked again.
    let identity = proved.keyed.identity.as_ref().map(|identity| told(identity.call.digest(), &proved.identity));
    let answers = Answers { identity, ..Answers::default() };
    // Look-ups are the controller's to make.
    let known = proved.keyed.provider.lookups.is_empty().then_some(&answers);
    subject.conclude(&grant, known, now)
}
