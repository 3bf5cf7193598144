//! Attempts as Secrets in the operator's namespace.
//!
//! An attempt is consumed by deleting it with its uid *and* its resourceVersion as preconditions: of a thousand deletes
//! at once, on any replica, exactly one succeeds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::api::MANAGER;
use crate::digest::short_hash;
use crate::grant::Owner;
use crate::grant::store::{KIND_LABEL, exactly};
use crate::oauth::attempt::Attempt;
use crate::seal::{Place, SEALED_WITH, SealError, Sealed, Sealer};

/// Value of the kind label for attempts.
pub const ATTEMPT: &str = "attempt";
/// Most attempts that may be open for one integration.
pub const PER_INTEGRATION: usize = 10;
/// Most attempts that may be open for one tenant.
pub const PER_TENANT: usize = 200;

/// Annotation with the time at which the person, or the provider, said no.
pub const DENIED_ANNOTATION: &str = "integrations.tms.dev/denied-at";
/// Annotation with the namespace and name of the integration, for the controller's watch.
pub const OWNER_ANNOTATION: &str = "integrations.tms.dev/owner";

const DATA_KEY: &str = "attempt";
const INTEGRATION_LABEL: &str = "integrations.tms.dev/integration";
const TENANT_LABEL: &str = "integrations.tms.dev/attempt-tenant";
const CALLER_LABEL: &str = "integrations.tms.dev/caller";
const DEADLINE_ANNOTATION: &str = "integrations.tms.dev/deadline";

/// Attempts in the operator's namespace.
#[derive(Clone)]
pub struct AttemptStore {
    secrets: Api<Secret>,
    namespace: String,
    sealer: Sealer,
}

/// An attempt as it was read, with what is needed to consume exactly that one.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The attempt.
    pub attempt: Attempt,
    name: String,
    uid: String,
    resource_version: String,
}

