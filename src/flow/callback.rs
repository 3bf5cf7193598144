//! The provider sends the browser back: checked, consumed once, exchanged, and sent on to a frontend.
//!
//! The order matters. Path, duplicate parameters and cookie are looked at before anything changes, so that a forged
//! visit consumes nothing; then the attempt is consumed, and only the one visit that consumed it goes on.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use url::Url;

use super::attempts::Stored;
use super::exchange::{ExchangeError, exchange};
use super::open::About;
use super::{Flow, Place};
use crate::config::InitiatorCheck;
use crate::digest::{equal, random_token, short_hash};
use crate::oauth::attempt::{Attempt, CONFIRM_WINDOW, Parked, attempt_name};
use crate::provider::registry::Usable;
use crate::sensitive::Sensitive;
use crate::trace::{self, Kind, Span};

/// How long a browser waits for the exchange before it is sent on with `status=pending`.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest parameter that is looked at, in bytes.
const MAX_PARAMETER: usize = 4096;
/// Longest parameter that is kept for expressions, in bytes.
const MAX_KEPT: usize = 1024;

/// How a callback ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What happened.
    pub ending: Ending,
    /// The app, as the path names it.
    pub type_: String,
    /// Where the browser goes; `None`: the operator's own page.
    pub frontend: Option<Url>,
    /// Which connection it was about. Not told where the state was no good, or the browser another's.
    pub about: Option<About>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The grant is held.
    Success,
    /// The exchange takes longer than a person should wait; it goes on.
    Pending,
    /// The caller of install has to confirm, with this.
    Confirm(Sensitive),
    /// It failed.
    Failed(Failure),
}

/// The words of `?error=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The person, or the provider, said no.
    OAuthDenied,
    /// No code came back.
    MissingCode,
    /// No state came back.
    MissingState,
    /// The state is unknown, used, expired, another's, or the flow does not belong to this browser.
    InvalidState,
    /// The provider did not give tokens for the code.
    TokenExchangeFailed,
    /// The tokens could not be kept.
    StorageFailed,
    /// The provider failed before it could ask the person.
    ProviderError,
    /// Another account than the connected one; the connection stays as it is.
    AccountMismatch,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OAuthDenied,
        Self::MissingCode,
        Self::MissingState,
        Self::InvalidState,
        Self::TokenExchangeFailed,
        Self::StorageFailed,
        Self::ProviderError,
        Self::AccountMismatch,
    ];

    /// The word that a frontend gets.
    pub fn word(self, type_: &str) -> String {
        match self {
            Self::OAuthDenied => format!("{type_}_{}", self.as_str()),
            _ => self.as_str().to_owned(),
        }
    }

    /// A label for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OAuthDenied => "oauth_denied",
            Self::MissingCode => "missing_code",
            Self::MissingState => "missing_state",
            Self::InvalidState => "invalid_state",
            Self::TokenExchangeFailed => "token_exchange_failed",
            Self::StorageFailed => "storage_failed",
            Self::ProviderError => "provider_error",
            Self::AccountMismatch => "account_mismatch",
        }
    }
}

impl From<&ExchangeError> for Failure {
    fn from(error: &ExchangeError) -> Self {
        match error {
            ExchangeError::Token(_) | ExchangeError::NotSent(_) | ExchangeError::Ambiguous(_) => {
                Self::TokenExchangeFailed
            }
            ExchangeError::Store(_) | ExchangeError::Integration(_) => Self::StorageFailed,
            ExchangeError::Gone => Self::InvalidState,
            ExchangeError::AccountMismatch => Self::AccountMismatch,
        }
    }
}

/// The parameters of an authorization response (RFC 6749 §4.1.2), each at most once.
#[derive(Clone, Debug, Default)]
pub struct Response {
    code: Option<Sensitive>,
    state: Option<Sensitive>,
    error: Option<String>,
    issuer: Option<String>,
    /// All others, in their order.
    others: Vec<(String, String)>,
}

