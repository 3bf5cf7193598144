//! A clock that nobody sets.

use jiff::SignedDuration;
use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started, including the time it was suspended. Only differences mean anything.
pub fn monotonic() -> SignedDuration {
    let time = clock_gettime(ClockId::Boottime);
    SignedDuration::new(time.tv_sec, i32::try_from(time.tv_nsec).unwrap_or(0))
}
