//! What a refresh costs: CPU time of the operator and of the API server, and API requests, on a real control plane.
//!
//! `make bench` connects `INTEGRATIONS` projects (50) to a sandbox whose tokens live `LIFETIME` seconds (12), lets them
//! be refreshed for `SECONDS` (40) and prints what was spent in that time. Counts and CPU time, no wall-clock promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub,
    dead_code
)]

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../sandbox/mod.rs"]
mod sandbox;
#[path = "../servers/mod.rs"]
mod servers;
#[path = "../it/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{ApiRequest, Options};
use sandbox::{Consent, Sandbox, SandboxOptions};
use serde_json::json;
use servers::browser::Browser;
use world::{Flags, World, is_ready};

#[tokio::main]
async fn main() {
    let integrations = setting("INTEGRATIONS", 50);
    let lifetime = setting("LIFETIME", 12);
    let seconds = setting("SECONDS", 40);
    let Some(world) = World::start_with("bench", Options::default()).await else { return };
    let sandbox = Sandbox::start(SandboxOptions {
        consent: Consent::Allow(None),
        access_token_lifetime: Some(lifetime as u32),
        ..SandboxOptions::default()
    });
    let base = &sandbox.base_url;
    let description = json!({ "oauth2": {
        "authorizationURL": format!("{base}/authorize"),
        "tokenURL": format!("{base}/token"),
    }});
    world.provider("app", "sandbox-client", "sandbox-secret", description).await;
    let arguments = vec!["--log".to_owned(), "warn".to_owned()];
    let operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    println!("connecting {integrations} integrations …");
    let mut browser = Browser::as_user("dev");
    for index in 0..integrations {
        world.connect_as(&mut browser, &token, "acme", &format!("p{index}"), "app").await;
    }
    world.wait("acme", &format!("p{}.app", integrations - 1), "ready", is_ready).await;
    tokio::time::sleep(Duration::from_secs(lifetime)).await;

    let api_server = world.cluster.process_ids().into_iter().find(|(name, _)| name.contains("apiserver"));
    let api_server = api_server.map(|(_, process)| process);
    let before = (requests(&world).await, cpu(operator.process_id()), api_server.map(cpu));
    sandbox.clear_entries();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let refreshes = sandbox.ledger().token_requests("refresh_token").max(1) as f64;
    let after = (requests(&world).await, cpu(operator.process_id()), api_server.map(cpu));

    println!("\n{refreshes:.0} refreshes of {integrations} integrations in {seconds} s\n");
    println!("  operator CPU per refresh    {:.2} ms", (after.1 - before.1) * 1000.0 / refreshes);
    if let (Some(after), Some(before)) = (after.2, before.2) {
        println!("  API server CPU per refresh  {:.2} ms", (after - before) * 1000.0 / refreshes);
    }
    println!("  operator resident memory    {:.1} MiB\n", resident(operator.process_id()));
    println!("  API requests per refresh (the Lease, probes and this program's own left out)");
    let mut sum = 0.0;
    for (request, count) in &after.0 {
        let made = count - before.0.get(request).copied().unwrap_or(0);
        let ours = matches!(request.resource.as_str(), "secrets" | "projectintegrations" | "events");
        if made > 0 && ours && request.verb != "WATCH" {
            let each = made as f64 / refreshes;
            sum += each;
            let resource = if request.subresource.is_empty() {
                request.resource.clone()
            } else {
                format!("{}/{}", request.resource, request.subresource)
            };
            println!("    {:<8} {resource:<28} {each:.2}", request.verb);
        }
    }
    println!("    {:<37} {sum:.2}", "in all");
    let ended = sandbox.ledger().grants.iter().filter(|grant| grant.ended.is_some()).count();
    println!("\n  grants lost                 {ended}");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn requests(world: &World) -> BTreeMap<ApiRequest, u64> {
    world.cluster.api_request_counts().await.unwrap()
}

/// CPU time of a process so far, in seconds (utime and stime of /proc/PID/stat, in ticks of 10 ms).
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Resident memory of a process, in MiB.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
