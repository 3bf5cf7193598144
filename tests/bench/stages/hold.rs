//! What it costs to hold connections that nobody refreshes: memory and CPU at rest, memory while everything is listed
//! again, and a start with all of them.

use std::time::{Duration, Instant};

use integration_operator::api::GROUP;
use integration_operator::grant::store::grant_name;

use crate::field::Field;
use crate::meter::{Reading, cpu, forget_peak, memory};
use crate::setting;
use crate::world::OPERATOR;

/// Bytes of one connection as the API server gives them; etcd holds integrations as they are, and Secrets without base64.
async fn stored(field: &Field) {
    let Some(owner) = field.owners.values().next() else { return };
    let grant = grant_name(&owner.namespace, &owner.name);
    let mut sizes = Vec::new();
    for (what, path) in [
        (
            "integration",
            format!("/apis/{GROUP}/v1alpha1/namespaces/{}/projectintegrations/{}", owner.namespace, owner.name),
        ),
        ("grant", format!("/api/v1/namespaces/{OPERATOR}/secrets/{grant}")),
        ("published Secret", format!("/api/v1/namespaces/{}/secrets/{}", owner.namespace, owner.name)),
    ] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let text = field.world.client.request_text(request).await.unwrap();
        let data = serde_json::from_str::<serde_json::Value>(&text).unwrap()["data"].clone();
        let coded: usize =
            data.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()).map(str::len).sum();
        sizes.push(format!("{what} {}", text.len() - coded / 4));
    }
    println!(
        "  bytes of one                 {}; etcd in all {:.0} MiB with its history",
        sizes.join(", "),
        field.etcd_size().await
    );
}

pub async fn measure(field: &mut Field) {
    let seconds = setting("REST_SECONDS", 30);
    println!("\nhold: {} connections at rest", field.owners.len());
    let rest = async |field: &Field, what: &str| {
        field.quiet().await;
        let process = field.operator().process_id();
        let before = Reading::take(&field.world, field.operator.as_ref()).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let after = Reading::take(&field.world, field.operator.as_ref()).await;
        println!(
            "  {what:<28} {:.1} MiB resident, {:.2} % of a core, {} requests in {seconds} s",
            memory(process, "VmRSS"),
            (after.operator - before.operator) * 100.0 / seconds as f64,
            after.requests_since(&before).iter().map(|(_, made)| made).sum::<u64>(),
        );
    };
    rest(field, "after they were made").await;
    stored(field).await;

    field.stop().await;
    let requests = Reading::take(&field.world, None).await;
    let began = field.start().await;
    let ready = began.elapsed();
    let process = field.operator().process_id();
    let done = field.quiet().await.duration_since(began);
    println!(
        "  start                        ready after {:.2} s, at rest after {:.1} s, {:.2} s of CPU, at most {:.1} MiB",
        ready.as_secs_f64(),
        done.as_secs_f64(),
        cpu(process),
        memory(process, "VmHWM")
    );
    let started = Reading::take(&field.world, None).await;
    for (request, made) in started.requests_since(&requests) {
        println!("    {request:<36} {made}");
    }
    rest(field, "after that start").await;

    let steady = memory(process, "VmRSS");
    forget_peak(process);
    let began = Instant::now();
    field.world.cluster.restart_api_server().await.unwrap();
    let back = began.elapsed();
    // The watches come back with growing pauses, of half a minute at most.
    tokio::time::sleep(Duration::from_secs(35)).await;
    field.quiet().await;
    let most = memory(process, "VmHWM");
    println!(
        "  API server restarted ({:.0} s)  at most {most:.1} MiB, {:.2} times the steady {steady:.1} MiB",
        back.as_secs_f64(),
        most / steady
    );
    rest(field, "after the restart").await;
}
