//! From the section `actions` to rules; a mistake is one error that names its field.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use thiserror::Error;

use super::{ActionRules, Credential, ErrorRules, KeyPlace, Part, PathError, PathTemplate, Target};
use crate::api::ProviderKind;
use crate::api::provider::{Action, ActionCredential, ActionMethod, ApiErrors};
use crate::provider::api_base::HostPattern;
use crate::provider::call::{CallError, Placement, PlacementError, described};
use crate::provider::expression::{Expression, ExpressionError};

/// The longest key where nothing else is said, in characters.
const LONGEST_KEY: usize = 255;

/// An action that cannot be. Every variant names the field.
#[derive(Debug, Error)]
pub enum ActionError {
    /// Two of one name, or a name that cannot stand in a path.
    #[error("actions: {name:?} must be lower-case letters, digits and - after a letter, and the only one of its name")]
    Name {
        /// The name.
        name: String,
    },
    /// Its input is no JSON Schema.
    #[error("actions.{action}.input is no JSON Schema of an object: {problem}")]
    Schema {
        /// The action.
        action: String,
        /// What is wrong.
        problem: String,
    },
    /// A path cannot be used.
    #[error("actions.{action}.{section}.path: {source}")]
    Path {
        /// The action.
        action: String,
        /// `request` or `target`.
        section: &'static str,
        /// Why.
        source: PathError,
    },
    /// An expression does not compile.
    #[error("{field}: {source}")]
    Expression {
        /// The field.
        field: String,
        /// Why, and where.
        source: ExpressionError,
    },
    /// A header cannot be set.
    #[error(transparent)]
    Header(#[from] CallError),
    /// A credential cannot be sent so.
    #[error("actions.{action}.credential: {source}")]
    Placement {
        /// The action.
        action: String,
        /// Why.
        source: PlacementError,
    },
    /// Fields that do not go together.
    #[error("actions.{action}.{problem}")]
    Unfit {
        /// The action.
        action: String,
        /// What is wrong, beginning with the field.
        problem: &'static str,
    },
}

/// What the actions of a description have in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct Common<'a> {
    /// Which kind describes them.
    pub kind: ProviderKind,
    /// Headers of every call.
    pub headers: &'a BTreeMap<String, String>,
    /// Headers that a credential may be in.
    pub carriers: &'a [HeaderName],
    /// Whether there is an address that they lie below.
    pub has_base: bool,
}

impl ErrorRules {
    /// The section `api.errors`.
    pub(crate) fn new(errors: &ApiErrors) -> Result<Self, ActionError> {
        let of = |field: &str, source: &Option<String>| {
            source.as_deref().map(|source| expression(&format!("api.errors.{field}"), source)).transpose()
        };
        Ok(Self {
            code: of("code", &errors.code)?,
            message: of("message", &errors.message)?,
            limited: errors.limited.clone(),
            expired: errors.expired.clone(),
            advice: errors.advice.clone(),
        })
    }
}

impl ActionRules {
    /// The section `actions`.
    pub(in crate::provider) fn all(actions: &[Action], common: Common<'_>) -> Result<Vec<Self>, ActionError> {
        let mut rules: Vec<Self> = Vec::new();
        for action in actions {
            if !is_name(&action.name) || rules.iter().any(|other| other.name == action.name) {
                return Err(ActionError::Name { name: action.name.clone() });
            }
            rules.push(Self::new(action, common)?);
        }
        Ok(rules)
    }

