//! JSON Web Tokens of others (RFC 7519), by the keys of their issuer (RFC 7517) or by a secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::verify::Keys;
use crate::provider::webhook::JwtRules;

/// How far clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No compact JWS of an algorithm that is taken.
    #[error("the token cannot be read, or is signed by an algorithm that is not taken")]
    Malformed,
    /// No key of that name.
    #[error("the token is signed with a key that its issuer does not have")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Wrong,
    /// Expired, or not yet good.
    #[error("the token has expired, or is not good yet")]
    Untimely,
    /// For somebody else, or from somebody else.
    #[error("the token's {claim} is another one")]
    Claim {
        /// The claim.
        claim: &'static str,
    },
}

/// A public key of an issuer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Jwk {
    /// `RSA` or `EC`.
    #[serde(default)]
    pub kty: String,
    /// Its name.
    #[serde(default)]
    pub kid: Option<String>,
    /// What it is for: `sig`, where it says so.
    #[serde(default, rename = "use")]
    pub use_: Option<String>,
    /// Modulus of an RSA key.
    #[serde(default)]
    pub n: String,
    /// Exponent of an RSA key.
    #[serde(default)]
    pub e: String,
    /// The curve of an EC key.
    #[serde(default)]
    pub crv: String,
    /// Its point.
    #[serde(default)]
    pub x: String,
    /// Its point.
    #[serde(default)]
    pub y: String,
}

/// A set of keys.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// The name of the key that a token says it is signed with.
pub fn key_id(token: &str) -> Option<String> {
    head(token)?.kid
}

/// Proves a token, and gives its claims.
pub fn verify(rules: &JwtRules, token: &str, keys: Keys<'_>, now: Timestamp) -> Result<Value, TokenError> {
    let head = head(token).filter(|head| head.crit.is_none()).ok_or(TokenError::Malformed)?;
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (_, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
    let right = match (head.alg.as_str(), &rules.jwks_url) {
        ("HS256", None) => {
            let right = keys.keys.iter().filter(|key| {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), message.as_bytes(), &signature).is_ok()
            });
            right.count() > 0
        }
        ("RS256" | "ES256", Some(_)) => {
            let named = |key: &&Jwk| head.kid.is_none() || key.kid == head.kid;
            let usable = |key: &&Jwk| key.use_.as_deref().is_none_or(|for_| for_ == "sig");
            let mut candidates = keys.issuer.iter().filter(named).filter(usable).peekable();
            candidates.peek().ok_or(TokenError::UnknownKey)?;
            candidates.any(|key| signed_with(key, &head.alg, message.as_bytes(), &signature))
        }
        _ => return Err(TokenError::Malformed),
    };
    if !right {
        return Err(TokenError::Wrong);
    }
    let claims = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let claims: Value = claims.ok_or(TokenError::Malformed)?;
    check(rules, &claims, keys.audience, now)?;
    Ok(claims)
}

fn check(rules: &JwtRules, claims: &Value, client_id: Option<&str>, now: Timestamp) -> Result<(), TokenError> {
    let second = |claim: &str| match &claims[claim] {
        Value::Null => Ok(None),
        #[expect(clippy::cast_possible_truncation, reason = "NumericDate may have a fraction (RFC 7519 §2)")]
        value => {
            let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
            seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or(TokenError::Malformed).map(Some)
        }
    };
    let past = second("exp")?.ok_or(TokenError::Malformed)?;
    if now.duration_since(past) > SKEW || second("nbf")?.is_some_and(|from| from.duration_since(now) > SKEW) {
        return Err(TokenError::Untimely);
    }
    if let Some(issuer) = &rules.issuer
        && claims["iss"] != issuer.as_str()
    {
        return Err(TokenError::Claim { claim: "iss" });
    }
    let audience = rules.audience.as_deref().or(client_id).ok_or(TokenError::Claim { claim: "aud" })?;
    let named = match &claims["aud"] {
        Value::Array(several) => several.iter().any(|one| one == audience),
        one => one == audience,
    };
    // A token without an audience is for everybody, but a secret is known to two alone.
    if named || claims["aud"].is_null() && rules.jwks_url.is_none() && rules.audience.is_none() {
        Ok(())
    } else {
        Err(TokenError::Claim { claim: "aud" })
    }
}

fn head(token: &str) -> Option<Head> {
    let (head, rest) = token.split_once('.')?;
    let parts = rest.matches('.').count();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok().filter(|_| parts == 1)?).ok()
}

fn signed_with(key: &Jwk, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    match (algorithm, key.kty.as_str()) {
        ("RS256", "RSA") => {
            let components = RsaPublicKeyComponents { n: decode(&key.n), e: decode(&key.e) };
            components.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
        }
        ("ES256", "EC") if key.crv == "P-256" => {
            let point = [vec![4], decode(&key.x), decode(&key.y)].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
        }
        _ => false,
    }
}
