//! Actions as a description has them, checked: what a request is made of, and what its answer means.
//!
//! Takes the section `actions`, gives rules; of rules and an input a request that lacks only the credential. Pure:
//! `crate::act` sends it.

mod path;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use url::Url;

use super::api_base::HostPattern;
use super::call::Placement;
use super::expression::{EvaluateError, Expression, Variables};
pub use path::{PathError, PathTemplate};
pub use rules::ActionError;
pub(in crate::provider) use rules::Common;

/// The largest body of a request, and the largest result, in bytes as JSON: 512 KiB.
pub const LARGEST: usize = 512 * 1024;

/// An action that was checked.
#[derive(Clone, Debug)]
pub struct ActionRules {
    /// Its name.
    pub name: String,
    /// What it does.
    pub title: Option<String>,
    /// The JSON Schema of its input.
    pub schema: Value,
    /// The same, compiled.
    pub input: Arc<jsonschema::Validator>,
    /// What it acts with.
    pub credential: Credential,
    /// What proves that the target belongs to the connection.
    pub target: Option<Target>,
    /// The HTTP method.
    pub method: Method,
    /// Where it goes: the first whose values are all there. Empty for an address that is a credential.
    pub paths: Vec<PathTemplate>,
    /// Parameters of the query.
    pub query: BTreeMap<String, Arc<Expression>>,
    /// Headers, those of every call among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Part>,
    /// When an answer with status 2xx is a yes.
    pub success: Option<Arc<Expression>>,
    /// What the caller gets; the whole answer when empty.
    pub result: BTreeMap<String, Arc<Expression>>,
    /// The cursor of the next page.
    pub next: Option<Arc<Expression>>,
    /// Where a key goes that tells a repeated request from a new one.
    pub idempotency: Option<KeyPlace>,
    /// Whether sending it once more does something once more.
    pub once: bool,
}

/// What an action acts with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The access token or the key of the connection.
    Grant,
    /// A credential of the application itself.
    Application {
        /// The key of the client's Secret.
        key: String,
        /// How it is sent.
        placement: Placement,
    },
    /// The address that was given when connecting.
    Captured {
        /// The entry of `secretMetadata`.
        name: String,
        /// Hosts that it may lie on.
        hosts: Vec<HostPattern>,
    },
}

/// A question whose answer proves that a target belongs to the connection.
#[derive(Clone, Debug)]
pub struct Target {
    /// What to GET: the first whose values are all there.
    pub paths: Vec<PathTemplate>,
    /// Whether it does.
    pub holds: Arc<Expression>,
}

/// Where a key goes that tells a repeated request from a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// A header.
    pub header: Option<http::HeaderName>,
    /// A field of the body.
    pub field: Option<String>,
    /// The longest key, in characters.
    pub longest: usize,
}

/// A part of a body: JSON whose strings are expressions.
#[derive(Clone, Debug)]
pub enum Part {
    /// An expression.
    Expression(Arc<Expression>),
    /// A number, a truth value or `null`.
    Literal(Value),
    /// Elements.
    List(Vec<Part>),
    /// Fields.
    Object(Vec<(String, Part)>),
}

/// How the app words refusals.
#[derive(Clone, Debug, Default)]
pub struct ErrorRules {
    /// Its own word.
    pub code: Option<Arc<Expression>>,
    /// Its text.
    pub message: Option<Arc<Expression>>,
    /// Words that mean: fewer requests.
    pub limited: Vec<String>,
    /// Words that mean: the access token is not good any more.
    pub expired: Vec<String>,
    /// What a person does about a word, or about a status.
    pub advice: BTreeMap<String, String>,
}

/// A request cannot be made of this input.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A value has no place in the path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An expression of the description does not fit the input.
    #[error("{field} of the action: {source}")]
    Expression {
        /// Which.
        field: String,
        /// Why.
        source: EvaluateError,
    },
    /// A parameter of the query is no text, number or truth value.
    #[error("query.{0} of the action must give text, a number or a truth value")]
    Query(String),
}

