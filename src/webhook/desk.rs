//! Where webhooks arrive: proved, sorted, and handed on before the app is told that they have arrived.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::join_all;
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use kube::ResourceExt as _;
use moka::future::Cache;
use tokio::sync::OnceCell;

use super::event::Event;
use super::handshake;
use super::incoming::Incoming;
use super::index::Index;
use super::issuer::Issuers;
use super::key::Key;
use super::lookup::Lookup;
use super::parking::Parking;
pub use super::proved::Arrived;
use super::proved::Proved;
use super::sink::{Answer, deliver};
use super::verify::{Distrust, Keys, verify};
use crate::api::{ProjectIntegration, ProviderKind};
use crate::flow::Flow;
use crate::grant::store::{Held, Marks, StoreError, grant_name};
use crate::grant::{GrantStore, Refusal};
use crate::metrics::Metrics;
use crate::provider::registry::LookupError;
use crate::provider::resolved::Provider;
use crate::provider::webhook::{Algorithm, WebhookRules, route_hash, values};
use crate::sensitive::Sensitive;

/// How long a delivery is remembered that a receiver has taken, and how many of them.
const REMEMBERED: Duration = Duration::from_hours(1);
const MOST_REMEMBERED: u64 = 100_000;

/// What the app is answered.
#[derive(Debug, Default)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Media type and body.
    pub body: Option<(HeaderValue, Bytes)>,
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The app has no such endpoint.
    #[error("there is no such endpoint")]
    NoEndpoint,
    /// The description of the app, or the app itself, is not there.
    #[error("the app is not described, or not completely")]
    Provider(#[from] LookupError),
    /// It does not prove that it is the app's.
    #[error("the request is not believed: {0}")]
    Distrusted(#[from] Distrust),
    /// No connection is meant.
    #[error("nobody has connected what this is about")]
    Nobody,
    /// A receiver did not take it.
    #[error("it could not be handed on; send it again")]
    NotDelivered,
    /// The API server did not do its part.
    #[error("the cluster could not carry this out now; send it again")]
    Cluster(#[source] Arc<kube::Error>),
    /// A grant could not be read or written.
    #[error("the connection could not be read; send it again")]
    Grant(#[source] Arc<StoreError>),
    /// All grants have not been seen yet.
    #[error("this has just been started; send it again")]
    Starting,
}

/// Takes webhooks.
pub struct Desk {
    lookup: Lookup,
    index: OnceCell<Index>,
    issuers: Issuers,
    delivered: Cache<String, ()>,
    parking: Parking,
    metrics: Metrics,
}

/// One connection that a request is for.
struct Target {
    integration: Arc<ProjectIntegration>,
    held: Option<Arc<Held>>,
    /// Whether others share the endpoint.
    shared: bool,
}

/// What became of one delivery.
enum Outcome {
    Taken(Answer),
    Dropped,
    Failed,
}

impl Desk {
    /// Nothing has arrived yet.
    pub fn new(client: kube::Client, metrics: Metrics) -> Self {
        Self {
            lookup: Lookup::new(client),
            index: OnceCell::new(),
            issuers: Issuers::default(),
            delivered: Cache::builder().max_capacity(MOST_REMEMBERED).time_to_live(REMEMBERED).build(),
            parking: Parking::default(),
            metrics,
        }
    }

    /// The rules by which webhooks of an app are read; `namespace` is that of a tenant's own provider.
    pub async fn provider(flow: &Flow, namespace: Option<&str>, type_: &str) -> Result<Arc<Provider>, Refused> {
        let kind = match namespace {
            None => ProviderKind::ClusterIntegrationProvider,
            Some(_) => ProviderKind::IntegrationProvider,
        };
        let provider = flow.registry.find(kind, namespace.unwrap_or_default(), type_).await?;
        if provider.webhooks.is_some() { Ok(provider) } else { Err(Refused::NoEndpoint) }
    }

    /// An integration with an endpoint of its own, and its provider.
    pub async fn integration(
        &self,
        flow: &Flow,
        namespace: &str,
        name: &str,
    ) -> Result<(Arc<ProjectIntegration>, Arc<Provider>), Refused> {
        let found = self.lookup.integration(namespace, name).await.map_err(Refused::Cluster)?;
        let integration = found.ok_or(Refused::NoEndpoint)?;
        let own = integration.spec.provider_kind == ProviderKind::IntegrationProvider;
        let provider = Self::provider(flow, own.then_some(namespace), &integration.spec.type_).await?;
        Ok((integration, provider))
    }

    /// A request to the endpoint that all connections of an app share.
    pub async fn shared(&self, flow: &Flow, provider: &Provider, arrived: &Arrived) -> Result<Reply, Refused> {
        let rules = provider.webhooks.as_deref().filter(|rules| !rules.routes.is_empty()).ok_or(Refused::NoEndpoint)?;
        let secret = flow.registry.client_secret(provider);
        let keys = match &secret {
            Some((namespace, name)) => {
                let of_tenant = provider.reference.namespace.is_some();
                self.lookup.values((namespace, name), &rules.scheme.secret_keys, of_tenant).await
            }
            None => Ok(vec![]),
        };
        let keys = decoded(rules, &keys.map_err(Refused::Cluster)?);
        let proved = match self.prove(flow, provider, rules, arrived, &keys).await? {
            Ok(proved) => proved,
            Err(reply) => return Ok(reply),
        };
        let targets = self.route(flow, &proved).await?;
        if targets.is_empty() {
            self.metrics.webhook(&provider.reference.name, "nobody");
            return Err(Refused::Nobody);
        }
        self.hand_on(flow, &proved, targets).await
    }

    /// A request to the endpoint of one integration.
    pub async fn own(
        &self,
        flow: &Flow,
        integration: Arc<ProjectIntegration>,
        provider: &Provider,
        arrived: &Arrived,
    ) -> Result<Reply, Refused> {
        let rules = provider.webhooks.as_deref().ok_or(Refused::NoEndpoint)?;
        let namespace = integration.namespace().unwrap_or_default();
        let mut keys = vec![];
        for key in integration.spec.webhook.iter().flat_map(|webhook| &webhook.signing_secret_refs) {
            keys.extend(self.lookup.value(&namespace, key).await.map_err(Refused::Cluster)?);
        }
        let keys = decoded(rules, &keys);
        let proved = match self.prove(flow, provider, rules, arrived, &keys).await? {
            Ok(proved) => proved,
            Err(reply) => return Ok(reply),
        };
        let held = self.lookup.grant(&flow.grants, &grant_name(&namespace, &integration.name_any())).await;
        let own = |held: &Arc<Held>| Some(&held.grant.integration.uid) == integration.metadata.uid.as_ref();
        let held = held.map_err(Refused::Grant)?.filter(own);
        self.hand_on(flow, &proved, vec![Target { integration, held, shared: false }]).await
    }

    /// Whether the app sent it. `Err` inside is the answer to a handshake.
    async fn prove<'a>(
        &self,
        flow: &Flow,
        provider: &'a Provider,
        rules: &'a WebhookRules,
        arrived: &'a Arrived,
        keys: &[Key],
    ) -> Result<Result<Proved<'a>, Reply>, Refused> {
        let incoming = Incoming { headers: &arrived.headers, query: &arrived.query, body: &arrived.body };
        let variables = incoming.variables(rules);
        let name = &provider.reference.name;
        let answer = |unsigned| {
            let found = handshake::find(rules, unsigned, &variables)?;
            self.metrics.webhook(name, "handshake");
            let reply =
                handshake::answer(found, &variables, keys).map_err(|_| Distrust::Malformed { what: "the body" });
            Some(reply.map(|reply| Reply {
                status: reply.status,
                body: reply.body.map(|(kind, text)| (HeaderValue::from_static(kind), Bytes::from(text))),
            }))
        };
        if let Some(reply) = answer(true) {
            return Ok(Err(reply?));
        }
        let audience = match &rules.scheme.algorithm {
            Algorithm::Jwt(_) if provider.oauth.is_some() => flow.registry.credentials(provider).await.ok(),
            _ => None,
        };
        let issuer = self.issuers.keys(&flow.outbound, provider, &rules.scheme).await;
        let trusted = Keys {
            keys,
            issuer: &issuer,
            audience: audience.as_ref().map(|credentials| credentials.client_id.as_str()),
        };
        let sent = verify(rules, incoming, trusted, Timestamp::now()).inspect_err(|distrust| {
            self.metrics.webhook(name, if *distrust == Distrust::NoKey { "no_key" } else { "distrusted" });
            tracing::debug!(provider = name, %distrust, "a webhook is not believed");
        })?;
        if let Some(reply) = answer(false) {
            return Ok(Err(reply?));
        }
        self.metrics.webhook(name, "verified");
        Ok(Ok(Proved { provider, rules, arrived, variables, sent }))
    }

    /// The connections that a request names, by what their own grants say.
    async fn route(&self, flow: &Flow, proved: &Proved<'_>) -> Result<Vec<Target>, Refused> {
        let index = self.index.get_or_init(async || Index::watch(flow.client.clone(), flow.grants.namespace())).await;
        if !index.ready(proved.left()).await {
            return Err(Refused::Starting);
        }
        let named: BTreeSet<(&str, String)> = proved
            .rules
            .routes
            .iter()
            .filter_map(|route| Some((route.metadata.as_str(), route.request.evaluate(&proved.variables).ok()?)))
            .flat_map(|(metadata, value)| values(&value).into_iter().map(move |value| (metadata, value)))
            .collect();
        let hashes: Vec<_> = named.iter().map(|(metadata, value)| route_hash(metadata, value)).collect();
        let mut targets = vec![];
        for grant in index.find(hashes.iter().map(String::as_str)) {
            let held = self.lookup.grant(&flow.grants, &grant).await.map_err(Refused::Grant)?;
            let fits = |held: &Arc<Held>| {
                let has = |(name, value): &(&str, String)| {
                    held.grant.metadata.get(*name).is_some_and(|held| values(held).contains(value))
                };
                held.grant.binding.provider == proved.provider.reference && named.iter().any(has)
            };
            let Some(held) = held.filter(fits) else { continue };
            let owner = &held.grant.integration;
            let found = self.lookup.integration(&owner.namespace, &owner.name).await.map_err(Refused::Cluster)?;
            if let Some(integration) = found.filter(|found| found.metadata.uid.as_ref() == Some(&owner.uid)) {
                targets.push(Target { integration, held: Some(held), shared: true });
            }
        }
        Ok(targets)
    }

    /// Hands a request on to all that it is for.
    async fn hand_on(&self, flow: &Flow, proved: &Proved<'_>, targets: Vec<Target>) -> Result<Reply, Refused> {
        let event = proved.event();
        let outcomes = join_all(targets.iter().map(|target| self.hand_to(flow, proved, &event, target))).await;
        let mut answers = vec![];
        let mut failed = false;
        for outcome in outcomes {
            match outcome? {
                Outcome::Taken(answer) => answers.push(answer),
                Outcome::Dropped => {}
                Outcome::Failed => failed = true,
            }
        }
        if failed {
            return Err(Refused::NotDelivered);
        }
        Ok(match answers.pop() {
            Some(Answer { body: Some(body), .. }) if proved.wants_reply() && answers.is_empty() => {
                Reply { status: StatusCode::OK, body: Some(body) }
            }
            _ => Reply { status: proved.rules.accepted, body: None },
        })
    }

    async fn hand_to(
        &self,
        flow: &Flow,
        proved: &Proved<'_>,
        event: &Event,
        target: &Target,
    ) -> Result<Outcome, Refused> {
        let integration = &*target.integration;
        let namespace = integration.namespace().unwrap_or_default();
        let name = &proved.provider.reference.name;
        let served = flow.tenants.check(&namespace, &integration.spec.tenant_id).is_ok();
        if integration.spec.suspend || !served || integration.metadata.deletion_timestamp.is_some() {
            self.metrics.event(name, "not_served");
            return Ok(Outcome::Dropped);
        }
        let uid = integration.uid().unwrap_or_default();
        let event = Event { id: format!("{}:{uid}", event.id), ..event.clone() };
        let ended = format!("ended {}", event.id);
        if let Some(held) = &target.held
            && proved.says_ended(held)
            && !self.delivered.contains_key(&ended)
        {
            end(&flow.grants, &held.view.name, held).await.map_err(|error| Refused::Grant(Arc::new(error)))?;
            self.lookup.forget(&held.view.name).await;
            // Said again, it is of the connection that has ended, and not of one that was made since.
            self.delivered.insert(ended, ()).await;
            self.metrics.webhook(name, "ended");
            let name = integration.name_any();
            tracing::info!(namespace, name, "the app says that this connection has ended");
        }
        if integration.spec.events.is_none() {
            self.metrics.event(name, "no_receiver");
            return Ok(Outcome::Dropped);
        }
        if self.delivered.contains_key(&event.id) {
            self.metrics.event(name, "duplicate");
            return Ok(Outcome::Dropped);
        }
        if target.shared && self.parking.is_parked(&uid) {
            self.metrics.event(name, "parked");
            return Ok(Outcome::Dropped);
        }
        match deliver(&self.lookup, &flow.outbound, integration, &event, proved.left()).await {
            Ok(answer) => {
                self.parking.took(&uid);
                self.delivered.insert(event.id, ()).await;
                self.metrics.event(name, "delivered");
                Ok(Outcome::Taken(answer))
            }
            Err(error) => {
                self.parking.failed(&uid);
                self.metrics.event(name, error.word());
                let (name, error) = (integration.name_any(), &error as &dyn std::error::Error);
                tracing::warn!(namespace, name, error, "an event could not be handed on");
                Ok(Outcome::Failed)
            }
        }
    }
}

/// Marks a grant as ended by the app's word; one that was authorized anew in the meantime is another.
async fn end(grants: &GrantStore, name: &str, told: &Held) -> Result<(), StoreError> {
    for _ in 0..5 {
        let Some((view, _)) = grants.look(name).await? else { return Ok(()) };
        if view.summary.epoch != told.grant.epoch
            || view.summary.integration != told.grant.integration
            || view.refused.is_some()
        {
            return Ok(());
        }
        let refusal = Refusal {
            epoch: view.summary.epoch,
            at: Timestamp::now(),
            message: "the app says that the connection was ended there; connect again".to_owned(),
            replaced: false,
        };
        let marks = Marks { refused: Some(Some(refusal)), ..Marks::default() };
        match grants.annotate(&view, &marks).await {
            Err(error) if error.is_conflict() => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

fn decoded(rules: &WebhookRules, secrets: &[Sensitive]) -> Vec<Key> {
    let decode = |secret: &Sensitive| {
        Key::decode(secret, &rules.scheme)
            .inspect_err(|error| tracing::warn!(%error, "a secret that signs webhooks cannot be used"))
            .ok()
    };
    secrets.iter().filter_map(decode).collect()
}
