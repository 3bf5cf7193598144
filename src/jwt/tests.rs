use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;
use crate::api::provider::AssertionAlgorithm::{ES256, EdDsa, PS256, RS256};

const RSA: &str = include_str!("../../tests/keys/rsa.pem");
const RSA_PKCS1: &str = include_str!("../../tests/keys/rsa-pkcs1.pem");
const EC: &str = include_str!("../../tests/keys/ec.pem");
const EC_SEC1: &str = include_str!("../../tests/keys/ec-sec1.pem");
const ED25519_KEY: &str = include_str!("../../tests/keys/ed25519.pem");

fn public_key(key: &JwtKey) -> Vec<u8> {
    match &key.key {
        Key::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
        Key::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
        Key::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
    }
}

#[test]
fn signatures_verify() {
    let verifiers: [(&str, AssertionAlgorithm, &str, &'static dyn VerificationAlgorithm); 5] = [
        (RSA, RS256, "RS256", &RSA_PKCS1_2048_8192_SHA256),
        (RSA_PKCS1, RS256, "RS256", &RSA_PKCS1_2048_8192_SHA256),
        (RSA, PS256, "PS256", &RSA_PSS_2048_8192_SHA256),
        (EC, ES256, "ES256", &ECDSA_P256_SHA256_FIXED),
        (ED25519_KEY, EdDsa, "EdDSA", &ED25519),
    ];
    for (pem, algorithm, name, verifier) in verifiers {
        let key = JwtKey::parse(pem, algorithm).unwrap();
        let token = key.sign(Some("key-1"), &json!({ "iss": "id" })).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let public = UnparsedPublicKey::new(verifier, public_key(&key));
        assert!(public.verify(message.as_bytes(), &decode(signature)).is_ok(), "{name}");
        let (header, claims) = message.split_once('.').unwrap();
        let header: Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!(header, json!({ "alg": name, "typ": "JWT", "kid": "key-1" }));
        let claims: Value = serde_json::from_slice(&decode(claims)).unwrap();
        assert_eq!(claims, json!({ "iss": "id" }));
    }
}

#[test]
fn keys_that_cannot_sign_say_why() {
    for (pem, algorithm, expected) in [
        ("", RS256, "it holds no unencrypted private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA", RS256, "it holds no unencrypted private key in PEM"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
            RS256,
            "it holds no unenc",
        ),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", RS256, "it is no key for RS256: "),
        (EC, RS256, "it is no key for RS256: "),
        (RSA, ES256, "it is no key for ES256: "),
        (RSA, EdDsa, "it is no key for EdDSA: "),
        (EC_SEC1, ES256, "it is in SEC 1 form; convert it with `openssl pkcs8"),
    ] {
        let Err(error) = JwtKey::parse(pem, algorithm) else { panic!("{pem} {algorithm:?}") };
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
