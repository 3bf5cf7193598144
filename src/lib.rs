//! integration-operator: a Kubernetes operator that connects projects to third-party apps.

pub mod api;
pub mod app;
pub mod caches;
pub mod cleanup;
pub mod config;
pub mod controller;
pub mod digest;
pub mod finalizer;
pub mod flow;
pub mod grant;
pub mod lanes;
pub mod leader;
pub mod metrics;
pub mod oauth;
pub mod provider;
pub mod sensitive;
pub mod server;
pub mod telemetry;
pub mod tenancy;
