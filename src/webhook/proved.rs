//! A request that was proved, and what is to be done with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::event::Event;
use crate::digest::short_hash;
use crate::grant::store::Held;
use crate::provider::expression::{Expression, Variables};
use crate::provider::resolved::Provider;
use crate::provider::webhook::{WebhookRules, values};

/// What is left to the app's deadline when a receiver is given up, and the least that one is given.
const MARGIN: Duration = Duration::from_millis(300);
const LEAST: Duration = Duration::from_millis(500);

/// A request of an app, read as a whole.
#[derive(Debug)]
pub struct Arrived {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query.
    pub query: String,
    /// Its body.
    pub body: Bytes,
    /// When it began.
    pub since: Instant,
}

/// A request that was proved.
pub(super) struct Proved<'a> {
    pub(super) provider: &'a Provider,
    pub(super) rules: &'a WebhookRules,
    pub(super) arrived: &'a Arrived,
    pub(super) variables: Variables,
    pub(super) sent: Option<Timestamp>,
}

impl Proved<'_> {
    /// How long a receiver has.
    pub(super) fn left(&self) -> Duration {
        self.rules.deadline.saturating_sub(self.arrived.since.elapsed() + MARGIN).max(LEAST)
    }

    /// When it happened, as far as the app says.
    fn happened_at(&self) -> Option<Timestamp> {
        let told = self.rules.time.as_ref().and_then(|time| time.evaluate(&self.variables).ok());
        told.and_then(|told| moment(&told)).or(self.sent)
    }

    /// The word of the app that a connection has ended. Tokens that were given later are not meant: an app sends again what it
    /// was not told to have arrived, perhaps after somebody has connected anew.
    pub(super) fn says_ended(&self, held: &Held) -> bool {
        let obtained_at = held.grant.tokens.obtained_at;
        if self.rules.ended_when.is_empty() || self.happened_at().is_some_and(|at| at < obtained_at) {
            return false;
        }
        let variables = Variables { metadata: json!(held.grant.metadata), ..self.variables.clone() };
        self.rules.ended_when.iter().any(|when| is_true(when, &variables))
    }

    /// What is handed on, but for whom.
    pub(super) fn event(&self) -> Event {
        let text = |expression: &Option<Arc<Expression>>| {
            let value = expression.as_ref()?.evaluate(&self.variables).ok()?;
            values(&value).into_iter().next()
        };
        let body = &self.arrived.body;
        let digest = || {
            let sent = self.sent.map(|sent| sent.to_string()).unwrap_or_default();
            short_hash(&["delivery", &sent, &crate::digest::sha256_base64url(&String::from_utf8_lossy(body))])
        };
        let (content_type, data) = if self.rules.data.is_empty() {
            (self.arrived.headers.get(CONTENT_TYPE).cloned(), body.clone())
        } else {
            let fields = self.rules.data.iter().filter_map(|(name, expression)| {
                Some((name.clone(), expression.evaluate(&self.variables).ok().filter(|value| !value.is_null())?))
            });
            let fields: Map<String, Value> = fields.collect();
            (Some(HeaderValue::from_static("application/json")), Bytes::from(Value::Object(fields).to_string()))
        };
        Event {
            id: text(&self.rules.id).unwrap_or_else(digest),
            happened: text(&self.rules.type_).unwrap_or_else(|| "event".to_owned()),
            time: self.happened_at().unwrap_or_else(Timestamp::now),
            content_type,
            data,
        }
    }

    /// Whether the app waits for a body.
    pub(super) fn wants_reply(&self) -> bool {
        self.rules.replied_when.as_deref().is_some_and(|when| is_true(when, &self.variables))
    }
}

/// A moment as apps write it: seconds or milliseconds since 1970, or RFC 3339. Seconds have ten digits until the year 2286.
fn moment(value: &Value) -> Option<Timestamp> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    match text.parse::<i64>() {
        Ok(number) if number > 9_999_999_999 => Timestamp::from_millisecond(number).ok(),
        Ok(number) => Timestamp::from_second(number).ok(),
        Err(_) => text.parse().ok(),
    }
}

fn is_true(expression: &Expression, variables: &Variables) -> bool {
    matches!(expression.evaluate(variables), Ok(Value::Bool(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_several_ways() {
        let expected = "2026-12-01T12:00:00Z".parse().ok();
        for told in
            [json!(1_796_126_400), json!("1796126400"), json!(1_796_126_400_000_i64), json!("2026-12-01T12:00:00Z")]
        {
            assert_eq!(moment(&told), expected, "{told}");
        }
        for told in [json!(null), json!(""), json!("soon"), json!(1.5), json!({})] {
            assert_eq!(moment(&told), None, "{told}");
        }
    }
}
