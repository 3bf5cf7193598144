//! The operator's real binary against a real API server and OAuth servers that others wrote.
//!
//! Each test has a control plane of its own ([`world`]), the operator runs as processes with its own service account
//! and the RBAC of `deploy/`, and a browser that keeps cookies goes through the providers' own consent pages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    clippy::similar_names,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    dead_code
)]

#[path = "../chromium/mod.rs"]
mod chromium;
#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../chart/documented.rs"]
mod documented;
#[path = "../chart/helm.rs"]
mod helm;
#[path = "../sandbox/mod.rs"]
mod sandbox;
#[path = "../schemathesis/mod.rs"]
mod schemathesis;
#[path = "../servers/mod.rs"]
mod servers;
mod world;

mod access;
mod account;
mod acting;
mod acting_by_plugin;
mod acting_on_emulators;
mod admission;
mod adopt;
mod api_keys;
mod apps;
mod bad_callbacks;
mod canary;
mod chart;
mod chart_jobs;
mod clients;
mod collector;
mod connect;
mod contract;
mod counts;
mod doctor;
mod emulators;
mod emulators_by_person;
mod import;
mod initiator;
mod leaving;
mod logs;
mod objects;
mod origins;
mod pages;
mod plugin;
mod process;
mod refresh;
mod report;
mod sealing;
mod sets;
mod shards;
mod siblings;
mod tenants;
mod traces;
mod vendor;
mod webhooks;
mod webhooks_of_vendors;
