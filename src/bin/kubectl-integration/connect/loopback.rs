//! A port of this machine on which the browser comes back (RFC 8252 §7.3).
//!
//! The path has a part that nobody can guess, so that another page in the same browser cannot end the flow.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use integration_operator::digest::random_token;
use integration_operator::server::pages;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use crate::failure::Failure;

/// What the operator sends the browser back with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Return {
    /// `success`, `pending` or `confirm`.
    pub(crate) status: Option<String>,
    /// With `confirm`: the one-time confirmation.
    pub(crate) confirmation: Option<String>,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

/// A listener for one return.
pub(crate) struct Loopback {
    /// Where the browser is to come back to.
    pub(crate) return_to: Url,
    returns: mpsc::Receiver<Return>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    prefix: String,
    returns: mpsc::Sender<Return>,
}

impl Loopback {
    /// Listens on a free port.
    pub(crate) async fn listen() -> Result<Self, Failure> {
        let failed = |source| Failure::Local { what: "listen on a loopback port", source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let prefix = format!("/done/{}", random_token());
        let return_to = format!("http://127.0.0.1:{port}{prefix}");
        let return_to = Url::parse(&return_to).map_err(|error| Failure::refused(error.to_string()))?;
        let (sender, returns) = mpsc::channel(1);
        // The operator may append to the path, as it does to a frontend's.
        let router = Router::new().fallback(get(come_back)).with_state(Shared { prefix, returns: sender });
        let server = tokio::spawn(async move {
            // It ends with the process; a listener that fails is noticed by the timeout.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { return_to, returns, server })
    }

    /// Waits until the browser is back.
    pub(crate) async fn wait(&mut self) -> Option<Return> {
        self.returns.recv().await
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn come_back(State(shared): State<Shared>, uri: Uri, Query(back): Query<Return>) -> Response {
    let rest = uri.path().strip_prefix(&shared.prefix);
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let page = pages::back_at_the_terminal(back.status.as_deref());
    // A reload of the page finds the first answer taken, and that is enough.
    let _ = shared.returns.try_send(back);
    pages::guarded(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(url: &str) -> u16 {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::get(url).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn only_the_browser_that_was_sent_is_heard() {
        let mut loopback = Loopback::listen().await.unwrap();
        let root = loopback.return_to.origin().ascii_serialization();
        assert_eq!(get(&format!("{root}/done/guess?status=success")).await, 404);
        assert_eq!(get(&format!("{}x?status=success", loopback.return_to)).await, 404);
        let confirm = format!("{}/dashboard?integration=slack&status=confirm&confirmation=c", loopback.return_to);
        assert_eq!(get(&confirm).await, 200);
        let back = loopback.wait().await.unwrap();
        assert_eq!(back.status.as_deref(), Some("confirm"));
        assert_eq!(back.confirmation.as_deref(), Some("c"));
    }
}
