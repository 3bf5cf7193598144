//! Receivers that do not take what they are sent, so that they do not cost others the endpoint that they share: apps disable
//! one that mostly fails.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A receiver that has failed for so long is tried once in a while.
const AFTER: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_mins(1);

/// Receivers that fail, by the uid of their integration.
#[derive(Default)]
pub struct Parking(Mutex<HashMap<String, Failing>>);

#[derive(Clone, Copy)]
struct Failing {
    since: Instant,
    tried: Instant,
}

impl Parking {
    /// It has not taken an event.
    pub fn failed(&self, uid: &str) {
        let now = Instant::now();
        self.lock().entry(uid.to_owned()).or_insert(Failing { since: now, tried: now }).tried = now;
    }

    /// It has taken one.
    pub fn took(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Whether it is to be left alone now. Where not, and it has failed for long, this was its turn for a while.
    pub fn is_parked(&self, uid: &str) -> bool {
        let mut failing = self.lock();
        let Some(Failing { since, tried }) = failing.get_mut(uid) else { return false };
        if since.elapsed() < AFTER {
            return false;
        }
        let waits = tried.elapsed() < PAUSE;
        if !waits {
            *tried = Instant::now();
        }
        waits
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn who_fails_for_long_is_tried_once_a_minute() {
        let parking = Parking::default();
        assert!(!parking.is_parked("a"));
        for _ in 0..10 {
            parking.failed("a");
            assert!(!parking.is_parked("a"));
            advance(Duration::from_secs(59)).await;
        }
        advance(Duration::from_secs(10)).await;
        // Its turn, and nobody else's for a minute.
        assert!(!parking.is_parked("a"));
        assert!(parking.is_parked("a") && !parking.is_parked("b"));
        parking.failed("a");
        advance(Duration::from_secs(59)).await;
        assert!(parking.is_parked("a"));
        advance(Duration::from_secs(1)).await;
        assert!(!parking.is_parked("a"));
        parking.took("a");
        assert!(!parking.is_parked("a"));
    }
}
