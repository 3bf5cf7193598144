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

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../sandbox/mod.rs"]
mod sandbox;
#[path = "../servers/mod.rs"]
mod servers;
mod world;

mod access;
mod account;
mod adopt;
mod api_keys;
mod apps;
mod bad_callbacks;
mod canary;
mod clients;
mod connect;
mod counts;
mod emulators;
mod emulators_by_person;
mod import;
mod initiator;
mod leaving;
mod objects;
mod origins;
mod plugin;
mod process;
mod refresh;
mod sealing;
mod sets;
mod siblings;
mod tenants;
mod vendor;
