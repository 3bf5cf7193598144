//! Receivers of events: an https address, or a Service of the integration's own namespace.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use jiff::Timestamp;
use kube::ResourceExt as _;
use url::Url;

use super::event::Event;
use super::key::{Key, KeyError};
use super::lookup::Lookup;
use crate::api::ProjectIntegration;
use crate::api::project_integration::SinkService;
use crate::provider::outbound::{Outbound, OutboundRequest, SendError};

/// The largest answer that is passed on, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024;

/// What a receiver that took an event said.
#[derive(Debug, Default)]
pub struct Answer {
    /// Media type and body, where there is one.
    pub body: Option<(HeaderValue, Bytes)>,
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No address can be made of it.
    #[error("spec.events.sink is not an address of a receiver: {0}")]
    Address(&'static str),
    /// The Service is not there, or has no address of its own.
    #[error("Service {0} of spec.events.sink is not there, or has no cluster IP")]
    NoService(String),
    /// The API server did not do its part.
    #[error("the cluster could not be asked")]
    Cluster(#[source] Arc<kube::Error>),
    /// The secret is not there.
    #[error(
        "Secret {secret} of spec.events.signingSecretRef has no {key}, or is not labelled integrations.tms.dev/readable: \"true\""
    )]
    NoSecret {
        /// The Secret.
        secret: String,
        /// Its key.
        key: String,
    },
    /// The secret is none.
    #[error("the secret of spec.events.signingSecretRef cannot be used: {0}")]
    Key(#[from] KeyError),
    /// It did not get there, or it is not known whether it did.
    #[error("the receiver could not be reached")]
    Send(#[from] SendError),
    /// It was refused.
    #[error("the receiver answered with HTTP {0}")]
    Status(u16),
}

impl SinkError {
    /// In a word, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::NoService(_) | Self::NoSecret { .. } | Self::Key(_) => "misconfigured",
            Self::Cluster(_) => "cluster_unavailable",
            Self::Send(_) => "unreachable",
            Self::Status(_) => "refused",
        }
    }
}

/// Sends an event to the receiver of an integration, once.
pub async fn deliver(
    lookup: &Lookup,
    outbound: &Outbound,
    integration: &ProjectIntegration,
    event: &Event,
    patience: Duration,
) -> Result<Answer, SinkError> {
    let events = integration.spec.events.as_ref().ok_or(SinkError::Address("there is none"))?;
    let namespace = integration.namespace().unwrap_or_default();
    let key = match &events.signing_secret_ref {
        None => None,
        Some(key) => {
            let secret = lookup.value(&namespace, key).await.map_err(SinkError::Cluster)?;
            let missing = || SinkError::NoSecret { secret: key.name.clone(), key: key.key.clone() };
            Some(Key::standard(&secret.ok_or_else(missing)?)?)
        }
    };
    let uid = integration.uid().unwrap_or_default();
    let headers = event.headers(&integration.spec, &uid, key.as_ref(), Timestamp::now());
    let request = |url| OutboundRequest {
        method: Method::POST,
        url,
        headers,
        body: Some(event.data.to_vec()),
        private_networks: Arc::new([]),
        timeout: patience,
    };
    let answer = match (&events.sink.uri, &events.sink.service) {
        (Some(uri), None) => {
            let url =
                Url::parse(uri).map_err(|_| SinkError::Address("uri must be such as https://example.com/events"))?;
            outbound.send(request(url)).await?
        }
        (None, Some(service)) => {
            let url = address(lookup, &namespace, service).await?;
            outbound.send_within(request(url)).await?
        }
        _ => return Err(SinkError::Address("name either uri or service")),
    };
    if !answer.status.is_success() {
        return Err(SinkError::Status(answer.status.as_u16()));
    }
    let body = Bytes::from(answer.body);
    let kind = answer.headers.get(CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("application/json"));
    let fits = !body.is_empty() && body.len() <= LARGEST_ANSWER;
    Ok(Answer { body: fits.then_some((kind, body)) })
}

/// The address of a Service: its cluster IP, as the API server gave it. A name could lead anywhere.
async fn address(lookup: &Lookup, namespace: &str, wanted: &SinkService) -> Result<Url, SinkError> {
    let found = lookup.service(namespace, &wanted.name).await.map_err(SinkError::Cluster)?;
    let spec = found.as_ref().and_then(|service| service.spec.as_ref());
    let ip = spec
        .filter(|spec| spec.type_.as_deref() != Some("ExternalName"))
        .and_then(|spec| spec.cluster_ip.as_deref()?.parse::<IpAddr>().ok())
        .ok_or_else(|| SinkError::NoService(wanted.name.clone()))?;
    service_url(ip, wanted)
}

fn service_url(ip: IpAddr, wanted: &SinkService) -> Result<Url, SinkError> {
    let host = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let path = wanted.path.as_deref().unwrap_or("/");
    let url = Url::parse(&format!("http://{host}:{}", wanted.port)).ok();
    let mut url = url.ok_or(SinkError::Address("service.port is none"))?;
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_an_address_whatever_its_path_says() {
        let ip = "10.96.0.7".parse().unwrap();
        for (path, expected) in [
            (None, "http://10.96.0.7:8080/"),
            (Some("events"), "http://10.96.0.7:8080/events"),
            (Some("/events?a=b"), "http://10.96.0.7:8080/events?a=b"),
            (Some("//evil.example/x"), "http://10.96.0.7:8080//evil.example/x"),
            (Some("@evil.example"), "http://10.96.0.7:8080/@evil.example"),
        ] {
            let service = SinkService { name: "s".into(), port: 8080, path: path.map(str::to_owned) };
            assert_eq!(service_url(ip, &service).unwrap().as_str(), expected);
        }
        let service = SinkService { name: "s".into(), port: 1, path: None };
        assert_eq!(service_url("fd00::7".parse().unwrap(), &service).unwrap().as_str(), "http://[fd00::7]:1/");
    }
}
