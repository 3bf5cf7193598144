//! The HTTP server: what people, their browsers and the product's backend talk to.
//!
//! Handlers are thin. They find out who asks ([`auth`]) and how often ([`limits`]), call the [`Flow`]
//! or the API server, and put the outcome into words ([`error`], [`pages`]). They never write status; controllers and
//! handlers meet in the API server. Every replica serves.

mod actions;
pub mod auth;
mod callback;
pub mod client_address;
mod confirm;
pub mod cookies;
mod credentials;
pub mod error;
pub mod ids;
mod in_use;
mod install;
mod integrations;
mod layers;
pub mod limits;
mod listener;
pub mod openapi;
pub mod pages;
pub mod probes;
mod providers;
pub mod proxy;
mod start;
#[cfg(test)]
mod tests;
mod token;
pub mod view;
mod webhook;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, any, get, post, put};
use axum::{Json, Router};
use ipnet::IpNet;
use tokio::sync::Semaphore;

use crate::flow::Flow;
use crate::metrics::Metrics;
use crate::webhook::desk::Desk;
use auth::Authenticator;
use cookies::Cookies;
use error::ApiError;
use limits::{LimitOptions, Limits};

pub use listener::serve;

/// Field manager of what callers ask for.
const MANAGER: &str = "integration-api";
/// Longest body of a request, in bytes; what is taken here is a short form or a short JSON object.
const MAX_BODY: usize = 64 * 1024;

/// What handlers share.
type Shared = Arc<ServerState>;

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Audience that callers' tokens must be made for.
    pub api_audience: String,
    /// Whether tokens made for the API server itself are accepted too, except those of service accounts.
    pub accept_api_server_audience: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How often somebody may ask.
    pub limits: LimitOptions,
}

/// Everything the handlers need.
pub struct ServerState {
    flow: Flow,
    auth: Authenticator,
    limits: Limits,
    cookies: Cookies,
    trusted_proxies: Vec<IpNet>,
    metrics: Metrics,
    desk: Desk,
    bodies: Arc<Semaphore>,
}

impl ServerState {
    /// Puts the state together; tenants, providers and the API server are those of `flow`.
    pub fn new(flow: Flow, options: ServerOptions, metrics: Metrics) -> Self {
        let ServerOptions { api_audience, accept_api_server_audience, trusted_proxies, limits } = options;
        Self {
            auth: Authenticator::new(flow.client.clone(), api_audience, accept_api_server_audience),
            limits: Limits::new(limits),
            cookies: Cookies::new(&flow.public_url),
            desk: Desk::new(flow.client.clone(), metrics.clone()),
            bodies: Arc::new(Semaphore::new(webhook::MOST_HELD)),
            flow,
            trusted_proxies,
            metrics,
        }
    }
}

/// The routes. Where the public address has a path, they lie below it as well, for ingresses that do not cut it off.
pub fn router(state: ServerState) -> Router {
    let base = state.flow.public_url.path().trim_end_matches('/').to_owned();
    let state = Arc::new(state);
    let routes = if base.is_empty() { routes() } else { routes().nest(&base, routes()) };
    let routes = routes
        .fallback(|| async { ApiError::NoSuchPath })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed { allow: None } })
        .layer(DefaultBodyLimit::max(MAX_BODY));
    layers::around(routes, &base, state.metrics.clone()).with_state(state)
}

fn routes() -> Router<Shared> {
    Router::new()
        .route("/openapi.json", get(async || Json(openapi::document())))
        .route("/v1/providers", get(providers::list))
        .nest("/v1/tenants/{tenant}/projects/{project}/integrations", project())
        .nest("/api/public/integrations/{type}", public())
        .nest("/api/public/tenants/{tenant}/integrations/{type}", public())
        .route("/api/public/tenants/{tenant}/projects/{project}/integrations/{type}/webhook", post(webhook::own))
}

/// For callers with a token; the rights are those of [`auth::Right`].
fn project() -> Router<Shared> {
    Router::new()
        .route("/", get(integrations::list))
        .route("/{type}", get(integrations::get).delete(integrations::delete))
        .route("/{type}/install", without_head(get(install::install), "GET"))
        .route("/{type}/confirm", post(confirm::confirm))
        .route("/{type}/refresh", post(integrations::refresh))
        .route("/{type}/token", get(token::get))
        .route("/{type}/messages", post(actions::message).layer(DefaultBodyLimit::max(actions::MAX_BODY)))
        .route("/{type}/actions", get(actions::list))
        .route("/{type}/actions/{action}", post(actions::act).layer(DefaultBodyLimit::max(actions::MAX_BODY)))
        .route("/{type}/proxy/{*path}", any(proxy::pass))
        .route("/{type}/credentials", put(credentials::put).layer(DefaultBodyLimit::max(credentials::MAX_BODY)))
}

/// For browsers, and for the app itself, of one provider.
fn public() -> Router<Shared> {
    Router::new()
        .route("/start", without_head(get(start::open).post(start::click), "GET, POST"))
        .route("/callback", without_head(get(callback::callback), "GET"))
        .route("/webhook", post(webhook::shared))
}

/// HEAD is a GET without its body (RFC 9110 §9.3.2), and the router answers it as one. Where a visit has consequences,
/// link previews and scanners must not have them.
fn without_head(methods: MethodRouter<Shared>, allow: &'static str) -> MethodRouter<Shared> {
    let refuse = move || async move { ApiError::MethodNotAllowed { allow: Some(allow) } };
    methods.head(refuse).fallback(refuse)
}
