//! One HTTP client for the Internet, and one for each set of private networks that a provider opens.
//!
//! They are kept apart since a pooled connection is not resolved again: what one provider may reach, another must not
//! find open.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{Certificate, Client, ClientBuilder, redirect, retry};
use rustls::crypto::CryptoProvider;

use super::{
    LONGEST_CONNECT, LONGEST_REQUEST, OutboundError,
    names::Policy,
    resolver::{GuardedResolver, Lookup},
};

/// How many clients for private networks are kept; only cluster administrators open networks, so there are few.
const KEPT: usize = 32;

/// How long an unused connection is kept. Shorter than servers do (5 s is the shortest in wide use): a request written
/// to a connection that the server is closing has an unknown outcome.
const IDLE: Duration = Duration::from_secs(4);

/// The clients; networks are compared sorted and without duplicates.
pub(super) struct Clients {
    factory: Factory,
    public: Client,
    within: Client,
    private: Mutex<Vec<(Vec<IpNet>, Client)>>,
}

impl Clients {
    /// Builds the client for the Internet.
    pub(super) fn new(
        policy: Arc<Policy>,
        ca_bundle: Option<PathBuf>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, OutboundError> {
        if CryptoProvider::get_default().is_none() {
            return Err(OutboundError::NoCryptoProvider);
        }
        let certificates = ca_bundle.map(read_certificates).transpose()?.unwrap_or_default();
        let factory = Factory { policy, lookup, certificates };
        let public = factory.build(&[]).map_err(OutboundError::BuildClient)?;
        let within = Client::builder().no_proxy().dns_resolver(factory.resolver(&[]));
        let within = common(within).build().map_err(OutboundError::BuildClient)?;
        Ok(Self { factory, public, within, private: Mutex::default() })
    }

    /// The client for Services of the cluster, which no proxy lies before.
    pub(super) const fn within(&self) -> &Client {
        &self.within
    }

    /// The client for these networks; the one used longest ago makes way for a new one.
    pub(super) fn client(&self, opened: &[IpNet]) -> Result<Client, reqwest::Error> {
        if opened.is_empty() {
            return Ok(self.public.clone());
        }
        let mut key = opened.to_vec();
        key.sort_unstable();
        key.dedup();
        let mut private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = if let Some(position) = private.iter().position(|(networks, _)| *networks == key) {
            private.remove(position)
        } else {
            let client = self.factory.build(&key)?;
            (key, client)
        };
        let client = entry.1.clone();
        if private.len() >= KEPT {
            private.remove(0);
        }
        private.push(entry);
        Ok(client)
    }
}

/// What every client is built from.
struct Factory {
    policy: Arc<Policy>,
    lookup: Arc<dyn Lookup>,
    certificates: Vec<Certificate>,
}

impl Factory {
    fn build(&self, opened: &[IpNet]) -> Result<Client, reqwest::Error> {
        let builder = Client::builder().dns_resolver(self.resolver(opened));
        common(builder).tls_certs_merge(self.certificates.clone()).build()
    }

    fn resolver(&self, opened: &[IpNet]) -> GuardedResolver {
        GuardedResolver { policy: Arc::clone(&self.policy), opened: opened.into(), lookup: Arc::clone(&self.lookup) }
    }
}

/// What all clients have in common.
fn common(builder: ClientBuilder) -> ClientBuilder {
    builder
        .user_agent(concat!("integration-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(LONGEST_CONNECT)
        .timeout(LONGEST_REQUEST)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(8)
}

/// The certificates of a PEM file, at least one.
fn read_certificates(path: PathBuf) -> Result<Vec<Certificate>, OutboundError> {
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(OutboundError::ReadCaBundle { path, source }),
    };
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(OutboundError::ParseCaBundle { path, source: None }),
        Err(source) => Err(OutboundError::ParseCaBundle { path, source: Some(source) }),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io::Write};

    use super::*;
    use crate::provider::outbound::resolver::SystemLookup;

    fn clients(ca_bundle: Option<PathBuf>) -> Result<Clients, OutboundError> {
        // Fails where another test was first, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        Clients::new(Arc::new(Policy::new(&[], Vec::new(), HashSet::new())), ca_bundle, Arc::new(SystemLookup))
    }

    fn bundle(text: &str) -> Option<OutboundError> {
        let mut file = tempfile::NamedTempFile::new().ok()?;
        file.write_all(text.as_bytes()).ok()?;
        clients(Some(file.path().to_owned())).err()
    }

    #[test]
    fn there_is_one_client_for_a_set_of_networks() -> Result<(), Box<dyn std::error::Error>> {
        let clients = clients(None)?;
        let kept = || clients.private.lock().unwrap_or_else(PoisonError::into_inner).len();
        let (a, b): (IpNet, IpNet) = ("10.0.0.0/8".parse()?, "192.168.0.0/16".parse()?);
        clients.client(&[])?;
        assert_eq!(kept(), 0);
        clients.client(&[a, b])?;
        clients.client(&[b, a, b])?;
        assert_eq!(kept(), 1);
        for third in 0..=KEPT {
            clients.client(&[format!("10.0.{third}.0/24").parse()?])?;
            assert!(kept() <= KEPT);
        }
        Ok(())
    }

    #[test]
    fn a_ca_bundle_holds_certificates() {
        assert!(matches!(clients(Some(PathBuf::from("/nonexistent"))), Err(OutboundError::ReadCaBundle { .. })));
        assert!(matches!(bundle(""), Some(OutboundError::ParseCaBundle { source: None, .. })));
        assert!(matches!(
            bundle("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
            Some(OutboundError::ParseCaBundle { .. })
        ));
    }
}
