//! Vendors, played from recordings: every host that the operator asks is answered here, under its own name.
//!
//! The operator is started with this proxy as its `HTTPS_PROXY` and this authority in its CA bundle. Descriptions are
//! used as they are built in, with the vendors' real addresses, and nothing leaves the machine. Each request is held
//! against the recording to the letter; one that is not in it is answered with 599 and fails the test.

mod proxy;
pub mod recording;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use integration_operator::recording::format::{Answer, Exchange};
use proxy::{Authority, Received};
use recording::{is_at, mismatches, same_place};
use serde_json::Value;

/// A proxy that plays vendors.
pub struct Vendor {
    /// For `HTTPS_PROXY`.
    pub proxy: String,
    /// For `--ca-bundle`.
    pub ca_bundle: PathBuf,
    stage: Arc<Mutex<Stage>>,
    _directory: tempfile::TempDir,
}

/// What is to be played, and what was.
#[derive(Default)]
struct Stage {
    /// What comes next, in this order.
    script: VecDeque<Exchange>,
    /// What was played, and may be asked again.
    played: Vec<Exchange>,
    /// Whether other requests are no mistake.
    lenient: bool,
    complaints: Vec<String>,
    requests: Vec<String>,
}

impl Vendor {
    /// Starts a proxy in the current runtime.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let ca_bundle = directory.path().join("ca.pem");
        std::fs::write(&ca_bundle, authority.pem()).unwrap();
        let stage = Arc::new(Mutex::new(Stage::default()));
        let on_stage = Arc::clone(&stage);
        let proxy = proxy::start(authority, move |request| lock(&on_stage).answer(&request)).await;
        Self { proxy, ca_bundle, stage, _directory: directory }
    }

    /// The environment and the flags that lead an operator here.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("HTTPS_PROXY".to_owned(), self.proxy.clone()), ("NO_PROXY".to_owned(), "127.0.0.1,localhost".to_owned())]
    }

    /// Begins anew with these exchanges to come.
    pub fn script(&self, exchanges: &[Exchange]) {
        let mut stage = lock(&self.stage);
        *stage = Stage { script: exchanges.iter().cloned().collect(), ..Stage::default() };
    }

    /// These come after what is left of the script; what was played before may still be asked again.
    pub fn then(&self, exchanges: &[Exchange]) {
        lock(&self.stage).script.extend(exchanges.iter().cloned());
    }

    /// From now on this exchange is answered otherwise, as often as it is asked.
    pub fn instead(&self, exchange: &Exchange) {
        let mut stage = lock(&self.stage);
        stage.played.retain(|played| !same_place(&played.request, &exchange.request));
        stage.played.push(exchange.clone());
    }

    /// Other requests than those of the script are answered with 599 and are no mistake.
    pub fn lenient(&self) {
        lock(&self.stage).lenient = true;
    }

    /// How many exchanges are still to come.
    pub fn left(&self) -> usize {
        lock(&self.stage).script.len()
    }

    /// What was wrong with the requests so far.
    pub fn complaints(&self) -> Vec<String> {
        let stage = lock(&self.stage);
        let mut complaints = stage.complaints.clone();
        complaints.extend(stage.script.iter().map(|exchange| format!("was never asked: {}", exchange.request)));
        complaints
    }

    /// Every request so far, as `METHOD URL`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.stage).requests.clone()
    }
}

impl Stage {
    fn answer(&mut self, request: &Received) -> Answer {
        self.requests.push(format!("{} {}", request.method, request.url));
        // Calls to one place may come at once, as when two tokens are revoked: then in any order.
        let alike = self.script.iter().take_while(|exchange| is_at(&exchange.request, request));
        let exact = alike.clone().position(|exchange| mismatches(&exchange.request, request).is_empty());
        if alike.count() > 0
            && let Some(exchange) = self.script.remove(exact.unwrap_or(0))
        {
            self.complaints.extend(mismatches(&exchange.request, request));
            self.played.retain(|played| !same_place(&played.request, &exchange.request));
            self.played.push(exchange.clone());
            return exchange.answer;
        }
        if let Some(exchange) = self.played.iter().find(|exchange| is_at(&exchange.request, request)) {
            return exchange.answer.clone();
        }
        if !self.lenient {
            let wanted = self.script.front().map_or_else(|| "nothing".to_owned(), |next| next.request.to_string());
            self.complaints.push(format!("{} {} was asked; expected was {wanted}", request.method, request.url));
        }
        Answer { status: 599, body: Some(Value::Null), ..Answer::default() }
    }
}

fn lock(stage: &Mutex<Stage>) -> std::sync::MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}
