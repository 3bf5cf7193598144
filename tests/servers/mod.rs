//! OAuth servers that others wrote, and a browser that walks through their pages.
//!
//! `mod servers;` in an integration test gives [`OidcProvider`] (a certified, strict authorization
//! server), [`Emulate`] (stateful emulators of Slack, GitHub and others) and [`Browser`]. Needs
//! Node 20 or newer; begin a test with `if !servers::available() { return; }`. See `README.md`.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports
)]

pub mod browser;
mod emulate;
mod ledger;
mod node;
mod oidc;

pub use browser::{Browser, BrowserError, FinalPage};
pub use emulate::{Emulate, EmulateOptions, STRIPE_KEY};
pub use ledger::{Fault, TokenRequest};
pub use node::{NodeProcess, available, install};
pub use oidc::{OidcClient, OidcOptions, OidcProvider};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A plain HTTP client for loopback: no proxy, no redirects, never waiting for ever.
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(std::time::Duration::from_secs(30))
        .build()
        .unwrap()
}

/// Serves routes on loopback until the end of the test, and gives their address.
pub async fn serve(routes: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

/// The S256 challenge that belongs to a PKCE verifier.
pub fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes()))
}
