//! What the reader sees: numbered steps, what was found in each, and how long it took.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

static BEGAN: OnceLock<Instant> = OnceLock::new();
static STEPS: AtomicUsize = AtomicUsize::new(0);

/// Seconds since the first line.
pub(crate) fn elapsed() -> u64 {
    BEGAN.get_or_init(Instant::now).elapsed().as_secs()
}

/// A heading with the number of the step.
pub(crate) fn step(title: &str) {
    let number = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    line(format_args!("\n[{:>4} s] {number}. {title}", elapsed()));
}

/// A line below a heading.
pub(crate) fn say(text: impl Display) {
    line(format_args!("         {}", text.to_string().replace('\n', "\n         ")));
}

/// A line as it is. A closed pipe is no reason to stop.
pub(crate) fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
