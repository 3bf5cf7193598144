//! Reads and writes grant Secrets: the only part of this module that knows a client.
//!
//! Every write is a merge patch with `metadata.resourceVersion`, which the API server carries out only if nobody wrote
//! in between; a conflict that shows our own attempt is a success. Grants are created in one place, and never again by
//! a refresh.

mod error;
mod marks;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{PartialObjectMeta, Request};
use serde_json::{Value, json};

pub use error::StoreError;
pub use marks::Marks;

use super::record::SUMMARY;
use super::sharing::{self, Company};
use super::{Grant, GrantView, Handled, Summary};
use crate::api::MANAGER;
use crate::digest::{authenticate, equal, short_hash};
use crate::seal::{Place, SEALED_WITH, SealError, Sealer};
use crate::sensitive::Sensitive;
use crate::shard;
use crate::trace;

/// Label that tells what a Secret of the operator's namespace is.
pub const KIND_LABEL: &str = "integrations.tms.dev/kind";
/// Value of [`KIND_LABEL`] for grants.
pub const GRANT: &str = "grant";
/// Label with the hash of client and upstream installation, by which siblings are found.
pub const INSTALLATION_LABEL: &str = "integrations.tms.dev/installation";
/// Largest grant that is written, in bytes.
pub const MAX_SIZE: usize = 64 * 1024;

const DATA_KEY: &str = "grant";

/// Grants in the operator's namespace.
#[derive(Clone)]
pub struct GrantStore {
    client: kube::Client,
    secrets: Api<Secret>,
    namespace: String,
    sealer: Sealer,
    /// Under which access tokens are hashed; without it they are not.
    key: Option<Sensitive>,
}

/// A grant with its secrets, as it was read.
#[derive(Clone, Debug)]
pub struct Held {
    /// The grant.
    pub grant: Grant,
    /// Its annotations and resourceVersion at that moment.
    pub view: GrantView,
}

/// A grant Secret, whose data can perhaps not be read.
#[derive(Debug)]
pub struct Found {
    /// Its annotations and resourceVersion.
    pub view: GrantView,
    /// What it holds.
    pub grant: Result<Grant, StoreError>,
}

impl Found {
    /// With its data.
    pub fn held(self) -> Result<Held, StoreError> {
        self.grant.map(|grant| Held { grant, view: self.view })
    }
}

/// The name of the grant Secret of an integration.
pub fn grant_name(namespace: &str, name: &str) -> String {
    format!("grant-{}", short_hash(&[namespace, name]))
}

