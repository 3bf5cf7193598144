//! One integration in words: what it is, whether it is ready, why not, what to do, and what is held.

use std::fmt::Write as _;

use integration_operator::api::{ConditionType, ProjectIntegration, ProjectIntegrationStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::advice::{advice, holds_key};
use super::{condition, is_true};
use crate::paint::Paint;
use crate::words::{self, moment, sentence};

/// The width of the headings at the left.
const HEADING: usize = 12;

/// The conditions under the summary, in the order of their meaning.
const DETAILS: [ConditionType; 3] = [ConditionType::Authorized, ConditionType::TokenFresh, ConditionType::Healthy];

/// The whole text.
pub(crate) fn block(integration: &ProjectIntegration, now: Timestamp, paint: Paint) -> String {
    let default = ProjectIntegrationStatus::default();
    let status = integration.status.as_ref().unwrap_or(&default);
    let mut text = Text { text: String::new(), paint };
    let spec = &integration.spec;
    let title = format!("{} in namespace {}", integration.name_any(), integration.namespace().unwrap_or_default());
    let _ = writeln!(text.text, "{}", paint.strong(&title));
    text.line("What", &format!("{} for project {} of tenant {}", spec.type_, spec.project_id, spec.tenant_id));
    text.line("State", &state(integration, paint));
    if let Some(message) = condition(integration, ConditionType::Ready).and_then(message) {
        text.line("", &message);
    }
    for (index, line) in advice(integration).unwrap_or_default().lines().enumerate() {
        text.line(if index == 0 { "To do" } else { "" }, line);
    }
    if let Some(authorization) = &status.authorization {
        let expiry = moment(&authorization.expires_at, now);
        text.line("Waiting", &format!("for a person to authorize; the link ends {expiry}"));
    }
    for kind in DETAILS {
        if let Some(condition) = condition(integration, kind) {
            text.line(kind.as_str(), &detail(condition, now, paint));
        }
    }
    match status.token.as_ref().filter(|_| holds_key(integration)) {
        Some(key) => text.line("API key", &format!("given {}", moment(&key.last_refreshed_at, now))),
        None => token(&mut text, status, now),
    }
    held(&mut text, status, now);
    text.text
}

/// The access token, where one is held.
fn token(text: &mut Text, status: &ProjectIntegrationStatus, now: Timestamp) {
    if let Some(token) = &status.token {
        let expiry = token.expires_at.as_deref().map_or_else(
            || "does not expire".to_owned(),
            |expiry| {
                if is_past(expiry, now) {
                    format!("expired {}", moment(expiry, now))
                } else {
                    format!("expires {}", moment(expiry, now))
                }
            },
        );
        let next = token.next_refresh_at.as_deref().map_or_else(String::new, |next| {
            if is_past(next, now) {
                ", next refresh due".to_owned()
            } else {
                format!(", next refresh {}", moment(next, now))
            }
        });
        text.line("Token", &format!("{expiry}; last refreshed {}{next}", moment(&token.last_refreshed_at, now)));
    }
}

/// What is held beside it: only where there is something.
fn held(text: &mut Text, status: &ProjectIntegrationStatus, now: Timestamp) {
    if let Some(token) = &status.token {
        match &token.secret_name {
            Some(secret) => text.line("Secret", &format!("mount {secret}, key access_token")),
            None => text.line("Secret", "none is published"),
        }
    }
    if let Some(health) = status.health.as_ref().filter(|health| health.consecutive_failures > 0) {
        let last =
            health.last_failed_at.as_deref().map_or_else(String::new, |at| format!(", last {}", moment(at, now)));
        text.line("Failures", &format!("{} in a row{last}", health.consecutive_failures));
    }
    if !status.scopes.is_empty() {
        text.line("Scopes", &words::printable(&status.scopes.join(", ")));
    }
    for (index, (name, value)) in status.metadata.iter().enumerate() {
        text.line(
            if index == 0 { "Account" } else { "" },
            &format!("{}: {}", words::printable(name), words::value(value)),
        );
    }
    if let Some(installation) = &status.installation {
        let by = installation.installed_by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
        let agent = installation.agent_id.as_deref().map_or_else(String::new, |agent| format!(" for {agent}"));
        text.line("Connected", &format!("{}{by}{agent}", moment(&installation.installed_at, now)));
    }
}

/// Lines with a heading each.
struct Text {
    text: String,
    paint: Paint,
}

impl Text {
    fn line(&mut self, heading: &str, words: &str) {
        let heading = self.paint.strong(&format!("{heading:<HEADING$}"));
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "  {heading}{words}");
    }
}

