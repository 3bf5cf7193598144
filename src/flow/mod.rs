//! The connect flow, from a request to a grant: what the HTTP endpoints and the connect annotation have in common.
//!
//! [`Flow::begin`] makes an attempt, [`Flow::open`] sends a browser to the provider, [`Flow::callback`] takes it back
//! and [`exchange`] turns the code into a grant. Nothing here writes status: the reconciler derives it.

pub mod account;
pub mod api_key;
pub mod attempts;
pub mod begin;
pub mod callback;
pub mod exchange;
mod giving_back;
pub mod open;
pub mod signing_key;

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::InitiatorCheck;
use crate::grant::GrantStore;
use crate::oauth::attempt::SigningKey;
use crate::provider::gate::Gates;
use crate::provider::outbound::Outbound;
use crate::provider::registry::Registry;
use crate::tenancy::Tenants;
use attempts::AttemptStore;

/// Everything the flow needs; cheap to clone.
#[derive(Clone)]
pub struct Flow {
    /// For integrations.
    pub client: kube::Client,
    /// Attempts.
    pub attempts: AttemptStore,
    /// Grants.
    pub grants: GrantStore,
    /// Providers and their clients' credentials.
    pub registry: Registry,
    /// Tenants.
    pub tenants: Tenants,
    /// Requests to providers.
    pub outbound: Outbound,
    /// Limits and breakers.
    pub gates: Arc<Gates>,
    /// Signs tickets and states.
    pub key: SigningKey,
    /// The operator's public address.
    pub public_url: Url,
    /// Frontends to return to; the first is the default.
    pub frontends: Vec<Url>,
    /// How the initiator is checked.
    pub initiator_check: InitiatorCheck,
    /// Exchanges that go on after their browser was sent away.
    pub tasks: TaskTracker,
}

/// How a callback or a start page is addressed: the path tells which provider it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tenant in the path; `None` for a cluster provider.
    pub tenant: Option<String>,
    /// The type in the path, with `_` read as `-`.
    pub type_: String,
}

impl Place {
    /// The path of this place up to and without the last segment.
    pub fn path(&self) -> String {
        match &self.tenant {
            None => format!("/api/public/integrations/{}", self.type_),
            Some(tenant) => format!("/api/public/tenants/{tenant}/integrations/{}", self.type_),
        }
    }
}

impl Flow {
    /// The current time; one place, so that a flow uses one clock.
    fn now() -> Timestamp {
        Timestamp::now()
    }

    /// An address below the public one.
    fn public(&self, path: &str) -> Url {
        let mut url = self.public_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }

    /// The frontend that `return_to` names: one of the allowed ones, or a loopback port of the plugin (RFC 8252 §7.3).
    pub fn frontend(&self, return_to: Option<&str>) -> Option<Option<Url>> {
        let Some(wanted) = return_to else { return Some(self.frontends.first().cloned()) };
        let wanted = Url::parse(wanted).ok()?;
        if self.frontends.contains(&wanted) {
            return Some(Some(wanted));
        }
        let loopback = wanted.scheme() == "http"
            && matches!(wanted.host_str(), Some("127.0.0.1" | "[::1]"))
            && wanted.port().is_some()
            && wanted.username().is_empty()
            && wanted.password().is_none();
        loopback.then_some(Some(wanted))
    }
}
