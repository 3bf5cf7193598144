//! What is told to people: computed from what was found and done, pure, and written last.

mod account;
mod keys;
mod telling;
mod token;
#[cfg(test)]
mod tools;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::memory::Memory;
use super::situation::Situation;
use crate::api::Reason;
use crate::api::condition::{ConditionType, Observed, merge};
use crate::api::project_integration::{
    AuthorizationStatus, ChoiceStatus, DisconnectedKey, HealthStatus, Installation, ProjectIntegrationStatus,
};
use crate::causes::chain;
use crate::grant::plan::Step;
use crate::grant::{Grant, GrantView};
use keys::{key_changed, key_trouble, no_key, unhealthy};
pub use telling::{apply, is_no_news};
pub(super) use token::is_told;

/// What a status is computed from.
pub struct Facts<'a> {
    /// What was known at the beginning, with the grant as it is now.
    pub situation: &'a Situation<'a>,
    /// What this process remembers.
    pub memory: &'a Memory,
    /// The grant with its data, where it was read.
    pub held: Option<&'a Grant>,
    /// What the plan says next.
    pub step: &'a Step,
    /// The planned moments of the next refreshes, by chain; `None` is the main one.
    pub next_refresh: BTreeMap<Option<String>, Timestamp>,
    /// A link that waits for a person.
    pub authorization: Option<AuthorizationStatus>,
    /// The last authorization was denied.
    pub denied: bool,
    /// Why a link that was asked for could not be made.
    pub connect_error: Option<String>,
    /// The key that a disconnect was about.
    pub disconnected_key: Option<DisconnectedKey>,
    /// Why a grant of another life was not taken over yet, where that is asked for.
    pub adopting: Option<String>,
    /// Requests that were handled.
    pub handled: BTreeMap<String, String>,
    /// Now.
    pub now: Timestamp,
}

/// Computes the status.
pub fn compute(facts: &Facts<'_>) -> ProjectIntegrationStatus {
    let situation = facts.situation;
    let standing = situation.integration.status.clone().unwrap_or_default();
    let generation = situation.integration.metadata.generation.unwrap_or_default();
    let authorized = authorized(facts);
    let mut observed = vec![];
    let (token_fresh, healthy) = match &situation.grant {
        Some(grant) if situation.is_bound() => {
            (Some(token::token_fresh(facts, grant)), Some(healthy(facts, &standing)))
        }
        _ => (None, None),
    };
    // A key that does not work is told of, whether an earlier one is held or none.
    let healthy = key_trouble(facts).and_then(unhealthy).or(healthy);
    let grant = situation.grant.as_ref();
    let choices = grant.map(|grant| account::choices(grant, facts.held, &standing)).unwrap_or_default();
    let (ready, stalled) = summary(facts, &authorized, token_fresh.as_ref(), healthy.as_ref(), &choices);
    observed.extend([ready, stalled, authorized]);
    observed.extend(token_fresh);
    observed.extend(healthy);
    let conditions = merge(&standing.conditions, &observed, generation, facts.now);
    let mut status = ProjectIntegrationStatus {
        observed_generation: Some(generation),
        conditions,
        authorization: facts.authorization.clone(),
        disconnected_key: facts.disconnected_key.clone(),
        choices,
        handled: facts.handled.clone(),
        ..ProjectIntegrationStatus::default()
    };
    if let Some(grant) = &situation.grant {
        describe(facts, grant, &standing, &mut status);
    }
    status
}

/// What the grant says of itself; what only its data tells is carried over where the data was not read.
fn describe(
    facts: &Facts<'_>,
    grant: &GrantView,
    standing: &ProjectIntegrationStatus,
    status: &mut ProjectIntegrationStatus,
) {
    if let Some(held) = facts.held {
        status.scopes.clone_from(&held.scopes);
        status.metadata.clone_from(&held.metadata);
        status.installation = Some(Installation {
            installed_by: held.installed.by.clone(),
            agent_id: held.installed.agent_id.clone(),
            installed_at: seconds(held.installed.at),
            last_updated_at: grant.summary.updated_at().to_string(),
        });
    } else {
        status.scopes.clone_from(&standing.scopes);
        status.metadata.clone_from(&standing.metadata);
        status.installation.clone_from(&standing.installation);
    }
    status.token = Some(token::token_status(facts, grant, standing.token.as_ref()));
    let health = &facts.memory.health;
    let turned = condition_of(standing, ConditionType::Healthy) != condition_of(status, ConditionType::Healthy);
    status.health = if turned && (health.failures > 0 || health.last_failed_at.is_some()) {
        Some(HealthStatus { consecutive_failures: health.failures, last_failed_at: health.last_failed_at.map(seconds) })
    } else {
        standing.health.clone()
    };
}