/// An attempt could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The API server refused, or could not be reached.
    #[error("cannot {operation} an authorization attempt")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
    /// The data cannot be read or written.
    #[error("an authorization attempt cannot be decoded or encoded")]
    Codec(#[from] serde_json::Error),
    /// It is sealed and does not open, or could not be sealed.
    #[error("an authorization attempt cannot be opened or sealed")]
    Sealed(#[from] SealError),
}

impl AttemptStore {
    /// Attempts in `namespace`, the operator's own.
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self { secrets: Api::namespaced(client, &namespace), namespace, sealer: Sealer::default() }
    }

    /// Seals what is written, and opens what is read.
    #[must_use]
    pub fn sealing(self, sealer: Sealer) -> Self {
        Self { sealer, ..self }
    }

    /// Reads an attempt by the name of its Secret.
    pub async fn get(&self, name: &str) -> Result<Option<Stored>, AttemptError> {
        let secret = self.secrets.get_opt(name).await.map_err(|source| api("read", source))?;
        Ok(secret.map(|secret| self.decode(secret)).transpose()?.flatten())
    }

    /// Creates an attempt. The oldest of the integration or tenant make way where there are too many.
    pub async fn create(&self, name: &str, attempt: &Attempt) -> Result<(), AttemptError> {
        self.make_room(attempt).await?;
        let sealed = self.encode(name, attempt)?;
        let label = |key: &str, value: String| (key.to_owned(), value);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([
                    label(KIND_LABEL, ATTEMPT.to_owned()),
                    label(INTEGRATION_LABEL, integration_hash(&attempt.integration)),
                    label(TENANT_LABEL, short_hash(&[&attempt.tenant])),
                    label(CALLER_LABEL, caller_hash(attempt.caller.as_deref(), attempt.agent_id.as_deref())),
                    label("app.kubernetes.io/managed-by", MANAGER.to_owned()),
                ])),
                annotations: Some(
                    [
                        Some((DEADLINE_ANNOTATION, attempt.deadline.to_string())),
                        Some((
                            OWNER_ANNOTATION,
                            format!("{}/{}", attempt.integration.namespace, attempt.integration.name),
                        )),
                        sealed.key.map(|key| (SEALED_WITH, key)),
                    ]
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| label(key, value))
                    .collect(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some("integrations.tms.dev/authorization".to_owned()),
            data: Some([(DATA_KEY.to_owned(), ByteString(sealed.data))].into()),
            ..Secret::default()
        };
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.secrets.create(&parameters, &secret).await.map_err(|source| api("create", source))?;
        Ok(())
    }

    /// The newest open attempt of this caller for this integration.
    pub async fn of_caller(
        &self,
        integration: &Owner,
        caller: Option<&str>,
        agent_id: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Stored>, AttemptError> {
        let selector = format!(
            "{KIND_LABEL}={ATTEMPT},{INTEGRATION_LABEL}={},{CALLER_LABEL}={}",
            integration_hash(integration),
            caller_hash(caller, agent_id)
        );
        let found =
            self.secrets.list(&ListParams::default().labels(&selector)).await.map_err(|source| api("list", source))?;
        let mut open: Vec<Stored> = found
            .items
            .into_iter()
            .filter_map(|secret| self.decode(secret).ok().flatten())
            .filter(|stored| stored.attempt.integration == *integration && stored.attempt.is_open(now))
            .collect();
        open.sort_by_key(|stored| stored.attempt.created_at);
        Ok(open.pop())
    }

    /// Consumes an attempt: `true` for the one caller, on any replica, whose delete was carried out.
    pub async fn consume(&self, stored: &Stored) -> Result<bool, AttemptError> {
        match self.secrets.delete(&stored.name, &exactly(&stored.uid, &stored.resource_version)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(false),
            Err(source) => Err(api("consume", source)),
        }
    }

    /// Replaces an attempt, if nobody has touched it since it was read.
    pub async fn replace(&self, stored: &Stored, attempt: &Attempt) -> Result<bool, AttemptError> {
        let sealed = self.encode(&stored.name, attempt)?;
        let patch = json!({
            "metadata": {
                "uid": stored.uid,
                "resourceVersion": stored.resource_version,
                "annotations": { SEALED_WITH: sealed.key },
            },
            "data": { DATA_KEY: ByteString(sealed.data) },
        });
        self.swap(&stored.name, &patch).await
    }

    /// Consumes an attempt that was denied, leaving a mark without secrets that the reconciler reads; `true` for the
    /// one caller whose write was carried out.
    pub async fn deny(&self, stored: &Stored, now: Timestamp) -> Result<bool, AttemptError> {
        let patch = json!({
            "metadata": {
                "uid": stored.uid,
                "resourceVersion": stored.resource_version,
                "annotations": { DENIED_ANNOTATION: now.to_string(), SEALED_WITH: null },
            },
            "data": { DATA_KEY: null },
        });
        self.swap(&stored.name, &patch).await
    }

    /// Deletes every attempt of an integration, open or not.
    pub async fn delete_of(&self, integration: &Owner) -> Result<(), AttemptError> {
        let selector = format!("{KIND_LABEL}={ATTEMPT},{INTEGRATION_LABEL}={}", integration_hash(integration));
        self.secrets
            .delete_collection(&DeleteParams::background(), &ListParams::default().labels(&selector))
            .await
            .map_err(|source| api("delete", source))?;
        Ok(())
    }

    /// Deletes attempts whose time is over; returns how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, AttemptError> {
        let found = self
            .secrets
            .list_metadata(&ListParams::default().labels(&format!("{KIND_LABEL}={ATTEMPT}")))
            .await
            .map_err(|source| api("list", source))?;
        let mut swept = 0;
        for secret in found.items {
            let over = secret
                .metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(DEADLINE_ANNOTATION))
                .and_then(|text| text.parse::<Timestamp>().ok())
                .is_none_or(|deadline| deadline < now);
            if over {
                self.remove(&secret.metadata).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn encode(&self, name: &str, attempt: &Attempt) -> Result<Sealed, AttemptError> {
        let place = Place { namespace: &self.namespace, name };
        Ok(self.sealer.seal(place, serde_json::to_vec(attempt)?)?)
    }

    /// `None` for an attempt that was denied: nothing is left in it.
    fn decode(&self, secret: Secret) -> Result<Option<Stored>, AttemptError> {
        let Some(data) = secret.data.unwrap_or_default().remove(DATA_KEY) else { return Ok(None) };
        let name = secret.metadata.name.unwrap_or_default();
        let data = self.sealer.open(Place { namespace: &self.namespace, name: &name }, data.0)?;
        Ok(Some(Stored {
            attempt: serde_json::from_slice(&data)?,
            name,
            uid: secret.metadata.uid.unwrap_or_default(),
            resource_version: secret.metadata.resource_version.unwrap_or_default(),
        }))
    }

    async fn swap(&self, name: &str, patch: &serde_json::Value) -> Result<bool, AttemptError> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.secrets.patch(name, &parameters, &Patch::Merge(patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(false),
            Err(source) => Err(api("change", source)),
        }
    }

    async fn make_room(&self, attempt: &Attempt) -> Result<(), AttemptError> {
        let selector = format!("{KIND_LABEL}={ATTEMPT},{TENANT_LABEL}={}", short_hash(&[&attempt.tenant]));
        let found = self
            .secrets
            .list_metadata(&ListParams::default().labels(&selector))
            .await
            .map_err(|source| api("list", source))?;
        let mut all: Vec<ObjectMeta> = found.items.into_iter().map(|secret| secret.metadata).collect();
        all.sort_by_key(|metadata| metadata.creation_timestamp.as_ref().map(|time| time.0));
        let own = integration_hash(&attempt.integration);
        let same = |metadata: &ObjectMeta| {
            metadata.labels.as_ref().and_then(|labels| labels.get(INTEGRATION_LABEL)) == Some(&own)
        };
        let of_integration = all.iter().filter(|metadata| same(metadata)).count();
        for metadata in
            all.iter().filter(|metadata| same(metadata)).take((of_integration + 1).saturating_sub(PER_INTEGRATION))
        {
            self.remove(metadata).await?;
        }
        if of_integration < PER_INTEGRATION {
            for metadata in all.iter().take((all.len() + 1).saturating_sub(PER_TENANT)) {
                self.remove(metadata).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, metadata: &ObjectMeta) -> Result<(), AttemptError> {
        let name = metadata.name.as_deref().unwrap_or_default();
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let resource_version = metadata.resource_version.as_deref().unwrap_or_default();
        match self.secrets.delete(name, &exactly(uid, resource_version)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(source) => Err(api("delete", source)),
        }
    }
}

fn api(operation: &'static str, source: kube::Error) -> AttemptError {
    AttemptError::Api { operation, source: Box::new(source) }
}

fn integration_hash(integration: &Owner) -> String {
    short_hash(&[&integration.namespace, &integration.name, &integration.uid])
}

fn caller_hash(caller: Option<&str>, agent_id: Option<&str>) -> String {
    short_hash(&[caller.unwrap_or_default(), agent_id.unwrap_or_default()])
}
