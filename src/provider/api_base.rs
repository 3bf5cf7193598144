//! Where an app's API lies: as the description says, or as the provider says itself, within bounds.
//!
//! Takes the section `api`, gives an address for one connection. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use url::{Host, Url};

use super::expression::{Expression, Variables};
use super::template::UrlTemplate;

/// Where an API lies.
#[derive(Clone, Debug, Default)]
pub struct BaseRules {
    /// The address, with places for values of the form and for what was chosen.
    pub url: Option<UrlTemplate>,
    /// Where the provider itself says it.
    pub from: Option<Arc<Expression>>,
    /// Hosts that it may say.
    pub hosts: Vec<HostPattern>,
}

/// A host, or every name below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// With the dot in front where every name below is meant.
    suffix: String,
}

impl HostPattern {
    /// Reads `api.example.com` or `*.example.com`; `None` for anything else, and where fewer than two labels are fixed.
    pub fn parse(text: &str) -> Option<Self> {
        let fixed = text.strip_prefix("*.").unwrap_or(text);
        let labels: Vec<&str> = fixed.split('.').collect();
        let fits = |label: &&str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // A number at the end would make it an IPv4 address (WHATWG URL §3.5).
        let name = labels.last()?.bytes().any(|byte| byte.is_ascii_alphabetic());
        let wild = fixed.len() != text.len();
        (labels.len() >= 2 && labels.iter().all(fits) && name)
            .then(|| Self { suffix: format!("{}{}", if wild { "." } else { "" }, fixed.to_ascii_lowercase()) })
    }

    /// How it stands among the origins that a grant was made for.
    fn origin(&self) -> String {
        format!("https://{self}")
    }

    /// Whether a host is the one, or below it.
    pub fn matches(&self, host: &str) -> bool {
        if self.suffix.starts_with('.') {
            host.len() > self.suffix.len() && host.ends_with(&self.suffix)
        } else {
            host == self.suffix
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{}", if self.suffix.starts_with('.') { "*" } else { "" }, self.suffix)
    }
}

impl BaseRules {
    /// The address for one connection: what the provider says where that is https on one of the hosts, else the
    /// description's own. `places` are the values of the form and what was chosen; `allows` tells whether a credential may
    /// be sent to one of the [origins](Self::origins).
    pub fn base(
        &self,
        values: &BTreeMap<String, String>,
        places: &BTreeMap<String, String>,
        variables: &Variables,
        allows: impl Fn(&str) -> bool,
    ) -> Option<Url> {
        let said = self.from.as_ref().and_then(|from| match from.evaluate(variables) {
            Ok(Value::String(text)) => self.said(&text, &allows),
            _ => None,
        });
        let own = || self.url.as_ref().filter(|url| allows(&url.origin(values)))?.render(places).ok();
        said.or_else(own)
    }

    /// An address that the provider says, if it may.
    fn said(&self, text: &str, allows: impl Fn(&str) -> bool) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let plain = url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none()
            && url.fragment().is_none();
        let Some(Host::Domain(host)) = url.host() else { return None };
        let fits = |pattern: &HostPattern| pattern.matches(host) && allows(&pattern.origin());
        (plain && self.hosts.iter().any(fits)).then_some(url)
    }

    /// The places where the API may lie, for values of the form alone.
    pub fn origins<'a>(&'a self, values: &'a BTreeMap<String, String>) -> impl Iterator<Item = String> + 'a {
        let own = self.url.as_ref().map(|url| url.origin(values));
        own.into_iter().chain(self.hosts.iter().map(HostPattern::origin))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base(said: &str) -> String {
        base_with(said, |_| true).unwrap().into()
    }

    fn base_with(said: &str, allows: impl Fn(&str) -> bool) -> Option<Url> {
        let rules = BaseRules {
            url: Some(UrlTemplate::parse("https://api.example.com/ex/{site}").unwrap()),
            from: Some(Arc::new(Expression::compile("response.api_url").unwrap())),
            hosts: ["api.example.com", "*.eu.example.com"]
                .iter()
                .map(|text| HostPattern::parse(text).unwrap())
                .collect(),
        };
        let values = BTreeMap::from([("site".to_owned(), "a/b".to_owned())]);
        let variables = Variables { response: json!({ "api_url": said }), ..Variables::default() };
        rules.base(&BTreeMap::new(), &values, &variables, allows)
    }

    #[test]
    fn credentials_go_where_the_connection_was_made_for() {
        let own = |origin: &str| origin == "https://api.example.com";
        let said = "https://x.eu.example.com/";
        assert_eq!(base_with(said, own).unwrap().as_str(), "https://api.example.com/ex/a%2Fb");
        assert_eq!(base_with(said, |origin| origin == "https://*.eu.example.com").unwrap().as_str(), said);
        assert_eq!(base_with(said, |_| false), None);
    }

    #[test]
    fn what_the_provider_says_counts_on_its_own_hosts_only() {
        for said in ["https://api.example.com/v2", "https://x.eu.example.com/", "https://a.b.eu.example.com/"] {
            assert_eq!(base(said), said);
        }
        for said in [
            "https://evil.example/",
            "https://api.example.com.evil.example/",
            "https://eu.example.com/",
            "https://evileu.example.com/",
            "http://api.example.com/",
            "https://user@api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com/#x",
            "https://127.0.0.1/",
            "/v2",
            "",
        ] {
            assert_eq!(base(said), "https://api.example.com/ex/a%2Fb", "{said}");
        }
    }

    #[test]
    fn patterns_have_two_fixed_labels() {
        for good in ["api.example.com", "*.example.com", "example.com", "*.Example.co.uk"] {
            assert!(HostPattern::parse(good).is_some(), "{good}");
        }
        for bad in
            ["com", "*.com", "*", "a.*.com", "", "*.", "example..com", "10.0.0.1", "api.example.com:443", "a/b.c"]
        {
            assert!(HostPattern::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(HostPattern::parse("*.Example.com").unwrap().to_string(), "*.example.com");
    }
}
