//! How a connect by annotation stands, read from the integration alone.
//!
//! While a link is out, `status.authorization` is there. It goes when the link was used or ran out; then either the
//! installation is a new one, or the `Authorized` condition has changed and says why not. A condition that stood
//! before the link was out is no answer to it, and neither is an older installation.

use std::collections::BTreeMap;

use integration_operator::api::{ConditionType, ProjectIntegration, Reason};
use jiff::Timestamp;

use crate::status::advice::{give_key, reason};
use crate::status::condition;
use crate::words::{self, sentence};

/// How a connect stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// The operator has not made a link yet.
    Asked,
    /// A link is out, in this Secret.
    Open {
        /// The Secret with the link.
        secret: String,
    },
    /// The link is gone, and what came of it is not written yet.
    Settling,
    /// Connected, with these words.
    Connected(String),
    /// Not connected, with these words.
    Failed(String),
}

/// What stood before the link was used: the standard against which an answer is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline {
    installed_at: Option<String>,
    authorized: Option<(String, String)>,
    /// Until when the link can be used.
    ends: Option<Timestamp>,
}

impl Baseline {
    /// What an integration says now.
    pub(crate) fn of(integration: &ProjectIntegration) -> Self {
        let status = integration.status.as_ref();
        let authorization = status.and_then(|status| status.authorization.as_ref());
        Self {
            installed_at: installed_at(integration),
            authorized: authorized(integration),
            ends: authorization.and_then(|authorization| authorization.expires_at.parse().ok()),
        }
    }
}

/// Where a connect stands. `before` is what stood when the link was last seen, or when it was asked for;
/// `seen`: whether a link was out at all; `handled`: whether the operator has taken the request up.
pub(crate) fn stand(
    integration: &ProjectIntegration,
    before: &Baseline,
    seen: bool,
    handled: bool,
    now: Timestamp,
) -> Stand {
    let status = integration.status.as_ref();
    let installed = installed_at(integration);
    let is_authorized =
        condition(integration, ConditionType::Authorized).is_some_and(|condition| condition.status == "True");
    if is_authorized && installed.is_some() && installed != before.installed_at {
        return Stand::Connected(connected(integration));
    }
    let said = condition(integration, ConditionType::Authorized).map(|condition| sentence(&condition.message));
    let refusal = refusal(integration).filter(|_| authorized(integration) != before.authorized);
    if let Some(reason) = refusal {
        return Stand::Failed(refused(reason, said.as_deref().unwrap_or_default()));
    }
    let authorization = status.and_then(|status| status.authorization.as_ref());
    if let Some(authorization) = authorization.filter(|_| handled) {
        if before.ends.is_some_and(|ends| ends <= now) {
            return Stand::Failed(RAN_OUT.to_owned());
        }
        return Stand::Open { secret: authorization.secret_name.clone() };
    }
    if handled && wants_key(integration) {
        return Stand::Failed(format!("no link: this app is connected by an API key; {}", give_key(integration)));
    }
    match (seen, handled) {
        (true, _) if before.ends.is_some_and(|ends| ends <= now) => Stand::Failed(RAN_OUT.to_owned()),
        (true, _) => Stand::Settling,
        (false, true) => Stand::Failed(no_link(integration)),
        (false, false) => Stand::Asked,
    }
}

/// Whether the operator waits for a key, and not for a person.
fn wants_key(integration: &ProjectIntegration) -> bool {
    let why = condition(integration, ConditionType::Authorized).and_then(|condition| reason(&condition.reason));
    why == Some(Reason::ApiKeyMissing)
}

const RAN_OUT: &str = "not connected: the link ran out before anybody finished; connect again";

/// Reasons by which an attempt ends without a connection.
fn refusal(integration: &ProjectIntegration) -> Option<Reason> {
    let reason = reason(&condition(integration, ConditionType::Authorized)?.reason)?;
    let ends = [
        Reason::AuthorizationDenied,
        Reason::AccountMismatch,
        Reason::ProviderChanged,
        Reason::ScopesInsufficient,
        Reason::ClientCredentialsInvalid,
        Reason::StorageFailed,
    ];
    ends.contains(&reason).then_some(reason)
}

fn refused(reason: Reason, said: &str) -> String {
    let words = match reason {
        Reason::AuthorizationDenied => "not connected: the person, or the app, said no.",
        Reason::AccountMismatch => {
            "not connected: that was another account than the connected one, which is kept. \
             Disconnect first, or connect with --server and --accept-account."
        }
        Reason::ProviderChanged => "not connected: the provider changed meanwhile; connect again.",
        Reason::ScopesInsufficient => "not connected: fewer scopes were granted than asked for.",
        Reason::ClientCredentialsInvalid => "not connected: the app refuses the client's own credentials.",
        _ => "not connected.",
    };
    format!("{words} {said}").trim_end().to_owned()
}

