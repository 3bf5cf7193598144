//! When a request may go to a provider: a rate limit and a circuit breaker for each host of each provider object.
//!
//! Takes the provider's uid and the host, gives an [`Admission`] or how long to wait; the admission is told how it
//! went. Keys hold the uid, so that one tenant's provider cannot close the gate of another's. Time is tokio's, which
//! tests can pause.

mod breaker;

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use thiserror::Error;
use tokio::time::Instant;

use breaker::Breaker;

/// How often unused gates are looked for, at most.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Settings of all gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateOptions {
    /// Requests a second, in the long run, for one host of one provider.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
    /// Failures in a row that open the breaker.
    pub failures: u32,
    /// How long the breaker stays open at first; it doubles with each failed probe.
    pub open_for: Duration,
    /// The longest it stays open.
    pub open_at_most: Duration,
    /// A gate unused for this long is forgotten.
    pub forget_after: Duration,
    /// Gates kept at most; the one unused longest is forgotten first.
    pub kept: usize,
}

impl Default for GateOptions {
    /// 10 a second, 20 at once; open after 5 failures for 30 s to 5 min; forgotten after 1 h; 10,000 kept.
    fn default() -> Self {
        Self {
            per_second: NonZeroU32::MIN.saturating_add(9),
            burst: NonZeroU32::MIN.saturating_add(19),
            failures: 5,
            open_for: Duration::from_secs(30),
            open_at_most: Duration::from_mins(5),
            forget_after: Duration::from_hours(1),
            kept: 10_000,
        }
    }
}

/// Why a request must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Our own rate limit, or the provider's by `Retry-After`.
    Limited,
    /// The provider fails, and the breaker is open.
    Open,
}

/// A request that must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the provider's host is not asked now ({why:?}); try again in {retry_in:?}")]
pub struct Busy {
    /// After this long it is worth asking again.
    pub retry_in: Duration,
    /// What it waits for.
    pub why: Why,
}

impl Busy {
    /// Whether only a rate is in the way, and not for long.
    fn is_worth_waiting(&self, patience: Duration) -> bool {
        self.why == Why::Limited && self.retry_in <= patience
    }
}

/// The gates of all providers; cheap to clone.
#[derive(Clone)]
pub struct Gates {
    inner: Arc<Inner>,
}

struct Inner {
    options: GateOptions,
    clock: TokioClock,
    gates: Mutex<Table>,
}

type Key = (String, String);
type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

struct Table {
    gates: HashMap<Key, Gate>,
    swept: Instant,
}

struct Gate {
    limiter: Limiter,
    breaker: Breaker,
    line: Arc<tokio::sync::Mutex<()>>,
    used: Instant,
}

impl fmt::Debug for Gates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gates").field("options", &self.inner.options).field("gates", &self.len()).finish()
    }
}

impl Gates {
    /// No gate yet; each comes into being when first asked for.
    pub fn new(options: GateOptions) -> Self {
        let now = Instant::now();
        let gates = Mutex::new(Table { gates: HashMap::new(), swept: now });
        Self { inner: Arc::new(Inner { options, clock: TokioClock { start: now }, gates }) }
    }

    /// Whether a request may go to this host of this provider now.
    pub fn admit(&self, provider_uid: &str, host: &str) -> Result<Admission, Busy> {
        let now = Instant::now();
        let key = (provider_uid.to_owned(), host.to_ascii_lowercase());
        let mut table = self.inner.lock();
        if !table.gates.contains_key(&key) {
            table.make_room(&self.inner.options, now);
        }
        let gate = table.gates.entry(key.clone()).or_insert_with(|| self.inner.gate(now));
        gate.used = now;
        gate.breaker.check(now)?;
        gate.limiter
            .check()
            .map_err(|until| Busy { retry_in: until.wait_time_from(self.inner.clock.now()), why: Why::Limited })?;
        let ticket = gate.breaker.enter(now);
        drop(table);
        Ok(Admission { inner: Arc::clone(&self.inner), key, ticket: Some(ticket) })
    }

    /// Waits in line for an admission, as long as the next one is at most `patience` away. Who came first goes first.
    pub async fn wait(&self, provider_uid: &str, host: &str, patience: Duration) -> Result<Admission, Busy> {
        let line = match self.admit(provider_uid, host) {
            Err(busy) if busy.is_worth_waiting(patience) => self.line(provider_uid, host),
            outcome => return outcome,
        };
        let _first = line.lock().await;
        loop {
            match self.admit(provider_uid, host) {
                Err(busy) if busy.is_worth_waiting(patience) => tokio::time::sleep(busy.retry_in).await,
                outcome => return outcome,
            }
        }
    }

    /// Where those wait that a gate does not let in; forgotten with the gate.
    fn line(&self, provider_uid: &str, host: &str) -> Arc<tokio::sync::Mutex<()>> {
        let key = (provider_uid.to_owned(), host.to_ascii_lowercase());
        self.inner.lock().gates.get(&key).map(|gate| Arc::clone(&gate.line)).unwrap_or_default()
    }

    /// How many gates are kept.
    pub fn len(&self) -> usize {
        self.inner.lock().gates.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self, now: Instant) -> Gate {
        let quota = Quota::per_second(self.options.per_second).allow_burst(self.options.burst);
        Gate {
            limiter: RateLimiter::direct_with_clock(quota, self.clock.clone()),
            breaker: Breaker::new(&self.options),
            line: Arc::default(),
            used: now,
        }
    }
}

impl Table {
    /// Before a gate is added: forgets those that nobody used for long, looking through them once a minute or when
    /// there are too many, and the one unused longest where there are too many still.
    fn make_room(&mut self, options: &GateOptions, now: Instant) {
        let full = self.gates.len() >= options.kept.max(1);
        if !full && now.duration_since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.gates.retain(|_, gate| now.duration_since(gate.used) < options.forget_after);
        let oldest = self.gates.iter().min_by_key(|(_, gate)| gate.used).map(|(key, _)| key.clone());
        if self.gates.len() >= options.kept.max(1)
            && let Some(oldest) = oldest
        {
            self.gates.remove(&oldest);
        }
    }
}

/// The right to send one request; says how it went. Dropped without a word, it counts neither as success nor as
/// failure.
#[must_use = "an admission is told how the request went"]
pub struct Admission {
    inner: Arc<Inner>,
    key: Key,
    ticket: Option<breaker::Ticket>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admission").field("host", &self.key.1).finish_non_exhaustive()
    }
}

impl Admission {
    /// The provider answered, be it with a refusal: the host works.
    pub fn succeeded(mut self) {
        self.tell(|breaker, ticket, _| breaker.succeeded(ticket));
    }

    /// No answer, or a 5xx.
    pub fn failed(mut self) {
        self.tell(Breaker::failed);
    }

    /// 429 or its like: the gate of this host closes until then, for 1 s where the provider does not say how long.
    pub fn limited(mut self, retry_after: Option<Duration>) {
        self.tell(|breaker, ticket, now| breaker.limited(ticket, now, retry_after.unwrap_or(Duration::from_secs(1))));
    }

    fn tell(&mut self, how: impl FnOnce(&mut Breaker, breaker::Ticket, Instant)) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = Instant::now();
        if let Some(gate) = self.inner.lock().gates.get_mut(&self.key) {
            gate.used = now;
            how(&mut gate.breaker, ticket, now);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.tell(Breaker::silent);
    }
}

/// tokio's time, as governor wants it.
#[derive(Clone, Debug)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests;
