//! A client's credentials out of the Secret that a description names.
//!
//! Takes a Secret and how the client authenticates; a key that cannot be used is an error here and not at its first use.

use k8s_openapi::api::core::v1::Secret;

use super::resolved::OAuthClient;
use crate::api::READABLE_LABEL;
use crate::api::provider::ClientAuthentication;
use crate::grant::ClientCredentials;
use crate::jwt::{JwtKey, KeyError};
use crate::sensitive::Sensitive;

/// The Secret with the client's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The description names no Secret.
    #[error("provider {provider} has no clientCredentialsRef")]
    NoReference {
        /// The provider.
        provider: String,
    },
    /// No such Secret.
    #[error("Secret {namespace}/{name} does not exist; create it with the keys client_id and {secret}")]
    Missing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The other key that it needs.
        secret: &'static str,
    },
    /// A tenant's Secret is not labelled as readable.
    #[error("Secret {namespace}/{name} is not labelled {READABLE_LABEL}=\"true\"")]
    NotReadable {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A key is missing, empty or not text.
    #[error("Secret {namespace}/{name} has no usable key {key}")]
    Key {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// The private key cannot sign as the description wants it.
    #[error("private_key of Secret {namespace}/{name} cannot be used: {source}")]
    PrivateKey {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: KeyError,
    },
    /// The API server refused, or could not be reached.
    #[error("Secret {namespace}/{name} cannot be read")]
    Api {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What a Secret holds, whatever is needed; `None` without a `client_id`.
pub fn read(secret: &Secret) -> Option<ClientCredentials> {
    let value = |key: &str| {
        let text = std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let sensitive = |key: &str| value(key).map(Sensitive::new);
    let current = sensitive("client_secret");
    Some(ClientCredentials {
        // The same secret twice is one.
        client_secret_next: sensitive("client_secret_next").filter(|next| Some(next) != current.as_ref()),
        private_key: sensitive("private_key"),
        key_id: value("key_id"),
        ..ClientCredentials::new(value("client_id")?, current)
    })
}

/// What a client needs out of this Secret.
pub(super) fn of_client(
    secret: &Secret,
    namespace: &str,
    name: &str,
    client: Option<&OAuthClient>,
) -> Result<ClientCredentials, CredentialsError> {
    let missing = |key| CredentialsError::Key { namespace: namespace.to_owned(), name: name.to_owned(), key };
    let credentials = read(secret).ok_or_else(|| missing("client_id"))?;
    let Some(key) = needed(client) else { return Ok(credentials) };
    if key == "client_secret" {
        return if credentials.client_secret.is_some() { Ok(credentials) } else { Err(missing(key)) };
    }
    let algorithm = client.and_then(|client| client.assertion.algorithm).unwrap_or_default();
    let pem = credentials.private_key.as_ref().ok_or_else(|| missing(key))?;
    JwtKey::parse(pem.expose(), algorithm).map_err(|source| CredentialsError::PrivateKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source,
    })?;
    Ok(credentials)
}

/// The key that a client needs beside `client_id`.
pub(super) fn needed(client: Option<&OAuthClient>) -> Option<&'static str> {
    match client.map(|client| client.client_authentication) {
        Some(ClientAuthentication::None) => None,
        Some(ClientAuthentication::PrivateKeyJwt) => Some("private_key"),
        Some(ClientAuthentication::ClientSecretPost | ClientAuthentication::ClientSecretBasic) | None => {
            Some("client_secret")
        }
    }
}
