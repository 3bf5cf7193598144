//! `…/{type}/actions` and `…/{type}/messages`: what can be done with a connection, by one call and without its token.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::Shared;
use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::Target;
use super::in_use::InUse;
use super::limits::Allowance;
use crate::act::{Actor, Done, Failure};
use crate::provider::action::{ActionRules, Credential};
use crate::provider::expression::Variables;
use crate::provider::resolved::Provider;
use crate::sensitive::Sensitive;

/// Longest body, in bytes: 256 KiB, more than any of the apps takes for a message.
pub(super) const MAX_BODY: usize = 256 * 1024;
/// The action that posts a message.
const MESSAGE: &str = "send-message";
/// Problems of an input that are told at once.
const MOST_PROBLEMS: usize = 5;
/// What callers tell a repeated request from a new one by
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_KEY: usize = 255;

/// The action in the path.
#[derive(Deserialize)]
pub(super) struct Named {
    action: String,
}

/// All actions of an integration.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Actions")]
pub(super) struct Listing {
    actions: Vec<Listed>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Action")]
struct Listed {
    name: String,
    title: Option<String>,
    input: Value,
}

/// What came of an action.
#[derive(Serialize, JsonSchema)]
pub(super) struct Outcome<'a> {
    action: &'a str,
    result: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Value>,
}

/// Says what can be done.
pub(super) async fn list(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
) -> Result<Json<Listing>, ApiError> {
    let namespace = state.permit(&caller, Right::ListActions, &target).await?;
    let integration = state.integration(&namespace, &target).await?;
    let spec = &integration.spec;
    let provider = state.flow.registry.find(spec.provider_kind, &namespace, &spec.type_).await?;
    let listed = |rules: &ActionRules| Listed {
        name: rules.name.clone(),
        title: rules.title.clone(),
        input: rules.schema.clone(),
    };
    Ok(Json(Listing { actions: provider.actions.iter().map(listed).collect() }))
}

/// Does it.
pub(super) async fn act(
    State(state): State<Shared>,
    target: Target,
    Path(Named { action }): Path<Named>,
    caller: Caller,
    headers: HeaderMap,
    input: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Response, ApiError> {
    let namespace = state.permit(&caller, Right::Act, &target).await?;
    let call = Call { caller: &caller, namespace: &namespace, target: &target, action: &action };
    Box::pin(call.carry_out(&state, &headers, input)).await
}

/// Posts a message: the same fields for every app, as far as it has them.
pub(super) async fn message(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
    headers: HeaderMap,
    input: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Response, ApiError> {
    let namespace = state.permit(&caller, Right::Message, &target).await?;
    let call = Call { caller: &caller, namespace: &namespace, target: &target, action: MESSAGE };
    Box::pin(call.carry_out(&state, &headers, input)).await
}

/// A call of an action by somebody who may.
struct Call<'a> {
    caller: &'a Caller,
    namespace: &'a str,
    target: &'a Target,
    action: &'a str,
}

impl Call<'_> {
    async fn carry_out(
        &self,
        state: &Shared,
        headers: &HeaderMap,
        input: Result<Json<Map<String, Value>>, JsonRejection>,
    ) -> Result<Response, ApiError> {
        let allowance = state.limits.action(self.namespace, &self.target.name())?;
        let Json(input) = input?;
        let input = Value::Object(input);
        let key = idempotency_key(headers)?;
        let in_use = Box::pin(state.in_use(self.caller, self.namespace, self.target)).await?;
        let provider = in_use.provider().clone();
        let rules = rules(&provider, self.action)?;
        check(rules, &input)?;
        if allowance == Allowance::Beyond {
            state.metrics.action(&provider.reference.name, self.action, "beyond_limit");
        }
        let outcome = match self.attempt(state, &in_use, rules, &input, &key).await {
            // Once: a token that was refreshed and is refused again is refused for another reason.
            Err(Attempt::Failed(Failure::Unauthorized(refusal))) if matches!(rules.credential, Credential::Grant) => {
                match state.renewed(self.caller, self.target, &in_use).await? {
                    Some(renewed) => self.attempt(state, &renewed, rules, &input, &key).await,
                    None => Err(Attempt::Failed(Failure::Unauthorized(refusal))),
                }
            }
            outcome => outcome,
        };
        self.audit(state, &in_use, &outcome);
        match outcome {
            Ok(Done { result, next, .. }) => Ok(Json(Outcome { action: &rules.name, result, next }).into_response()),
            Err(Attempt::Failed(failure)) => {
                Err(ApiError::Action { app: provider.display_name.clone(), failure: Box::new(failure) })
            }
            Err(Attempt::Unready(error)) => Err(error),
        }
    }

    async fn attempt(
        &self,
        state: &Shared,
        in_use: &InUse,
        rules: &ActionRules,
        input: &Value,
        key: &str,
    ) -> Result<Done, Attempt> {
        let provider = in_use.provider();
        let (base, credential, application) = credential(state, in_use, rules).await.map_err(Attempt::Unready)?;
        let subject = in_use.subject();
        let mut secrets = in_use.grant().secrets();
        secrets.extend(application.as_ref().map(Sensitive::expose));
        let actor = Actor {
            outbound: &state.flow.outbound,
            gates: &state.flow.gates,
            uid: in_use.integration.metadata.uid.as_deref().unwrap_or_default(),
            errors: &provider.errors,
            base: &base,
            credential,
            private_networks: provider.private_networks.clone(),
            variables: Variables {
                input: input.clone(),
                metadata: in_use.metadata(),
                parameters: json!(subject.values),
                integration: subject.integration.clone(),
                ..Variables::default()
            },
            secrets,
        };
        actor.act(rules, key).await.map_err(Attempt::Failed)
    }

    /// Who did what with which connection, and what came of it; never with what.
    fn audit(&self, state: &Shared, in_use: &InUse, outcome: &Result<Done, Attempt>) {
        let (outcome, status) = match outcome {
            Ok(done) => ("done", Some(done.status)),
            Err(Attempt::Failed(failure)) => (failure.outcome(), None),
            Err(Attempt::Unready(_)) => ("not_ready", None),
        };
        state.metrics.action(&in_use.provider().reference.name, self.action, outcome);
        tracing::info!(
            target: "audit",
            caller = self.caller.username,
            namespace = self.namespace,
            name = in_use.integration.name_any(),
            action = self.action,
            outcome,
            status,
            "an action was called"
        );
    }
}