/// The operator took the request up and made no link; its conditions say why.
fn no_link(integration: &ProjectIntegration) -> String {
    let ready = condition(integration, ConditionType::Ready);
    let why = ready.map_or_else(
        || "it says nothing about why".to_owned(),
        |ready| format!("{}: {}", ready.reason, sentence(&ready.message)),
    );
    format!("the operator made no link: {why}")
}

fn connected(integration: &ProjectIntegration) -> String {
    let spec = &integration.spec;
    let metadata = integration.status.as_ref().map(|status| status.metadata.clone()).unwrap_or_default();
    format!("connected project {} to {}{}", spec.project_id, spec.type_, account(&metadata))
}

/// The account, a line for each value.
pub(crate) fn account(metadata: &BTreeMap<String, serde_json::Value>) -> String {
    metadata.iter().fold(String::new(), |text, (name, value)| text + "\n  " + name + ": " + &words::value(value))
}

fn installed_at(integration: &ProjectIntegration) -> Option<String> {
    Some(integration.status.as_ref()?.installation.as_ref()?.installed_at.clone())
}

/// Reason and message, by which two refusals are told apart.
fn authorized(integration: &ProjectIntegration) -> Option<(String, String)> {
    let condition = condition(integration, ConditionType::Authorized)?;
    Some((condition.reason.clone(), condition.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;
    use integration_operator::api::project_integration::AuthorizationStatus;

    fn open(mut integration: ProjectIntegration) -> ProjectIntegration {
        if let Some(status) = integration.status.as_mut() {
            status.authorization = Some(AuthorizationStatus {
                secret_name: "web.slack-authorization".to_owned(),
                expires_at: "2026-05-01T12:10:00Z".to_owned(),
            });
        }
        integration
    }

    fn denied() -> ProjectIntegration {
        let mut integration = sample::unauthorized();
        for condition in integration.status.iter_mut().flat_map(|status| &mut status.conditions) {
            "AuthorizationDenied".clone_into(&mut condition.reason);
            "access_denied at the consent page".clone_into(&mut condition.message);
        }
        integration
    }

    #[test]
    fn a_link_comes_and_the_connection_after_it() {
        let now = sample::now();
        let before = Baseline::of(&sample::unauthorized());
        assert_eq!(stand(&sample::unauthorized(), &before, false, false, now), Stand::Asked);
        let waiting = open(sample::unauthorized());
        let secret = "web.slack-authorization".to_owned();
        assert_eq!(stand(&waiting, &before, false, true, now), Stand::Open { secret });
        let before = Baseline::of(&waiting);
        assert_eq!(stand(&sample::unauthorized(), &before, true, true, now), Stand::Settling);
        let words = "connected project web to slack\n  workspaceId: T1\n  workspaceName: Acme".to_owned();
        assert_eq!(stand(&sample::connected(), &before, true, true, now), Stand::Connected(words));
    }

    #[test]
    fn an_older_installation_is_no_answer() {
        let before = Baseline::of(&sample::connected());
        assert_eq!(stand(&sample::connected(), &before, true, true, sample::now()), Stand::Settling);
    }

    #[test]
    fn a_link_of_an_earlier_request_is_not_opened() {
        let earlier = open(sample::unauthorized());
        assert_eq!(stand(&earlier, &Baseline::of(&earlier), false, false, sample::now()), Stand::Asked);
    }

    #[test]
    fn a_no_is_told_and_an_earlier_no_is_not() {
        let now = sample::now();
        let before = Baseline::of(&open(sample::unauthorized()));
        let Stand::Failed(words) = stand(&denied(), &before, true, true, now) else { panic!("not told") };
        assert_eq!(words, "not connected: the person, or the app, said no. access_denied at the consent page.");
        let before = Baseline::of(&open(denied()));
        assert!(matches!(stand(&open(denied()), &before, true, true, now), Stand::Open { .. }));
        assert_eq!(stand(&denied(), &before, true, true, now), Stand::Settling);
    }

    #[test]
    fn a_link_runs_out() {
        let late: Timestamp = "2026-05-01T12:10:00Z".parse().unwrap();
        let before = Baseline::of(&open(sample::unauthorized()));
        assert_eq!(stand(&sample::unauthorized(), &before, true, true, late), Stand::Failed(RAN_OUT.to_owned()));
        let waiting = open(sample::unauthorized());
        assert_eq!(stand(&waiting, &before, true, true, late), Stand::Failed(RAN_OUT.to_owned()));
    }

    #[test]
    fn a_key_has_no_link() {
        let keyless = sample::keyless();
        let Stand::Failed(words) = stand(&keyless, &Baseline::of(&keyless), false, true, sample::now()) else {
            panic!("waits for a link")
        };
        assert!(words.starts_with("no link: this app is connected by an API key; give it"), "{words}");
    }

    #[test]
    fn no_link_has_a_reason() {
        let before = Baseline::of(&sample::failing());
        let Stand::Failed(words) = stand(&sample::failing(), &before, false, true, sample::now()) else { panic!("?") };
        assert!(words.starts_with("the operator made no link: RefreshFailing: Slack answered 503"), "{words}");
    }
}
