//! The Secret for workloads: created by POST, afterwards applied onto exactly that object.
//!
//! An apply onto a Secret of the same name that is not ours would merge into it and hand it to garbage collection. So
//! the uid of the Secret stands in the grant and in every apply: the API server answers 409 when the Secret is gone and
//! 422 when another one has taken its place. Where the version is known that we wrote last, it stands there too: whoever was
//! frozen with an older token in hand must not write it over a newer one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::{MANAGER, ProjectIntegration};
use crate::grant::{Grant, Published};

/// The type of published Secrets.
pub const TYPE: &str = "integrations.tms.dev/token";

/// The Secret could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A Secret of that name exists and is not ours.
    #[error(
        "Secret {name} exists and does not belong to this integration; delete it, or set spec.secret.name to another name"
    )]
    Conflict {
        /// The Secret.
        name: String,
    },
    /// Somebody wrote to the Secret since we did: perhaps another replica, with newer tokens.
    #[error("Secret {name} was changed in between")]
    Changed {
        /// The Secret.
        name: String,
    },
    /// The API server refused, or could not be reached.
    #[error("Secret {name} could not be written")]
    Api {
        /// The Secret.
        name: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What was written, and its resourceVersion.
#[derive(Debug)]
pub struct Written {
    /// The object.
    pub published: Published,
    /// Its version then.
    pub version: Option<String>,
}

impl Written {
    fn of(name: &str, metadata: ObjectMeta) -> Self {
        let published = Published { name: name.to_owned(), uid: metadata.uid.unwrap_or_default() };
        Self { published, version: metadata.resource_version }
    }
}

/// Writes what workloads need of `grant` into the Secret `name`; returns the object that was written. `version` is the one
/// that we wrote last, where that is known; with any other this is [`PublishError::Changed`].
pub async fn publish(
    client: &kube::Client,
    integration: &ProjectIntegration,
    grant: &Grant,
    standing: Option<&Published>,
    name: &str,
    version: Option<String>,
) -> Result<Written, PublishError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &integration.namespace().unwrap_or_default());
    let failed = |source| PublishError::Api { name: name.to_owned(), source: Box::new(source) };
    let mut standing = standing.filter(|published| published.name == name).cloned();
    // Twice at most: an apply finds the Secret gone and a create follows, or a create finds our own and an apply does.
    for _ in 0..3 {
        if let Some(published) = standing.take() {
            let mut secret = secret(integration, grant, name, Some(published.uid));
            secret.metadata.resource_version.clone_from(&version);
            match apply(&api, name, &secret).await {
                Ok(written) => return Ok(Written::of(name, written)),
                Err(kube::Error::Api(status)) if status.is_conflict() && version.is_some() => {
                    return Err(PublishError::Changed { name: name.to_owned() });
                }
                // Gone: the uid in the patch keeps the API server from creating another.
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    return Err(PublishError::Conflict { name: name.to_owned() });
                }
                Err(source) => return Err(failed(source)),
            }
        }
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, &secret(integration, grant, name, None)).await {
            Ok(created) => return Ok(Written::of(name, created.metadata)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let Some(found) = api.get_metadata_opt(name).await.map_err(failed)? else { continue };
                if !is_owned(&found.metadata, integration) {
                    return Err(PublishError::Conflict { name: name.to_owned() });
                }
                standing = Some(Published { name: name.to_owned(), uid: found.metadata.uid.unwrap_or_default() });
            }
            Err(source) => return Err(failed(source)),
        }
    }
    Err(PublishError::Conflict { name: name.to_owned() })
}

/// Applies onto the object whose uid stands in `secret`, and takes away what we once wrote and do not want any more.
///
/// What was created by POST belongs to that write as well, so that an apply alone does not remove it.
async fn apply(api: &Api<Secret>, name: &str, secret: &Secret) -> Result<ObjectMeta, kube::Error> {
    let written = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(secret)).await?;
    let wanted = secret.data.iter().flatten().map(|(key, _)| key).collect::<BTreeSet<_>>();
    let left: BTreeMap<_, _> = written
        .data
        .iter()
        .flat_map(BTreeMap::keys)
        .filter(|key| !wanted.contains(key) && is_ours(&written.metadata, key))
        .map(|key| (key, Value::Null))
        .collect();
    if left.is_empty() {
        return Ok(written.metadata);
    }
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = json!({ "metadata": { "uid": secret.metadata.uid }, "data": left });
    Ok(api.patch(name, &parameters, &Patch::Merge(&patch)).await?.metadata)
}

