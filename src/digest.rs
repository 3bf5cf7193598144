//! Hashes, authentication codes and random values: thin names over `ring`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};

/// The first 160 bits of SHA-256 over the parts, as 40 lower-case hex digits: fit for a label value or part of a name.
/// Parts are length-prefixed, so that no two lists of parts collide.
pub fn short_hash(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex(&context.finish().as_ref()[..20])
}

/// SHA-256 of `text`, base64url without padding: the `S256` transformation of RFC 7636 §4.2.
pub fn sha256_base64url(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// HMAC-SHA-256 of `purpose` and `text` under `key`, base64url without padding.
pub fn authenticate(key: &[u8], purpose: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose.as_bytes());
    context.update(&[0]);
    context.update(text.as_bytes());
    URL_SAFE_NO_PAD.encode(context.sign())
}

/// Whether two secrets are equal, in a time that depends on their lengths only.
pub fn equal(left: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> bool {
    let (left, right) = (left.as_ref(), right.as_ref());
    left.len() == right.len() && left.iter().zip(right).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

/// 256 random bits of the operating system, base64url without padding (43 characters, RFC 7636 §4.1).
/// Without a working generator the process ends: going on with guessable values would be worse.
pub fn random_token() -> String {
    let mut bytes = [0_u8; 32];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        std::process::abort();
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Bytes in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s256_of_rfc_7636_appendix_b() {
        assert_eq!(
            sha256_base64url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(short_hash(&["ab", "c"]), short_hash(&["a", "bc"]));
        assert_eq!(short_hash(&["a"]).len(), 40);
    }

    #[test]
    fn comparison() {
        assert!(equal("abc", "abc"));
        assert!(!equal("abc", "abd"));
        assert!(!equal("abc", "abcd"));
    }
}
