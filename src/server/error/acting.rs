//! How it is said that an action was not carried out, or is not known to have been.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::ApiError;
use crate::act::{Failure, Refusal};

/// An app's own words.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AppError")]
pub(super) struct Said<'a> {
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Said<'a> {
    pub(super) fn of(error: &'a ApiError) -> Option<Self> {
        let ApiError::Action { failure, .. } = error else { return None };
        let Refusal { status, code, message, .. } = refusal_of(failure)?;
        Some(Self { status: *status, code: code.as_deref(), message: message.as_deref() })
    }
}

/// The status and the stable word of an action that was not carried out.
pub(super) const fn of_action(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Build(_) => (StatusCode::BAD_REQUEST, "invalid_input"),
        Failure::NotOurs => (StatusCode::FORBIDDEN, "target_not_connected"),
        Failure::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "app_refused"),
        Failure::Unauthorized(_) => (StatusCode::CONFLICT, "app_unauthorized"),
        Failure::Limited { .. } => (StatusCode::TOO_MANY_REQUESTS, "app_rate_limited"),
        Failure::Paused { .. } | Failure::Failed(_) | Failure::NotSent(_) => {
            (StatusCode::BAD_GATEWAY, "app_unavailable")
        }
        Failure::Unknown(_) => (StatusCode::BAD_GATEWAY, "outcome_unknown"),
    }
}

const fn refusal_of(failure: &Failure) -> Option<&Refusal> {
    match failure {
        Failure::Refused(refusal)
        | Failure::Unauthorized(refusal)
        | Failure::Failed(refusal)
        | Failure::Limited { refusal: Some(refusal), .. } => Some(refusal),
        _ => None,
    }
}

/// How long to wait.
pub(super) fn pause_of(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Limited { retry_after, .. } => Some(retry_after.unwrap_or(Duration::from_secs(1))),
        Failure::Paused { retry_after } => Some(*retry_after),
        _ => None,
    }
}

/// What became of an action, and what to do.
pub(super) fn told(app: &str, failure: &Failure) -> String {
    let word = refusal_of(failure).map(|refusal| match &refusal.code {
        Some(code) => format!("{code}, HTTP {}", refusal.status),
        None => format!("HTTP {}", refusal.status),
    });
    let word = word.unwrap_or_default();
    let advice = refusal_of(failure).and_then(|refusal| refusal.advice.clone());
    let (what, to_do) = match failure {
        Failure::Build(error) => return error.to_string(),
        Failure::NotOurs => {
            (format!("the target is not part of what is connected at {app}, or is not there"), "name another one")
        }
        Failure::Refused(_) => (format!("{app} refuses ({word})"), "see its documentation"),
        Failure::Unauthorized(_) => {
            (format!("{app} does not take the credential ({word})"), "connect again, if that goes on")
        }
        Failure::Limited { .. } => (format!("{app} wants fewer requests"), "wait for the seconds in Retry-After"),
        Failure::Paused { .. } => {
            (format!("{app} has failed too often and is left alone"), "wait for the seconds in Retry-After")
        }
        Failure::Failed(_) => (format!("{app} failed ({word})"), "look whether it was carried out, and try again"),
        Failure::NotSent(_) => (format!("{app} could not be reached; nothing was done"), "try again"),
        Failure::Unknown(_) => {
            (format!("{app} gave no answer; perhaps it was carried out"), "look whether it was, and try again")
        }
    };
    format!("{what}; {}", advice.as_deref().unwrap_or(to_do))
}
