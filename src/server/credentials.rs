//! `PUT …/{type}/credentials`: an API key is given, proved at the app, and kept.
//!
//! Nothing is stored before the app has accepted the key. Status is the controllers' to write.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Shared;
use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::{Target, agent_id};
use super::install::{choose_provider, create_with, find};
use super::view::View;
use crate::api::ProjectIntegration;
use crate::flow::Flow;
use crate::flow::api_key::{Proved, keep_given, prove};
use crate::grant::KeySource;
use crate::oauth::identity::Verdict;
use crate::provider::connection::Keyed;
use crate::sensitive::Sensitive;

/// Longest body, in bytes: a key has at most 4 KiB.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// What is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Credentials")]
pub(super) struct Given {
    /// The key.
    #[schemars(with = "String")]
    api_key: Sensitive,
    /// The person of the product on whose behalf it is given.
    agent_id: Option<String>,
    /// Values that the provider's form asks for.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}

/// Takes a key; creates the integration where it is missing.
pub(super) async fn put(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
    body: Result<Json<Given>, JsonRejection>,
) -> Result<Json<View>, ApiError> {
    state.limits.caller(&caller.username)?;
    let namespace = state.permit(&caller, Right::Credentials, &target).await?;
    state.limits.integration(&namespace, &target.name())?;
    let Json(given) = body?;
    let agent_id = agent_id(given.agent_id)?;
    let flow = &state.flow;
    let (integration, keyed) = if let Some(integration) = find(flow, &namespace, &target).await? {
        let keyed = of_standing(flow, &namespace, &integration, &given.parameters).await?;
        (Ok(integration), keyed)
    } else {
        state.permit(&caller, Right::Create, &target).await?;
        let (provider, parameters) = choose_provider(flow, &namespace, &target, &given.parameters).await?;
        let kind = provider.reference.kind;
        (Err((kind, parameters.clone())), flow.registry.keyed_with(provider, &namespace, &parameters)?)
    };
    let key = Sensitive::new(keyed.form.read(given.api_key.expose()).map_err(ApiError::KeyMalformed)?);
    let identity = accepted(&keyed, prove(flow, &keyed, &key).await)?;
    let integration = match integration {
        Ok(standing) => standing,
        Err((kind, parameters)) => create_with(flow, &namespace, &target, kind, parameters).await?,
    };
    let proved = Proved {
        integration: &integration,
        keyed: &keyed,
        key,
        source: KeySource::Given,
        by: Some(caller.username),
        agent_id,
        identity,
    };
    Box::pin(keep_given(flow, &proved)).await?;
    tracing::info!(namespace, name = integration.name_any(), "an API key was given");
    Ok(Json(View::of(&state.integration(&namespace, &target).await?)))
}

/// What a standing integration needs, where it may be given a key.
async fn of_standing(
    flow: &Flow,
    namespace: &str,
    integration: &ProjectIntegration,
    given: &BTreeMap<String, String>,
) -> Result<Keyed, ApiError> {
    let spec = &integration.spec;
    flow.tenants.check(namespace, &spec.tenant_id).map_err(|_| ApiError::Forbidden)?;
    if integration.metadata.deletion_timestamp.is_some() {
        return Err(ApiError::Deleting);
    }
    if spec.suspend {
        return Err(ApiError::Suspended);
    }
    let provider = flow.registry.find(spec.provider_kind, namespace, &spec.type_).await?;
    if provider.api_key.is_none() {
        return Err(ApiError::NoApiKeys);
    }
    if spec.api_key.is_some() {
        return Err(ApiError::KeyInSpec);
    }
    if let Some((name, _)) = given.iter().find(|(name, value)| spec.parameters.get(*name) != Some(value)) {
        return Err(ApiError::ParameterDiffers(name.clone()));
    }
    if let Some(missing) = provider.parameters.missing(&provider.parameters.values(&[&spec.parameters])) {
        return Err(ApiError::MissingParameter(missing.to_owned()));
    }
    Ok(flow.registry.keyed_with(provider, namespace, &spec.parameters)?)
}

/// What the app said of whose key it is, where it accepts it.
fn accepted(keyed: &Keyed, verdict: Verdict) -> Result<serde_json::Value, ApiError> {
    let app = keyed.provider.display_name.clone();
    match verdict {
        Verdict::Accepted(identity) => Ok(identity),
        Verdict::Rejected { status } => Err(ApiError::KeyRejected { app, status }),
        Verdict::Limited { retry_after } => Err(ApiError::KeyUnproved { app, retry_after, source: None }),
        Verdict::Unavailable { source, .. } => {
            Err(ApiError::KeyUnproved { app, retry_after: None, source: source.map(Box::new) })
        }
    }
}