fn authorized(facts: &Facts<'_>) -> Observed {
    use ConditionType::Authorized;
    let situation = facts.situation;
    let name = &situation.name;
    if let Some(why) = &facts.adopting {
        let reason = if situation.foreign { Reason::ForeignGrant } else { Reason::ProviderChanged };
        let message = format!("Adopting the grant was asked for and is not done: {}.", why.trim_end_matches('.'));
        return Observed::no(Authorized, reason, message);
    }
    if situation.foreign {
        let message = format!(
            "A grant of an earlier life of this integration is kept in the operator's namespace. To take it over, with \
             rights there: kubectl integration adopt {name}. To replace it, connect again."
        );
        return Observed::no(Authorized, Reason::ForeignGrant, message);
    }
    if let Some(why) = &situation.unreadable {
        let message = format!(
            "What is held cannot be read: {}. Nothing of it was deleted or revoked, and nothing is refreshed meanwhile.",
            why.trim_end_matches('.')
        );
        return Observed::no(Authorized, Reason::StorageFailed, message);
    }
    if let Some(trouble) =
        key_trouble(facts).filter(|trouble| situation.grant.is_none() || unhealthy(trouble).is_none())
    {
        let stays = match (&situation.grant, trouble.reason) {
            (Some(_), Reason::ApiKeyMissing) => " The earlier key stays in use.",
            _ => "",
        };
        return Observed::no(Authorized, trouble.reason, format!("{}{stays}", trouble.message));
    }
    let Some(grant) = &situation.grant else {
        if let Some((_, keyed)) = situation.served_by_key() {
            return Observed::no(Authorized, Reason::ApiKeyMissing, no_key(situation, keyed));
        }
        if facts.authorization.is_some() {
            let message = "Waiting for a person to open the authorization link.";
            return Observed::no(Authorized, Reason::AuthorizationRequired, message);
        }
        if facts.denied {
            let message =
                format!("The authorization was denied at the app; to try again: kubectl integration connect {name}");
            return Observed::no(Authorized, Reason::AuthorizationDenied, message);
        }
        let message = match &facts.connect_error {
            Some(error) => format!("No authorization link could be made: {error}."),
            None => format!("Nobody has connected this integration: kubectl integration connect {name}"),
        };
        return Observed::no(Authorized, Reason::AuthorizationRequired, message);
    };
    if let Some(refusal) = grant.refused.as_ref().filter(|refusal| refusal.epoch == grant.summary.epoch) {
        let message = if refusal.replaced {
            format!("{}.", sentence(&refusal.message))
        } else {
            format!("Refreshing failed for good: {}.", refusal.message)
        };
        return Observed::no(Authorized, Reason::ReauthorizationRequired, message);
    }
    if !situation.is_bound() && situation.served_by_key().is_some() {
        return Observed::no(Authorized, Reason::ProviderChanged, key_changed(situation));
    }
    if !situation.is_bound() {
        return Observed::no(Authorized, Reason::ProviderChanged, account::provider_changed(facts));
    }
    if let Some(scopes) = account::scopes(facts, grant) {
        return scopes;
    }
    let ended = grant.summary.sets.iter().find_map(|(name, set)| Some((name, set.ended.as_ref()?)));
    if let Some((name, ended)) = ended {
        let message = format!(
            "Refreshing token set {name} failed for good: {}. The main token goes on working, and is refreshed.",
            ended.message
        );
        return Observed::no(Authorized, Reason::ReauthorizationRequired, message);
    }
    if let Some(at) = grant.mismatch {
        let message = format!(
            "At {} somebody authorized with another account; the connection was kept. To switch, disconnect first and \
             connect again.",
            seconds(at)
        );
        return Observed::yes(Authorized, Reason::AccountMismatch, message);
    }
    let message = if grant.summary.api_key.is_some() { "An API key is held." } else { "Access is granted." };
    Observed::yes(Authorized, Reason::Granted, message)
}

