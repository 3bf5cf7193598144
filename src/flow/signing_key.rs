//! The operator's signing key: made once, kept as a Secret in its namespace, shared by all replicas.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};

use crate::digest::random_token;
use crate::oauth::attempt::SigningKey;

/// Name of the Secret.
pub const NAME: &str = "integration-operator-signing-key";
const DATA_KEY: &str = "key";

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The API server refused, or could not be reached.
    #[error("cannot {operation} Secret {namespace}/{NAME}")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// The operator's namespace.
        namespace: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
    /// What lies there is not a key.
    #[error("Secret {namespace}/{NAME} holds no key of 256 bits; delete it to have another made (open flows end)")]
    Malformed {
        /// The operator's namespace.
        namespace: String,
    },
}

/// Reads the key, or makes it. Of several replicas that start at once, one creates it and all use that one.
pub async fn load(client: kube::Client, namespace: &str) -> Result<SigningKey, KeyError> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let api = |operation| {
        move |source| KeyError::Api { operation, namespace: namespace.to_owned(), source: Box::new(source) }
    };
    if let Some(secret) = secrets.get_opt(NAME).await.map_err(api("read"))? {
        return decode(&secret, namespace);
    }
    let secret = Secret {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        data: Some([(DATA_KEY.to_owned(), ByteString(random_token().into_bytes()))].into()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(secret) => decode(&secret, namespace),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            decode(&secrets.get(NAME).await.map_err(api("read"))?, namespace)
        }
        Err(source) => Err(api("create")(source)),
    }
}

fn decode(secret: &Secret, namespace: &str) -> Result<SigningKey, KeyError> {
    secret
        .data
        .as_ref()
        .and_then(|data| data.get(DATA_KEY))
        .and_then(|text| URL_SAFE_NO_PAD.decode(&text.0).ok())
        .filter(|key| key.len() >= 32)
        .map(|key| SigningKey::new(&key))
        .ok_or_else(|| KeyError::Malformed { namespace: namespace.to_owned() })
}
