//! A connection that is used: what calls to its app are made with.
//!
//! Read anew for each call, from the API server: a connection that was suspended, disconnected or refreshed a moment ago is
//! so for the next call on every replica. Nothing here refreshes; the controller is asked to.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use super::auth::Caller;
use super::error::ApiError;
use super::ids::Target;
use super::{MANAGER, ServerState};
use crate::api::{ProjectIntegration, request};
use crate::grant::Grant;
use crate::grant::store::{Held, grant_name};
use crate::oauth::account::{Names, Subject};
use crate::provider::call::{Placed, Placement};
use crate::provider::connection::Connection;
use crate::provider::resolved::Provider;

/// An access token that expires so soon is refreshed first.
const TOO_SHORT: SignedDuration = SignedDuration::from_secs(5);
/// Tokens that are younger were not refreshed in vain: what the app refuses with them it refuses for another reason.
const YOUNG: SignedDuration = SignedDuration::from_secs(30);
/// How long a caller waits for a refresh, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(15);
const PACE: Duration = Duration::from_millis(300);

/// A connection with all that calls to its app need.
#[derive(Debug)]
pub(super) struct InUse {
    /// Its namespace.
    pub(super) namespace: String,
    /// The resource.
    pub(super) integration: ProjectIntegration,
    /// The provider, and how it is used.
    pub(super) connection: Connection,
    /// What is held.
    pub(super) held: Held,
}

impl InUse {
    /// The provider.
    pub(super) fn provider(&self) -> &Arc<Provider> {
        self.connection.provider()
    }

    /// What is held.
    pub(super) const fn grant(&self) -> &Grant {
        &self.held.grant
    }

    /// The address of the app's API for this connection.
    pub(super) fn api_base(&self) -> Result<&Url, ApiError> {
        match (&self.grant().account.api_base, &self.grant().account.choice) {
            (Some(base), _) => Ok(base),
            (None, Some(choice)) => Err(ApiError::ChoiceOpen(choice.parameter.clone())),
            (None, None) => Err(ApiError::NoApiBase),
        }
    }

    /// How the connection's own credential is sent.
    pub(super) fn placed(&self) -> Result<Placed, ApiError> {
        let api = &self.provider().api;
        let placement: &Placement = match (&self.connection, &api.api_key) {
            (Connection::ApiKey(_), Some(placement)) => placement,
            _ => &api.authorization,
        };
        placement.fill(&self.subject().values).map_err(|_| ApiError::NoApiBase)
    }

    /// The connection as expressions see it.
    pub(super) fn subject(&self) -> Subject<'_> {
        let spec = &self.integration.spec;
        let name = self.integration.name_any();
        let names = Names {
            namespace: &self.namespace,
            name: &name,
            tenant: &spec.tenant_id,
            project: &spec.project_id,
            type_: &spec.type_,
        };
        let layers = [&self.grant().parameters, &spec.parameters];
        match &self.connection {
            Connection::OAuth(usable) => Subject::of_oauth(usable, names, &layers),
            Connection::ApiKey(keyed) => Subject::of_key(keyed, names, &layers),
        }
    }

    /// The metadata as expressions see it.
    pub(super) fn metadata(&self) -> Value {
        json!(self.grant().metadata)
    }

    /// Whether a refresh may help: there is a refresh token, and the tokens are not from a moment ago.
    fn may_be_renewed(&self, now: Timestamp) -> bool {
        let tokens = &self.grant().tokens;
        tokens.refresh_token.is_some() && now.duration_since(tokens.obtained_at) > YOUNG
    }
}

impl ServerState {
    /// The connection of a caller who may use it, with an access token that lives.
    pub(super) async fn in_use(&self, caller: &Caller, namespace: &str, target: &Target) -> Result<InUse, ApiError> {
        let in_use = self.found(namespace, target).await?;
        let expires_at = in_use.grant().tokens.expires_at;
        let dying = |margin| expires_at.is_some_and(|at| at.duration_since(Timestamp::now()) < margin);
        if !dying(TOO_SHORT) {
            return Ok(in_use);
        }
        match self.renewed(caller, target, &in_use).await {
            Ok(Some(renewed)) => Ok(renewed),
            Ok(None) | Err(ApiError::Renewing) if !dying(SignedDuration::ZERO) => Ok(in_use),
            Ok(None) => Err(ApiError::TokenExpired),
            Err(error) => Err(error),
        }
    }

    async fn found(&self, namespace: &str, target: &Target) -> Result<InUse, ApiError> {
        let flow = &self.flow;
        let integration = self.integration(namespace, target).await?;
        flow.tenants.check(namespace, &integration.spec.tenant_id).map_err(|_| ApiError::Forbidden)?;
        if integration.metadata.deletion_timestamp.is_some() {
            return Err(ApiError::Deleting);
        }
        if integration.spec.suspend {
            return Err(ApiError::Suspended);
        }
        let held = flow.grants.get(&grant_name(namespace, &target.name())).await;
        let held = held.map_err(|source| ApiError::Grant(Box::new(source)))?;
        let own = |held: &Held| Some(&held.grant.integration.uid) == integration.metadata.uid.as_ref();
        let held = held.filter(own).filter(|held| held.view.leaving.is_none()).ok_or(ApiError::NotConnected)?;
        if held.view.refused.is_some() {
            return Err(ApiError::ReauthorizationRequired);
        }
        let connection = flow.registry.connection(&integration, Some(&held.view)).await?;
        if connection.binding().digest() != held.view.summary.binding {
            return Err(ApiError::ProviderChanged);
        }
        Ok(InUse { namespace: namespace.to_owned(), integration, connection, held })
    }

    /// The connection after a refresh, which is asked for and waited for; `None` where none can help.
    pub(super) async fn renewed(
        &self,
        caller: &Caller,
        target: &Target,
        before: &InUse,
    ) -> Result<Option<InUse>, ApiError> {
        if !before.may_be_renewed(Timestamp::now()) {
            return Ok(None);
        }
        let seen = (before.grant().epoch, before.grant().generation);
        let is_newer = |grant: &Grant| (grant.epoch, grant.generation) > seen;
        let newest = self.found(&before.namespace, target).await?;
        if is_newer(newest.grant()) {
            return Ok(Some(newest));
        }
        self.ask_for_refresh(caller, &newest).await?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            sleep(PACE).await;
            let now = self.found(&before.namespace, target).await?;
            if is_newer(now.grant()) {
                return Ok(Some(now));
            }
        }
        Err(ApiError::Renewing)
    }

    /// Asks the controller for a refresh, unless somebody has just done so.
    async fn ask_for_refresh(&self, caller: &Caller, in_use: &InUse) -> Result<(), ApiError> {
        let integration = &in_use.integration;
        let now = Timestamp::now();
        let last = integration.annotations().get(request::REFRESH).and_then(|text| text.parse::<Timestamp>().ok());
        let waits = SignedDuration::try_from(PATIENCE).unwrap_or_default();
        if last.is_some_and(|last| now.duration_since(last).abs() < waits) {
            return Ok(());
        }
        let patch = json!({ "metadata": {
            "uid": integration.uid(),
            "annotations": { request::REFRESH: now, request::REQUESTED_BY: caller.username },
        }});
        let how = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(&in_use.namespace).patch(&integration.name_any(), &how, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Err(ApiError::NoIntegration)
            }
            Err(source) => Err(ApiError::cluster("ask for a refresh")(source)),
        }
    }
}
