//! integration-operator: a Kubernetes operator that connects projects to third-party apps.

pub mod api;
pub mod config;
pub mod digest;
pub mod flow;
pub mod grant;
pub mod lanes;
pub mod metrics;
pub mod oauth;
pub mod provider;
pub mod sensitive;
pub mod server;
pub mod tenancy;
