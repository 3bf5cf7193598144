//! The process: puts everything together, and takes it apart again without losing an answer.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caches::Caches;
use crate::config::{ActionLimit, Egress, Run};
use crate::controller::context::Context;
use crate::controller::events::Events;
use crate::controller::memory::Memories;
use crate::controller::streams::{own_caches, run as run_controllers};
use crate::controller::turns::Turns;
use crate::flow::Flow;
use crate::flow::attempts::AttemptStore;
use crate::flow::signing_key::{self, KeyError};
use crate::grant::GrantStore;
use crate::lanes::Lanes;
use crate::leader::Candidate;
use crate::metrics::Metrics;
use crate::patience::Patience;
use crate::provider::gate::{GateOptions, Gates};
use crate::provider::outbound::{Outbound, OutboundError, OutboundOptions};
use crate::provider::registry::{Parts, Registry};
use crate::seal::{KeyFileError, Sealer};
use crate::server::limits::{LimitOptions, Rate};
use crate::server::probes::Readiness;
use crate::server::{self, ServerOptions, ServerState};
use crate::tenancy::Tenants;
use crate::trace::export::{self, TraceError};
use crate::watching::Place;

/// Integrations that are worked on at once.
const TURNS: usize = 128;
/// Provider calls that may be under way at once.
const LANES: usize = 128;
/// How long a stopping process waits for answers that are on their way.
const PATIENCE: Duration = Duration::from_secs(80);
/// How often the API server is looked at, and how long it may take to answer.
const LOOK: Duration = Duration::from_secs(5);
/// How often attempts whose time is over are removed.
const SWEEP: Duration = Duration::from_mins(1);

