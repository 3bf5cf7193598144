//! Name resolution that gives only addresses which may be connected to.
//!
//! Takes a host name, gives its permitted addresses. It is the connector's only source of addresses, so the address
//! checked is the address connected to, after every DNS answer; a name that answers differently the second time is
//! checked a second time.

use std::{net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{
    Found,
    names::{Forbidden, Policy},
    nothing_found,
};

/// Where addresses come from; tests bring their own.
pub(super) trait Lookup: Send + Sync {
    /// All addresses of a name.
    fn lookup(&self, name: String) -> BoxFuture<'static, Found>;
}

/// The system's own resolver.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, Found> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A [`Lookup`] behind the policy of the process and the networks that one provider opens.
pub(super) struct GuardedResolver {
    pub(super) policy: Arc<Policy>,
    pub(super) opened: Arc<[IpNet]>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let exempt = self.policy.is_insecure(&host) || self.policy.is_proxy(&host);
        let (policy, opened) = (Arc::clone(&self.policy), Arc::clone(&self.opened));
        let found = self.lookup.lookup(queried(&host, exempt || !opened.is_empty()));
        Box::pin(async move {
            let found = found.await?;
            if found.is_empty() {
                return Err(nothing_found().into());
            }
            let permitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|&address| exempt || policy.permits(address, &opened))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if permitted.is_empty() {
                return Err(Forbidden::Address { host }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The name as it is asked for. A public name is made absolute: in a Pod the search list would try it as a Service
/// first, and cost five questions.
fn queried(host: &str, private: bool) -> String {
    if private || host.ends_with('.') { host.to_owned() } else { format!("{host}.") }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        net::IpAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Gives one list of addresses after another.
    struct Scripted {
        answers: Vec<Vec<&'static str>>,
        asked: AtomicUsize,
    }

    impl Lookup for Scripted {
        fn lookup(&self, _name: String) -> BoxFuture<'static, Found> {
            let turn = self.asked.fetch_add(1, Ordering::SeqCst);
            let answer = self.answers.get(turn).cloned().unwrap_or_default();
            Box::pin(async move { Ok(answer.into_iter().filter_map(|text| text.parse().ok()).collect()) })
        }
    }

    fn resolver(insecure: &[&str], opened: &[&str], answers: Vec<Vec<&'static str>>) -> GuardedResolver {
        let insecure: Vec<String> = insecure.iter().map(ToString::to_string).collect();
        GuardedResolver {
            policy: Arc::new(Policy::new(&insecure, Vec::new(), HashSet::from(["proxy.example".to_owned()]))),
            opened: opened.iter().filter_map(|network| network.parse().ok()).collect(),
            lookup: Arc::new(Scripted { answers, asked: AtomicUsize::new(0) }),
        }
    }

    async fn ask(resolver: &GuardedResolver, name: &str) -> Result<Vec<IpAddr>, Option<Forbidden>> {
        let name = name.parse::<Name>().map_err(|_| None)?;
        match resolver.resolve(name).await {
            Ok(found) => Ok(found.map(|address| address.ip()).collect()),
            Err(error) => Err(error.downcast_ref::<Forbidden>().cloned()),
        }
    }

    #[tokio::test]
    async fn only_permitted_addresses_come_out() {
        let resolver = resolver(&[], &[], vec![vec!["10.0.0.1", "1.1.1.1", "::1"]]);
        assert_eq!(ask(&resolver, "example.com").await, Ok(vec![IpAddr::from([1, 1, 1, 1])]));
    }

    #[tokio::test]
    async fn a_second_answer_is_checked_again() {
        let resolver = resolver(&[], &[], vec![vec!["1.1.1.1"], vec!["169.254.169.254"]]);
        assert!(ask(&resolver, "rebind.example").await.is_ok());
        assert!(matches!(ask(&resolver, "rebind.example").await, Err(Some(Forbidden::Address { .. }))));
    }

    #[tokio::test]
    async fn exempt_names_and_opened_networks_pass() {
        let private = || vec![vec!["10.0.0.1"]];
        assert!(ask(&resolver(&["emulator"], &[], private()), "emulator").await.is_ok());
        assert!(ask(&resolver(&[], &[], private()), "proxy.example").await.is_ok());
        assert!(ask(&resolver(&[], &["10.0.0.0/24"], private()), "gitlab.corp").await.is_ok());
        assert!(ask(&resolver(&[], &["10.1.0.0/24"], private()), "gitlab.corp").await.is_err());
    }

    #[tokio::test]
    async fn no_address_is_not_a_refusal() {
        assert_eq!(ask(&resolver(&[], &[], vec![]), "example.com").await, Err(None));
    }

    #[test]
    fn public_names_are_absolute() {
        assert_eq!(queried("slack.com", false), "slack.com.");
        assert_eq!(queried("slack.com.", false), "slack.com.");
        assert_eq!(queried("gitlab", true), "gitlab");
    }
}
