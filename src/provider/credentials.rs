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
    /// A further value is missing, empty or not text.
    #[error("Secret {namespace}/{name} has no usable key {key}, which this action acts with; add it")]
    Further {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
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

/// The key of the Secret that signs assertions.
const PRIVATE_KEY: &str = "private_key";

/// A value of a Secret, where it is text.
pub(super) fn value(secret: &Secret, key: &str) -> Option<String> {
    let text = std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a Secret holds, whatever is needed; `None` without a `client_id`.
pub fn read(secret: &Secret) -> Option<ClientCredentials> {
    let value = |key: &str| value(secret, key);
    let sensitive = |key: &str| value(key).map(Sensitive::new);
    let current = sensitive("client_secret");
    Some(ClientCredentials {
        // The same secret twice is one.
        client_secret_next: sensitive("client_secret_next").filter(|next| Some(next) != current.as_ref()),
        private_key: sensitive(PRIVATE_KEY),
        key_id: value("key_id"),
        ..ClientCredentials::new(value("client_id")?, current)
    })
}

/// Whether these credentials are all that a client needs.
pub(super) fn check(
    credentials: &ClientCredentials,
    namespace: &str,
    name: &str,
    client: Option<&OAuthClient>,
) -> Result<(), CredentialsError> {
    let Some(key) = needed(client) else { return Ok(()) };
    let held = match key {
        PRIVATE_KEY => &credentials.private_key,
        _ => &credentials.client_secret,
    };
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let Some(held) = held else { return Err(CredentialsError::Key { namespace, name, key }) };
    if key == PRIVATE_KEY {
        let algorithm = client.and_then(|client| client.assertion.algorithm).unwrap_or_default();
        JwtKey::parse(held.expose(), algorithm).map_err(|source| CredentialsError::PrivateKey {
            namespace,
            name,
            source,
        })?;
    }
    Ok(())
}

/// The key that a client needs beside `client_id`.
pub(super) fn needed(client: Option<&OAuthClient>) -> Option<&'static str> {
    match client.map(|client| client.client_authentication) {
        Some(ClientAuthentication::None) => None,
        Some(ClientAuthentication::PrivateKeyJwt) => Some(PRIVATE_KEY),
        Some(ClientAuthentication::ClientSecretPost | ClientAuthentication::ClientSecretBasic) | None => {
            Some("client_secret")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(data: &serde_json::Value) -> Secret {
        let data: std::collections::BTreeMap<String, String> = serde_json::from_value(data.clone()).unwrap();
        let data = data.into_iter().map(|(key, value)| (key, k8s_openapi::ByteString(value.into_bytes()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn two_secrets_and_a_key_are_read() {
        let data = json!({
            "client_id": " id\n", "client_secret": "one", "client_secret_next": "two", "private_key": "pem", "key_id": "k",
        });
        let read = super::read(&secret(&data)).unwrap();
        let text = |value: &Option<Sensitive>| value.as_ref().map(|value| value.expose().to_owned());
        assert_eq!(read.client_id, "id");
        assert_eq!(text(&read.client_secret).as_deref(), Some("one"));
        assert_eq!(text(&read.client_secret_next).as_deref(), Some("two"));
        assert_eq!((text(&read.private_key).as_deref(), read.key_id.as_deref()), (Some("pem"), Some("k")));
        let twice =
            super::read(&secret(&json!({ "client_id": "id", "client_secret": "a", "client_secret_next": "a" })));
        assert_eq!(twice.unwrap().client_secret_next, None);
        assert_eq!(super::read(&secret(&json!({ "client_secret": "a" }))), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let assertion = json!({ "clientAuthentication": "PrivateKeyJwt", "assertion": { "algorithm": "ES256" } });
        let key = include_str!("../../tests/keys/ec.pem");
        let other = include_str!("../../tests/keys/rsa.pem");
        for (oauth2, data, expected) in [
            (json!({}), json!({ "client_id": "id", "client_secret": "a" }), Ok(())),
            (json!({}), json!({ "client_id": "id" }), Err("Secret ns/app has no usable key client_secret")),
            (
                json!({}),
                json!({ "client_id": "id", "client_secret_next": "a" }),
                Err("Secret ns/app has no usable key client_secret"),
            ),
            (json!({ "clientAuthentication": "None" }), json!({ "client_id": "id" }), Ok(())),
            (assertion.clone(), json!({ "client_id": "id", "private_key": key }), Ok(())),
            (
                assertion.clone(),
                json!({ "client_id": "id", "client_secret": "a" }),
                Err("Secret ns/app has no usable key private_key"),
            ),
            (
                assertion,
                json!({ "client_id": "id", "private_key": other }),
                Err("private_key of Secret ns/app cannot be used: it is no key for ES256: "),
            ),
        ] {
            let client = crate::provider::resolved::tests::client(&oauth2);
            let read = super::read(&secret(&data)).unwrap();
            let found = check(&read, "ns", "app", Some(&client));
            match (&found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
                _ => panic!("{oauth2} {data}: {found:?}"),
            }
        }
    }
}