/// The process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cluster to talk to.
    #[error("no Kubernetes API server to talk to; set KUBECONFIG, or run in a Pod with a service account")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The client could not be made.
    #[error("the Kubernetes client could not be made")]
    Client(#[source] Box<kube::Error>),
    /// Requests to providers cannot be made.
    #[error("the client for providers could not be made")]
    Outbound(#[from] OutboundError),
    /// The signing key is not to be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The keys for grants are not to be had.
    #[error("--grant-key-file cannot be used")]
    GrantKeys(#[from] KeyFileError),
    /// An address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// A client for the API server, from the environment.
pub async fn client() -> Result<kube::Client, StartError> {
    let config = kube::Config::infer().await.map_err(|error| StartError::Config(Box::new(error)))?;
    let client = kube::client::ClientBuilder::try_from(config);
    Ok(client.map_err(|error| StartError::Client(Box::new(error)))?.with_layer(&Patience).build())
}

/// The client for providers.
pub fn outbound(egress: &Egress) -> Result<Outbound, StartError> {
    Ok(Outbound::new(OutboundOptions {
        insecure_hosts: egress.allow_insecure_provider_hosts.clone(),
        ca_bundle: egress.ca_bundle.clone(),
        cluster_networks: egress.cluster_networks.clone(),
    })?)
}

/// Runs the operator until SIGTERM or SIGINT.
pub async fn run(options: Run) -> Result<(), StartError> {
    let stop = on_signal()?;
    let traces = options.otlp_endpoint.as_ref().map(|at| export::start(at, &options.identity)).transpose()?;
    let places = Place::all(&options.watch_namespaces);
    let client = client().await?;
    let outbound = outbound(&options.egress)?;
    let tasks = TaskTracker::new();
    let exchanges = TaskTracker::new();
    let watches = CancellationToken::new();
    let caches = Caches::start(&client, &places, &tasks, &watches);
    let tenants = Tenants::new(caches.namespaces.clone(), &options.namespace).in_places(places.clone());
    let registry = Registry::new(Parts {
        client: client.clone(),
        own_namespace: options.namespace.clone(),
        public_url: options.public_url.clone(),
        cluster: caches.cluster_providers.clone(),
        tenants_own: caches.tenant_providers.clone(),
        tenants: tenants.clone(),
        outbound: outbound.clone(),
    });
    let rate = options.egress.provider_requests_per_second;
    let gates = Arc::new(Gates::new(gate_options(rate)));
    let metrics = Metrics::default();
    let sealer = Sealer::load(options.sealing.grant_key_file.as_deref())?;
    let key = signing_key::load(client.clone(), &options.namespace).await?;
    let flow = Flow {
        client: client.clone(),
        attempts: AttemptStore::new(client.clone(), &options.namespace).sealing(sealer.clone()),
        grants: GrantStore::new(client.clone(), &options.namespace)
            .fingerprinting(key.fingerprints())
            .sealing(sealer.clone()),
        registry,
        tenants,
        outbound,
        gates,
        key,
        public_url: options.public_url.clone(),
        frontends: options.frontend_urls.clone(),
        initiator_check: options.initiator_check,
        tasks: exchanges.clone(),
    };
    let readiness = Readiness::waiting_for(["caches", "api-server"]);
    let server_options = ServerOptions {
        api_audience: options.api_audience.clone(),
        accept_api_server_audience: options.accept_api_server_audience,
        trusted_proxies: options.trusted_proxies.clone(),
        limits: LimitOptions {
            action: Rate::per_minute(options.actions_per_minute),
            observe_actions: options.action_limit == ActionLimit::Observe,
            ..LimitOptions::default()
        },
    };
    let state = ServerState::new(flow.clone(), server_options, metrics.clone());
    let public = listen(options.listen).await?;
    let probes = listen(options.metrics_listen).await?;
    tracing::info!(public_url = %options.public_url, listen = %options.listen, "starting");
    tasks.spawn(serve(public, server::router(state), stop.clone()));
    tasks.spawn(serve(probes, server::probes::router(readiness.clone(), metrics.clone()), watches.clone()));
    let warm = (caches.clone(), readiness.clone());
    tasks.spawn(async move {
        warm.0.ready().await;
        warm.1.set("caches", true);
    });
    let measured = metrics.clone();
    tasks.spawn(sealer.follow(move |usable| measured.grant_key_file(usable), watches.clone()));
    tasks.spawn(watch_api_server(client.clone(), readiness.clone(), watches.clone()));
    let led = lead(&options, &client, &flow, &metrics, &caches, &places, &stop, &exchanges);
    led.await;
    readiness.set("running", false);
    exchanges.close();
    if tokio::time::timeout(PATIENCE, exchanges.wait()).await.is_err() {
        tracing::error!("answers of providers were still on their way when the time to stop was over");
    }
    watches.cancel();
    tasks.close();
    // Whoever keeps a connection open does not keep the process.
    let _ = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reconciles whenever this replica holds the Lease, until `stop`.
#[allow(clippy::too_many_arguments)]
async fn lead(
    options: &Run,
    client: &kube::Client,
    flow: &Flow,
    metrics: &Metrics,
    caches: &Caches,
    places: &[Place],
    stop: &CancellationToken,
    exchanges: &TaskTracker,
) {
    let boot = uuid::Uuid::new_v4().to_string();
    let holder = if options.identity.is_empty() { boot.clone() } else { options.identity.clone() };
    let (leads, mut leading) = watch::channel(!options.leader_elect);
    // The Lease is given up only after the controllers have come to rest.
    let resign = CancellationToken::new();
    // Without an election nobody ever says anything else, but a channel that is closed would count as a Lease that was lost.
    let (candidate, _unelected) = if options.leader_elect {
        let candidate = Candidate::new(client.clone(), &options.namespace, options.shard.lease(), &holder);
        (Some(tokio::spawn(candidate.run(leads, resign.clone()))), None)
    } else {
        (None, Some(leads))
    };
    caches.ready().await;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = leading.wait_for(|leads| *leads) => if changed.is_err() { break },
        }
        let term = stop.child_token();
        metrics.leads(true);
        tracing::info!(holder, "this replica reconciles");
        let (grant_cache, attempt_cache, own) = own_caches(client, &options.namespace, &options.shard);
        let (turns, called) = Turns::new(TURNS);
        let context = Arc::new(Context {
            client: client.clone(),
            own_namespace: options.namespace.clone(),
            shard: options.shard.clone(),
            holder: holder.clone(),
            boot: boot.clone(),
            grants: flow.grants.clone(),
            grant_cache,
            attempt_cache,
            flow: flow.clone(),
            registry: flow.registry.clone(),
            tenants: flow.tenants.clone(),
            outbound: flow.outbound.clone(),
            gates: Arc::clone(&flow.gates),
            turns,
            lanes: Lanes::new(LANES),
            memories: Memories::default(),
            events: Events::new(client.clone(), &holder),
            metrics: metrics.clone(),
            tasks: exchanges.clone(),
        });
        let work = run_controllers(Arc::clone(&context), places, own, called, caches.changes.clone(), term.clone());
        let sweep = sweep(&context, &term);
        let watchdog = async {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = leading.wait_for(|leads| !*leads) => {}
            }
            term.cancel();
        };
        tokio::join!(work, sweep, watchdog);
        metrics.leads(false);
        tracing::info!(holder, "this replica no longer reconciles");
    }
    resign.cancel();
    if let Some(candidate) = candidate {
        let _ = candidate.await;
    }
}

/// A replica without an API server can neither begin a flow nor keep what comes of one: it is not ready.
async fn watch_api_server(client: kube::Client, readiness: Readiness, stop: CancellationToken) {
    let mut failures = 0_u32;
    loop {
        let asked = tokio::time::timeout(LOOK, client.apiserver_version()).await;
        failures = if matches!(asked, Ok(Ok(_))) { 0 } else { failures + 1 };
        // One lost answer is no outage.
        readiness.set("api-server", failures < 2);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Removes attempts whose time is over.
async fn sweep(context: &Context, term: &CancellationToken) {
    loop {
        tokio::select! {
            () = term.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        match context.flow.attempts.sweep(Timestamp::now()).await {
            Ok(0) => {}
            Ok(swept) => tracing::debug!(swept, "attempts whose time was over"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "sweeping attempts"),
        }
    }
}

/// Twice the rate may go out at once after a pause.
fn gate_options(per_second: u32) -> GateOptions {
    let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
    GateOptions {
        per_second,
        burst: per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)),
        ..GateOptions::default()
    }
}

/// Serves until `stop`; a listener that breaks takes the process with it, so that it is started anew.
async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = server::serve(listener, router, stop).await {
        tracing::error!(%error, "the listener broke");
        std::process::abort();
    }
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// A token that SIGTERM or SIGINT cancels.
fn on_signal() -> Result<CancellationToken, StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: answers that are on their way are waited for");
        cancelled.cancel();
    });
    Ok(stop)
}
