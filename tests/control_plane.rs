//! The control plane of the tests, tested: that it works, that nothing of it stays behind, and
//! that its programs are found where they should be.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and tells its parent what it did"
)]

mod cluster;

#[path = "control_plane/finding.rs"]
mod finding;
#[path = "control_plane/leaving.rs"]
mod leaving;
#[path = "control_plane/working.rs"]
mod working;

use std::time::{Duration, Instant};

/// Looks until it sees what it waits for.
async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !look().await {
        assert!(Instant::now() < deadline, "{what} does not happen in 30 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
