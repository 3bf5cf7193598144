//! What one refresh costs, and how late it is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::field::{Field, LONG};
use crate::ledger::{lateness, refreshes, told};
use crate::meter::{self, Reading};
use crate::setting;

/// `REFRESHING` connections (1,000) whose tokens live `LIFETIME` seconds (45), for `SECONDS` (60). What the operator does
/// anyway is measured before, with the same connections at rest.
pub async fn measure(field: &mut Field) {
    let size = setting("REFRESHING", 1000) as usize;
    let lifetime = setting("LIFETIME", 45) as u32;
    let seconds = setting("SECONDS", 60);
    field.grow(size).await;
    let before = Reading::take(&field.world, field.operator.as_ref()).await;
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    let after = Reading::take(&field.world, field.operator.as_ref()).await;
    let standing = (after.operator - before.operator) * 2.0 / seconds as f64;
    let standing_api = (after.api_server - before.api_server) * 2.0 / seconds as f64;

    field.stop().await;
    field.sandbox.reconfigure(|options| options.access_token_lifetime = Some(lifetime));
    // Due one after the other, so that the load is even from the start.
    let begin = Timestamp::now() + SignedDuration::from_secs(10 + size as i64 / 200);
    let step = f64::from(lifetime) * 0.65 / size as f64;
    field
        .put_back(|number| {
            let due = begin + SignedDuration::from_secs_f64(number as f64 * step);
            let third = SignedDuration::from_secs(i64::from(lifetime)) / 3;
            (due - third * 2, due + third)
        })
        .await;
    field.start().await;
    let warm = begin.duration_since(Timestamp::now()).max(SignedDuration::ZERO);
    tokio::time::sleep(warm.unsigned_abs() + Duration::from_secs(u64::from(lifetime))).await;

    let before = Reading::take(&field.world, field.operator.as_ref()).await;
    field.sandbox.clear_entries();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let ledger = field.sandbox.ledger();
    let after = Reading::take(&field.world, field.operator.as_ref()).await;
    let count = refreshes(&ledger).len() as f64;
    println!(
        "\nrefresh: {count:.0} refreshes of {size} connections in {seconds} s ({:.0} a second)",
        count / seconds as f64
    );
    let operator = (after.operator - before.operator) * 1000.0 / count;
    let api_server = (after.api_server - before.api_server) * 1000.0 / count;
    let share = |rate: f64| rate * 1000.0 * seconds as f64 / count;
    println!(
        "  operator CPU per refresh    {:.2} ms, and {:.2} ms of standing work ({:.2} % of a core)",
        operator - share(standing),
        share(standing),
        standing * 100.0
    );
    println!(
        "  API server CPU per refresh  {:.2} ms, and {:.2} ms of standing work; the operator's is 1/{:.1} of it",
        api_server - share(standing_api),
        share(standing_api),
        api_server / operator
    );
    println!("  etcd CPU per refresh        {:.2} ms", (after.etcd - before.etcd) * 1000.0 / count);
    println!("  lateness                    {}", told(&lateness(field, &ledger, lifetime)));
    println!("  operator resident memory    {:.1} MiB", meter::memory(field.operator().process_id(), "VmRSS"));
    println!("  API requests per refresh");
    let requests = after.requests_since(&before);
    for (request, made) in &requests {
        println!("    {request:<36} {:.3}", *made as f64 / count);
    }
    let sum: u64 = requests.iter().map(|(_, made)| made).sum();
    println!("    {:<36} {:.3}", "in all", sum as f64 / count);
    field.sandbox.reconfigure(|options| options.access_token_lifetime = Some(LONG));
    tokio::time::sleep(Duration::from_secs(u64::from(lifetime))).await;
    field.settled().await;
}
