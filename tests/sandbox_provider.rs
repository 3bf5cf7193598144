//! The sandbox against the rules it claims to keep: if the provider of our tests is wrong, so are the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod sandbox;

#[path = "sandbox_provider/authorization.rs"]
mod authorization;
#[path = "sandbox_provider/browser.rs"]
mod browser;
#[path = "sandbox_provider/faults.rs"]
mod faults;
#[path = "sandbox_provider/refresh.rs"]
mod refresh;
#[path = "sandbox_provider/tokens.rs"]
mod tokens;
#[path = "sandbox_provider/users.rs"]
mod users;
