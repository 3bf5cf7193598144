//! The health check: tries the access token at the provider. A check that passes asks the API server for nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::memory::{self, Health, Verdict};
use super::refresh::access_token;
use super::situation::Situation;
use crate::api::{ConditionType, Reason};
use crate::causes::chain;
use crate::grant::GrantView;
use crate::lanes::Lane;
use crate::oauth::identity;
use crate::provider::connection::Connection;
use crate::provider::endpoints::IdentityEndpoint;

/// How far those are spread that the provider's limit makes wait.
const SPREAD: Duration = Duration::from_secs(20);
/// How long ago a check is believed to have been at most.
const LONGEST_AGO: SignedDuration = SignedDuration::from_hours(24);

/// When the next check is due; `None` where there is nothing to check with or nothing to check.
pub fn next_check(situation: &Situation<'_>, health: &Health, requested: bool) -> Option<Timestamp> {
    let (settings, connection) = situation.served()?;
    let grant = situation.grant.as_ref()?;
    let checkable = connection.identity().is_some() && !settings.suspend && grant.refused.is_none();
    if !checkable || grant.intent(None).is_some() {
        return None;
    }
    if requested {
        return Some(Timestamp::UNIX_EPOCH);
    }
    let interval = SignedDuration::try_from(settings.check_interval).unwrap_or(SignedDuration::from_mins(10));
    // What was found of a token that is no longer held says nothing of the one that is.
    let outdated = health.token.is_some_and(|token| token != held(grant)) && !is_well(health)
        || health.token.is_some_and(|(epoch, _)| epoch != grant.summary.epoch)
        || situation.later.is_some() && health.later != situation.later;
    let checked_at = health.checked_at.filter(|_| !outdated);
    let due = checked_at.map_or(Timestamp::UNIX_EPOCH, |at| at.saturating_add(interval).unwrap_or(at));
    Some(health.not_before.map_or(due, |earliest| due.max(earliest)))
}

/// After a start, a health that the status tells is believed at first, and proved again some time within the interval:
/// thousands of checks at once would help nobody.
pub fn believe(context: &Context, situation: &Situation<'_>) {
    let Some(((settings, _), grant)) = situation.served().zip(situation.grant.as_ref()) else { return };
    let status = situation.integration.status.as_ref();
    let told = status.and_then(|status| {
        status.conditions.iter().find(|condition| condition.type_ == ConditionType::Healthy.as_str())
    });
    let Some(told) = told.filter(|told| told.status == "True" && told.reason == Reason::Verified.as_str()) else {
        return;
    };
    let interval = SignedDuration::try_from(settings.check_interval).unwrap_or(SignedDuration::from_mins(10));
    let ago = interval.min(LONGEST_AGO).mul_f64(memory::chance());
    context.memories.update(&situation.uid, |memory| {
        if memory.health != Health::default() {
            return;
        }
        memory.health = Health {
            token: Some(held(grant)),
            checked_at: Some(Timestamp::now() - ago),
            verdict: Some(Verdict { healthy: Some(true), reason: Reason::Verified, message: told.message.clone() }),
            ..Health::default()
        };
    });
}

/// The token that a grant holds: epoch and generation.
fn held(grant: &GrantView) -> (u64, u64) {
    (grant.summary.epoch, grant.summary.generation)
}

fn is_well(health: &Health) -> bool {
    health.failures == 0 && health.verdict.as_ref().is_some_and(|verdict| verdict.healthy == Some(true))
}

/// Makes a check and remembers what came of it.
///
/// Gives the reason in which this one check ended; `None` where none was made.
pub async fn check(context: &Context, situation: &Situation<'_>) -> Option<Reason> {
    let (settings, connection) = situation.served()?;
    let (grant, endpoint) = (situation.grant.as_ref()?, connection.identity()?);
    let token = match access_token(context, &situation.uid, grant).await {
        Ok(Some(token)) => token,
        Ok(None) => return None,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no access token to check with");
            return None;
        }
    };
    let _pass = context.lanes.enter(Lane::Health, grant.summary.expires_at).await;
    let host = endpoint.call.url.host_str().unwrap_or_default();
    let admission = match context.gates.admit(&connection.provider().reference.uid, host) {
        Ok(admission) => admission,
        Err(busy) => {
            // Many may wait for the same moment: they come back one after the other.
            let pause = busy.retry_in + SPREAD.mul_f64(memory::chance());
            let until = Timestamp::now() + SignedDuration::try_from(pause).unwrap_or_default();
            context.memories.update(&situation.uid, |memory| memory.health.not_before = Some(until));
            return None;
        }
    };
    let verdict = identity::verify(&context.outbound, endpoint, &token).await;
    verdict.tell(admission);
    let word = judge(&verdict, connection, endpoint, situation.later.is_some());
    let reason = word.reason;
    let now = Timestamp::now();
    context.memories.update(&situation.uid, |memory| {
        // Failures in a row are those of one authorization.
        let another = memory.health.token.is_some_and(|(epoch, _)| epoch != grant.summary.epoch);
        let before = if another { Health::default() } else { memory.health.clone() };
        // A key that has never worked was given by mistake; and where a later authorization ends this one, a refusal is no
        // accident. There is nothing to wait for.
        let untried = grant.summary.api_key.is_some() && before.verdict.is_none();
        let replaced = situation.later.is_some() && word.reason == Reason::Rejected;
        let threshold = if untried || replaced { 1 } else { settings.failure_threshold };
        let told = word.healthy.is_some();
        let health = after(&before, threshold, word, &verdict, now);
        let later = if told && health.checked_at.is_some() { situation.later.clone() } else { before.later };
        memory.health = Health { token: Some(held(grant)), later, ..health };
    });
    Some(reason)
}

