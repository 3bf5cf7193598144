//! integration-operator: a Kubernetes operator that connects projects to third-party apps and keeps their tokens alive.
//!
//! How data flows. A person asks to connect, over HTTP ([`server`]) or by an annotation ([`controller`]); [`flow`] makes
//! an authorization attempt, sends a browser to the app and turns the code that comes back into a [`grant`]. The grant
//! wakes the controller, which publishes a Secret for workloads, refreshes the token by the plan of [`grant::plan`],
//! proves it, and says in the resource's status what came of all that.
//!
//! Who knows whom. [`api`] holds the resources and knows nobody. [`grant`] is what is held, [`provider`] turns a
//! description into something usable and is the only way out to an app, [`oauth`] is the protocol between the two.
//! [`flow`] and [`controller`] drive them; [`server`] is thin over [`flow`]. Controller and server never import each
//! other: they meet in the API server. [`app`] puts it all together.
//!
//! Beside the operator: [`command`] answers at a terminal about the catalogue and descriptions of one's own, and
//! [`recording`] plays to a description what its vendor documents, through the same functions.

#![forbid(unsafe_code)]

pub mod act;
pub mod api;
pub mod app;
pub mod caches;
pub mod causes;
pub mod cleanup;
pub mod command;
pub mod config;
pub mod controller;
pub mod digest;
pub mod finalizer;
pub mod flow;
pub mod grant;
pub mod import;
pub mod jwt;
pub mod lanes;
pub mod leader;
pub mod metrics;
pub mod nearest;
pub mod oauth;
pub mod patience;
pub mod provider;
pub mod publish;
pub mod recording;
pub mod seal;
pub mod sensitive;
pub mod server;
pub mod shard;
pub mod telemetry;
pub mod tenancy;
pub mod text;
pub mod trace;
pub mod watching;
pub mod webhook;
