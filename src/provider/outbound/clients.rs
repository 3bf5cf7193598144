//! One HTTP client for the Internet, and one for each set of private networks that a provider opens.
//!
//! They are kept apart since a pooled connection is not resolved again: what one provider may reach, another must not find open.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{Certificate, Client, redirect, retry};
use rustls::crypto::CryptoProvider;

use super::{
    LONGEST_CONNECT, LONGEST_REQUEST, OutboundError,
    names::Policy,
    resolver::{GuardedResolver, Lookup, SystemLookup},
};

/// How many clients for private networks are kept; only cluster administrators open networks, so there are few.
const KEPT: usize = 32;

/// How long an unused connection is kept. Shorter than servers do (5 s is the shortest in wide use): a request written to
/// a connection that the server is closing has an unknown outcome.
const IDLE: Duration = Duration::from_secs(4);

/// The clients; networks are compared sorted and without duplicates.
pub(super) struct Clients {
    factory: Factory,
    public: Client,
    private: Mutex<Vec<(Vec<IpNet>, Client)>>,
}

impl Clients {
    /// Builds the client for the Internet.
    pub(super) fn new(policy: Arc<Policy>, ca_bundle: Option<PathBuf>) -> Result<Self, OutboundError> {
        if CryptoProvider::get_default().is_none() {
            return Err(OutboundError::NoCryptoProvider);
        }
        let certificates = ca_bundle.map(read_certificates).transpose()?.unwrap_or_default();
        let factory = Factory { policy, lookup: Arc::new(SystemLookup), certificates };
        let public = factory.build(&[]).map_err(OutboundError::BuildClient)?;
        Ok(Self { factory, public, private: Mutex::default() })
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
        let entry = match private.iter().position(|(networks, _)| *networks == key) {
            Some(position) => private.remove(position),
            None => {
                let client = self.factory.build(&key)?;
                (key, client)
            }
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
        let resolver = GuardedResolver {
            policy: Arc::clone(&self.policy),
            opened: opened.into(),
            lookup: Arc::clone(&self.lookup),
        };
        Client::builder()
            .user_agent(concat!("integration-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .connect_timeout(LONGEST_CONNECT)
            .timeout(LONGEST_REQUEST)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(8)
            .dns_resolver(resolver)
            .tls_certs_merge(self.certificates.clone())
            .build()
    }
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
