//! The controllers: from resources and grants to published Secrets and status.
//!
//! One reconcile is a row of steps. [`situation`] gathers what is known, [`requests`] does what annotations ask for,
//! [`refresh`] keeps the token alive by the plan of [`crate::grant::plan`], [`crate::publish`] writes the Secret for workloads,
//! [`health`] proves the credential, and [`status`] says what came of it, last. [`finalize`] is the way out.

pub mod clock;
pub mod connect;
pub mod context;
pub mod events;
pub mod finalize;
pub mod health;
pub mod integration;
pub mod key_secret;
pub mod memory;
pub mod orphans;
pub mod provider;
pub mod refresh;
pub mod requests;
pub mod resealing;
pub mod settings;
pub mod situation;
pub mod status;
pub mod streams;

pub use context::Context;