fn state(integration: &ProjectIntegration, paint: Paint) -> String {
    let observed = integration.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(-1);
    let Some(ready) = condition(integration, ConditionType::Ready) else {
        return paint.unsure("the operator has not looked at it yet");
    };
    let mut words = match ready.status.as_str() {
        "True" => paint.good("ready"),
        "False" => paint.bad(&format!("not ready: {}", ready.reason)),
        _ => paint.unsure(&format!("not known: {}", ready.reason)),
    };
    if is_true(integration, ConditionType::Stalled) {
        words.push_str("; only a person or a change of spec helps");
    }
    if integration.metadata.deletion_timestamp.is_some() {
        words.push_str("; being deleted");
    } else if integration.metadata.generation.is_some_and(|generation| observed < generation) {
        words.push_str("; the last change of the spec is not taken up yet");
    }
    words
}

fn detail(condition: &Condition, now: Timestamp, paint: Paint) -> String {
    let verdict = match condition.status.as_str() {
        "True" => paint.good("yes"),
        "False" => paint.bad("no"),
        _ => paint.unsure("not known"),
    };
    let since = moment(&condition.last_transition_time.0.to_string(), now);
    let said = message(condition).map_or_else(String::new, |message| format!(": {message}"));
    format!("{verdict}, {} for {}{said}", condition.reason, since.trim_end_matches(" ago"))
}

fn message(condition: &Condition) -> Option<String> {
    (!condition.message.is_empty()).then(|| sentence(&condition.message))
}

fn is_past(time: &str, now: Timestamp) -> bool {
    time.parse::<Timestamp>().is_ok_and(|time| time <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    fn plain_block(integration: &ProjectIntegration) -> String {
        block(integration, sample::now(), Paint::Plain)
    }

    #[test]
    fn what_is_well() {
        let expected = "\
web.slack in namespace acme
  What        slack for project web of tenant acme
  State       ready
              Connected to Slack.
  Authorized  yes, Granted for 5m: Slack granted access.
  TokenFresh  yes, Refreshed for 5m: The access token is fresh.
  Healthy     yes, Verified for 5m: Slack accepts the token.
  Token       expires in 42m; last refreshed 18m ago, next refresh in 22m
  Secret      mount web.slack, key access_token
  Scopes      channels:read, chat:write
  Account     workspaceId: T1
              workspaceName: Acme
  Connected   3d ago by jane for 42
";
        assert_eq!(plain_block(&sample::connected()), expected);
    }

    #[test]
    fn what_waits_for_a_person() {
        let expected = "\
web.slack in namespace acme
  What        slack for project web of tenant acme
  State       not ready: AuthorizationRequired
              Nobody has authorized this integration yet.
  To do       connect it: kubectl integration connect web.slack -n acme
  Authorized  no, AuthorizationRequired for 5m: Nobody has authorized this integration yet.
";
        assert_eq!(plain_block(&sample::unauthorized()), expected);
    }

    #[test]
    fn what_the_operator_has_not_seen() {
        let text = plain_block(&sample::fresh());
        assert!(text.contains("State       the operator has not looked at it yet"), "{text}");
        let mut changed = sample::connected();
        changed.metadata.generation = Some(2);
        assert!(plain_block(&changed).contains("ready; the last change of the spec is not taken up yet"));
    }

    #[test]
    fn a_key_is_not_refreshed() {
        let text = plain_block(&sample::keyed());
        assert!(text.contains("  API key     given 18m ago\n  Secret      mount web.slack"), "{text}");
        assert!(!text.contains("refresh"), "{text}");
    }

    #[test]
    fn an_expired_token_says_so() {
        let mut expired = sample::connected();
        if let Some(token) = expired.status.as_mut().and_then(|status| status.token.as_mut()) {
            token.expires_at = Some("2026-05-01T11:50:00Z".to_owned());
            token.next_refresh_at = Some("2026-05-01T11:40:00Z".to_owned());
        }
        assert!(plain_block(&expired).contains("expired 10m ago; last refreshed 18m ago, next refresh due"));
    }

    #[test]
    fn colours_only_where_asked() {
        let painted = block(&sample::connected(), sample::now(), Paint::Colour);
        assert!(painted.contains("\x1b[32mready\x1b[0m"));
        assert!(!plain_block(&sample::connected()).contains('\x1b'));
    }
}
