//! Signs JSON Web Tokens (RFC 7515, RFC 7519): thin names over `ring`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::api::provider::AssertionAlgorithm;

/// Why a key cannot sign. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No private key in it, or one that a password protects.
    #[error("it holds no unencrypted private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    Pem,
    /// An EC key in a form that carries no algorithm.
    #[error("it is in SEC 1 form; convert it with `openssl pkcs8 -topk8 -nocrypt`")]
    Sec1,
    /// A key for another algorithm, or one that is broken.
    #[error("it is no key for {}: {rejected}", name(*algorithm))]
    Rejected {
        /// The algorithm.
        algorithm: AssertionAlgorithm,
        /// What is wrong with it, in one word.
        rejected: KeyRejected,
    },
    /// The signature could not be made.
    #[error("it cannot sign")]
    Sign,
}

/// A private key and the algorithm to use it with.
pub struct JwtKey {
    algorithm: AssertionAlgorithm,
    key: Key,
}

enum Key {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl JwtKey {
    /// Reads a key: PKCS #8 (RFC 5208) for every algorithm, or PKCS #1 for RSA. RSA keys have 2048 bits at least.
    pub fn parse(pem: &str, algorithm: AssertionAlgorithm) -> Result<Self, KeyError> {
        let rejected = |rejected| KeyError::Rejected { algorithm, rejected };
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Pem)?;
        let rsa = || match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            other => RsaKeyPair::from_pkcs8(other.secret_der()),
        };
        if matches!(der, PrivateKeyDer::Sec1(_)) {
            return Err(KeyError::Sec1);
        }
        let key = match algorithm {
            AssertionAlgorithm::RS256 => Key::Rsa(Box::new(rsa().map_err(rejected)?), &RSA_PKCS1_SHA256),
            AssertionAlgorithm::PS256 => Key::Rsa(Box::new(rsa().map_err(rejected)?), &RSA_PSS_SHA256),
            AssertionAlgorithm::ES256 => {
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der(), &random);
                Key::Ecdsa(pair.map_err(rejected)?)
            }
            // `openssl` writes the private half alone, which the stricter function does not take.
            AssertionAlgorithm::EdDsa => {
                Key::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_der()).map_err(rejected)?)
            }
        };
        Ok(Self { algorithm, key })
    }

    /// A compact JWS (RFC 7515 §3.1) of these claims.
    pub fn sign(&self, key_id: Option<&str>, claims: &Value) -> Result<String, KeyError> {
        let mut header = json!({ "alg": name(self.algorithm), "typ": "JWT" });
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*padding, &random, message, &mut signature).map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
            Key::Ecdsa(pair) => {
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()).map_err(|_| KeyError::Sign)
            }
            Key::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// The name that RFC 7518 §3.1 and RFC 8037 §3.1 have for it.
const fn name(algorithm: AssertionAlgorithm) -> &'static str {
    match algorithm {
        AssertionAlgorithm::RS256 => "RS256",
        AssertionAlgorithm::PS256 => "PS256",
        AssertionAlgorithm::ES256 => "ES256",
        AssertionAlgorithm::EdDsa => "EdDSA",
    }
}

#[cfg(test)]
mod tests;
