//! From the section `webhooks` to rules; a mistake is one error that names its field.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use super::{Binding, HandshakeRules, RouteRules, Scheme, WebhookRules};
use crate::api::provider::{Handshake, ProviderSpec, WebhookRoute};
use crate::grant::schedule::parse_duration;
use crate::provider::expression::{Expression, ExpressionError};

/// How long an app waits where nothing else is said, and at most.
const DEADLINE: Duration = Duration::from_secs(10);
const LONGEST_DEADLINE: Duration = Duration::from_secs(30);
/// The largest body where nothing else is said, and at most, in bytes.
const MAX_BYTES: u32 = 1024 * 1024;
const MOST_BYTES: u32 = 25 * 1024 * 1024;

/// A section that cannot be used. Every variant names the field.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// A field is missing.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field that is of no use, or does not go together with another.
    #[error("{field} {problem}")]
    Unfit {
        /// The field.
        field: &'static str,
        /// Why.
        problem: &'static str,
    },
    /// An expression does not compile.
    #[error("{field}: {source}")]
    Expression {
        /// The field.
        field: String,
        /// Why, and where.
        source: ExpressionError,
    },
    /// An expression speaks of what is not known when it is evaluated.
    #[error("{field} must speak of {} only", .allowed.join(" and "))]
    Variable {
        /// The field.
        field: String,
        /// What there is.
        allowed: Vec<&'static str>,
    },
    /// A route compares with metadata that the description does not have.
    #[error("webhooks.routes: metadata.{name} is not in the description; add it")]
    NoMetadata {
        /// The entry.
        name: String,
    },
    /// A route compares with what the person could have made up.
    #[error(
        "webhooks.routes: metadata.{name} must come from the app: it speaks of request or parameters, which whoever connects \
         can make up"
    )]
    Forged {
        /// The entry.
        name: String,
    },
}

impl WebhookError {
    /// A field that is missing.
    pub(super) const fn missing(field: &'static str) -> Self {
        Self::Missing { field }
    }

    /// A field that is of no use.
    pub(super) const fn unfit(field: &'static str, problem: &'static str) -> Self {
        Self::Unfit { field, problem }
    }
}

impl WebhookRules {
    /// The section `webhooks`; `None` where there is none.
    pub(in crate::provider) fn new(spec: &ProviderSpec) -> Result<Option<Self>, WebhookError> {
        let Some(webhooks) = &spec.webhooks else { return Ok(None) };
        let scheme = Scheme::new(webhooks)?;
        let optional = |field: &str, source: &Option<String>| {
            source.as_deref().map(|source| expression(field, source, &["request"])).transpose()
        };
        let handshakes = webhooks.handshakes.iter().enumerate();
        let handshakes: Vec<_> =
            handshakes.map(|(index, one)| handshake(index, one, &scheme)).collect::<Result<_, _>>()?;
        let ended_when = webhooks.ended_when.iter().enumerate().map(|(index, source)| {
            expression(&format!("webhooks.endedWhen[{index}]"), source, &["request", "metadata"])
        });
        Ok(Some(Self {
            handshakes,
            json_field: webhooks.json_field.clone(),
            id: optional("webhooks.id", &webhooks.id)?,
            time: optional("webhooks.time", &webhooks.time)?,
            type_: optional("webhooks.type", &webhooks.type_)?,
            data: expressions("webhooks.data", &webhooks.data, &["request"])?,
            routes: webhooks
                .routes
                .iter()
                .enumerate()
                .map(|(index, one)| route(index, one, spec))
                .collect::<Result<_, _>>()?,
            ended_when: ended_when.collect::<Result<_, _>>()?,
            replied_when: optional("webhooks.repliedWhen", &webhooks.replied_when)?,
            accepted: status("webhooks.accepted", webhooks.accepted)?,
            deadline: deadline(webhooks.deadline.as_deref())?,
            max_bytes: max_bytes(webhooks.max_bytes)?,
            scheme,
        }))
    }
}

