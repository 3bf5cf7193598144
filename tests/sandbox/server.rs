//! The way of a request through the sandbox: written down, met by a fault or not, carried out, answered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    response::{IntoResponse, Response},
};

use super::{
    answer::{Answer, Refusal},
    authority::Authority,
    authorize,
    connection::Link,
    control,
    fault::{Effect, Fault, Target},
    ledger::{Endpoint, Entry},
    resource, token,
};

/// What all handlers share.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Authority>>);

impl Shared {
    pub fn new(authority: Authority) -> Self {
        Self(Arc::new(Mutex::new(authority)))
    }

    /// The server's memory. Never held across an await: what happens under the lock happens at once.
    pub fn authority(&self) -> MutexGuard<'_, Authority> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn router(self) -> Router {
        Router::new()
            .merge(authorize::routes())
            .merge(token::routes())
            .merge(resource::routes())
            .merge(control::routes())
            .with_state(self)
    }

    /// Serves one request for which faults may wait. `refresh_token` is the one it carries, if any.
    pub async fn serve(
        &self,
        link: &Link,
        target: Target,
        refresh_token: Option<&str>,
        process: impl FnOnce(&mut Authority) -> Result<Answer, Refusal> + Send + 'static,
    ) -> Response {
        let flight = refresh_token.map(|token| Flight::begin(self, token));
        let in_flight = flight.as_ref().map_or(0, |flight| flight.together);
        let endpoint = target.endpoint;
        let (entry, fault) = self.open(target, in_flight);

        let shared = self.clone();
        let settle = move || {
            let mut authority = shared.authority();
            let answer = Answer::from(process(&mut authority));
            authority.book.close(entry, answer.outcome, answer.grant);
            answer
        };
        let latency = if endpoint == Endpoint::Token { self.authority().options.latency } else { 0 };
        match fault {
            None if latency > 0 => {
                let pause = move || tokio::time::sleep(Duration::from_millis(fastrand::u32(0..=latency).into()));
                let deed = tokio::spawn(async move {
                    pause().await;
                    let answer = settle();
                    drop(flight);
                    answer
                });
                let answer = deed.await.expect("what is done does not fail");
                pause().await;
                answer.into_response()
            }
            None => settle().into_response(),
            Some(fault) if fault.commits() => {
                let answer = settle();
                fault.effect.strike(link, Some(answer)).await
            }
            Some(fault) => match fault.effect {
                Effect::Delay { millis } => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    settle().into_response()
                }
                effect => effect.strike(link, None).await,
            },
        }
    }

    fn open(&self, target: Target, in_flight: u32) -> (u64, Option<Fault>) {
        let mut authority = self.authority();
        let fault = authority.faults.meet(&target);
        let entry = Entry {
            at: authority.now(),
            endpoint: target.endpoint,
            grant_type: target.grant_type,
            grant: target.grant,
            fault: fault.as_ref().map(|fault| fault.effect.name()),
            processed: false,
            outcome: "pending",
            in_flight,
        };
        (authority.book.open(entry), fault)
    }
}

/// A request under way with a refresh token. It ends when it is answered, or when its client hangs up before it is carried
/// out; at a server that takes its time, when it is carried out.
struct Flight {
    shared: Shared,
    token: String,
    together: u32,
}

impl Flight {
    fn begin(shared: &Shared, token: &str) -> Self {
        let together = shared.authority().enter(token);
        Self { shared: shared.clone(), token: token.to_owned(), together }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.authority().leave(&self.token);
    }
}
