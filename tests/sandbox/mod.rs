//! A small, strict OAuth 2.0 authorization server, for tests and for the demo.
//!
//! It plays the third-party app: it asks a person for consent, gives out codes and tokens, rotates and revokes them the way
//! real providers do (each in its own way: [`Rotation`], [`OldAccessToken`], [`RevocationEffect`]), serves a small API that
//! only accepts its tokens, and misbehaves on demand ([`Fault`]). What it was asked and what became of each grant is written
//! down in a [`Ledger`], so that a test can compare what the client believes with what the provider knows.
//!
//! How it is laid out: `authority` is the server's memory and its rules, and knows no HTTP; `authorize`, `token` and
//! `resource` are the endpoints; `server` takes each request past `ledger` and `fault`; `handle` is what a test holds, and
//! `control` its twin over HTTP. Nothing here depends on the operator.
//!
//! ```ignore
//! let sandbox = Sandbox::start(SandboxOptions { rotation: Rotation::Strict, ..SandboxOptions::default() });
//! sandbox.fault(Fault::new(Effect::Close).after_commit());
//! // … let the client under test refresh against sandbox.base_url …
//! assert_eq!(sandbox.ledger().grants[0].ended, None);
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    clippy::struct_excessive_bools,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports
)]

mod answer;
mod authority;
mod authorize;
mod client;
mod connection;
mod control;
mod fault;
mod gzip;
mod handle;
mod ledger;
mod options;
mod page;
mod params;
mod resource;
mod server;
mod token;

pub use authority::{GrantId, Issued};
pub use fault::{Effect, Fault};
pub use handle::Sandbox;
pub use ledger::{Ending, Endpoint, Entry, GrantRecord, Ledger, Why};
pub use options::{Account, Consent, OldAccessToken, RevocationEffect, Rotation, SandboxOptions};