    fn new(action: &Action, common: Common<'_>) -> Result<Self, ActionError> {
        let name = action.name.clone();
        let field = |field: &str| format!("actions.{name}.{field}");
        let unfit = |problem| ActionError::Unfit { action: name.clone(), problem };
        let request = &action.request;
        let method = method(request.method);
        let credential = credential(action, common.kind)?;
        let captured = matches!(credential, Credential::Captured { .. });
        let request_paths = paths(&name, "request", request.path.as_ref(), &request.paths)?;
        match (request_paths.is_empty(), captured) {
            (false, true) => return Err(unfit("request.path: the captured address is the whole of it")),
            (true, false) => return Err(unfit("request.path is missing")),
            _ => {}
        }
        if !captured && !common.has_base {
            return Err(unfit("request.path: set api.baseURL, which it lies below"));
        }
        if request.body.is_some() && method == Method::GET {
            return Err(unfit("request.body is for POST, PUT, PATCH or DELETE; set request.method"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut carriers = common.carriers.to_vec();
        if let Credential::Application { placement, .. } = &credential {
            carriers.push(placement.carrier());
        }
        headers.extend(described("api.headers", common.headers, &carriers)?);
        headers.extend(described(&field("request.headers"), &request.headers, &carriers)?);
        let target = match &action.target {
            Some(target) => Some(Target {
                paths: paths(&name, "target", target.path.as_ref(), &target.paths)?,
                holds: expression(&field("target.holds"), &target.holds)?,
            }),
            None if matches!(credential, Credential::Application { .. }) => {
                return Err(unfit(
                    "target is missing: an application's credential acts on what is proven to belong to the \
                                  connection",
                ));
            }
            None => None,
        };
        if target.as_ref().is_some_and(|target| target.paths.is_empty()) {
            return Err(unfit("target.path is missing"));
        }
        let schema = schema(action)?;
        let problem = |error: jsonschema::ValidationError<'_>| error.to_string();
        let input = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema);
        let input = input.map_err(|error| ActionError::Schema { action: name.clone(), problem: problem(error) })?;
        Ok(Self {
            title: action.title.clone(),
            input: Arc::new(input),
            credential,
            target,
            paths: request_paths,
            query: expressions(&field("request.query"), &request.query)?,
            headers,
            body: request.body.as_ref().map(|body| part(&field("request.body"), body)).transpose()?,
            success: action.success.as_deref().map(|source| expression(&field("success"), source)).transpose()?,
            result: expressions(&field("result"), &action.result)?,
            next: action.next.as_deref().map(|source| expression(&field("next"), source)).transpose()?,
            idempotency: key_place(action, &carriers)?,
            once: action.once,
            method,
            schema,
            name,
        })
    }
}

/// One path, or several in its place.
fn paths(
    action: &str,
    section: &'static str,
    one: Option<&String>,
    several: &[String],
) -> Result<Vec<PathTemplate>, ActionError> {
    if one.is_some() && !several.is_empty() {
        let problem = "request.paths stands in the place of path; remove one of them";
        return Err(ActionError::Unfit { action: action.to_owned(), problem });
    }
    let parse = |text: &String| {
        PathTemplate::parse(text).map_err(|source| ActionError::Path { action: action.to_owned(), section, source })
    };
    one.into_iter().chain(several).map(parse).collect()
}

fn credential(action: &Action, kind: ProviderKind) -> Result<Credential, ActionError> {
    let unfit = |problem| ActionError::Unfit { action: action.name.clone(), problem };
    match &action.credential {
        None => Ok(Credential::Grant),
        Some(ActionCredential { application: Some(application), captured: None }) => {
            if kind != ProviderKind::ClusterIntegrationProvider {
                return Err(unfit("credential.application is for ClusterIntegrationProvider only"));
            }
            let placement = Placement::new("application", &application.placement)
                .map_err(|source| ActionError::Placement { action: action.name.clone(), source })?;
            if !placement.parameters().is_empty() {
                return Err(unfit("credential.application.basic.username takes no values of the form"));
            }
            Ok(Credential::Application { key: application.key.clone(), placement })
        }
        Some(ActionCredential { application: None, captured: Some(captured) }) => {
            let hosts: Option<Vec<_>> = captured.hosts.iter().map(|host| HostPattern::parse(host)).collect();
            let hosts = hosts.filter(|hosts| !hosts.is_empty()).ok_or_else(|| {
                unfit("credential.captured.hosts must be hosts such as hooks.example.com, or *.example.com")
            })?;
            Ok(Credential::Captured { name: captured.secret_metadata.clone(), hosts })
        }
        Some(_) => Err(unfit("credential is one of application and captured")),
    }
}

/// The schema of the input; without one, of an object that has nothing in it.
fn schema(action: &Action) -> Result<Value, ActionError> {
    let problem = |problem: &str| ActionError::Schema { action: action.name.clone(), problem: problem.to_owned() };
    let Some(schema) = &action.input else { return Ok(json!({ "type": "object", "additionalProperties": false })) };
    if schema["type"] != "object" {
        return Err(problem("`type` must be `object`"));
    }
    // Nothing is fetched: what a description may speak of stands in it.
    if refers_elsewhere(schema) {
        return Err(problem("a `$ref` must begin with #"));
    }
    Ok(schema.clone())
}

fn refers_elsewhere(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let elsewhere = |value: &Value| value.as_str().is_some_and(|to| !to.starts_with('#'));
            matches!(name.as_str(), "$ref" | "$dynamicRef") && elsewhere(value) || refers_elsewhere(value)
        }),
        Value::Array(elements) => elements.iter().any(refers_elsewhere),
        _ => false,
    }
}