impl Response {
    /// Takes the parameters apart; `None` when one of the protocol's stands twice, is far too long, or `code` and `error`
    /// meet.
    pub fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut response = Self::default();
        for (name, value) in pairs {
            let known = matches!(name, "code" | "state" | "error" | "iss");
            if known && value.len() > MAX_PARAMETER {
                return None;
            }
            let twice = match name {
                "code" => response.code.replace(Sensitive::new(value)).is_some(),
                "state" => response.state.replace(Sensitive::new(value)).is_some(),
                "error" => response.error.replace(value.to_owned()).is_some(),
                "iss" => response.issuer.replace(value.to_owned()).is_some(),
                _ => {
                    response.others.push((name.to_owned(), value.to_owned()));
                    false
                }
            };
            if twice {
                return None;
            }
        }
        let filled = |value: &Option<Sensitive>| value.as_ref().is_some_and(|value| !value.is_empty());
        let both = filled(&response.code) && response.error.is_some();
        response.code = response.code.filter(|code| !code.is_empty());
        response.state = response.state.filter(|state| !state.is_empty());
        (!both).then_some(response)
    }

    /// The parameters of these names; `None` when one of them stands twice or is too long.
    fn kept(&self, names: &[String]) -> Option<BTreeMap<String, String>> {
        let mut kept = BTreeMap::new();
        for (name, value) in self.others.iter().filter(|(name, _)| names.contains(name)) {
            if value.len() > MAX_KEPT || kept.insert(name.clone(), value.clone()).is_some() {
                return None;
            }
        }
        Some(kept)
    }
}

