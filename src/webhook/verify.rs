//! Whether an app sent a request: over the raw bytes, before anything of them is read.
//!
//! Pure: keys and time are handed in. Comparisons take a time that does not depend on what is compared.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use serde_json::Value;

use super::incoming::Incoming;
use super::jwt::{self, Jwk, TokenError};
use super::key::{BASE64, Key, hex};
use crate::api::provider::{SignatureEncoding, TimestampUnit};
use crate::digest::equal;
use crate::provider::expression::Expression;
use crate::provider::webhook::{Algorithm, JwtRules, Place, Scheme, Signed, TimeRules, TimeSource, WebhookRules};

use base64::Engine as _;

/// The most signatures that one request may have.
const MOST_SIGNATURES: usize = 8;
/// The longest header of signatures, in bytes.
const LONGEST: usize = 8 * 1024;

/// Why a request is not believed. Says nothing of keys, and repeats nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// No signature where it should be, or an empty one.
    #[error("there is no signature")]
    Unsigned,
    /// Something cannot be read, or stands there twice.
    #[error("{what} cannot be read, or is there twice")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// The signature is that of other bytes or of another key.
    #[error("the signature is wrong")]
    Wrong,
    /// Sent too long ago, or in the future.
    #[error("it was sent {} s {}", .off.as_secs().abs(), if .off.is_negative() { "ago" } else { "from now" })]
    Untimely {
        /// How far from now.
        off: SignedDuration,
    },
    /// There is no key to compare with: such a request is refused, never let through.
    #[error("there is no secret to compare with")]
    NoKey,
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What a request is compared with.
#[derive(Clone, Copy, Default)]
pub struct Keys<'a> {
    /// Secrets or public keys, of which one must fit.
    pub keys: &'a [Key],
    /// Public keys of a token's issuer.
    pub issuer: &'a [Jwk],
    /// Whom a token must be for, where the description does not say it.
    pub audience: Option<&'a str>,
}

/// Proves a request. Gives the time that it was sent at, where the scheme has one.
pub fn verify(
    rules: &WebhookRules,
    incoming: Incoming<'_>,
    keys: Keys<'_>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Distrust> {
    let scheme = &rules.scheme;
    if scheme.needs_secret() && keys.keys.is_empty() {
        return Err(Distrust::NoKey);
    }
    match &scheme.algorithm {
        Algorithm::Jwt(jwt) => {
            let [token] = &proofs(scheme, incoming)?[..] else { return Err(Distrust::Malformed { what: "the token" }) };
            let claims = jwt::verify(jwt, token, keys, now)?;
            speaks_of(rules, jwt, &claims, incoming)?;
            Ok(None)
        }
        Algorithm::Equality => {
            let proofs = proofs(scheme, incoming)?;
            // Each of them: an element that is not proved is not the app's.
            let known =
                |proof: &Cow<'_, str>| keys.keys.iter().filter(|key| equal(key.bytes(), proof.as_bytes())).count() > 0;
            if proofs.iter().filter(|proof| known(proof)).count() == proofs.len() {
                Ok(None)
            } else {
                Err(Distrust::Wrong)
            }
        }
        _ => signed(scheme, incoming, keys.keys, now),
    }
}

/// Whether a token speaks of this request, as far as the description says how to tell.
fn speaks_of(rules: &WebhookRules, jwt: &JwtRules, claims: &Value, incoming: Incoming<'_>) -> Result<(), Distrust> {
    if jwt.claims.is_empty() {
        return Ok(());
    }
    let variables = incoming.variables(rules);
    let equal = |(name, expression): (&String, &Arc<Expression>)| {
        let claim = &claims[name];
        !claim.is_null() && expression.evaluate(&variables).is_ok_and(|value| value == *claim)
    };
    if jwt.claims.iter().all(equal) { Ok(()) } else { Err(TokenError::Claim { claim: "word of the request" }.into()) }
}

/// A signature over the body.
fn signed(
    scheme: &Scheme,
    incoming: Incoming<'_>,
    keys: &[Key],
    now: Timestamp,
) -> Result<Option<Timestamp>, Distrust> {
    let proofs = proofs(scheme, incoming)?;
    let written = match &scheme.time {
        Some(TimeRules { source: source @ (TimeSource::Header(_) | TimeSource::Entry(_)), .. }) => {
            Some(written_time(scheme, source, incoming)?)
        }
        _ => None,
    };
    let message = message(scheme, incoming, written)?;
    let decoded = proofs.iter().filter_map(|proof| decode(scheme.encoding, proof));
    let right = decoded.flat_map(|proof| keys.iter().map(move |key| (key, proof.clone())));
    // All are tried, so that the time tells nothing of which fits.
    if right.filter(|(key, proof)| fits(&scheme.algorithm, key, &message, proof)).count() == 0 {
        return Err(Distrust::Wrong);
    }
    let Some(time) = &scheme.time else { return Ok(None) };
    let sent = match (&time.source, written) {
        (_, Some(text)) => moment(time.unit, text),
        (TimeSource::Body(pointer), None) => {
            incoming.json().as_ref().and_then(|body| body.pointer(pointer)).and_then(|value| match value {
                Value::String(text) => moment(time.unit, text),
                Value::Number(number) => moment(time.unit, &number.to_string()),
                _ => None,
            })
        }
        _ => None,
    };
    let sent = sent.ok_or(Distrust::Malformed { what: "the time" })?;
    let off = sent.duration_since(now);
    match time.tolerance {
        Some(tolerance) if off.abs() > tolerance => Err(Distrust::Untimely { off }),
        _ => Ok(Some(sent)),
    }
}

