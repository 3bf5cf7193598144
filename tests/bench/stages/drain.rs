//! After an outage: every connection is due at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::field::Field;
use crate::ledger::refreshes;
use crate::meter::{Reading, memory};
use crate::sandbox::{Endpoint, GrantId};

/// Writes of one refresh: intent, grant, published Secret, status.
const WRITES: f64 = 4.0;

/// `floor` is how many plain patches a second the control plane takes.
pub async fn measure(field: &mut Field, floor: f64) {
    field.settled().await;
    field.stop().await;
    let (size, now) = (field.owners.len(), Timestamp::now());
    // Two thirds of their lives are over; they expire in 30 to 90 minutes, in an order of its own.
    let expiries = field
        .put_back(|number| {
            let share = (number * 7919 % size) as f64 / size as f64;
            let expires_at = now + SignedDuration::from_secs_f64(1800.0 + share * 3600.0);
            (expires_at - SignedDuration::from_hours(12), expires_at)
        })
        .await;
    field.sandbox.clear_entries();
    let before = Reading::take(&field.world, None).await;
    let executed = field.start().await;
    let process = field.operator().process_id();
    let mut first = None;
    let ended = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let arrived = field.sandbox.refreshes();
        if arrived > 0 {
            first.get_or_insert_with(Instant::now);
        }
        if arrived >= size {
            // The last ones still have to be stored, published and told.
            break field.quiet().await;
        }
        assert!(executed.elapsed() < Duration::from_secs(600 + size as u64 / 10), "{arrived} of {size} refreshed");
    };
    let after = Reading::take(&field.world, field.operator.as_ref()).await;
    let ledger = field.sandbox.ledger();
    let arrivals = refreshes(&ledger);
    let span = match (arrivals.first(), arrivals.last()) {
        (Some((_, first)), Some((_, last))) => last.duration_since(*first).as_secs_f64(),
        _ => f64::NAN,
    };
    let took = first.map_or(f64::NAN, |first| ended.duration_since(first).as_secs_f64() + 0.5);
    let least = size as f64 * WRITES / floor;
    println!("\ndrain: {size} connections due at once after an outage");
    println!("  first refresh after the start {:.1} s", first.map_or(f64::NAN, |at| (at - executed).as_secs_f64()));
    println!(
        "  from the first to the last    {span:.1} s ({:.0} a second), at rest after {took:.1} s",
        size as f64 / span
    );
    println!("  floor                         {least:.1} s for {WRITES:.0} patches each at {floor:.0} a second");
    println!("  times the floor               {:.2}; until all is told {:.2}", span / least, took / least);
    println!("  order                         {}", order(&arrivals, &expiries));
    println!("  operator CPU                  {:.2} ms each, start included", after.operator * 1000.0 / size as f64);
    println!(
        "  API server CPU                {:.2} ms each",
        (after.api_server - before.api_server) * 1000.0 / size as f64
    );
    println!("  operator memory at most       {:.1} MiB", memory(process, "VmHWM"));
    let refused = ledger.of(Endpoint::Token).filter(|entry| entry.processed && entry.outcome != "refreshed").count();
    println!(
        "  refused by the provider       {refused}; refreshes beyond one each: {}",
        arrivals.len() - size.min(arrivals.len())
    );
    for (request, made) in after.requests_since(&before) {
        println!("    {request:<36} {:.3} each", made as f64 / size as f64);
    }
    field.settled().await;
}

/// How far refreshes were from the order of their expiries: nearest first is 0 places.
fn order(arrivals: &[(GrantId, Timestamp)], expiries: &HashMap<GrantId, Timestamp>) -> String {
    let mut wanted: Vec<_> = expiries.iter().collect();
    wanted.sort_by_key(|(_, expiry)| **expiry);
    let places: HashMap<_, _> = wanted.iter().enumerate().map(|(place, (id, _))| (**id, place)).collect();
    let mut off: Vec<usize> =
        arrivals.iter().enumerate().filter_map(|(place, (id, _))| Some(places.get(id)?.abs_diff(place))).collect();
    off.sort_unstable();
    let at = |part: f64| off.get((off.len() as f64 * part) as usize).or(off.last()).copied().unwrap_or_default();
    format!("places from nearest expiry first: p50 {}, p99 {}, at most {} of {}", at(0.5), at(0.99), at(1.0), off.len())
}
