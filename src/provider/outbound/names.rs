//! Which URLs may be asked, as far as the URL alone shows.
//!
//! Takes a URL, gives the reason for refusing it. No I/O: what a name resolves to is the resolver's business.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

use super::addresses;

/// Why a URL, or what its name resolves to, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Forbidden {
    /// Not https.
    #[error("the scheme `{scheme}` is not https")]
    Scheme {
        /// What it is instead.
        scheme: String,
    },
    /// A user name or a password.
    #[error("the URL carries user information")]
    UserInfo,
    /// A fragment, which has no meaning in a request (RFC 9110 §4.2.5).
    #[error("the URL carries a fragment")]
    Fragment,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// Port 0.
    #[error("the URL has port 0")]
    Port,
    /// A name that means something inside a cluster, a cloud or a host only.
    #[error("the host name `{host}` is not one of the public Internet")]
    Name {
        /// The name.
        host: String,
    },
    /// The name of our own proxy, whose address is exempt from checks and must not serve as a provider.
    #[error("the host `{host}` is the proxy of this process")]
    Proxy {
        /// The name.
        host: String,
    },
    /// A literal address, or every address behind a name, that is private, local, reserved or the cluster's.
    #[error("the host `{host}` leads only to addresses that are not allowed")]
    Address {
        /// The host.
        host: String,
    },
}

/// Suffixes of names that are never public.
const PRIVATE_SUFFIXES: [&str; 6] = [".svc", ".cluster.local", ".internal", ".local", ".lan", ".home.arpa"];

/// What is allowed, for the whole process.
#[derive(Debug)]
pub(super) struct Policy {
    insecure: HashSet<String>,
    closed: Vec<IpNet>,
    proxies: HashSet<String>,
}

impl Policy {
    /// From names exempt from checks, the cluster's networks, and the names of proxies.
    pub(super) fn new(insecure: &[String], closed: Vec<IpNet>, proxies: HashSet<String>) -> Self {
        Self { insecure: insecure.iter().map(|name| normal(name)).collect(), closed, proxies }
    }

    /// Whether every address is fine for this name.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        self.insecure.contains(&normal(host))
    }

    /// Whether the name is a proxy's.
    pub(super) fn is_proxy(&self, host: &str) -> bool {
        self.proxies.contains(&normal(host))
    }

    /// Whether an address may be connected to.
    pub(super) fn permits(&self, address: IpAddr, opened: &[IpNet]) -> bool {
        addresses::permitted(address, opened, &self.closed)
    }

    /// Whether a URL may be asked.
    pub(super) fn check_url(&self, url: &Url, opened: &[IpNet]) -> Result<(), Forbidden> {
        let host = url.host().ok_or(Forbidden::NoHost)?;
        let name = normal(url.host_str().unwrap_or_default());
        let insecure = self.insecure.contains(&name);
        if url.scheme() != "https" && !(insecure && url.scheme() == "http") {
            return Err(Forbidden::Scheme { scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Forbidden::Fragment);
        }
        if url.port() == Some(0) {
            return Err(Forbidden::Port);
        }
        if insecure {
            return Ok(());
        }
        if self.proxies.contains(&name) {
            return Err(Forbidden::Proxy { host: name });
        }
        let address = match host {
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            Host::Domain(_) => return check_name(name, opened),
        };
        if self.permits(address, opened) { Ok(()) } else { Err(Forbidden::Address { host: name }) }
    }
}

/// Whether a name may be looked up. Where a provider opens private networks, private names lead there, and the address
/// decides.
fn check_name(name: String, opened: &[IpNet]) -> Result<(), Forbidden> {
    let local = name == "localhost" || name.ends_with(".localhost") || name.is_empty();
    let private = !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if local || (private && opened.is_empty()) {
        return Err(Forbidden::Name { host: name });
    }
    Ok(())
}

/// Whether a URL is that of a Service of the cluster: `http` and an address, of neither this host nor its link.
pub(super) fn check_service(url: &Url) -> Result<(), Forbidden> {
    let host = normal(url.host_str().unwrap_or_default());
    if url.scheme() != "http" {
        return Err(Forbidden::Scheme { scheme: url.scheme().to_owned() });
    }
    if url.port() == Some(0) {
        return Err(Forbidden::Port);
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Err(Forbidden::Name { host }),
    };
    if addresses::permitted(address, &[address.into()], &[]) { Ok(()) } else { Err(Forbidden::Address { host }) }
}

