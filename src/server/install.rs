//! `GET …/{type}/install`: hands out the link that starts a flow, and creates the integration where it is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;
use kube::api::{Api, ObjectMeta, PostParams};
use schemars::JsonSchema;
use serde::Serialize;
use url::form_urlencoded;

use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::{Target, agent_id};
use super::{MANAGER, Shared};
use crate::api::{ProjectIntegration, ProjectIntegrationSpec, ProviderKind};
use crate::flow::Flow;
use crate::flow::begin::Initiator;
use crate::provider::registry::LookupError;
use crate::provider::resolved::Provider;

/// Most values of the provider's form.
const MAX_PARAMETERS: usize = 16;
/// Longest of them, in bytes.
const MAX_VALUE: usize = 256;
const PARAMETER_PREFIX: &str = "param.";

/// What install answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Installed<'a> {
    oauth_url: &'a str,
}

/// What install is asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    agent_id: Option<String>,
    return_to: Option<String>,
    parameters: BTreeMap<String, String>,
}

/// Starts a flow.
///
/// The answer carries the initiator's cookie: a browser that asked itself passes the start page without a question.
pub(super) async fn install(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    state.limits.caller(&caller.username)?;
    let query = Query::parse(query.as_deref().unwrap_or_default())?;
    let namespace = state.permit(&caller, Right::Install, &target).await?;
    state.limits.integration(&namespace, &target.name())?;
    let return_to = state
        .flow
        .frontend(query.return_to.as_deref())
        .ok_or_else(|| ApiError::ReturnTo(state.flow.frontends.clone()))?;
    let integration = if let Some(integration) = find(&state.flow, &namespace, &target).await? {
        integration
    } else {
        state.permit(&caller, Right::Create, &target).await?;
        create(&state.flow, &namespace, &target, &query.parameters).await?
    };
    let browser = state.cookies.read_or_mint(&headers);
    let who = Initiator {
        request: None,
        caller: Some(caller.username),
        agent_id: query.agent_id,
        return_to,
        browser: Some(browser.expose().to_owned()),
        parameters: query.parameters,
    };
    let begun = state.flow.begin(&integration, who).await?;
    let mut response = Json(Installed { oauth_url: begun.url.expose() }).into_response();
    response.headers_mut().extend(state.cookies.set(&browser).map(|cookie| (SET_COOKIE, cookie)));
    Ok(response)
}

impl Query {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            let earlier = match &*name {
                "agent_id" => parsed.agent_id.replace(value),
                "return_to" => parsed.return_to.replace(value),
                other => match other.strip_prefix(PARAMETER_PREFIX) {
                    Some(parameter) if value.len() <= MAX_VALUE => {
                        parsed.parameters.insert(parameter.to_owned(), value)
                    }
                    Some(_) => return Err(TOO_LONG),
                    None => None,
                },
            };
            if earlier.is_some() {
                return Err(ApiError::Twice(name.into_owned()));
            }
        }
        if parsed.parameters.len() > MAX_PARAMETERS {
            return Err(TOO_LONG);
        }
        parsed.agent_id = agent_id(parsed.agent_id)?;
        Ok(parsed)
    }
}

const TOO_LONG: ApiError =
    ApiError::Malformed { what: "param.…", form: "at most 16 values of at most 256 bytes each" };

/// The integration, where it is there already.
pub(super) async fn find(
    flow: &Flow,
    namespace: &str,
    target: &Target,
) -> Result<Option<ProjectIntegration>, ApiError> {
    let api: Api<ProjectIntegration> = Api::namespaced(flow.client.clone(), namespace);
    api.get_opt(&target.name()).await.map_err(ApiError::cluster("read an integration"))
}

/// Creates the integration with a provider that can be used, so that nothing is created that could not be connected.
async fn create(
    flow: &Flow,
    namespace: &str,
    target: &Target,
    parameters: &BTreeMap<String, String>,
) -> Result<ProjectIntegration, ApiError> {
    let (provider, parameters) = choose_provider(flow, namespace, target, parameters).await?;
    let kind = provider.reference.kind;
    flow.registry.usable_with(provider, namespace, &parameters).await?;
    create_with(flow, namespace, target, kind, parameters).await
}

/// Creates the integration, or reads the one that somebody else has created in the meantime.
pub(super) async fn create_with(
    flow: &Flow,
    namespace: &str,
    target: &Target,
    provider_kind: ProviderKind,
    parameters: BTreeMap<String, String>,
) -> Result<ProjectIntegration, ApiError> {
    let integration = ProjectIntegration {
        metadata: ObjectMeta { name: Some(target.name()), ..ObjectMeta::default() },
        spec: ProjectIntegrationSpec {
            tenant_id: target.tenant.clone(),
            project_id: target.project.clone(),
            type_: target.type_.clone(),
            provider_kind,
            parameters,
            ..ProjectIntegrationSpec::default()
        },
        status: None,
    };
    let api: Api<ProjectIntegration> = Api::namespaced(flow.client.clone(), namespace);
    let how = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&how, &integration).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            api.get(&target.name()).await.map_err(ApiError::cluster("read an integration"))
        }
        Err(kube::Error::Api(status)) if status.is_invalid() || status.is_forbidden() => {
            Err(ApiError::Refused(Box::new(kube::Error::Api(status))))
        }
        Err(source) => Err(ApiError::cluster("create an integration")(source)),
    }
}

/// The provider of a new integration: the cluster's of that name, else the tenant's own; and the values it asks for.
pub(super) async fn choose_provider(
    flow: &Flow,
    namespace: &str,
    target: &Target,
    parameters: &BTreeMap<String, String>,
) -> Result<(Arc<Provider>, BTreeMap<String, String>), ApiError> {
    let cluster = ProviderKind::ClusterIntegrationProvider;
    let provider = match flow.registry.find(cluster, namespace, &target.type_).await {
        Err(LookupError::NotFound { .. }) => {
            flow.registry.find(ProviderKind::IntegrationProvider, namespace, &target.type_).await?
        }
        found => found?,
    };
    let form = &provider.parameters;
    if let Some(missing) = form.missing(&form.values(&[parameters])) {
        return Err(ApiError::MissingParameter(missing.to_owned()));
    }
    let mut parameters = parameters.clone();
    parameters.retain(|name, value| form.contains_key(name) && !value.is_empty());
    Ok((provider, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query =
            Query::parse("agent_id=a-1&return_to=https%3A%2F%2Fapp&param.subdomain=acme&other=1&other=2").unwrap();
        assert_eq!(query.agent_id.as_deref(), Some("a-1"));
        assert_eq!(query.return_to.as_deref(), Some("https://app"));
        assert_eq!(query.parameters["subdomain"], "acme");
        assert_eq!(Query::parse("").unwrap(), Query::default());
        for bad in ["agent_id=a&agent_id=b", "return_to=&return_to=", "param.x=1&param.x=2", "agent_id=%0a"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
        assert!(Query::parse(&format!("param.x={}", "a".repeat(257))).is_err());
        let many: Vec<String> = (0..17).map(|number| format!("param.{number}=a")).collect();
        assert!(Query::parse(&many.join("&")).is_err());
    }
}
