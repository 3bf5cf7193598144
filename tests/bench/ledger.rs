//! What the provider's books tell of refreshes: how late they came, and in which order.

use std::collections::HashMap;

use integration_operator::grant::schedule::{Timing, refresh_at};
use jiff::Timestamp;

use crate::field::Field;
use crate::meter::percentile;
use crate::sandbox::{Endpoint, GrantId, Ledger};

/// Refreshes in the order in which they arrived: whose, and when.
pub fn refreshes(ledger: &Ledger) -> Vec<(GrantId, Timestamp)> {
    let refreshes = ledger.of(Endpoint::Token).filter(|entry| entry.grant_type.as_deref() == Some("refresh_token"));
    refreshes.filter_map(|entry| Some((entry.grant?, entry.at))).collect()
}

/// How late each refresh but the first of a grant came, in seconds: its arrival at the provider less the moment that is
/// planned for tokens that were given at the arrival of the one before. So the way of that answer counts as lateness too.
pub fn lateness(field: &Field, ledger: &Ledger, lifetime: u32) -> Vec<f64> {
    let mut generations: HashMap<GrantId, u64> =
        ledger.grants.iter().map(|grant| (grant.grant, u64::from(grant.generation))).collect();
    let mut late = Vec::new();
    let mut later: HashMap<GrantId, Timestamp> = HashMap::new();
    // From the last to the first, since the books tell which generation the last one made.
    for (id, at) in refreshes(ledger).into_iter().rev() {
        let Some(owner) = field.owners.get(&id) else { continue };
        let generation = generations.get_mut(&id).unwrap();
        if let Some(next) = later.insert(id, at) {
            let summary = field.summary(owner, *generation, at, lifetime);
            let planned = refresh_at(&summary, None, Timing::default()).unwrap();
            late.push(next.duration_since(planned).as_secs_f64());
        }
        *generation -= 1;
    }
    late.sort_by(f64::total_cmp);
    late
}

/// The median, the 99th of a hundred and the worst, as a person reads them.
pub fn told(sorted: &[f64]) -> String {
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|part| percentile(sorted, part));
    let worst = sorted.last().copied().unwrap_or(f64::NAN);
    format!("p50 {p50:.3} s, p90 {p90:.3} s, p99 {p99:.3} s, worst {worst:.3} s, of {}", sorted.len())
}
