//! Where a path leads: below the address of the API, or nowhere.

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::Url;

use crate::grant::Binding;

/// How often a path is decoded to see what servers may make of it.
const ROUNDS: usize = 4;

/// A path that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Outside {
    /// It leads, or may lead, out of the API.
    #[error("the path must lie below the API's address, without dot segments, backslashes or control characters")]
    Path,
    /// It is one of the endpoints that tokens come from or end at.
    #[error("this endpoint makes, describes or ends tokens; the operator alone talks to it")]
    Closed,
}

/// The address of `path`, as the request line has it, below `base`.
pub(super) fn below(base: &Url, path: &str, query: Option<&str>, binding: &Binding) -> Result<Url, Outside> {
    if path.starts_with(['/', '\\']) || !is_plain(path) || query.is_some_and(|query| query.contains('#')) {
        return Err(Outside::Path);
    }
    let root = base.path().trim_end_matches('/');
    let mut text = format!("{}{root}/{path}", base.origin().ascii_serialization());
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    let url = Url::parse(&text).map_err(|_| Outside::Path)?;
    let inside = url.origin() == base.origin()
        && url.path().strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    if !inside {
        return Err(Outside::Path);
    }
    let closed = [&binding.token_url, &binding.refresh_url, &binding.introspection_url];
    let revocation = binding.revocation.as_ref().map(|revocation| &revocation.url);
    let mut closed = closed.into_iter().filter_map(Option::as_ref).chain(revocation);
    if closed.any(|closed| closed.origin() == url.origin() && canonical(closed.path()) == canonical(url.path())) {
        return Err(Outside::Closed);
    }
    Ok(url)
}

/// Whether no server can take it for a path that goes up, or elsewhere, however often it decodes it.
fn is_plain(path: &str) -> bool {
    let mut text = path.to_owned();
    for _ in 0..ROUNDS {
        let fits = |segment: &str| {
            let name = segment.split(';').next().unwrap_or_default();
            !matches!(name.trim(), "." | "..")
        };
        if text.contains('\\') || text.chars().any(char::is_control) || !text.split('/').all(fits) {
            return false;
        }
        let Ok(decoded) = percent_decode_str(&text).decode_utf8() else { return false };
        if decoded == text {
            return true;
        }
        text = decoded.into_owned();
    }
    // Who encodes five times has something in mind.
    false
}

/// A path as a lenient server compares it.
fn canonical(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
    let segments = decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default().trim());
    segments.filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            token_url: Some("https://api.example.com/v2/oauth/token".parse().unwrap()),
            ..crate::grant::tests_support::binding()
        }
    }

    fn at(path: &str, query: Option<&str>) -> Result<String, Outside> {
        let base = "https://api.example.com/v2/".parse().unwrap();
        below(&base, path, query, &binding()).map(String::from)
    }

    #[test]
    fn paths_lie_below_the_api() {
        for (path, query, expected) in [
            ("users/me", None, "https://api.example.com/v2/users/me"),
            ("users/", Some("a=b&c=%2F..%2F"), "https://api.example.com/v2/users/?a=b&c=%2F..%2F"),
            ("", None, "https://api.example.com/v2/"),
            ("projects/group%2Fname", None, "https://api.example.com/v2/projects/group%2Fname"),
            ("a..b/...c", None, "https://api.example.com/v2/a..b/...c"),
            ("a:b@c", None, "https://api.example.com/v2/a:b@c"),
            ("https://evil.example/x", None, "https://api.example.com/v2/https://evil.example/x"),
            ("a%20b", None, "https://api.example.com/v2/a%20b"),
        ] {
            assert_eq!(at(path, query).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn there_is_no_way_out() {
        for path in [
            "..",
            ".",
            "../v1/users",
            "a/../../v1",
            "a/./b",
            "/evil.example/x",
            "//evil.example/x",
            "\\evil.example",
            "a\\..\\b",
            "%2e%2e/v1",
            "%2e%2e%2fv1",
            ".%2e/v1",
            "%2E%2E/v1",
            "a/%2e%2e%2f%2e%2e%2fv1",
            "%252e%252e/v1",
            "%252e%252e%252fv1",
            "%25252e%25252e/v1",
            "%2525252525252e",
            "..;/v1",
            "..;a=b/v1",
            "%2e%2e%3b/v1",
            "a%5c..%5cv1",
            "%5c%5cevil.example",
            "a%00b",
            "a%0d%0aHost:%20evil.example",
            "a%ff",
            "..%20/v1",
        ] {
            assert_eq!(at(path, None), Err(Outside::Path), "{path}");
        }
    }

    #[test]
    fn endpoints_of_tokens_are_closed() {
        for path in ["oauth/token", "oauth/token/", "OAuth/Token", "oauth//token", "oauth/%74oken", "oauth/token;a=b"] {
            assert_eq!(at(path, Some("a=b")), Err(Outside::Closed), "{path}");
        }
        assert!(at("oauth/tokens", None).is_ok());
    }
}