/// A host as it is compared: lower case, no trailing dots, no brackets around an IPv6 address.
pub(super) fn normal(host: &str) -> String {
    host.trim_end_matches('.').trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

/// Hosts of the proxies that the environment names, in the variables that reqwest reads.
pub(super) fn proxy_hosts(variable: impl Fn(&str) -> Option<String>) -> HashSet<String> {
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .filter_map(variable)
        .filter_map(|value| {
            let with_scheme = if value.contains("://") { value } else { format!("http://{value}") };
            Url::parse(&with_scheme).ok()?.host_str().map(normal)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Policy, url: &str, opened: &[&str]) -> Option<Result<(), Forbidden>> {
        let opened: Vec<IpNet> = opened.iter().filter_map(|network| network.parse().ok()).collect();
        Some(policy.check_url(&Url::parse(url).ok()?, &opened))
    }

    fn strict() -> Policy {
        Policy::new(&[], Vec::new(), HashSet::new())
    }

    #[test]
    fn ordinary_endpoints_pass() {
        for url in [
            "https://slack.com/api/auth.test",
            "https://api.github.com:8443/x?y=z",
            "https://1.1.1.1/",
            "https://slack.com./",
        ] {
            assert_eq!(check(&strict(), url, &[]), Some(Ok(())), "{url}");
        }
    }

    #[test]
    fn every_spelling_of_a_local_address_is_refused() {
        for url in [
            "https://169.254.169.254/",
            "https://2852039166/",
            "https://0251.0376.0251.0376/",
            "https://0xa9fea9fe/",
            "https://169.254.43518/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[64:ff9b::169.254.169.254]/",
            "https://127.1/",
            "https://0/",
            "https://[::]/",
            "https://[::1]/",
            "https://127.0.0.1./",
            "https://%31%32%37.0.0.1/",
            "https://１２７.0.0.1/",
        ] {
            assert!(matches!(check(&strict(), url, &[]), Some(Err(Forbidden::Address { .. }))), "{url}");
        }
    }

    #[test]
    fn private_names_are_refused() {
        for url in [
            "https://kubernetes.default.svc/",
            "https://kubernetes.default.svc./",
            "https://kubernetes.default.svc.cluster.local/",
            "https://metadata.google.internal/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://gitlab/",
        ] {
            assert!(matches!(check(&strict(), url, &[]), Some(Err(Forbidden::Name { .. }))), "{url}");
        }
        assert_eq!(check(&strict(), "https://gitlab.internal/", &["10.0.0.0/8"]), Some(Ok(())));
        assert!(matches!(check(&strict(), "https://localhost/", &["10.0.0.0/8"]), Some(Err(_))));
    }

    #[test]
    fn other_parts_of_the_url_are_checked() {
        let policy = strict();
        assert!(matches!(check(&policy, "http://slack.com/", &[]), Some(Err(Forbidden::Scheme { .. }))));
        assert!(matches!(check(&policy, "ftp://slack.com/", &[]), Some(Err(Forbidden::Scheme { .. }))));
        assert_eq!(check(&policy, "https://slack.com@evil.com/", &[]), Some(Err(Forbidden::UserInfo)));
        assert_eq!(check(&policy, "https://slack.com/#x", &[]), Some(Err(Forbidden::Fragment)));
        assert_eq!(check(&policy, "https://slack.com:0/", &[]), Some(Err(Forbidden::Port)));
        assert_eq!(check(&policy, "data:text/plain,x", &[]), Some(Err(Forbidden::NoHost)));
    }

    #[test]
    fn insecure_hosts_are_exact() {
        let policy = Policy::new(&["127.0.0.1".into(), "Emulator".into(), "[::1]".into()], Vec::new(), HashSet::new());
        for url in ["http://127.0.0.1:1234/x", "http://emulator/", "https://[::1]:1/"] {
            assert_eq!(check(&policy, url, &[]), Some(Ok(())), "{url}");
        }
        for url in ["http://127.0.0.2/", "http://emulator.evil.com/", "http://a.emulator/", "http://u@emulator/"] {
            assert!(matches!(check(&policy, url, &[]), Some(Err(_))), "{url}");
        }
    }

    #[test]
    fn the_proxy_is_not_a_provider() {
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:pass@Proxy.corp.example:3128".to_owned()),
            "http_proxy" => Some("other.example:8080".to_owned()),
            _ => None,
        };
        let hosts = proxy_hosts(environment);
        assert_eq!(hosts, HashSet::from(["proxy.corp.example".to_owned(), "other.example".to_owned()]));
        let policy = Policy::new(&[], Vec::new(), hosts);
        assert!(policy.is_proxy("proxy.corp.example."));
        assert!(matches!(check(&policy, "https://proxy.corp.example/", &[]), Some(Err(Forbidden::Proxy { .. }))));
    }
}
