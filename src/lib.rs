//! integration-operator: a Kubernetes operator that connects projects to third-party apps.

pub mod api;
pub mod lanes;
pub mod provider;