fn handshake(index: usize, one: &Handshake, scheme: &Scheme) -> Result<HandshakeRules, WebhookError> {
    let field = |name: &str| format!("webhooks.handshakes[{index}].{name}");
    if one.text.is_some() && !(one.json.is_empty() && one.hmac.is_empty()) {
        return Err(WebhookError::unfit("webhooks.handshakes", "have either text or json and hmac"));
    }
    let secret_needed = !one.hmac.is_empty();
    if secret_needed && (one.unsigned || scheme.binding() == Binding::Sender) {
        // Else anybody could have the secret sign what they like.
        return Err(WebhookError::unfit("webhooks.handshakes", "with hmac must be signed themselves"));
    }
    Ok(HandshakeRules {
        when: expression(&field("when"), &one.when, &["request"])?,
        unsigned: one.unsigned,
        status: status("webhooks.handshakes.status", one.status)?,
        text: one.text.as_deref().map(|source| expression(&field("text"), source, &["request"])).transpose()?,
        json: expressions(&field("json"), &one.json, &["request"])?,
        hmac: expressions(&field("hmac"), &one.hmac, &["request"])?,
    })
}

fn route(index: usize, one: &WebhookRoute, spec: &ProviderSpec) -> Result<RouteRules, WebhookError> {
    let name = one.metadata.clone();
    let source = spec.metadata.get(&name).ok_or_else(|| WebhookError::NoMetadata { name: name.clone() })?;
    // That it compiles is said where it stands.
    let from_app = Expression::compile(source)
        .is_ok_and(|metadata| !metadata.speaks_of("request") && !metadata.speaks_of("parameters"));
    if !from_app {
        return Err(WebhookError::Forged { name });
    }
    let field = format!("webhooks.routes[{index}].request");
    Ok(RouteRules { request: expression(&field, &one.request, &["request"])?, metadata: name })
}

fn status(field: &'static str, status: Option<u16>) -> Result<StatusCode, WebhookError> {
    let status = StatusCode::from_u16(status.unwrap_or(200)).ok().filter(StatusCode::is_success);
    status.ok_or(WebhookError::unfit(field, "must be from 200 to 299"))
}

fn deadline(text: Option<&str>) -> Result<Duration, WebhookError> {
    let Some(text) = text else { return Ok(DEADLINE) };
    let length = parse_duration(text).and_then(|length| Duration::try_from(length).ok());
    let fits = |length: &Duration| (Duration::from_secs(1)..=LONGEST_DEADLINE).contains(length);
    length.filter(fits).ok_or(WebhookError::unfit("webhooks.deadline", "must be from 1s to 30s"))
}

fn max_bytes(bytes: Option<u32>) -> Result<usize, WebhookError> {
    let bytes = bytes.unwrap_or(MAX_BYTES);
    let fits = (1024..=MOST_BYTES).contains(&bytes);
    let bytes = usize::try_from(bytes).ok().filter(|_| fits);
    bytes.ok_or(WebhookError::unfit("webhooks.maxBytes", "must be from 1024 to 26214400"))
}

fn expression(field: &str, source: &str, allowed: &[&'static str]) -> Result<Arc<Expression>, WebhookError> {
    let wrap = |source| WebhookError::Expression { field: field.to_owned(), source };
    let expression = Expression::compile(source).map_err(wrap)?;
    if !expression.speaks_only_of(allowed) {
        return Err(WebhookError::Variable { field: field.to_owned(), allowed: allowed.to_vec() });
    }
    Ok(Arc::new(expression))
}

pub(super) fn expressions(
    field: &str,
    sources: &BTreeMap<String, String>,
    allowed: &[&'static str],
) -> Result<BTreeMap<String, Arc<Expression>>, WebhookError> {
    let compile = |(name, source): (&String, &String)| {
        Ok((name.clone(), expression(&format!("{field}.{name}"), source, allowed)?))
    };
    sources.iter().map(compile).collect()
}
