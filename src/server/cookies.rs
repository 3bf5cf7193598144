//! The one cookie: it tells the browser that started a flow from all others.
//!
//! `__Host-` (RFC 6265bis §4.1.3.2) keeps neighbouring hosts from planting it; `SameSite=Lax` lets it come along when
//! the provider sends the browser back. On an http loopback address, where neither prefix nor `Secure` can be had, it
//! does without both.

use http::{HeaderMap, HeaderValue, header};
use url::Url;

use crate::digest::random_token;
use crate::sensitive::Sensitive;

/// How long a browser keeps it, in seconds: far longer than a flow takes, and renewed with each.
const MAX_AGE: u32 = 3600;
/// Characters of 256 bits in base64url.
const LENGTH: usize = 43;

/// How the cookie is called and guarded under this public address.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    name: &'static str,
    attributes: &'static str,
}

impl Cookies {
    /// For a public address; plain http only where it is loopback, which the configuration has made sure of.
    pub fn new(public_url: &Url) -> Self {
        if public_url.scheme() == "http" {
            return Self { name: "integration-initiator", attributes: "HttpOnly; SameSite=Lax; Path=/" };
        }
        Self { name: "__Host-integration-initiator", attributes: "Secure; HttpOnly; SameSite=Lax; Path=/" }
    }

    /// The value that a browser sent; nothing where it is malformed or stands twice.
    pub fn read(&self, headers: &HeaderMap) -> Option<Sensitive> {
        let mut values = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name)
            .map(|(_, value)| value);
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        is_token(value).then(|| Sensitive::new(value))
    }

    /// The browser's value, or a fresh one of 256 random bits.
    pub fn read_or_mint(&self, headers: &HeaderMap) -> Sensitive {
        self.read(headers).unwrap_or_else(|| Sensitive::new(random_token()))
    }

    /// The `Set-Cookie` header for a value.
    pub fn set(&self, value: &Sensitive) -> Option<HeaderValue> {
        let text = format!("{}={}; Max-Age={MAX_AGE}; {}", self.name, value.expose(), self.attributes);
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

fn is_token(value: &str) -> bool {
    value.len() == LENGTH && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "0123456789abcdefghijABCDEFGHIJ-_0123456789x";

    fn cookies(url: &str) -> Cookies {
        Cookies::new(&Url::parse(url).unwrap())
    }

    fn sent(values: &[String]) -> HeaderMap {
        values.iter().map(|value| (header::COOKIE, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn https_has_the_prefix_and_loopback_has_not() {
        let value = Sensitive::new(VALUE);
        let set = cookies("https://connect.example.com").set(&value).unwrap();
        let set = set.to_str().unwrap();
        assert!(set.starts_with(&format!("__Host-integration-initiator={VALUE}; ")), "{set}");
        assert!(set.contains("; Secure; HttpOnly; SameSite=Lax; Path=/") && !set.contains("Domain"), "{set}");
        let set = cookies("http://127.0.0.1:8080").set(&value).unwrap();
        let set = set.to_str().unwrap();
        assert!(set.starts_with("integration-initiator=") && !set.contains("Secure"), "{set}");
    }

    #[test]
    fn reads_one_sound_value() {
        let cookies = cookies("https://connect.example.com");
        let name = "__Host-integration-initiator";
        let good = format!("{name}={VALUE}");
        assert_eq!(cookies.read(&sent(&[format!("a=b; {good}; c=d")])).unwrap().expose(), VALUE);
        for bad in [
            vec![],
            vec![format!("integration-initiator={VALUE}")],
            vec![format!("{good}; {good}")],
            vec![good.clone(), good.clone()],
            vec![format!("{name}={}", &VALUE[1..])],
            vec![format!("{name}=\"{}\"", &VALUE[2..])],
        ] {
            assert!(cookies.read(&sent(&bad)).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn minted_values_are_sound() {
        let cookies = cookies("https://connect.example.com");
        let minted = cookies.read_or_mint(&HeaderMap::new());
        assert!(is_token(minted.expose()));
        assert_ne!(minted.expose(), cookies.read_or_mint(&HeaderMap::new()).expose());
    }
}