/// Whether we wrote this key of a Secret's data.
fn is_ours(metadata: &ObjectMeta, key: &str) -> bool {
    let ours = metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let key = format!("f:{key}");
    ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:data")).any(|fields| fields.get(&key).is_some())
}

/// Deletes a published Secret, if it is still the one that we wrote.
pub async fn withdraw(client: &kube::Client, namespace: &str, published: &Published) -> Result<(), PublishError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(published.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(&published.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(PublishError::Api { name: published.name.clone(), source: Box::new(source) }),
    }
}

/// The Secret `name`, where it was published for this integration.
pub async fn find_own(
    client: &kube::Client,
    integration: &ProjectIntegration,
    name: &str,
) -> Result<Option<Published>, PublishError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &integration.namespace().unwrap_or_default());
    let found = api
        .get_metadata_opt(name)
        .await
        .map_err(|source| PublishError::Api { name: name.to_owned(), source: Box::new(source) })?;
    Ok(found
        .filter(|found| is_owned(&found.metadata, integration))
        .map(|found| Published { name: name.to_owned(), uid: found.metadata.uid.unwrap_or_default() }))
}

/// Whether the published Secret is there and holds what it should.
pub async fn is_intact(
    client: &kube::Client,
    integration: &ProjectIntegration,
    grant: &Grant,
    published: &Published,
) -> Result<bool, PublishError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &integration.namespace().unwrap_or_default());
    let found = api
        .get_opt(&published.name)
        .await
        .map_err(|source| PublishError::Api { name: published.name.clone(), source: Box::new(source) })?;
    Ok(found.is_some_and(|found| {
        found.uid().as_deref() == Some(published.uid.as_str())
            && is_owned(&found.metadata, integration)
            && found.data.as_ref() == Some(&data(grant))
    }))
}

fn is_owned(metadata: &ObjectMeta, integration: &ProjectIntegration) -> bool {
    let uid = integration.metadata.uid.as_deref();
    metadata.owner_references.iter().flatten().any(|owner| Some(owner.uid.as_str()) == uid)
}

/// The reference that lets garbage collection remove what belongs to an integration.
pub fn owner(integration: &ProjectIntegration) -> OwnerReference {
    OwnerReference {
        api_version: ProjectIntegration::api_version(&()).into_owned(),
        kind: ProjectIntegration::kind(&()).into_owned(),
        name: integration.name_any(),
        uid: integration.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn secret(integration: &ProjectIntegration, grant: &Grant, name: &str, uid: Option<String>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: integration.namespace(),
            uid,
            owner_references: Some(vec![owner(integration)]),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(data(grant)),
        ..Secret::default()
    }
}

/// `access_token`, `token_type`, `expires_at`, the same for each further set as `<set>_access_token` and so on,
/// `api_base_url`, and the metadata under its own names. Never a refresh token, and nothing of a set that has ended.
pub fn data(grant: &Grant) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::new();
    for (name, value) in &grant.metadata {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        data.insert(name.clone(), text);
    }
    for (name, value) in &grant.secret_metadata {
        data.insert(name.clone(), value.expose().to_owned());
    }
    let living = grant.sets.iter().filter(|(_, set)| set.ended.is_none());
    let sets = living.map(|(name, set)| (format!("{name}_"), &set.tokens));
    for (prefix, tokens) in sets.chain([(String::new(), &grant.tokens)]) {
        data.insert(format!("{prefix}access_token"), tokens.access_token.expose().to_owned());
        data.insert(format!("{prefix}token_type"), tokens.token_type.clone());
        data.insert(format!("{prefix}expires_at"), tokens.expires_at.map(|at| at.to_string()).unwrap_or_default());
    }
    if let Some(api_base) = &grant.account.api_base {
        data.insert("api_base_url".to_owned(), api_base.to_string());
    }
    data.retain(|name, _| is_key(name));
    data.into_iter().map(|(name, value)| (name, ByteString(value.into_bytes()))).collect()
}

/// Whether a name can be a key of a Secret.
fn is_key(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