fn judge(verdict: &identity::Verdict, connection: &Connection, endpoint: &IdentityEndpoint, replaced: bool) -> Verdict {
    let app = &connection.provider().display_name;
    let (what, remedy) = match connection {
        Connection::OAuth(_) if replaced => {
            ("access token", "a later authorization of the same installation ended this one; connect again")
        }
        Connection::OAuth(_) => ("access token", "if it stays so, connect again"),
        Connection::ApiKey(_) => ("key", "if it stays so, give it another one"),
    };
    let host = endpoint.call.url.host_str().unwrap_or_default();
    let word = |healthy, reason, message| Verdict { healthy, reason, message };
    match verdict {
        identity::Verdict::Accepted(_) => word(Some(true), Reason::Verified, format!("{app} accepts the {what}.")),
        identity::Verdict::Rejected { status } => word(
            Some(false),
            Reason::Rejected,
            format!("{app} refuses the {what} (HTTP {status} from {host}); {remedy}."),
        ),
        identity::Verdict::Limited { .. } => {
            word(None, Reason::RateLimited, format!("{app} asks for fewer requests; the check is made again later."))
        }
        identity::Verdict::Unavailable { status: Some(status), .. } => {
            word(Some(false), Reason::ProviderUnavailable, format!("{app} answered HTTP {status} ({host})."))
        }
        identity::Verdict::Unavailable { source, .. } => {
            let cause = source.as_ref().map(|source| chain(source)).unwrap_or_default();
            word(Some(false), Reason::ProviderUnavailable, format!("{app} could not be reached ({host}): {cause}."))
        }
    }
}

/// What is known after a check. A failure counts only when it has come `threshold` times in a row.
fn after(before: &Health, threshold: u32, word: Verdict, verdict: &identity::Verdict, now: Timestamp) -> Health {
    let failed = word.healthy == Some(false);
    let failures = match word.healthy {
        Some(true) => 0,
        Some(false) => before.failures + 1,
        None => before.failures,
    };
    let counts = !failed || failures >= threshold;
    let not_before = match verdict {
        identity::Verdict::Limited { retry_after } => retry_after
            .and_then(|pause| SignedDuration::try_from(pause).ok())
            .or(Some(SignedDuration::from_mins(1)))
            .map(|pause| now + pause),
        // Below the threshold one looks again soon, with a pause that grows.
        _ if failed && !counts => Some(now + memory::pause(failures, memory::chance())),
        _ => None,
    };
    let limited = word.healthy.is_none();
    Health {
        token: before.token,
        checked_at: if failed && !counts { None } else { Some(now) },
        failures,
        last_failed_at: if failed { Some(now) } else { before.last_failed_at },
        verdict: if counts && !(limited && before.verdict.is_some()) { Some(word) } else { before.verdict.clone() },
        not_before,
        later: before.later.clone(),
        dead: matches!(verdict, identity::Verdict::Rejected { status: 401 | 200..=299 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(before: &Health, healthy: bool) -> Health {
        let verdict = if healthy {
            identity::Verdict::Accepted(serde_json::Value::Null)
        } else {
            identity::Verdict::Rejected { status: 401 }
        };
        let reason = if healthy { Reason::Verified } else { Reason::Rejected };
        let word = Verdict { healthy: Some(healthy), reason, message: String::new() };
        after(before, 3, word, &verdict, Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn three_failures_in_a_row_turn_it() {
        let good = step(&Health::default(), true);
        assert_eq!(good.verdict.as_ref().unwrap().healthy, Some(true));
        let first = step(&good, false);
        assert_eq!(first.verdict.as_ref().unwrap().healthy, Some(true));
        assert!(first.not_before.is_some() && first.checked_at.is_none(), "looked at again soon");
        let third = step(&step(&first, false), false);
        assert_eq!(third.verdict.as_ref().unwrap().healthy, Some(false));
        assert_eq!(third.failures, 3);
        assert_eq!(step(&third, true).failures, 0);
    }
}