/// Why an attempt came to nothing.
enum Attempt {
    Failed(Failure),
    Unready(ApiError),
}

/// Where a request goes, and the header that it is authorized by.
async fn credential(
    state: &Shared,
    in_use: &InUse,
    rules: &ActionRules,
) -> Result<(Url, Option<(HeaderName, HeaderValue)>, Option<Sensitive>), ApiError> {
    let provider = in_use.provider();
    match &rules.credential {
        Credential::Grant => {
            let header = in_use.placed()?.header(&in_use.grant().tokens.access_token);
            Ok((in_use.api_base()?.clone(), header, None))
        }
        Credential::Application { key, placement } => {
            let held = state.flow.registry.application_credential(provider, key).await;
            let held = held.map_err(|source| ApiError::Application(Box::new(source)))?;
            let placed = placement.fill(&std::collections::BTreeMap::new()).map_err(|_| ApiError::NoApiBase)?;
            Ok((in_use.api_base()?.clone(), placed.header(&held), Some(held)))
        }
        Credential::Captured { name, hosts } => {
            let missing = || ApiError::NotCaptured(name.clone());
            let address = in_use.grant().secret_metadata.get(name).ok_or_else(missing)?;
            let url = Url::parse(address.expose()).map_err(|_| missing())?;
            let host = url.host_str().unwrap_or_default();
            let fits = url.scheme() == "https" && url.port().is_none() && hosts.iter().any(|known| known.matches(host));
            if fits { Ok((url, None, None)) } else { Err(missing()) }
        }
    }
}

fn rules<'a>(provider: &'a Provider, action: &str) -> Result<&'a ActionRules, ApiError> {
    provider.actions.iter().find(|rules| rules.name == action).ok_or_else(|| ApiError::NoAction {
        action: action.to_owned(),
        known: provider.actions.iter().map(|rules| rules.name.clone()).collect(),
    })
}

/// Whether an input fits the action's schema. Its values are not repeated: logs and proxies may keep answers.
fn check(rules: &ActionRules, input: &Value) -> Result<(), ApiError> {
    let problem = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the body".to_owned() } else { place };
        format!("{place}: {}", error.masked())
    };
    let problems: Vec<String> = rules.input.iter_errors(input).take(MOST_PROBLEMS).map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(ApiError::Input(problems)) }
}

/// The caller's key, or one of our own, by which only our own repetitions are known.
fn idempotency_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let malformed = ApiError::Malformed { what: "Idempotency-Key", form: "1 to 255 printable ASCII characters" };
    match headers.get(IDEMPOTENCY_KEY) {
        None => Ok(Uuid::new_v4().to_string()),
        Some(key) => match key.to_str() {
            Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(key.to_owned()),
            _ => Err(malformed),
        },
    }
}