fn fits(algorithm: &Algorithm, key: &Key, message: &[u8], proof: &[u8]) -> bool {
    match algorithm {
        Algorithm::HmacSha256 => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), message, proof).is_ok(),
        Algorithm::HmacSha1 => {
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key.0), message, proof).is_ok()
        }
        Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &*key.0).verify(message, proof).is_ok(),
        Algorithm::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &*key.0).verify(message, proof).is_ok(),
        Algorithm::Equality | Algorithm::Jwt(_) => false,
    }
}

/// The bytes that were signed.
fn message(scheme: &Scheme, incoming: Incoming<'_>, time: Option<&str>) -> Result<Vec<u8>, Distrust> {
    let mut message = Vec::with_capacity(incoming.body.len() + 64);
    for piece in &scheme.signed {
        message.extend_from_slice(match piece {
            Signed::Text(text) => text.as_bytes(),
            Signed::Body => incoming.body,
            Signed::Header(name) => {
                incoming.header(name).ok_or(Distrust::Malformed { what: "a signed header" })?.as_bytes()
            }
            Signed::Timestamp => time.ok_or(Distrust::Malformed { what: "the time" })?.as_bytes(),
        });
    }
    Ok(message)
}

/// Signatures as they are written, without what stands before them; one at least.
fn proofs<'a>(scheme: &Scheme, incoming: Incoming<'a>) -> Result<Vec<Cow<'a, str>>, Distrust> {
    let written: Vec<Cow<'a, str>> = match &scheme.place {
        Place::Header(_) => {
            let text = header_of(scheme, incoming)?;
            match &scheme.list {
                None => vec![Cow::Borrowed(text)],
                Some(list) => entries(scheme, text)
                    .filter(|(name, _)| *name == list.name)
                    .map(|(_, value)| Cow::Borrowed(value))
                    .collect(),
            }
        }
        Place::Body(steps) => {
            let body = incoming.json().ok_or(Distrust::Malformed { what: "the body" })?;
            texts(&body, steps).ok_or(Distrust::Unsigned)?.into_iter().map(Cow::Owned).collect()
        }
    };
    let most = if matches!(scheme.place, Place::Header(_)) { MOST_SIGNATURES } else { usize::MAX };
    if written.len() > most {
        return Err(Distrust::Malformed { what: "the signature" });
    }
    let stripped = written.into_iter().map(|text| match text {
        Cow::Borrowed(text) => text.strip_prefix(&scheme.prefix).map(Cow::Borrowed),
        Cow::Owned(text) => text.strip_prefix(&scheme.prefix).map(|rest| Cow::Owned(rest.to_owned())),
    });
    let stripped: Option<Vec<_>> = stripped.collect();
    let stripped = stripped.ok_or(Distrust::Malformed { what: "the signature" })?;
    if stripped.is_empty() || stripped.iter().any(|text| text.is_empty()) {
        return Err(Distrust::Unsigned);
    }
    Ok(stripped)
}

/// The header that the proof stands in.
fn header_of<'a>(scheme: &Scheme, incoming: Incoming<'a>) -> Result<&'a str, Distrust> {
    let Place::Header(name) = &scheme.place else { return Err(Distrust::Unsigned) };
    match incoming.headers.get_all(name).iter().count() {
        0 => Err(Distrust::Unsigned),
        1 => incoming
            .header(name)
            .filter(|text| text.len() <= LONGEST)
            .ok_or(Distrust::Malformed { what: "the signature" }),
        _ => Err(Distrust::Malformed { what: "the signature" }),
    }
}

/// Entries of a list.
fn entries<'a>(scheme: &Scheme, text: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let (separator, assignment) = scheme.list.as_ref().map_or((',', '='), |list| (list.separator, list.assignment));
    text.split(separator).filter_map(move |entry| entry.trim().split_once(assignment))
}

/// The time as the request writes it.
fn written_time<'a>(scheme: &Scheme, source: &TimeSource, incoming: Incoming<'a>) -> Result<&'a str, Distrust> {
    let malformed = Distrust::Malformed { what: "the time" };
    match source {
        TimeSource::Header(name) => incoming.header(name).ok_or(malformed),
        TimeSource::Entry(wanted) => {
            let mut found = entries(scheme, header_of(scheme, incoming)?).filter(|(name, _)| name == wanted);
            match (found.next(), found.next()) {
                (Some((_, text)), None) => Ok(text),
                _ => Err(malformed),
            }
        }
        TimeSource::Body(_) => Err(malformed),
    }
}

/// A moment as apps write it: digits alone, or RFC 3339.
fn moment(unit: TimestampUnit, text: &str) -> Option<Timestamp> {
    let number = || {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<i64>().ok() } else { None }
    };
    match unit {
        TimestampUnit::Seconds => Timestamp::from_second(number()?).ok(),
        TimestampUnit::Milliseconds => Timestamp::from_millisecond(number()?).ok(),
        TimestampUnit::Rfc3339 => text.parse().ok(),
    }
}

fn decode(encoding: SignatureEncoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        SignatureEncoding::Hex => hex(text),
        SignatureEncoding::Base64 => BASE64.decode(text).ok(),
    }
}

/// The texts at a pointer in which `*` is every element; `None` where anything is missing or no text.
fn texts(value: &Value, steps: &[String]) -> Option<Vec<String>> {
    let Some((step, rest)) = steps.split_first() else { return value.as_str().map(|text| vec![text.to_owned()]) };
    match (value, step.as_str()) {
        (Value::Array(elements), "*") => {
            let found: Option<Vec<_>> = elements.iter().map(|element| texts(element, rest)).collect();
            Some(found?.concat())
        }
        (Value::Object(fields), name) => texts(fields.get(name)?, rest),
        _ => None,
    }
}
