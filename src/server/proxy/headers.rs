//! Which headers pass.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, COOKIE, EXPECT, FORWARDED,
    HOST, LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of one connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE];

/// What callers' requests do not pass on: credentials, what tells of them and their way here, and what another method or host
/// could be meant by than the one whose right was reviewed.
const NOT_OUTWARD: [HeaderName; 10] = [
    HOST,
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    CONTENT_LENGTH,
    EXPECT,
    FORWARDED,
    ORIGIN,
    REFERER,
    // Asked for by name only, see below.
    ACCEPT_ENCODING,
];
const NOT_OUTWARD_NAMES: [&str; 12] = [
    "keep-alive",
    "proxy-connection",
    "x-real-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "cookie2",
    "traceparent",
    "tracestate",
];

/// What apps' answers do not pass on: sessions, and what a browser would take for rules of the operator's own address.
const NOT_INWARD: [HeaderName; 4] = [SET_COOKIE, WWW_AUTHENTICATE, LOCATION, CONTENT_SECURITY_POLICY];
const NOT_INWARD_NAMES: [&str; 12] = [
    "keep-alive",
    "proxy-connection",
    "set-cookie2",
    "alt-svc",
    "clear-site-data",
    "content-security-policy-report-only",
    "nel",
    "public-key-pins",
    "refresh",
    "report-to",
    "service-worker-allowed",
    "strict-transport-security",
];

/// The headers that go to the app: those of the caller, and those of the description where the caller has none.
/// `carrier` is the header that carries the credential.
pub(super) fn outward(given: &HeaderMap, described: &HeaderMap, carrier: &HeaderName) -> HeaderMap {
    let named = named(given);
    let mut headers: HeaderMap = given
        .iter()
        .filter(|(name, _)| {
            let text = name.as_str();
            !HOP_BY_HOP.contains(name)
                && !NOT_OUTWARD.contains(name)
                && !NOT_OUTWARD_NAMES.contains(&text)
                && !text.starts_with("x-forwarded-")
                && !named.contains(name)
                && *name != carrier
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // The body is passed on as it comes: compressed where the caller said that it can read that, and never else.
    let encodings = given.get(ACCEPT_ENCODING).cloned();
    headers.insert(ACCEPT_ENCODING, encodings.unwrap_or(HeaderValue::from_static("identity")));
    for (name, value) in described {
        if !headers.contains_key(name) || *name == http::header::USER_AGENT {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers
}

/// The headers that go to the caller. A browser that is shown the answer treats it as a stranger's.
pub(super) fn inward(answered: &HeaderMap) -> HeaderMap {
    let named = named(answered);
    let mut headers: HeaderMap = answered
        .iter()
        .filter(|(name, _)| {
            let text = name.as_str();
            !HOP_BY_HOP.contains(name)
                && !NOT_INWARD.contains(name)
                && !NOT_INWARD_NAMES.contains(&text)
                && !text.starts_with("access-control-")
                && !named.contains(name)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'"),
    );
    headers
}

/// Headers that `Connection` names: they are of this connection too.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn credentials_and_hops_stay() {
        let given = map(&[
            ("authorization", "Bearer ours"),
            ("cookie", "a=b"),
            ("host", "operator"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-http-method-override", "DELETE"),
            ("x-api-key", "mine"),
            ("content-type", "text/plain"),
            ("x-custom", "kept"),
            ("user-agent", "curl"),
        ]);
        let described = map(&[("user-agent", "DiscordBot"), ("x-version", "1"), ("content-type", "application/json")]);
        let headers = outward(&given, &described, &HeaderName::from_static("x-api-key"));
        let expected = map(&[
            ("content-type", "text/plain"),
            ("x-custom", "kept"),
            ("accept-encoding", "identity"),
            ("user-agent", "DiscordBot"),
            ("x-version", "1"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn answers_bring_no_sessions_and_no_rules() {
        let answered = map(&[
            ("set-cookie", "a=b"),
            ("content-type", "text/html"),
            ("content-security-policy", "default-src *"),
            ("access-control-allow-origin", "*"),
            ("strict-transport-security", "max-age=1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("location", "https://evil.example"),
            ("x-ratelimit-remaining", "7"),
            ("etag", "\"1\""),
        ]);
        let expected = map(&[
            ("content-type", "text/html"),
            ("x-ratelimit-remaining", "7"),
            ("etag", "\"1\""),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'; frame-ancestors 'none'"),
        ]);
        assert_eq!(inward(&answered), expected);
    }
}
