//! What is known of an integration at the beginning of a reconcile: the input of every step after it.

use std::sync::OnceLock;

use kube::ResourceExt as _;

use super::context::Context;
use super::memory::Later;
use super::settings::{Settings, SettingsError, settings};
use crate::api::ProjectIntegration;
use crate::api::provider::Reauthorization;
use crate::flow::begin::wanted_scopes;
use crate::grant::{GrantView, StoreError};
use crate::oauth::account::{Names, Subject};
use crate::provider::connection::{Connection, Keyed};
use crate::provider::registry::{LookupError, Usable};
use crate::provider::resolved::OAuthClient;
use crate::tenancy::TenantMismatch;

/// What is known of an integration.
pub struct Situation<'a> {
    /// The resource.
    pub integration: &'a ProjectIntegration,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether its tenant is served in its namespace.
    pub tenancy: Result<(), TenantMismatch>,
    /// What its spec means.
    pub settings: Result<Settings, SettingsError>,
    /// Its provider; not looked up where the tenant or the spec is wrong.
    pub provider: Option<Result<Connection, LookupError>>,
    /// What is held for it.
    pub grant: Option<GrantView>,
    /// Whether a grant lies there that was made for another life of it.
    pub foreign: bool,
    /// That grant.
    pub left_over: Option<GrantView>,
    /// Why what is held cannot be read.
    pub unreadable: Option<String>,
    /// A later authorization of the same installation, at a provider where that ends this one.
    pub later: Option<Later>,
    /// Digest of what the connection binds a grant to, once it was asked for.
    pub binding: OnceLock<String>,
}

impl<'a> Situation<'a> {
    /// Gathers what is known. Asks caches, and the API server only for what they do not hold.
    pub async fn gather(context: &Context, integration: &'a ProjectIntegration) -> Result<Self, StoreError> {
        let namespace = integration.namespace().unwrap_or_default();
        let name = integration.name_any();
        let uid = integration.uid().unwrap_or_default();
        let tenancy = context.tenants.check(&namespace, &integration.spec.tenant_id);
        let settings = settings(integration);
        let found = context.find_grant(integration).await?;
        let foreign = found.as_ref().is_some_and(|view| view.summary.integration.uid != uid);
        let (grant, left_over) = if foreign { (None, found) } else { (found, None) };
        let unreadable = match &grant {
            Some(view) => context.unreadable(&uid, view).await,
            None => None,
        };
        let provider = if tenancy.is_ok() && settings.is_ok() {
            let wanted = left_over.as_ref().filter(|view| view.adopt.as_deref() == Some(uid.as_str()));
            Some(context.registry.connection(integration, grant.as_ref().or(wanted)).await)
        } else {
            None
        };
        let ends_earlier = |usable: &Usable| usable.client.reauthorization == Reauthorization::ReplacesEarlier;
        let later = match (&grant, &provider) {
            (Some(grant), Some(Ok(Connection::OAuth(usable)))) if ends_earlier(usable) => context.later_sibling(grant),
            _ => None,
        };
        Ok(Self {
            integration,
            namespace,
            name,
            uid,
            tenancy,
            settings,
            provider,
            grant,
            foreign,
            left_over,
            unreadable,
            later,
            binding: OnceLock::new(),
        })
    }

    /// The grant that is to be taken over: one of another life of this integration, or of its provider.
    pub fn adoptable(&self) -> Option<&GrantView> {
        let own = self.grant.as_ref().filter(|_| !self.is_bound());
        self.left_over.as_ref().or(own).filter(|view| view.adopt.as_deref() == Some(self.uid.as_str()))
    }

    /// The settings and the provider, where the integration is served and both can be used.
    pub fn served(&self) -> Option<(&Settings, &Connection)> {
        match (&self.tenancy, &self.settings, &self.provider) {
            (Ok(()), Ok(settings), Some(Ok(connection))) => Some((settings, connection)),
            _ => None,
        }
    }

    /// The same where it uses OAuth.
    pub fn served_by_oauth(&self) -> Option<(&Settings, &Usable)> {
        match self.served()? {
            (settings, Connection::OAuth(usable)) => Some((settings, usable)),
            (_, Connection::ApiKey(_)) => None,
        }
    }

    /// The same where it uses an API key.
    pub fn served_by_key(&self) -> Option<(&Settings, &Keyed)> {
        match self.served()? {
            (settings, Connection::ApiKey(keyed)) => Some((settings, keyed)),
            (_, Connection::OAuth(_)) => None,
        }
    }

    /// The connection as the expressions of its description see it, with the values of the spec over those that were given
    /// when connecting.
    pub fn subject(&self) -> Option<Subject<'_>> {
        let grant = self.grant.as_ref()?;
        let spec = &self.integration.spec;
        let names = Names {
            namespace: &self.namespace,
            name: &self.name,
            tenant: &spec.tenant_id,
            project: &spec.project_id,
            type_: &spec.type_,
        };
        let layers = [&grant.summary.parameters, &spec.parameters];
        Some(match self.served()?.1 {
            Connection::OAuth(usable) => Subject::of_oauth(usable, names, &layers),
            Connection::ApiKey(keyed) => Subject::of_key(keyed, names, &layers),
        })
    }

    /// Scopes that are wanted now and were not asked for when this was connected.
    pub fn added_scopes(&self) -> Vec<String> {
        let requested = self.grant.as_ref().and_then(|grant| grant.summary.requested_scopes.as_ref());
        match (self.served_by_oauth(), requested) {
            (Some((_, usable)), Some(requested)) => {
                OAuthClient::added_scopes(wanted_scopes(self.integration, &usable.client), requested)
            }
            _ => vec![],
        }
    }

    /// What differs from what the grant was made for, in words for people; empty where nothing does, or where the grant is
    /// of an earlier version that did not note it.
    pub fn changes(&self) -> Vec<&'static str> {
        let before = self.grant.as_ref().and_then(|grant| grant.summary.parts.as_ref());
        match (before, self.served()) {
            (Some(before), Some((_, connection))) => before.changes(&connection.binding().parts()),
            _ => vec![],
        }
    }

    /// Whether a person can be sent to the app's consent page. Where a key is held that somebody gave, an app that takes
    /// either can be authorized in its place; a key that the spec names has no rival.
    pub fn can_authorize(&self) -> bool {
        let offers = self.served().is_some_and(|(_, connection)| connection.provider().oauth.is_some());
        offers && self.integration.spec.api_key.is_none()
    }

    /// Whether the provider is still the one that the grant was made for: object, client and origins.
    pub fn is_bound(&self) -> bool {
        match (&self.grant, self.served()) {
            (Some(grant), Some((_, connection))) => {
                *self.binding.get_or_init(|| connection.binding().digest()) == grant.summary.binding
            }
            _ => true,
        }
    }
}
