//! Settings from the environment, chance that can be repeated, and percentiles.

use std::fmt;
use std::time::Duration;

/// A number from the environment; otherwise the one of the short form.
pub fn setting(name: &str, short: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Chance, with a seed that is printed: `SEED` repeats it.
pub fn chance(test: &str) -> fastrand::Rng {
    let seed = setting("SEED", 6_174);
    println!("{test}: SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Durations that were measured.
#[derive(Clone, Debug, Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// The duration that so many of a hundred do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent).as_secs_f64());
        write!(formatter, "p50 {p50:.2} s, p99 {p99:.2} s, max {max:.2} s ({} measured)", self.0.len())
    }
}
