//! Public keys of those who issue tokens (RFC 7517), fetched from where the description says and kept for an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::jwt::{Jwk, JwkSet};
use crate::provider::outbound::{Outbound, OutboundRequest};
use crate::provider::resolved::Provider;
use crate::provider::webhook::{Algorithm, Scheme};

/// How long keys are kept, and how long it takes until they are asked for again after a failure.
const AGE: Duration = Duration::from_hours(1);
const PAUSE: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// Keys by where they lie.
#[derive(Default)]
pub struct Issuers(Mutex<HashMap<Url, Fetched>>);

/// When they were asked for, and what there is.
type Fetched = (Instant, Arc<[Jwk]>);

impl Issuers {
    /// The keys of a scheme's issuer; none where it has none, or none can be had.
    pub async fn keys(&self, outbound: &Outbound, provider: &Provider, scheme: &Scheme) -> Arc<[Jwk]> {
        let Algorithm::Jwt(jwt) = &scheme.algorithm else { return Arc::new([]) };
        let Some(url) = &jwt.jwks_url else { return Arc::new([]) };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        if let Some((at, keys)) = &known
            && at.elapsed() < if keys.is_empty() { PAUSE } else { AGE }
        {
            return Arc::clone(keys);
        }
        let request = OutboundRequest {
            method: Method::GET,
            url: url.clone(),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            body: None,
            private_networks: Arc::clone(&provider.private_networks),
            timeout: PATIENCE,
        };
        let answer = outbound.send(request).await;
        let fetched = match &answer {
            Ok(answer) if answer.status == StatusCode::OK => serde_json::from_slice::<JwkSet>(&answer.body).ok(),
            _ => None,
        };
        let keys: Arc<[Jwk]> = match (fetched, known) {
            (Some(set), _) => set.keys.into(),
            // Better old keys than none.
            (None, Some((_, old))) => old,
            (None, None) => {
                tracing::warn!(provider = provider.reference.name, "the keys of the webhooks' issuer cannot be had");
                Arc::new([])
            }
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(url.clone(), (Instant::now(), Arc::clone(&keys)));
        keys
    }
}