fn key_place(action: &Action, carriers: &[HeaderName]) -> Result<Option<KeyPlace>, ActionError> {
    let unfit = |problem| ActionError::Unfit { action: action.name.clone(), problem };
    let Some(described) = &action.idempotency else { return Ok(None) };
    let header: Option<HeaderName> = match &described.header {
        Some(name) => Some(name.parse().map_err(|_| unfit("idempotency.header is not the name of a header"))?),
        None => None,
    };
    if header.as_ref().is_some_and(|header| carriers.contains(header)) {
        return Err(unfit("idempotency.header carries the credential"));
    }
    let has_fields = action.request.body.as_ref().is_some_and(Value::is_object);
    match (&header, &described.field) {
        (None, None) => return Err(unfit("idempotency needs header or field")),
        (_, Some(_)) if !has_fields => return Err(unfit("idempotency.field needs a request.body")),
        _ => {}
    }
    let longest = described.longest.map_or(LONGEST_KEY, usize::from);
    Ok(Some(KeyPlace { header, field: described.field.clone(), longest }))
}

fn part(field: &str, body: &Value) -> Result<Part, ActionError> {
    Ok(match body {
        Value::String(source) => Part::Expression(expression(field, source)?),
        Value::Array(elements) => {
            Part::List(elements.iter().map(|element| part(field, element)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let parts = fields.iter().map(|(name, value)| Ok((name.clone(), part(&format!("{field}.{name}"), value)?)));
            Part::Object(parts.collect::<Result<_, ActionError>>()?)
        }
        literal => Part::Literal(literal.clone()),
    })
}

fn expressions(
    field: &str,
    sources: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Arc<Expression>>, ActionError> {
    sources.iter().map(|(name, source)| Ok((name.clone(), expression(&format!("{field}.{name}"), source)?))).collect()
}

fn expression(field: &str, source: &str) -> Result<Arc<Expression>, ActionError> {
    let wrap = |source| ActionError::Expression { field: field.to_owned(), source };
    Expression::compile(source).map(Arc::new).map_err(wrap)
}

fn method(method: Option<ActionMethod>) -> Method {
    match method {
        None | Some(ActionMethod::Get) => Method::GET,
        Some(ActionMethod::Post) => Method::POST,
        Some(ActionMethod::Put) => Method::PUT,
        Some(ActionMethod::Patch) => Method::PATCH,
        Some(ActionMethod::Delete) => Method::DELETE,
    }
}

/// Lower-case letters, digits and `-`, after a letter and not ending in `-`.
fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.ends_with('-')
}
