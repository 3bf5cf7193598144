//! A provider's addresses for one integration: templates filled with the person's values, and what goes with each.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;
use url::Url;

use super::call::{Placement, PreparedCall};
use super::expression::Expression;
use super::resolved::{AnswerRules, CLIENT_ID, ExtraParams, Identity, OAuthClient, Provider};
use super::template::{RuleError, TemplateError, UrlTemplate};
use crate::api::provider::{Assertion, ClientAuthentication, RequestFormat};
use crate::grant::binding::RevocationRequest;
use crate::grant::{Binding, ClientCredentials};

/// Where and how token requests are sent.
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    /// The address.
    pub url: Url,
    /// Where a refresh is sent, if not there.
    pub refresh_url: Option<Url>,
    /// How the client authenticates.
    pub authentication: ClientAuthentication,
    /// How client assertions are made.
    pub assertion: Assertion,
    /// The encoding of the body.
    pub format: RequestFormat,
    /// Names that this provider has for parameters of the protocol.
    pub parameter_names: Arc<BTreeMap<String, String>>,
    /// Further headers.
    pub headers: HeaderMap,
    /// Extra parameters of the code exchange.
    pub code_params: BTreeMap<String, String>,
    /// Extra parameters of a refresh.
    pub refresh_params: BTreeMap<String, String>,
    /// How answers are read.
    pub answer: Arc<AnswerRules>,
    /// Private networks it may lie in.
    pub private_networks: Arc<[IpNet]>,
}

impl TokenEndpoint {
    /// Where a refresh is sent.
    pub fn refresh_url(&self) -> &Url {
        self.refresh_url.as_ref().unwrap_or(&self.url)
    }
}

/// The call that proves a credential, with its address rendered.
#[derive(Clone, Debug)]
pub struct IdentityEndpoint {
    /// The request.
    pub call: PreparedCall,
    /// When a 2xx answer is a yes.
    pub success: Option<Arc<Expression>>,
    /// Statuses that mean: the credential is good, and this call is beyond its rights.
    pub limited: Vec<u16>,
}

/// A provider's addresses for one integration: templates filled with its parameters.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Authorization endpoint.
    pub authorization: Url,
    /// Extra parameters of the authorization request.
    pub authorization_params: BTreeMap<String, String>,
    /// Token endpoint.
    pub token: TokenEndpoint,
    /// Introspection endpoint.
    pub introspection: Option<Url>,
    /// The call that proves a credential.
    pub identity: Option<IdentityEndpoint>,
    /// The whole revocation request.
    pub revocation: Option<RevocationRequest>,
    /// Origins of look-ups and of the app's API.
    pub api_origins: Vec<String>,
}

/// The addresses cannot be made with these parameters.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A value is not what the form asks for.
    #[error("parameter {name}: {source}")]
    Value {
        /// The parameter.
        name: String,
        /// Why.
        source: RuleError,
    },
    /// A value is missing.
    #[error("parameter {name} is missing; set spec.parameters.{name}")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A template cannot be filled.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// The values that hold for one integration: those of `parameters` and the form's defaults, checked.
pub(super) fn filled(
    provider: &Provider,
    parameters: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, RenderError> {
    let form = &provider.parameters;
    let values = form.values(&[parameters]);
    if let Some((name, source)) = form.mistake(&values) {
        return Err(RenderError::Value { name: name.to_owned(), source });
    }
    match form.missing(&values) {
        Some(name) => Err(RenderError::Missing { name: name.to_owned() }),
        None => Ok(values),
    }
}

/// Where a credential may be sent to beyond the endpoints of the protocol: look-ups, and the app's API.
pub(super) fn api_origins(provider: &Provider, values: &BTreeMap<String, String>) -> Vec<String> {
    let lookups = provider.lookups.iter().map(|lookup| lookup.call.origin(values));
    let mut origins: Vec<String> = lookups.chain(provider.api.base.origins(values)).collect();
    origins.sort();
    origins.dedup();
    origins
}

impl Identity {
    /// The call with its address filled, for a credential that is placed so.
    pub(super) fn render(
        &self,
        provider: &Provider,
        placement: &Placement,
        parameters: &BTreeMap<String, String>,
    ) -> Result<IdentityEndpoint, TemplateError> {
        Ok(IdentityEndpoint {
            call: self.call.prepare(placement, parameters, &provider.private_networks)?,
            success: self.success.clone(),
            limited: self.limited.clone(),
        })
    }
}

impl Endpoints {
    /// Fills the templates of `provider` with these values and the form's defaults, after checking them.
    pub fn render(
        provider: &Provider,
        client: &OAuthClient,
        client_id: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, RenderError> {
        let mut values = filled(provider, parameters)?;
        let extra = |params: &ExtraParams| -> BTreeMap<String, String> {
            params.iter().filter_map(|(name, text)| Some((name.clone(), text.render(&values)?))).collect()
        };
        let [authorization_params, code_params, refresh_params] =
            [&client.authorization_params, &client.token_params, &client.refresh_params].map(extra);
        values.insert(CLIENT_ID.to_owned(), client_id.to_owned());
        let optional = |url: &Option<UrlTemplate>| url.as_ref().map(|url| url.render(&values)).transpose();
        Ok(Self {
            authorization: client.authorization_url.render(&values)?,
            authorization_params,
            token: TokenEndpoint {
                url: client.token_url.render(&values)?,
                refresh_url: optional(&client.refresh_url)?,
                authentication: client.client_authentication,
                assertion: client.assertion.clone(),
                format: client.request_format,
                parameter_names: Arc::clone(&client.parameter_names),
                headers: client.token_headers.clone(),
                code_params,
                refresh_params,
                answer: Arc::clone(&client.answer),
                private_networks: provider.private_networks.clone(),
            },
            introspection: optional(&client.introspection_url)?,
            identity: client
                .identity
                .as_ref()
                .map(|identity| identity.render(provider, &provider.api.authorization, &values))
                .transpose()?,
            api_origins: api_origins(provider, &values),
            revocation: client
                .revocation
                .as_ref()
                .map(|revocation| {
                    Ok::<_, TemplateError>(RevocationRequest {
                        method: revocation.method,
                        url: revocation.url.render(&values)?,
                        authentication: revocation.authentication,
                        body: revocation.body.clone(),
                        success: revocation.success.clone(),
                        gone: revocation.gone.clone(),
                    })
                })
                .transpose()?,
        })
    }

    /// What a grant made now would be bound to.
    pub fn binding(&self, provider: &Provider, client: &OAuthClient, credentials: &ClientCredentials) -> Binding {
        Binding {
            provider: provider.reference.clone(),
            client_id: credentials.client_id.clone(),
            client: provider.reference.namespace.is_some().then(|| credentials.clone()),
            token_url: Some(self.token.url.clone()),
            refresh_url: self.token.refresh_url.clone(),
            introspection_url: self.introspection.clone(),
            identity_url: self.identity.as_ref().map(|identity| identity.call.url.clone()),
            api_origins: self.api_origins.clone(),
            client_authentication: client.client_authentication,
            assertion: client.assertion.clone(),
            parameter_names: (*client.parameter_names).clone(),
            request_format: client.request_format,
            revocation: self.revocation.clone(),
            revocation_effect: client.revocation_effect,
            private_networks: provider.private_networks.to_vec(),
        }
    }
}
