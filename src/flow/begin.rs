//! The start of a flow: an attempt is made, and with it the link that is handed out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;
use url::Url;

use super::attempts::AttemptError;
use super::{Flow, Place};
use crate::api::{ProjectIntegration, ProviderKind};
use crate::digest::random_token;
use crate::finalizer::{self, FinalizerError};
use crate::grant::Owner;
use crate::oauth::attempt::{Attempt, LIFETIME, attempt_name, browser_hash};
use crate::provider::registry::{LookupError, Usable};
use crate::provider::resolved::OAuthClient;
use crate::sensitive::Sensitive;
use crate::tenancy::TenantMismatch;
use crate::trace;

/// Who asks, and how.
#[derive(Clone, Debug, Default)]
pub struct Initiator {
    /// The Kubernetes user.
    pub caller: Option<String>,
    /// The person of the product.
    pub agent_id: Option<String>,
    /// The connect annotation's value, where that asked; the grant then remembers it as handled.
    pub request: Option<String>,
    /// The frontend to return to, already found among the allowed ones.
    pub return_to: Option<Url>,
    /// The cookie of the browser that asked, where one did.
    pub browser: Option<String>,
    /// Values of the form, on top of those of the spec.
    pub parameters: BTreeMap<String, String>,
}

/// A flow that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The link to hand out; a capability.
    pub url: Sensitive,
    /// Until when it works.
    pub expires_at: Timestamp,
}

/// A flow cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The provider cannot be used.
    #[error(transparent)]
    Provider(#[from] LookupError),
    /// The namespace is not the tenant's.
    #[error(transparent)]
    Tenant(#[from] TenantMismatch),
    /// The integration is being deleted.
    #[error("the integration is being deleted; try again when it is gone")]
    Deleting,
    /// The integration is suspended.
    #[error("the integration is suspended; set spec.suspend to false first")]
    Suspended,
    /// The integration follows a key.
    #[error("spec.apiKey names the key of this integration; change that Secret, or remove spec.apiKey first")]
    KeyInSpec,
    /// A value that the provider's form asks for is missing.
    #[error("parameter {0} is missing; pass param.{0}=… or set spec.parameters.{0}")]
    MissingParameter(String),
    /// The attempt could not be kept.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The finalizer could not be set.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
}

impl Flow {
    /// Makes an attempt for `integration`, or finds the one that the same caller has open.
    pub async fn begin(&self, integration: &ProjectIntegration, who: Initiator) -> Result<Begun, BeginError> {
        let namespace = integration.namespace().unwrap_or_default();
        self.tenants.check(&namespace, &integration.spec.tenant_id)?;
        if integration.metadata.deletion_timestamp.is_some() {
            return Err(BeginError::Deleting);
        }
        if integration.spec.suspend {
            return Err(BeginError::Suspended);
        }
        if integration.spec.api_key.is_some() {
            return Err(BeginError::KeyInSpec);
        }
        let provider = self.registry.find(integration.spec.provider_kind, &namespace, &integration.spec.type_).await?;
        let parameters = provider.parameters.values(&[&integration.spec.parameters, &who.parameters]);
        if let Some(missing) = provider.parameters.missing(&parameters) {
            return Err(BeginError::MissingParameter(missing.to_owned()));
        }
        let usable = self.registry.usable_with(provider, &namespace, &parameters).await?;
        let owner = Owner { namespace, name: integration.name_any(), uid: integration.uid().unwrap_or_default() };
        let place = place(integration);
        if let Some(begun) = self.open_attempt(&owner, &usable, &who, &parameters, &place).await? {
            return Ok(begun);
        }
        // Deletion must find the grant: the finalizer is on before there can be one.
        finalizer::put_on(&self.client, integration).await?;
        let now = Self::now();
        let attempt = Attempt {
            nonce: Sensitive::new(random_token()),
            verifier: Sensitive::new(random_token()),
            integration: owner,
            tenant: integration.spec.tenant_id.clone(),
            project: integration.spec.project_id.clone(),
            type_: integration.spec.type_.clone(),
            provider: usable.provider.reference.clone(),
            display_name: usable.provider.display_name.clone(),
            pin: usable.pin(),
            redirect_uri: usable.provider.callback_url.clone(),
            scopes: wanted_scopes(integration, &usable.client).to_vec(),
            parameters,
            callback_params: usable.client.callback_params.clone(),
            query: BTreeMap::new(),
            caller: who.caller,
            agent_id: who.agent_id,
            request: who.request,
            return_to: who.return_to,
            browsers: who.browser.as_deref().map(browser_hash).into_iter().collect(),
            traceparent: trace::current().traceparent(),
            created_at: now,
            deadline: now + LIFETIME,
            parked: None,
        };
        let ticket = self.key.ticket(&attempt);
        let name = attempt_name(self.key.state(ticket.expose()).expose());
        self.attempts.create(&name, &attempt).await?;
        Ok(self.begun(&place, &ticket, attempt.deadline))
    }

    /// The attempt that the same caller has open for the same thing, now for this browser too.
    async fn open_attempt(
        &self,
        owner: &Owner,
        usable: &Usable,
        who: &Initiator,
        parameters: &BTreeMap<String, String>,
        place: &Place,
    ) -> Result<Option<Begun>, BeginError> {
        let found = self.attempts.of_caller(owner, who.caller.as_deref(), who.agent_id.as_deref(), Self::now()).await?;
        let Some(stored) = found else { return Ok(None) };
        let same = stored.attempt.pin == usable.pin()
            && stored.attempt.parameters == *parameters
            && stored.attempt.request == who.request
            && stored.attempt.return_to == who.return_to;
        if !same {
            return Ok(None);
        }
        if let Some(browser) = &who.browser
            && !stored.attempt.knows_browser(Some(browser))
        {
            let mut attempt = stored.attempt.clone();
            attempt.add_browser(browser);
            if !self.attempts.replace(&stored, &attempt).await? {
                return Ok(None);
            }
        }
        let ticket = self.key.ticket(&stored.attempt);
        Ok(Some(self.begun(place, &ticket, stored.attempt.deadline)))
    }

    fn begun(&self, place: &Place, ticket: &Sensitive, expires_at: Timestamp) -> Begun {
        let mut url = self.public(&format!("{}/start", place.path()));
        url.query_pairs_mut().append_pair("ticket", ticket.expose());
        Begun { url: Sensitive::new(url.as_str()), expires_at }
    }
}

/// The scopes to ask for: the spec's own, else the provider's.
pub fn wanted_scopes<'a>(integration: &'a ProjectIntegration, client: &'a OAuthClient) -> &'a [String] {
    if integration.spec.scopes.is_empty() { &client.scopes } else { &integration.spec.scopes }
}

/// Where the provider of an integration is addressed.
pub fn place(integration: &ProjectIntegration) -> Place {
    Place {
        tenant: match integration.spec.provider_kind {
            ProviderKind::ClusterIntegrationProvider => None,
            ProviderKind::IntegrationProvider => Some(integration.spec.tenant_id.clone()),
        },
        type_: integration.spec.type_.clone(),
    }
}
