//! Carries out an action: proves its target, sends its request, and says what the answer means.
//!
//! Knows rules and a connection, nothing of HTTP callers or the cluster. A request is sent again only where that is safe: it
//! did not reach the app, or the app knows it as the same one.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use ipnet::IpNet;
use serde_json::{Value, json};
use url::Url;

use crate::provider::action::{ActionRules, BuildError, Built, ErrorRules, LARGEST, Target, first_below};
use crate::provider::expression::{Expression, Variables, contains_secret, without_tokens};
use crate::provider::gate::{Busy, Gates, Why};
use crate::provider::outbound::{Outbound, OutboundRequest, SendError};
use answer::Verdict;
pub use answer::{Failure, Refusal, is_limit};

/// The longest that one request takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pauses before a request is sent again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// What an action is carried out with.
pub struct Actor<'a> {
    /// Requests.
    pub outbound: &'a Outbound,
    /// Whether they may be sent.
    pub gates: &'a Gates,
    /// The uid of the integration: each has a gate of its own, so that none waits for another.
    pub uid: &'a str,
    /// How the app words refusals.
    pub errors: &'a ErrorRules,
    /// The address of the API, or the one that is a credential.
    pub base: &'a Url,
    /// The header that carries the credential.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// Private networks that the app may lie in.
    pub private_networks: Arc<[IpNet]>,
    /// What expressions see, without an answer.
    pub variables: Variables,
    /// What no result may hold.
    pub secrets: Vec<&'a str>,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub struct Done {
    /// The status of the app's answer.
    pub status: u16,
    /// What the caller gets.
    pub result: Value,
    /// The cursor of the next page, where there is one.
    pub next: Option<Value>,
}

impl Actor<'_> {
    /// Carries it out; `key` tells a repeated request from a new one, where the app can.
    pub async fn act(&self, rules: &ActionRules, key: &str) -> Result<Done, Failure> {
        let variables = Variables { request: json!({ "key": key }), ..self.variables.clone() };
        let built = rules.build(self.base, &variables, Some(key))?;
        if let Some(target) = &rules.target {
            self.prove(target, &rules.headers).await?;
        }
        let (status, body) = self.repeated(&built, rules.is_repeatable(), rules.success.as_deref()).await?;
        Ok(self.done(rules, status, body))
    }

    /// Asks whose the target is.
    async fn prove(&self, target: &Target, headers: &HeaderMap) -> Result<(), Failure> {
        let url = first_below(&target.paths, self.base, &self.variables).map_err(BuildError::from)?;
        let mut headers = headers.clone();
        headers.remove(http::header::CONTENT_TYPE);
        let question = Built { method: Method::GET, url, headers, body: None };
        let body = match self.repeated(&question, true, None).await {
            Ok((_, body)) => body,
            // That it is not there, or not to be seen, is all that a stranger learns.
            Err(Failure::Refused(_)) => return Err(Failure::NotOurs),
            Err(failure) => return Err(failure),
        };
        let variables = Variables { response: body, ..self.variables.clone() };
        match target.holds.evaluate(&variables) {
            Ok(Value::Bool(true)) => Ok(()),
            _ => Err(Failure::NotOurs),
        }
    }

    async fn repeated(
        &self,
        built: &Built,
        repeatable: bool,
        success: Option<&Expression>,
    ) -> Result<(u16, Value), Failure> {
        let mut pauses = PAUSES.iter();
        loop {
            let failure = match self.once(built, success).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match pauses.next() {
                Some(pause) if failure.may_pass(repeatable) => tokio::time::sleep(*pause).await,
                _ => return Err(failure),
            }
        }
    }

    async fn once(&self, built: &Built, success: Option<&Expression>) -> Result<(u16, Value), Failure> {
        let host = format!("actions of {}", built.url.host_str().unwrap_or_default());
        let admission = self.gates.wait(self.uid, &host, PATIENCE).await.map_err(|busy: Busy| match busy.why {
            Why::Limited => Failure::Limited { refusal: None, retry_after: Some(busy.retry_in) },
            Why::Open => Failure::Paused { retry_after: busy.retry_in },
        })?;
        let mut headers = built.headers.clone();
        headers.extend(self.credential.clone());
        let request = OutboundRequest {
            method: built.method.clone(),
            url: built.url.clone(),
            headers,
            body: built.body.clone(),
            private_networks: Arc::clone(&self.private_networks),
            timeout: TIMEOUT,
        };
        let response = match self.outbound.send(request).await {
            Ok(response) => response,
            Err(error @ SendError::Forbidden(_)) => return Err(Failure::NotSent(error)),
            Err(error @ SendError::NotSent(_)) => {
                admission.failed();
                return Err(Failure::NotSent(error));
            }
            Err(error @ SendError::Unknown { .. }) => {
                admission.failed();
                return Err(Failure::Unknown(error));
            }
        };
        let verdict = Verdict::of(&response, self.errors, success, &self.secrets);
        verdict.tell(admission);
        verdict.into_result()
    }

    fn done(&self, rules: &ActionRules, status: u16, body: Value) -> Done {
        let variables = Variables { response: body, status: status.into(), ..self.variables.clone() };
        let value = |expression: &Expression| expression.evaluate_within(&variables, LARGEST).unwrap_or_default();
        let safe = |value: Value| if contains_secret(&value, &self.secrets) { Value::Null } else { value };
        let result = if rules.result.is_empty() {
            without_tokens(&variables.response)
        } else {
            rules.result.iter().map(|(name, expression)| (name.clone(), value(expression))).collect()
        };
        let next = rules.next.as_deref().map(value).filter(|next| !next.is_null() && *next != "");
        Done { status, result: safe(result), next: next.map(safe) }
    }
}

#[cfg(test)]
mod presets;
#[cfg(test)]
mod tests;
