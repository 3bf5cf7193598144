//! Who goes first when much is due at once: a gate with a bounded number of permits and an order among those who wait.
//!
//! Takes a lane and a deadline, gives a [`Pass`] when it is one's turn; dropping the pass lets the next one in. No I/O,
//! no clock.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use jiff::Timestamp;

/// What the work is for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody asked for it and waits.
    Request,
    /// A token is about to expire.
    Expiry,
    /// What came of a refresh is yet to be told.
    Report,
    /// A look whether all is well.
    Health,
}

/// The gate; cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    queue: Arc<Mutex<Queue>>,
}

/// The order: lane, then nearest deadline (none is last), then who came first.
type Place = (Lane, Timestamp, u64);

/// Who is inside, and who waits.
struct Queue {
    free: usize,
    arrivals: u64,
    waiting: BTreeMap<Place, Waker>,
}

impl Queue {
    /// Wakes the first in line where there is room. It stays in line until it takes its permit: should it be dropped
    /// instead, it wakes the next, and no permit is lost with it.
    fn call_next(&self) {
        if self.free > 0
            && let Some((_, waker)) = self.waiting.first_key_value()
        {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = lock(&self.queue);
        formatter.debug_struct("Lanes").field("free", &queue.free).field("waiting", &queue.waiting.len()).finish()
    }
}

impl Lanes {
    /// A gate that lets this many in at once; at least one.
    pub fn new(permits: usize) -> Self {
        let queue = Queue { free: permits.max(1), arrivals: 0, waiting: BTreeMap::new() };
        Self { queue: Arc::new(Mutex::new(queue)) }
    }

    /// Waits for one's turn. A caller without a deadline comes after all others of its lane. Safe to cancel: who stops
    /// waiting leaves the queue.
    pub fn enter(&self, lane: Lane, deadline: Option<Timestamp>) -> impl Future<Output = Pass> + Send + use<> {
        Entering { queue: Arc::clone(&self.queue), lane, deadline: deadline.unwrap_or(Timestamp::MAX), place: None }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        lock(&self.queue).waiting.len()
    }
}

/// The right to be inside, until dropped.
#[must_use = "dropping the pass leaves at once"]
pub struct Pass {
    queue: Arc<Mutex<Queue>>,
}

impl fmt::Debug for Pass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pass")
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.free += 1;
        queue.call_next();
    }
}

/// One who waits.
struct Entering {
    queue: Arc<Mutex<Queue>>,
    lane: Lane,
    deadline: Timestamp,
    place: Option<Place>,
}

impl Future for Entering {
    type Output = Pass;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Pass> {
        let this = &mut *self;
        let mut queue = lock(&this.queue);
        let place = *this.place.get_or_insert_with(|| {
            queue.arrivals += 1;
            (this.lane, this.deadline, queue.arrivals)
        });
        let first = queue.waiting.first_key_value().is_none_or(|(first, _)| place <= *first);
        // A waker may be the last to hold its task, and a task may hold a pass: it is dropped only after the lock.
        let _waker;
        if first && queue.free > 0 {
            _waker = queue.waiting.remove(&place);
            queue.free -= 1;
            queue.call_next();
            drop(queue);
            this.place = None;
            return Poll::Ready(Pass { queue: Arc::clone(&this.queue) });
        }
        _waker = queue.waiting.insert(place, context.waker().clone());
        drop(queue);
        Poll::Pending
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut queue = lock(&self.queue);
        let waker = queue.waiting.remove(&place);
        queue.call_next();
        drop(queue);
        drop(waker);
    }
}

/// The queue is whole after every statement that could panic, so a poisoned lock is a lock like any other.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
