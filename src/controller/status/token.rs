//! What is told of the tokens: `status.token`, and the condition `TokenFresh`. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{Facts, seconds, sentence};
use crate::api::Reason;
use crate::api::condition::{ConditionType, Observed};
use crate::api::project_integration::{TokenSetStatus, TokenStatus};
use crate::grant::plan::Step;
use crate::grant::record::Summary;
use crate::grant::{ChainSummary, GrantView};

/// How long before the end of an authorization a person is told of it.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// `status.token`.
pub(super) fn token_status(facts: &Facts<'_>, grant: &GrantView, standing: Option<&TokenStatus>) -> TokenStatus {
    let next = |set: Option<&str>| facts.next_refresh.get(&set.map(str::to_owned)).copied().map(seconds);
    let sets = grant.summary.sets.iter().map(|(name, set)| {
        let told = TokenSetStatus {
            expires_at: set.expires_at.map(seconds),
            last_refreshed_at: set.obtained_at.to_string(),
            next_refresh_at: next(Some(name)),
            ended: set.ended.is_some(),
        };
        (name.clone(), told)
    });
    TokenStatus {
        type_: grant.summary.api_key.map(|_| crate::flow::api_key::TOKEN_TYPE.to_owned()),
        secret_name: grant.published.as_ref().map(|published| published.name.clone()),
        expires_at: grant.summary.expires_at.map(seconds),
        last_refreshed_at: grant.summary.obtained_at.to_string(),
        next_refresh_at: next(None),
        // Without the description it is not known; what was told stays.
        authorization_expires_at: match facts.situation.served_by_oauth() {
            Some(_) => authorization_ends(facts, grant).map(seconds),
            None => standing.and_then(|token| token.authorization_expires_at.clone()),
        },
        sets: sets.collect(),
    }
}

/// Whether a status tells of exactly these tokens.
pub(crate) fn is_told(summary: &Summary, told: &TokenStatus) -> bool {
    let set_is_told = |(name, set): (&String, &ChainSummary)| {
        told.sets.get(name).is_some_and(|told| {
            told.last_refreshed_at == set.obtained_at.to_string() && told.ended == set.ended.is_some()
        })
    };
    told.last_refreshed_at == summary.obtained_at.to_string()
        && told.sets.len() == summary.sets.len()
        && summary.sets.iter().all(set_is_told)
}

/// When the app ends the authorization whatever is done, where its description says so.
fn authorization_ends(facts: &Facts<'_>, grant: &GrantView) -> Option<Timestamp> {
    let (_, usable) = facts.situation.served_by_oauth()?;
    Some(grant.summary.installed_at.saturating_add(usable.client.grant_lifetime?).unwrap_or(Timestamp::MAX))
}

/// `TokenFresh`: the worst that there is to say of any chain, and of chains alike first of the main one.
pub(super) fn token_fresh(facts: &Facts<'_>, grant: &GrantView) -> Observed {
    use ConditionType::TokenFresh;
    if facts.situation.settings.as_ref().is_ok_and(|settings| settings.suspend) {
        return Observed::no(TokenFresh, Reason::Suspended, "Suspended by spec.suspend: nothing is refreshed.");
    }
    // Of a set that has ended, `Authorized` tells.
    let summary = &grant.summary;
    let chains: Vec<_> = summary.chains().filter(|(_, chain)| chain.ended.is_none()).collect();
    let expired = |at: Option<Timestamp>| at.is_some_and(|at| at <= facts.now);
    if let Some((set, _)) = chains.iter().find(|(_, chain)| expired(chain.expires_at)) {
        let next = trouble_of(facts, *set).map(|trouble| format!(" {trouble}")).unwrap_or_default();
        return Observed::no(TokenFresh, Reason::Expired, format!("The access token{} has expired.{next}", of(*set)));
    }
    if let Some(refusal) = &grant.refused {
        if refusal.replaced {
            let message = "The access token has ended with its authorization.";
            return Observed::no(TokenFresh, Reason::RefreshFailing, message);
        }
        let message = "The access token works until it expires; it cannot be refreshed any more.";
        return Observed::no(TokenFresh, Reason::RefreshFailing, message);
    }
    if let Step::Ambiguous { chains, .. } = facts.step
        && let Some((set, until)) = chains.first_key_value()
    {
        let message = format!(
            "The answer to a refresh{} was lost, so it is not known whether the provider carried it out. Sending it again \
             could end the grant; the access token that is held stays in use, and the next attempt is made at {}.",
            of(set.as_deref()),
            seconds(*until)
        );
        return Observed::no(TokenFresh, Reason::RefreshAmbiguous, message);
    }
    for (set, _) in &chains {
        let Some(trouble) = facts.memory.troubles.get(&set.map(str::to_owned)) else { continue };
        let reason = match trouble.reason {
            Reason::ClientCredentialsInvalid | Reason::RefreshAmbiguous => trouble.reason,
            _ => Reason::RefreshFailing,
        };
        let whose = set.map(|name| format!("Token set {name}: ")).unwrap_or_default();
        let message = format!("{whose}{}", trouble_of(facts, *set).unwrap_or_default());
        return Observed::no(TokenFresh, reason, message);
    }
    well(facts, grant)
}

/// Nothing is wrong, but a person may have to come back one day.
fn well(facts: &Facts<'_>, grant: &GrantView) -> Observed {
    let never = facts.situation.served_by_oauth().is_some_and(|(_, usable)| usable.client.timing.never);
    let mut sentences = Vec::new();
    let reason = if grant.summary.expires_at.is_some() { Reason::Refreshed } else { Reason::NeverExpires };
    if reason == Reason::NeverExpires {
        sentences.push(match &grant.summary.api_key {
            Some(_) => "An API key works until the app ends it.".to_owned(),
            None => "The access token has no expiry.".to_owned(),
        });
    }
    for (set, chain) in grant.summary.chains().filter(|(_, chain)| chain.ended.is_none() && chain.expires_at.is_some())
    {
        let whose = of(set);
        sentences.push(match (set, chain.refreshable) {
            _ if never => format!("The access token{whose} is never refreshed: connect again before expiry."),
            (_, false) => format!("The provider gave no refresh token{whose}: connect again before expiry."),
            (None, true) => "The access token is refreshed in time.".to_owned(),
            (Some(_), true) => continue,
        });
    }
    if let Some(ends) = authorization_ends(facts, grant).filter(|ends| ends.duration_since(facts.now) < NOTICE) {
        let when = seconds(ends);
        sentences.push(if ends <= facts.now {
            format!("The app ends an authorization after some time, and this one at {when}: connect again.")
        } else {
            format!("The app ends this authorization at {when}, whatever is done: connect again before then.")
        });
    }
    let message = sentences.join(" ");
    Observed::yes(ConditionType::TokenFresh, reason, message)
}

/// Why the refresh of a chain failed, and when it is tried again.
fn trouble_of(facts: &Facts<'_>, set: Option<&str>) -> Option<String> {
    let trouble = facts.memory.troubles.get(&set.map(str::to_owned))?;
    Some(format!("{}; next try at {}.", sentence(&trouble.cause), seconds(trouble.retry_at)))
}

/// The name of a set behind what belongs to it; nothing for the main chain.
fn of(set: Option<&str>) -> String {
    set.map(|name| format!(" of token set {name}")).unwrap_or_default()
}
