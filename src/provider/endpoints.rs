//! A provider's addresses for one integration: templates filled with the person's values, and what goes with each.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use url::Url;

use super::call::{Placement, PreparedCall};
use super::expression::Expression;
use super::resolved::{CLIENT_ID, Identity, OAuthClient, Provider};
use super::template::{RuleError, TemplateError};
use crate::api::provider::{ClientAuthentication, ErrorWords, RequestFormat};
use crate::grant::binding::RevocationRequest;
use crate::grant::{Binding, ClientCredentials};

/// Where and how token requests are sent.
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    /// The address.
    pub url: Url,
    /// How the client authenticates.
    pub authentication: ClientAuthentication,
    /// The encoding of the body.
    pub format: RequestFormat,
    /// Error words of this provider.
    pub errors: ErrorWords,
    /// Private networks it may lie in.
    pub private_networks: Arc<[IpNet]>,
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
    /// Token endpoint.
    pub token: TokenEndpoint,
    /// Introspection endpoint.
    pub introspection: Option<Url>,
    /// The call that proves a credential.
    pub identity: Option<IdentityEndpoint>,
    /// The whole revocation request.
    pub revocation: Option<RevocationRequest>,
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
    /// A template cannot be filled.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Checks the person's values against the patterns of the provider's form.
pub(super) fn check_values(provider: &Provider, parameters: &BTreeMap<String, String>) -> Result<(), RenderError> {
    for (name, rule) in &provider.parameters {
        let Some(value) = parameters.get(name) else { continue };
        rule.check(value).map_err(|source| RenderError::Value { name: name.clone(), source })?;
    }
    Ok(())
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
    /// Fills the templates of `provider`. The values are checked against the form's patterns first.
    pub fn render(
        provider: &Provider,
        client: &OAuthClient,
        client_id: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, RenderError> {
        check_values(provider, parameters)?;
        Ok(Self {
            authorization: client.authorization_url.render(parameters)?,
            token: TokenEndpoint {
                url: client.token_url.render(parameters)?,
                authentication: client.client_authentication,
                format: client.request_format,
                errors: client.errors.clone(),
                private_networks: provider.private_networks.clone(),
            },
            introspection: client.introspection_url.as_ref().map(|url| url.render(parameters)).transpose()?,
            identity: client
                .identity
                .as_ref()
                .map(|identity| identity.render(provider, &provider.api.authorization, parameters))
                .transpose()?,
            revocation: client
                .revocation
                .as_ref()
                .map(|revocation| {
                    let mut values = parameters.clone();
                    values.insert(CLIENT_ID.to_owned(), client_id.to_owned());
                    Ok::<_, TemplateError>(RevocationRequest {
                        method: revocation.method,
                        url: revocation.url.render(&values)?,
                        authentication: revocation.authentication,
                        body: revocation.body.clone(),
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
            introspection_url: self.introspection.clone(),
            identity_url: self.identity.as_ref().map(|identity| identity.call.url.clone()),
            client_authentication: client.client_authentication,
            request_format: client.request_format,
            revocation: self.revocation.clone(),
            revocation_effect: client.revocation_effect,
            private_networks: provider.private_networks.to_vec(),
        }
    }
}