impl Flow {
    /// Carries a callback through. `browser` is the visitor's cookie.
    pub async fn callback(&self, place: &Place, response: Option<Response>, browser: Option<&str>) -> Finished {
        let finished = |ending, frontend: Option<Url>, about| {
            let about = if ending == Ending::Failed(Failure::InvalidState) { None } else { about };
            Finished { ending, type_: place.type_.clone(), frontend, about }
        };
        let failed = |failure| finished(Ending::Failed(failure), self.frontends.first().cloned(), None);
        let Some(response) = response else { return failed(Failure::InvalidState) };
        let since = SystemTime::now();
        let state = match (&response.state, &response.error, &response.code) {
            (Some(state), ..) => state.clone(),
            // Nothing can be consumed without a state, and nothing is.
            (None, Some(error), _) => return failed(error_word(error)),
            (None, None, None) => return failed(Failure::MissingCode),
            (None, None, Some(_)) => return failed(Failure::MissingState),
        };
        let stored = match self.attempts.get(&attempt_name(state.expose())).await {
            Ok(Some(stored)) if stored.attempt.is_open(Self::now()) && Self::belongs(&stored.attempt, place) => stored,
            Ok(_) => return failed(Failure::InvalidState),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot look up an authorization attempt");
                return failed(Failure::StorageFailed);
            }
        };
        let frontend = self.return_address(&stored.attempt);
        // What the browser says of traces is not believed: only who holds the state comes this far.
        let span = Span::continuing(stored.attempt.traceparent.as_deref(), "callback", Kind::Server, since);
        let ending = span.within(Box::pin(self.finish(&stored, response, browser))).await;
        if let Err(failure) = &ending {
            span.fail(failure.as_str());
        }
        span.end();
        finished(ending.unwrap_or_else(Ending::Failed), frontend, Some(About::from(&stored.attempt)))
    }

    async fn finish(&self, stored: &Stored, response: Response, browser: Option<&str>) -> Result<Ending, Failure> {
        let query = response.kept(&stored.attempt.callback_params).ok_or(Failure::InvalidState)?;
        let attempt = &Attempt { query, ..stored.attempt.clone() };
        let known = attempt.knows_browser(browser);
        if self.initiator_check == InitiatorCheck::Click && !known {
            return Err(Failure::InvalidState);
        }
        if let Some(error) = &response.error {
            let consumed = self.attempts.deny(stored, Self::now()).await.map_err(|error| storage(&error))?;
            return Err(if consumed { error_word(error) } else { Failure::InvalidState });
        }
        let code = response.code.ok_or(Failure::MissingCode)?;
        if self.initiator_check == InitiatorCheck::Confirm && !known {
            let usable = self.pinned(attempt).await.ok_or(Failure::InvalidState)?;
            check_issuer(&usable, response.issuer.as_deref())?;
            return self.park(stored, attempt.clone(), code).await;
        }
        if !self.attempts.consume(stored).await.map_err(|error| storage(&error))? {
            return Err(Failure::InvalidState);
        }
        let usable = self.pinned(attempt).await.ok_or(Failure::InvalidState)?;
        check_issuer(&usable, response.issuer.as_deref())?;
        self.exchange_patiently(attempt.clone(), usable, code).await
    }

    /// The exchange runs in a task of its own: neither a closed tab nor a shutdown loses its answer.
    async fn exchange_patiently(&self, attempt: Attempt, usable: Usable, code: Sensitive) -> Result<Ending, Failure> {
        let flow = self.clone();
        let task = self.tasks.spawn(trace::carried(async move {
            let name = attempt.integration.name.clone();
            let outcome = exchange(&flow, &attempt, &usable, code, false).await;
            match &outcome {
                Ok(()) => tracing::info!(namespace = attempt.integration.namespace, name, "connected"),
                Err(error) => tracing::warn!(
                    namespace = attempt.integration.namespace,
                    name,
                    error = error as &dyn std::error::Error,
                    "connecting failed"
                ),
            }
            outcome
        }));
        match tokio::time::timeout(PATIENCE, task).await {
            Err(_) => Ok(Ending::Pending),
            Ok(Ok(Ok(()))) => Ok(Ending::Success),
            Ok(Ok(Err(error))) => Err(Failure::from(&error)),
            Ok(Err(_)) => Err(Failure::TokenExchangeFailed),
        }
    }

    /// Keeps the code until the caller of install confirms.
    async fn park(&self, stored: &Stored, mut attempt: Attempt, code: Sensitive) -> Result<Ending, Failure> {
        let secret = random_token();
        let deadline = (Self::now() + CONFIRM_WINDOW).min(attempt.deadline);
        attempt.parked = Some(Parked { code, confirmation: short_hash(&["confirmation", &secret]), deadline });
        if !self.attempts.replace(stored, &attempt).await.map_err(|error| storage(&error))? {
            return Err(Failure::InvalidState);
        }
        let ticket = self.key.ticket(&attempt);
        let name = attempt_name(self.key.state(ticket.expose()).expose());
        let id = name.trim_start_matches("authorization-");
        Ok(Ending::Confirm(Sensitive::new(format!("{id}.{secret}"))))
    }

    /// The caller of install confirms a parked code. `accept`: another account may replace the connected one.
    pub async fn confirm(&self, who: &Confirmer<'_>) -> Result<(), ConfirmError> {
        let (id, secret) = who.confirmation.split_once('.').ok_or(ConfirmError::Invalid)?;
        if id.len() != 40 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ConfirmError::Invalid);
        }
        let stored = self
            .attempts
            .get(&format!("authorization-{id}"))
            .await
            .map_err(ConfirmError::Storage)?
            .ok_or(ConfirmError::Invalid)?;
        let attempt = &stored.attempt;
        let parked = attempt.parked.as_ref().ok_or(ConfirmError::Invalid)?;
        let same_flow = attempt.integration.namespace == who.namespace
            && attempt.integration.name == who.name
            && equal(&parked.confirmation, short_hash(&["confirmation", secret]));
        if !same_flow || parked.deadline <= Self::now() {
            return Err(ConfirmError::Invalid);
        }
        if attempt.caller.as_deref() != Some(who.caller) || attempt.agent_id.as_deref() != who.agent_id {
            return Err(ConfirmError::NotTheInitiator);
        }
        if !self.attempts.consume(&stored).await.map_err(ConfirmError::Storage)? {
            return Err(ConfirmError::Invalid);
        }
        let usable = self.pinned(attempt).await.ok_or(ConfirmError::Invalid)?;
        let (flow, attempt, code, accept) = (self.clone(), attempt.clone(), parked.code.clone(), who.accept);
        let task = self.tasks.spawn(async move { exchange(&flow, &attempt, &usable, code, accept).await });
        match task.await {
            Ok(outcome) => outcome.map_err(ConfirmError::Exchange),
            Err(_) => Err(ConfirmError::Invalid),
        }
    }
}