impl GrantStore {
    /// Grants in `namespace`, the operator's own.
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self {
            secrets: Api::namespaced(client.clone(), &namespace),
            client,
            namespace,
            sealer: Sealer::default(),
            key: None,
        }
    }

    /// The operator's namespace, in which they lie.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Seals what is written, and opens what is read.
    #[must_use]
    pub fn sealing(self, sealer: Sealer) -> Self {
        Self { sealer, ..self }
    }

    /// Whether the data of a grant can be read, as far as its annotations tell.
    pub fn can_open(&self, view: &GrantView) -> Result<(), SealError> {
        view.sealed_with.as_deref().map_or(Ok(()), |key| self.sealer.holds(key))
    }

    /// The name of the key that grants are sealed with.
    pub fn writing(&self) -> Option<String> {
        self.sealer.writing()
    }

    /// Keeps a hash of each access token under `key` beside its grant, so that two grants of the same token are told.
    #[must_use]
    pub fn fingerprinting(self, key: Sensitive) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Reads a grant; `None` when there is none.
    pub async fn get(&self, name: &str) -> Result<Option<Held>, StoreError> {
        self.find(name).await?.map(Found::held).transpose()
    }

    /// Finds a grant, whether or not its data can be read.
    pub async fn find(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let secret = self.secrets.get_opt(name).await.map_err(|source| StoreError::api("read", name, source))?;
        secret.map(|secret| self.decode(secret)).transpose()
    }

    /// Looks at a grant without its data; returns the label of its shard too.
    pub async fn look(&self, name: &str) -> Result<Option<(GrantView, Option<String>)>, StoreError> {
        let found =
            self.secrets.get_metadata_opt(name).await.map_err(|source| StoreError::api("look at", name, source))?;
        let Some(found) = found else { return Ok(None) };
        Ok(Some((GrantView::from_metadata(&found.metadata)?, shard::label_of(found.metadata.labels.as_ref()))))
    }

    /// Creates a grant of an integration of this shard; a conflict when there is one already.
    pub async fn create(
        &self,
        grant: &Grant,
        handled: &Handled,
        shard: Option<String>,
    ) -> Result<GrantView, StoreError> {
        let name = grant_name(&grant.integration.namespace, &grant.integration.name);
        // Whoever publishes it goes on with the trace that it came from.
        let trace = Some(trace::current().kept_traceparent());
        let marks = Marks { handled: Some(handled.clone()), trace, ..Marks::default() };
        let (annotations, data) = self.encode(grant, &marks, &name)?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels(grant, shard)),
                annotations: Some(
                    annotations
                        .into_iter()
                        .filter_map(|(key, value)| value.as_str().map(|text| (key.to_owned(), text.to_owned())))
                        .collect(),
                ),
                managed_fields: Some(untracked()),
                ..ObjectMeta::default()
            },
            type_: Some("integrations.tms.dev/grant".to_owned()),
            data: Some(data),
            ..Secret::default()
        };
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match self.secrets.create(&parameters, &secret).await {
            Ok(secret) => Ok(GrantView::from_metadata(&secret.metadata)?),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Err(StoreError::Conflict { grant: name }),
            Err(source) => Err(StoreError::api("create", &name, source)),
        }
    }

    /// Changes annotations only; the answer is the whole grant.
    pub async fn mark(&self, view: &GrantView, marks: &Marks) -> Result<Held, StoreError> {
        self.annotate(view, marks).await?.held()
    }

    /// The same, for a grant whose data can perhaps not be read.
    pub async fn annotate(&self, view: &GrantView, marks: &Marks) -> Result<Found, StoreError> {
        let annotations = marks.annotations(&view.name)?;
        let mut patch = json!({
            "metadata": { "resourceVersion": view.resource_version, "uid": view.uid, "annotations": annotations },
        });
        if marks.shard.is_some() {
            patch["metadata"]["labels"] = json!(marks.labels());
        }
        self.decode(self.patch("mark", &view.name, patch).await?)
    }

    /// Replaces the data, and changes annotations in the same write.
    pub async fn replace(&self, view: &GrantView, grant: &Grant, marks: &Marks) -> Result<GrantView, StoreError> {
        let (annotations, data) = self.encode(grant, marks, &view.name)?;
        let mut labels = marks.labels();
        labels.insert(INSTALLATION_LABEL, &grant.installation);
        let patch = json!({
            "metadata": {
                "resourceVersion": view.resource_version,
                "uid": view.uid,
                "annotations": annotations,
                "labels": labels,
            },
            "data": data,
        });
        Ok(GrantView::from_metadata(&self.patch("write", &view.name, patch).await?.metadata)?)
    }

    /// Deletes exactly the grant that was seen; gone already is fine.
    pub async fn delete(&self, view: &GrantView) -> Result<(), StoreError> {
        match self.secrets.delete(&view.name, &exactly(&view.uid, &view.resource_version)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                Err(StoreError::Conflict { grant: view.name.clone() })
            }
            Err(source) => Err(StoreError::api("delete", &view.name, source)),
        }
    }

    /// Says on a grant that it is about to be revoked and forgotten, and then looks who else holds its installation: in
    /// this order, see [`sharing`].
    pub async fn leave(&self, held: &Held) -> Result<(Held, Company), StoreError> {
        if held.grant.installation.is_none() {
            return Ok((held.clone(), Company::default()));
        }
        let left = if held.view.leaving.is_some() {
            held.clone()
        } else {
            let marks = Marks { leaving: Some(Some(jiff::Timestamp::now())), ..Marks::default() };
            self.mark(&held.view, &marks).await?
        };
        let company = self.company(&left.grant, Some(&left.view.name)).await?;
        Ok((left, company))
    }

    /// Who holds the installation of `grant`, `except` one. Asks the API server and no cache: what was written before is
    /// seen. Installations that the description cannot tell apart have no company.
    pub async fn company(&self, grant: &Grant, except: Option<&str>) -> Result<Company, StoreError> {
        let Some(installation) = &grant.installation else { return Ok(Company::default()) };
        let own = self.fingerprint(grant);
        let selector = format!("{KIND_LABEL}={GRANT},{INSTALLATION_LABEL}={installation}");
        let parameters = ListParams::default().labels(&selector);
        let found = self
            .secrets
            .list_metadata(&parameters)
            .await
            .map_err(|source| StoreError::api("list siblings of", except.unwrap_or("that is not kept"), source))?;
        let now = jiff::Timestamp::now();
        let others = found.items.iter().filter(|other: &&PartialObjectMeta<Secret>| {
            other.metadata.deletion_timestamp.is_none() && other.metadata.name.as_deref() != except
        });
        let company = others.map(|other| match GrantView::from_metadata(&other.metadata) {
            Ok(view) if !sharing::lives(&view, now) => Company::default(),
            Ok(view) => {
                let pair = own.as_ref().zip(view.summary.fingerprint.as_ref());
                Company { living: true, same_token: pair.is_some_and(|(own, other)| equal(own, other)) }
            }
            // Whatever it is, nothing of it is put at risk.
            Err(_) => Company::UNKNOWN,
        });
        Ok(company.fold(Company::default(), Company::and))
    }

    /// A hash of the access token that tells nothing to those without the key.
    fn fingerprint(&self, grant: &Grant) -> Option<String> {
        let (key, installation) = self.key.as_ref().zip(grant.installation.as_ref())?;
        Some(authenticate(key.expose().as_bytes(), installation, grant.tokens.access_token.expose()))
    }

    fn encode(&self, grant: &Grant, marks: &Marks, name: &str) -> Result<Encoded, StoreError> {
        let codec = |source| StoreError::Codec { grant: name.to_owned(), source };
        let mut annotations = marks.annotations(name)?;
        let summary = Summary { fingerprint: self.fingerprint(grant), ..grant.summary() };
        annotations.insert(SUMMARY, Value::String(serde_json::to_string(&summary).map_err(codec)?));
        let data = serde_json::to_vec(grant).map_err(codec)?;
        if data.len() > MAX_SIZE {
            return Err(StoreError::TooLarge { grant: name.to_owned(), size: data.len() });
        }
        let sealed = self.sealer.seal(Place { namespace: &self.namespace, name }, data);
        let sealed = sealed.map_err(|source| StoreError::Sealed { grant: name.to_owned(), source })?;
        annotations.insert(SEALED_WITH, sealed.key.map_or(Value::Null, Value::String));
        Ok((annotations, BTreeMap::from([(DATA_KEY.to_owned(), ByteString(sealed.data))])))
    }

    fn decode(&self, secret: Secret) -> Result<Found, StoreError> {
        let view = GrantView::from_metadata(&secret.metadata)?;
        let data = secret.data.unwrap_or_default().remove(DATA_KEY).unwrap_or(ByteString(Vec::new())).0;
        let grant = match self.sealer.open(Place { namespace: &self.namespace, name: &view.name }, data) {
            Ok(data) => {
                serde_json::from_slice(&data).map_err(|source| StoreError::Codec { grant: view.name.clone(), source })
            }
            Err(source) => Err(StoreError::Sealed { grant: view.name.clone(), source }),
        };
        Ok(Found { view, grant })
    }

    async fn patch(&self, operation: &'static str, name: &str, mut patch: Value) -> Result<Secret, StoreError> {
        patch["metadata"]["managedFields"] = json!(untracked());
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let request = Request::new(self.secrets.resource_url()).patch(name, &parameters, &Patch::Merge(&patch));
        let request = request.map_err(|error| StoreError::api(operation, name, kube::Error::BuildRequest(error)))?;
        match self.client.request::<Secret>(request).await {
            Ok(written) => Ok(written),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                Err(StoreError::Conflict { grant: name.to_owned() })
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                Err(StoreError::Missing { grant: name.to_owned() })
            }
            Err(source) => Err(StoreError::api(operation, name, source)),
        }
    }
}

/// Clears `metadata.managedFields`. Nobody but the operator writes to grants, so there is nobody to tell it from, and without
/// them a write costs the API server a third less.
/// Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields>
fn untracked() -> Vec<ManagedFieldsEntry> {
    vec![ManagedFieldsEntry::default()]
}

/// Deletes exactly the object that was seen: of many such deletes at once, one is carried out.
pub(crate) fn exactly(uid: &str, resource_version: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(resource_version.to_owned()),
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    }
}

fn labels(grant: &Grant, shard: Option<String>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (KIND_LABEL.to_owned(), GRANT.to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
    ]);
    if let Some(installation) = &grant.installation {
        labels.insert(INSTALLATION_LABEL.to_owned(), installation.clone());
    }
    labels.extend(shard.map(|shard| (shard::LABEL.to_owned(), shard)));
    labels
}

type Encoded = (BTreeMap<&'static str, Value>, BTreeMap<String, ByteString>);
