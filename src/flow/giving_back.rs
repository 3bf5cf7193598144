//! Tokens that nobody holds any more go back to the provider, where that ends nothing that somebody does hold.

use super::Flow;
use crate::grant::sharing::Company;
use crate::grant::store::{Found, grant_name};
use crate::grant::{ClientCredentials, Grant};
use crate::oauth::revoke::revoke;
use crate::provider::registry::Usable;
use crate::publish::withdraw;

/// Times a grant is removed again that the controller writes to at the same moment.
const GIVE_BACKS: u32 = 5;

/// The tokens before: revoked only where that cannot end the new grant or a sibling's. The new grant stands by now, so
/// that it is among those that are looked at. What cannot be read is left to its fate.
pub(super) async fn revoke_before(flow: &Flow, client: Option<&ClientCredentials>, found: &Found, grant: &Grant) {
    let same_life = found.view.summary.integration.uid == grant.integration.uid;
    if let Ok(old) = &found.grant
        && same_life
        && found.view.refused.is_none()
        && is_harmless(flow, old, grant).await
    {
        let client = client.filter(|client| client.client_id == old.binding.client_id);
        if let Err(error) = revoke(&flow.outbound, old, client).await {
            tracing::info!(error = &error as &dyn std::error::Error, "the tokens before could not be revoked");
        }
    }
}

/// Whether the tokens of `old` can be revoked without an end of `new`, or of what others hold. Where it is not known
/// that they are of different installations, they may be of the same.
async fn is_harmless(flow: &Flow, old: &Grant, new: &Grant) -> bool {
    let company = match (&old.installation, &new.installation) {
        (Some(before), Some(now)) if before != now => Company::default(),
        _ => Company { living: true, same_token: old.tokens.access_token == new.tokens.access_token },
    };
    // When in doubt about others, nothing of theirs is put at risk.
    let others = flow.grants.company(old, None).await.unwrap_or(Company::UNKNOWN);
    !old.binding.revocation_harms(company.and(others))
}

/// Revokes tokens that are kept nowhere, where that revokes nothing else: somebody may use the same installation in a
/// place that nobody here knows of.
pub(super) async fn give_back_tokens(flow: &Flow, usable: &Usable, grant: &Grant) {
    let others = flow.grants.company(grant, None).await.unwrap_or(Company::UNKNOWN);
    if grant.binding.revocation_harms(Company { living: true, ..others }) {
        return;
    }
    if let Err(error) = revoke(&flow.outbound, grant, Some(&usable.credentials)).await {
        tracing::info!(error = &error as &dyn std::error::Error, "tokens that are not kept could not be revoked");
    }
}

/// Revokes and removes a grant whose integration is gone or not served any more, with what the controller may have
/// published of it already.
pub(super) async fn give_back(flow: &Flow, client: Option<&ClientCredentials>, grant: &Grant) {
    let name = grant_name(&grant.integration.namespace, &grant.integration.name);
    let mut revoked = false;
    for _ in 0..GIVE_BACKS {
        let Ok(Some(mut held)) = flow.grants.get(&name).await else { return };
        if held.grant.integration != grant.integration || held.grant.epoch != grant.epoch {
            return;
        }
        if !revoked {
            held = match flow.grants.leave(&held).await {
                Ok((left, company)) => {
                    revoke_unshared(flow, client, &left.grant, company).await;
                    left
                }
                Err(error) if error.is_conflict() => continue,
                // Who else is there cannot be told: it is forgotten, and not revoked.
                Err(_) => held,
            };
            revoked = true;
        }
        if let Some(published) = &held.view.published
            && let Err(error) = withdraw(&flow.client, &grant.integration.namespace, published).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "a published Secret was not removed");
        }
        match flow.grants.delete(&held.view).await {
            Ok(()) => return,
            // The controller has written what it published: that goes too.
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a grant without integration was not removed");
                return;
            }
        }
    }
}

async fn revoke_unshared(flow: &Flow, client: Option<&ClientCredentials>, grant: &Grant, company: Company) {
    if grant.binding.revocation_harms(company) {
        tracing::info!("a grant without integration is not revoked: others hold the same installation");
        return;
    }
    if let Err(error) = revoke(&flow.outbound, grant, client).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a grant without integration was not revoked");
    }
}
