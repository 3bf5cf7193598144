//! The Secret of a tenant that `spec.apiKey` names: read by name, and only where it is labelled as readable.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::api::READABLE_LABEL;
use crate::api::project_integration::SecretKeyRef;
use crate::provider::registry::is_readable;
use crate::sensitive::Sensitive;

/// There is no key to be had. Each says what to do, as a command where there is one.
#[derive(Debug, thiserror::Error)]
pub enum KeySecretError {
    /// No such Secret.
    #[error(
        "Secret {name} does not exist in namespace {namespace}; create it: kubectl create secret generic {name} \
         -n {namespace} --from-file={key}=/dev/stdin && kubectl label secret {name} -n {namespace} {READABLE_LABEL}=true"
    )]
    Missing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key that it should have.
        key: String,
    },
    /// Its owner has not said that integrations may use it.
    #[error(
        "Secret {name} is not labelled {READABLE_LABEL}=\"true\", so it is not read; its owner can allow that: kubectl \
         label secret {name} -n {namespace} {READABLE_LABEL}=true"
    )]
    NotReadable {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It does not have this key, or the key has no text.
    #[error(
        "Secret {name} has no text under {key}; put the API key there, or name another key in spec.apiKey.secretRef.key"
    )]
    NoText {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server refused, or could not be reached.
    #[error("Secret {name} cannot be read")]
    Api {
        /// Its name.
        name: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
}

impl KeySecretError {
    /// Whether it may pass without anybody's doing.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Api { .. })
    }
}

/// Reads the key, without the white space around it.
pub async fn read(
    client: &kube::Client,
    namespace: &str,
    reference: &SecretKeyRef,
) -> Result<Sensitive, KeySecretError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let SecretKeyRef { name, key } = reference.clone();
    let namespace = namespace.to_owned();
    let found = match secrets.get_opt(&name).await {
        // An empty name is no name, and the client says so without asking.
        Err(_) if name.is_empty() => None,
        found => found.map_err(|source| KeySecretError::Api { name: name.clone(), source: Box::new(source) })?,
    };
    let Some(secret) = found else { return Err(KeySecretError::Missing { namespace, name, key }) };
    if !is_readable(&secret.metadata) {
        return Err(KeySecretError::NotReadable { namespace, name });
    }
    let bytes = secret.data.as_ref().and_then(|data| data.get(&key)).map(|bytes| bytes.0.as_slice());
    let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim).filter(|text| !text.is_empty());
    text.map(Sensitive::new).ok_or(KeySecretError::NoText { name, key })
}
