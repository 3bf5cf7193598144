//! What browsers allow: which cookies are kept and sent, what a request says of its origin, and
//! where a form may go.

use cookie_store::RawCookie;
use reqwest::header::{self, HeaderMap};
use url::{Host, Url};

/// The page that is shown, as far as it rules what comes next.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) url: Url,
    pub(super) form_action: FormAction,
    referrer_policy: String,
}

impl Document {
    pub(super) fn new(url: &Url, headers: &HeaderMap) -> Self {
        let policy = headers.get(header::REFERRER_POLICY).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            url: url.clone(),
            form_action: FormAction::new(headers),
            // Of several the last one is meant; the earlier ones are for old browsers.
            referrer_policy: policy.rsplit(',').next().unwrap_or_default().trim().to_lowercase(),
        }
    }

    /// The `Referer` that a request to `target` carries.
    pub(super) fn referer(&self, target: &Url) -> Option<String> {
        let same_origin = self.url.origin() == target.origin();
        let downgrade = self.url.scheme() == "https" && target.scheme() == "http";
        let origin = format!("{}/", self.url.origin().ascii_serialization());
        let mut full = self.url.clone();
        full.set_fragment(None);
        let full = full.to_string();
        match self.referrer_policy.as_str() {
            "no-referrer" => None,
            "unsafe-url" => Some(full),
            "same-origin" => same_origin.then_some(full),
            "origin" => Some(origin),
            "strict-origin" => (!downgrade).then_some(origin),
            "origin-when-cross-origin" => Some(if same_origin { full } else { origin }),
            "no-referrer-when-downgrade" => (!downgrade).then_some(full),
            _ if same_origin => Some(full),
            _ => (!downgrade).then_some(origin),
        }
    }
}

/// How far apart the page that started a navigation and its target are; the farthest hop counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Site {
    /// Typed in.
    None,
    SameOrigin,
    Same,
    Cross,
}

impl Site {
    pub(super) fn between(initiator: Option<&Document>, target: &Url) -> Self {
        match initiator {
            None => Self::None,
            Some(document) if document.url.origin() == target.origin() => Self::SameOrigin,
            Some(document) if site(&document.url) == site(target) => Self::Same,
            Some(_) => Self::Cross,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SameOrigin => "same-origin",
            Self::Same => "same-site",
            Self::Cross => "cross-site",
        }
    }
}

/// Scheme and registrable domain, taken to be the last two labels. Ports do not count.
fn site(url: &Url) -> (String, String) {
    let host = match url.host() {
        Some(Host::Domain(domain)) => {
            let mut labels: Vec<_> = domain.rsplit('.').take(2).collect();
            labels.reverse();
            labels.join(".")
        }
        Some(address) => address.to_string(),
        None => String::new(),
    };
    (url.scheme().to_owned(), host)
}

/// Whether a cookie goes along when another site started the navigation. Without `SameSite` it
/// counts as `Lax`.
pub(super) fn goes_cross_site(cookie: &RawCookie<'_>, safe_method: bool) -> bool {
    match cookie.same_site() {
        Some(same_site) if same_site.is_none() => true,
        Some(same_site) if same_site.is_strict() => false,
        _ => safe_method,
    }
}

/// The rules of name prefixes, of `Secure` and of `SameSite=None`. Loopback counts as secure.
pub(super) fn may_store(cookie: &RawCookie<'_>, url: &Url) -> bool {
    let secure = cookie.secure() == Some(true);
    let trustworthy = url.scheme() == "https" || is_loopback(url);
    let host_only = cookie.domain().is_none() && cookie.path() == Some("/");
    let name = cookie.name().to_ascii_lowercase();
    if (secure && !trustworthy)
        || (name.starts_with("__secure-") && !secure)
        || (name.starts_with("__host-") && !(secure && host_only))
    {
        return false;
    }
    secure || !cookie.same_site().is_some_and(|same_site| same_site.is_none())
}

/// The URL under which the jar knows `url`: loopback counts as secure by whatever name.
pub(super) fn jar_url(url: &Url) -> Url {
    let mut url = url.clone();
    if is_loopback(&url) {
        let _ = url.set_scheme("https");
    }
    url
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The `form-action` directives of a page; all of them must agree.
#[derive(Clone, Debug, Default)]
pub(super) struct FormAction {
    directives: Vec<Vec<String>>,
}

impl FormAction {
    fn new(headers: &HeaderMap) -> Self {
        let directives = headers
            .get_all(header::CONTENT_SECURITY_POLICY)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|policy| {
                policy.split(';').find_map(|directive| {
                    let mut words = directive.split_whitespace();
                    words.next()?.eq_ignore_ascii_case("form-action").then(|| words.map(str::to_lowercase).collect())
                })
            })
            .collect();
        Self { directives }
    }

    pub(super) fn allows(&self, document: &Url, target: &Url) -> bool {
        self.directives.iter().all(|sources| sources.iter().any(|source| source_matches(source, document, target)))
    }
}

fn source_matches(source: &str, document: &Url, target: &Url) -> bool {
    match source {
        "'self'" => document.origin() == target.origin(),
        "*" => matches!(target.scheme(), "http" | "https"),
        _ if source.starts_with('\'') => false,
        _ if source.ends_with(':') => target.scheme() == source.trim_end_matches(':'),
        _ => {
            let (scheme, rest) = source.split_once("://").unwrap_or((document.scheme(), source));
            let authority = rest.split('/').next().unwrap_or_default();
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let scheme_matches = target.scheme() == scheme || (scheme == "http" && target.scheme() == "https");
            let target_host = target.host_str().unwrap_or_default();
            let host_matches =
                host.strip_prefix('*').map_or(host == target_host, |suffix| target_host.ends_with(suffix));
            let port_matches = match port {
                Some("*") => true,
                Some(port) => target.port_or_known_default().is_some_and(|found| found.to_string() == port),
                None => target.port().is_none(),
            };
            scheme_matches && host_matches && port_matches
        }
    }
}