/// Who confirms what.
#[derive(Clone, Debug)]
pub struct Confirmer<'a> {
    /// Namespace of the integration in the path.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The caller.
    pub caller: &'a str,
    /// The person of the product.
    pub agent_id: Option<&'a str>,
    /// What the callback handed out.
    pub confirmation: &'a str,
    /// Whether another account may replace the connected one.
    pub accept: bool,
}

/// A confirmation failed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// Unknown, used or expired.
    #[error("the confirmation is not valid any more; connect again")]
    Invalid,
    /// Somebody else began the flow.
    #[error("the flow was begun by somebody else; only they, with the same agent_id, can confirm it")]
    NotTheInitiator,
    /// Storage failed.
    #[error("the confirmation could not be looked up; try again")]
    Storage(#[source] super::attempts::AttemptError),
    /// The exchange failed.
    #[error(transparent)]
    Exchange(ExchangeError),
}

/// RFC 9207 §2.4: an `iss` must be the issuer that the flow began with, and must be there where the server says so.
fn check_issuer(usable: &Usable, issuer: Option<&str>) -> Result<(), Failure> {
    match (issuer, &usable.client.issuer) {
        (Some(sent), Some(known)) if sent != known => Err(Failure::InvalidState),
        (None, _) if usable.client.issuer_in_response => Err(Failure::InvalidState),
        _ => Ok(()),
    }
}

/// RFC 6749 §4.1.2.1: two of the words are the provider's own trouble, the others a no.
fn error_word(error: &str) -> Failure {
    match error {
        "server_error" | "temporarily_unavailable" => Failure::ProviderError,
        _ => Failure::OAuthDenied,
    }
}

fn storage(error: &super::attempts::AttemptError) -> Failure {
    tracing::error!(error = error as &dyn std::error::Error, "cannot consume an authorization attempt");
    Failure::StorageFailed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(pairs: &[(&str, &str)]) -> Option<Response> {
        Response::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn duplicates_and_contradictions_are_refused() {
        assert!(response(&[("code", "a"), ("state", "b"), ("iss", "c"), ("x", "1"), ("x", "2")]).is_some());
        for bad in [
            &[("code", "a"), ("code", "a")][..],
            &[("state", "a"), ("state", "b")],
            &[("code", "a"), ("error", "access_denied")],
            &[("error", "a"), ("error", "b")],
            &[("iss", "a"), ("iss", "a")],
        ] {
            assert!(response(bad).is_none(), "{bad:?}");
        }
        let long = "x".repeat(MAX_PARAMETER + 1);
        assert!(response(&[("state", &long)]).is_none());
    }

    #[test]
    fn kept_parameters_stand_once_and_are_short() {
        let names = ["guild_id".to_owned(), "shop".to_owned()];
        let back = response(&[("code", "a"), ("guild_id", "7"), ("x", "1"), ("x", "2"), ("state", "b")]).unwrap();
        assert_eq!(back.kept(&names), Some([("guild_id".to_owned(), "7".to_owned())].into()));
        let twice = response(&[("state", "b"), ("guild_id", "7"), ("guild_id", "7")]).unwrap();
        assert_eq!(twice.kept(&names), None);
        assert_eq!(twice.kept(&[]), Some(BTreeMap::new()));
        let long = "x".repeat(MAX_KEPT + 1);
        assert_eq!(response(&[("shop", &long)]).unwrap().kept(&names), None);
    }

    #[test]
    fn empty_is_missing() {
        let response = response(&[("code", ""), ("state", "")]).unwrap();
        assert!(response.code.is_none() && response.state.is_none());
    }

    #[test]
    fn words() {
        assert_eq!(error_word("access_denied").word("slack"), "slack_oauth_denied");
        assert_eq!(error_word("<script>").word("slack"), "slack_oauth_denied");
        assert_eq!(error_word("server_error").word("slack"), "provider_error");
    }
}