/// A request that lacks only the credential.
#[derive(Clone, Debug)]
pub struct Built {
    /// The HTTP method.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Vec<u8>>,
}

impl ActionRules {
    /// The request. `base` is the address of the API, or the one that is a credential.
    pub fn build(&self, base: &Url, variables: &Variables, key: Option<&str>) -> Result<Built, BuildError> {
        let mut url = first_below(&self.paths, base, variables)?;
        for (name, expression) in &self.query {
            match value(&format!("query.{name}"), expression, variables)? {
                Value::Null => {}
                Value::String(text) => _ = url.query_pairs_mut().append_pair(name, &text),
                value @ (Value::Number(_) | Value::Bool(_)) => {
                    _ = url.query_pairs_mut().append_pair(name, &value.to_string());
                }
                Value::Array(_) | Value::Object(_) => return Err(BuildError::Query(name.clone())),
            }
        }
        let mut headers = self.headers.clone();
        let mut body = self.body.as_ref().map(|body| body_part("body", body, variables)).transpose()?;
        if let (Some(place), Some(key)) = (&self.idempotency, key) {
            let key = place.fit(key);
            if let Some(name) = &place.header
                && let Ok(value) = key.parse()
            {
                headers.insert(name.clone(), value);
            }
            if let (Some(field), Some(Value::Object(fields))) = (&place.field, &mut body) {
                fields.insert(field.clone(), Value::String(key));
            }
        }
        let body = body.map(|body| body.to_string().into_bytes());
        // Some servers answer 411 to a POST that does not say that it is empty (RFC 9110 §8.6).
        let body = body.or_else(|| matches!(self.method, Method::POST | Method::PUT | Method::PATCH).then(Vec::new));
        Ok(Built { method: self.method.clone(), url, headers, body })
    }

    /// Whether sending it once more does no harm (RFC 9110 §9.2.2), or is known to the app as the same request.
    pub fn is_repeatable(&self) -> bool {
        (self.method.is_idempotent() && !self.once) || self.idempotency.is_some()
    }
}

/// What an expression of a request gives.
fn value(field: &str, expression: &Expression, variables: &Variables) -> Result<Value, BuildError> {
    let wrap = |source| BuildError::Expression { field: field.to_owned(), source };
    expression.evaluate_within(variables, LARGEST).map_err(wrap)
}

fn body_part(field: &str, part: &Part, variables: &Variables) -> Result<Value, BuildError> {
    Ok(match part {
        Part::Expression(expression) => value(field, expression, variables)?,
        Part::Literal(value) => value.clone(),
        Part::List(parts) => {
            let values: Result<Vec<_>, _> = parts.iter().map(|part| body_part(field, part, variables)).collect();
            Value::Array(values?.into_iter().filter(|value| !value.is_null()).collect())
        }
        Part::Object(parts) => {
            let mut fields = Map::new();
            for (name, part) in parts {
                let value = body_part(&format!("{field}.{name}"), part, variables)?;
                // An object of which nothing is left is left out as well.
                let empty = matches!((part, &value), (Part::Object(_), Value::Object(left)) if left.is_empty());
                match value {
                    Value::Null => {}
                    Value::Object(more) if name == "*" => fields.extend(more),
                    value if !empty => _ = fields.insert(name.clone(), value),
                    _ => {}
                }
            }
            Value::Object(fields)
        }
    })
}

/// The address of the first path whose values are all there; `base` itself where there is no path.
pub fn first_below(paths: &[PathTemplate], base: &Url, variables: &Variables) -> Result<Url, PathError> {
    let Some((last, before)) = paths.split_last() else { return Ok(base.clone()) };
    let complete = before.iter().find(|path| path.is_complete(variables));
    complete.unwrap_or(last).below(base, variables)
}

impl KeyPlace {
    /// The key, or a digest of it where the app takes none so long.
    fn fit(&self, key: &str) -> String {
        if key.chars().count() <= self.longest {
            return key.to_owned();
        }
        crate::digest::short_hash(&["idempotency", key]).chars().take(self.longest).collect()
    }
}

#[cfg(test)]
mod tests;
