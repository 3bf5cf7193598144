//! What an app's answer to an action means.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;

use crate::provider::action::{BuildError, ErrorRules};
use crate::provider::expression::{Expression, Variables, contains_secret};
use crate::provider::gate::Admission;
use crate::provider::outbound::{OutboundResponse, SendError, retry_after};

/// Longest word and text of an app that are passed on, in characters.
const LONGEST_CODE: usize = 128;
const LONGEST_MESSAGE: usize = 512;

/// What an app said when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The status of its answer.
    pub status: u16,
    /// Its own word.
    pub code: Option<String>,
    /// Its text.
    pub message: Option<String>,
    /// What a person does about it.
    pub advice: Option<String>,
}

/// Why an action was not carried out, or is not known to have been.
#[derive(Debug, Error)]
pub enum Failure {
    /// No request can be made of the input.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The target does not belong to the connection, or is not there.
    #[error("the target does not belong to this connection")]
    NotOurs,
    /// The app refuses.
    #[error("the app refuses (HTTP {})", .0.status)]
    Refused(Refusal),
    /// The app does not take the credential.
    #[error("the app does not take the credential (HTTP {})", .0.status)]
    Unauthorized(Refusal),
    /// The app, or our own budget for it, wants fewer requests.
    #[error("fewer requests are wanted")]
    Limited {
        /// What the app said; `None` where it was not asked.
        refusal: Option<Refusal>,
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// The app has failed so often that it is left alone for a while.
    #[error("the app has failed too often and is left alone for a while")]
    Paused {
        /// For how long.
        retry_after: Duration,
    },
    /// A failure of the app's own: perhaps it was carried out.
    #[error("the app failed (HTTP {})", .0.status)]
    Failed(Refusal),
    /// Nothing reached the app.
    #[error("the app could not be reached")]
    NotSent(#[source] SendError),
    /// It may have been carried out.
    #[error("the app gave no answer")]
    Unknown(#[source] SendError),
}

impl Failure {
    /// Whether sending the request again may help, and does no harm.
    pub(super) const fn may_pass(&self, repeatable: bool) -> bool {
        match self {
            Self::NotSent(SendError::NotSent(_)) => true,
            Self::Failed(_) | Self::Unknown(_) => repeatable,
            _ => false,
        }
    }

    /// In a word, for counts.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Build(_) => "invalid",
            Self::NotOurs => "not_ours",
            Self::Refused(_) => "refused",
            Self::Unauthorized(_) => "unauthorized",
            Self::Limited { .. } | Self::Paused { .. } => "limited",
            Self::Failed(_) | Self::NotSent(_) => "unavailable",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// An answer, sorted.
pub(super) enum Verdict {
    Success { status: u16, body: Value },
    Refused(Refusal),
    Unauthorized(Refusal),
    Limited { refusal: Refusal, retry_after: Option<Duration> },
    Failed(Refusal),
}

impl Verdict {
    pub(super) fn of(
        response: &OutboundResponse,
        errors: &ErrorRules,
        success: Option<&Expression>,
        secrets: &[&str],
    ) -> Self {
        let status = response.status.as_u16();
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_else(|_| text(&response.body));
        let variables = Variables { response: body, status: status.into(), ..Variables::default() };
        let yes = success.is_none_or(|success| matches!(success.evaluate(&variables), Ok(Value::Bool(true))));
        if response.status.is_success() && yes {
            return Self::Success { status, body: variables.response };
        }
        let refusal = Refusal::of(status, errors, &variables, secrets);
        let is = |words: &[String]| refusal.code.as_ref().is_some_and(|code| words.contains(code));
        if is_limit(response.status, &response.headers) || is(&errors.limited) {
            let retry_after = retry_after(&response.headers, Timestamp::now());
            return Self::Limited { refusal, retry_after };
        }
        match status {
            401 => Self::Unauthorized(refusal),
            _ if is(&errors.expired) => Self::Unauthorized(refusal),
            500..=599 => Self::Failed(refusal),
            _ => Self::Refused(refusal),
        }
    }

    /// Tells the gate.
    pub(super) fn tell(&self, admission: Admission) {
        match self {
            Self::Limited { retry_after, .. } => admission.limited(*retry_after),
            Self::Failed(_) => admission.failed(),
            _ => admission.succeeded(),
        }
    }

    pub(super) fn into_result(self) -> Result<(u16, Value), Failure> {
        Err(match self {
            Self::Success { status, body } => return Ok((status, body)),
            Self::Refused(refusal) => Failure::Refused(refusal),
            Self::Unauthorized(refusal) => Failure::Unauthorized(refusal),
            Self::Limited { refusal, retry_after } => Failure::Limited { refusal: Some(refusal), retry_after },
            Self::Failed(refusal) => Failure::Failed(refusal),
        })
    }
}

/// Whether an answer says, without its body, that fewer requests are wanted.
pub fn is_limit(status: StatusCode, headers: &HeaderMap) -> bool {
    let exhausted = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::FORBIDDEN && exhausted
}

impl Refusal {
    fn of(status: u16, errors: &ErrorRules, variables: &Variables, secrets: &[&str]) -> Self {
        let said = |expression: Option<&Expression>, longest: usize| {
            let text = match expression?.evaluate(variables).ok()? {
                Value::String(text) => text,
                value @ Value::Number(_) => value.to_string(),
                _ => return None,
            };
            let text: String = text.chars().filter(|letter| !letter.is_control()).take(longest).collect();
            let fits = !text.is_empty() && !contains_secret(&Value::from(text.as_str()), secrets);
            fits.then_some(text)
        };
        let code = said(errors.code.as_deref(), LONGEST_CODE);
        let message = said(errors.message.as_deref(), LONGEST_MESSAGE);
        let by_code = code.as_ref().and_then(|code| errors.advice.get(code));
        let advice = by_code.or_else(|| errors.advice.get(&status.to_string())).cloned();
        Self { status, code, message, advice }
    }
}

/// What is no JSON, such as the `ok` of an incoming webhook.
fn text(body: &[u8]) -> Value {
    std::str::from_utf8(body).map_or(Value::Null, |text| Value::String(text.chars().take(LONGEST_MESSAGE).collect()))
}
