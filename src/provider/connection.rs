//! How one integration uses its provider: by OAuth 2.0, or by an API key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api_key::KeyForm;
use super::endpoints::{IdentityEndpoint, RenderError, api_origins, filled};
use super::registry::{LookupError, Usable};
use super::resolved::Provider;
use crate::api::ProjectIntegration;
use crate::grant::{Binding, GrantView};

/// A provider, with everything that one integration needs of it.
#[derive(Clone, Debug)]
pub enum Connection {
    /// A person authorizes, and tokens are refreshed.
    OAuth(Box<Usable>),
    /// Somebody gives a key.
    ApiKey(Box<Keyed>),
}

/// A provider that takes API keys, for one integration.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The provider.
    pub provider: Arc<Provider>,
    /// What a key looks like.
    pub form: KeyForm,
    /// The call that proves a key; keys are taken unproved where there is none.
    pub identity: Option<IdentityEndpoint>,
    /// Origins of look-ups and of the app's API.
    pub api_origins: Vec<String>,
}

impl Connection {
    /// The provider.
    pub fn provider(&self) -> &Arc<Provider> {
        match self {
            Self::OAuth(usable) => &usable.provider,
            Self::ApiKey(keyed) => &keyed.provider,
        }
    }

    /// The call that proves what is held.
    pub fn identity(&self) -> Option<&IdentityEndpoint> {
        match self {
            Self::OAuth(usable) => usable.endpoints.identity.as_ref(),
            Self::ApiKey(keyed) => keyed.identity.as_ref(),
        }
    }

    /// What a grant made now would be bound to.
    pub fn binding(&self) -> Binding {
        match self {
            Self::OAuth(usable) => usable.endpoints.binding(&usable.provider, &usable.client, &usable.credentials),
            Self::ApiKey(keyed) => keyed.binding(),
        }
    }
}

impl Keyed {
    /// Fills the addresses with the person's values, which are checked against the form's patterns first.
    pub fn render(provider: Arc<Provider>, parameters: &BTreeMap<String, String>) -> Result<Self, LookupError> {
        let name = || provider.reference.name.clone();
        let client = provider.api_key.clone().ok_or_else(|| LookupError::NoApiKey { name: name() })?;
        let values = filled(&provider, parameters)?;
        let identity = client.identity.as_ref().map(|call| call.render(&provider, &client.placement, &values));
        let identity = identity.transpose().map_err(RenderError::from)?;
        Ok(Self { form: client.form, identity, api_origins: api_origins(&provider, &values), provider })
    }

    /// What a key that is given now is bound to: the provider, and the origin that proves it.
    pub fn binding(&self) -> Binding {
        let identity_url = self.identity.as_ref().map(|identity| identity.call.url.clone());
        let networks = self.provider.private_networks.to_vec();
        Binding::of_api_key(self.provider.reference.clone(), identity_url, self.api_origins.clone(), networks)
    }
}

/// Whether `integration` uses an API key: where its spec names one, where one is held, and where there is nothing else.
pub fn wants_key(integration: &ProjectIntegration, provider: &Provider, grant: Option<&GrantView>) -> bool {
    let holds_key = grant.is_some_and(|grant| grant.summary.api_key.is_some());
    integration.spec.api_key.is_some() || provider.oauth.is_none() || holds_key && provider.api_key.is_some()
}