fn healthy(facts: &Facts<'_>, standing: &ProjectIntegrationStatus) -> Observed {
    use ConditionType::Healthy;
    if let Some(verdict) = &facts.memory.health.verdict {
        return Observed {
            kind: Healthy,
            status: verdict.healthy,
            reason: verdict.reason,
            message: verdict.message.clone(),
        };
    }
    // A process that has just started has checked nothing yet; what stands, stands until it has.
    let before = standing.conditions.iter().find(|condition| condition.type_ == Healthy.as_str());
    let known = before.and_then(|condition| {
        let reason = Reason::ALL.iter().find(|(reason, _)| reason.as_str() == condition.reason)?.0;
        let status = match condition.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Some(Observed { kind: Healthy, status, reason, message: condition.message.clone() })
    });
    known.unwrap_or_else(|| Observed::unknown(Healthy, Reason::NotChecked, "The credential has not been tried yet."))
}

/// `Ready` and `Stalled`: the first thing that stands in the way, in the order in which a person would mend it.
fn summary(
    facts: &Facts<'_>,
    authorized: &Observed,
    token_fresh: Option<&Observed>,
    healthy: Option<&Observed>,
    choices: &[ChoiceStatus],
) -> (Observed, Observed) {
    let situation = facts.situation;
    let block = |reason: Reason, message: String, stalled: bool| {
        let stalled = if stalled { Observed::yes(ConditionType::Stalled, reason, message.clone()) } else { moving() };
        (Observed::no(ConditionType::Ready, reason, message), stalled)
    };
    if let Err(mismatch) = &situation.tenancy {
        return block(Reason::TenantMismatch, format!("{}.", sentence(&mismatch.to_string())), true);
    }
    if let Err(error) = &situation.settings {
        return block(Reason::InvalidSpec, format!("{}.", sentence(&error.to_string())), true);
    }
    if let Some(Err(error)) = &situation.provider {
        let reason = if error.is_of_description() { Reason::ProviderNotReady } else { error.reason() };
        return block(reason, format!("{}.", sentence(&chain(error))), !error.is_transient());
    }
    if situation.settings.as_ref().is_ok_and(|settings| settings.suspend) {
        return block(Reason::Suspended, "Suspended by spec.suspend; what is held is kept.".to_owned(), false);
    }
    if authorized.status != Some(true) {
        let passes = matches!(authorized.reason, Reason::ProviderUnavailable | Reason::RateLimited);
        return block(authorized.reason, authorized.message.clone(), facts.authorization.is_none() && !passes);
    }
    if let Some(conflict) = &facts.memory.conflict {
        return block(Reason::SecretConflict, format!("{}.", sentence(conflict)), true);
    }
    if let Some(fresh) = token_fresh.filter(|fresh| fresh.reason == Reason::Expired) {
        return block(fresh.reason, fresh.message.clone(), false);
    }
    if let Some(healthy) = healthy.filter(|healthy| healthy.status == Some(false)) {
        return block(healthy.reason, healthy.message.clone(), false);
    }
    if let Some((reason, message, stalled)) = account::undecided(facts, choices) {
        return block(reason, message, stalled && facts.authorization.is_none());
    }
    // Trouble that has not hurt yet is shown, but the connection works.
    match token_fresh.filter(|fresh| fresh.status != Some(true)) {
        Some(fresh) => {
            let ready = Observed::yes(ConditionType::Ready, fresh.reason, fresh.message.clone());
            let stalled = if fresh.reason == Reason::ClientCredentialsInvalid {
                Observed::yes(ConditionType::Stalled, fresh.reason, fresh.message.clone())
            } else {
                moving()
            };
            (ready, stalled)
        }
        None => (Observed::yes(ConditionType::Ready, Reason::Connected, account::connected(facts)), moving()),
    }
}

fn moving() -> Observed {
    Observed::no(ConditionType::Stalled, Reason::NotStalled, "Nothing waits for a person.")
}

/// The status of a condition, for comparisons.
fn condition_of(status: &ProjectIntegrationStatus, kind: ConditionType) -> Option<&str> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
        .map(|condition| condition.status.as_str())
}

/// A time as people and other tools read it: RFC 3339 with whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// A cause as the beginning of a sentence.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    match characters.next() {
        // Names of fields stay as they are written.
        Some(first) if !text.starts_with("spec.") && !text.starts_with("oauth2.") => {
            first.to_uppercase().collect::<String>() + characters.as_str()
        }
        _ => text.to_owned(),
    }
}
