//! The circuit breaker of one host: closed, open, or half-open with one probe.
//!
//! Takes what became of requests and when, says whether another may go. A state machine without a clock.

use std::time::Duration;

use tokio::time::Instant;

use super::{Busy, GateOptions, Why};

/// Proof of having been let in. Tickets of an earlier state of the breaker count no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    round: u64,
    probe: bool,
}

/// The breaker, and until when the provider itself asked us to wait.
#[derive(Debug)]
pub(super) struct Breaker {
    threshold: u32,
    first_open: Duration,
    longest_open: Duration,
    failures: u32,
    state: State,
    open_for: Duration,
    limited_until: Option<Instant>,
    /// Counts changes of state.
    round: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

impl Breaker {
    /// Closed.
    pub(super) fn new(options: &GateOptions) -> Self {
        Self {
            threshold: options.failures.max(1),
            first_open: options.open_for,
            longest_open: options.open_at_most,
            failures: 0,
            state: State::Closed,
            open_for: options.open_for,
            limited_until: None,
            round: 0,
        }
    }

    /// Whether a request may go; changes nothing.
    pub(super) fn check(&self, now: Instant) -> Result<(), Busy> {
        let wait = |until: Instant, why| if until > now { Err(Busy { retry_in: until - now, why }) } else { Ok(()) };
        if let Some(until) = self.limited_until {
            wait(until, Why::Limited)?;
        }
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } => wait(until, Why::Open),
            // One probe at a time; its outcome is known within a request's time at most.
            State::Probing => Err(Busy { retry_in: Duration::from_secs(1), why: Why::Open }),
        }
    }

    /// Lets in a request that passed [`check`](Self::check).
    pub(super) fn enter(&mut self, now: Instant) -> Ticket {
        if self.limited_until.is_some_and(|until| until <= now) {
            self.limited_until = None;
        }
        let probe = matches!(self.state, State::Open { .. });
        if probe {
            self.change(State::Probing);
        }
        Ticket { round: self.round, probe }
    }

    /// The host works: closed, and patient again.
    pub(super) fn succeeded(&mut self, ticket: Ticket) {
        if !self.counts(ticket) {
            return;
        }
        self.failures = 0;
        if ticket.probe {
            self.open_for = self.first_open;
            self.change(State::Closed);
        }
    }

    /// One failure more; a failed probe opens for twice as long.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Instant) {
        if !self.counts(ticket) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if ticket.probe {
            self.open_for = self.open_for.saturating_mul(2).min(self.longest_open);
        } else if self.failures < self.threshold {
            return;
        }
        self.change(State::Open { until: now + self.open_for });
    }

    /// The host works, but wants to be left alone for a while.
    pub(super) fn limited(&mut self, ticket: Ticket, now: Instant, wait: Duration) {
        self.succeeded(ticket);
        // An `Instant` has an end, and a caller's wait may be absurd.
        let until = now + wait.min(Duration::from_hours(24));
        self.limited_until = Some(self.limited_until.map_or(until, |before| before.max(until)));
    }

    /// Nothing was learnt; a probe makes way for another at once.
    pub(super) fn silent(&mut self, ticket: Ticket, now: Instant) {
        if ticket.probe && self.counts(ticket) {
            self.change(State::Open { until: now });
        }
    }

    fn counts(&self, ticket: Ticket) -> bool {
        ticket.round == self.round
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.round += 1;
    }
}
