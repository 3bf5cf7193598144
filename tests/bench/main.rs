//! What many connections cost: a release build of the operator on a real control plane, with a strict provider that
//! keeps books.
//!
//! `make bench` goes through the stages that `STAGES` names, in this order:
//!
//! | stage | what is measured |
//! |---|---|
//! | `floor` | plain Secret patches a second that this control plane takes |
//! | `writes` | what each kind of write of a refresh costs the control plane; only when it is named |
//! | `refresh` | CPU of operator and API server for each refresh, API requests, lateness |
//! | `callbacks` | callbacks a second |
//! | `relay` | a call through the proxy, and a webhook that is handed on, beside the same without the operator |
//! | `hold` | memory and CPU with `INTEGRATIONS` connections at rest, while listing again, and a start with all of them |
//! | `drain` | how long it takes until as many, all of them due at once, are refreshed, and in which order |
//!
//! Counts, CPU time and memory are the machine's own; times by the clock depend on who else uses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
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

mod field;
mod ledger;
mod meter;
mod stages;

use cluster::Options;
use field::Field;

/// Bytes that etcd may take: the 2 GiB that it allows by itself hold some 100,000 connections, and no more.
const ETCD_QUOTA: u64 = 8 << 30;

#[tokio::main]
async fn main() {
    let options =
        Options { extra_etcd_args: vec![format!("--quota-backend-bytes={ETCD_QUOTA}")], ..Options::default() };
    let Some(world) = world::World::start_with("bench", options).await else { return };
    let stages = std::env::var("STAGES").unwrap_or_else(|_| "floor,refresh,callbacks,relay,hold,drain".to_owned());
    let wanted = |stage: &str| stages.split(',').any(|name| name.trim() == stage);
    meter::machine(&world);
    let mut field = Field::new(world).await;
    let floor = if wanted("floor") || wanted("drain") { Some(stages::floor::measure(&field).await) } else { None };
    if wanted("writes") {
        stages::writes::measure(&mut field).await;
    }
    if wanted("refresh") {
        stages::refresh::measure(&mut field).await;
    }
    if wanted("callbacks") {
        stages::callbacks::measure(&mut field).await;
    }
    if wanted("relay") {
        stages::relay::measure(&mut field).await;
    }
    if wanted("hold") || wanted("drain") {
        for size in sizes() {
            field.grow(size).await;
            if wanted("hold") {
                stages::hold::measure(&mut field).await;
            }
        }
    }
    if wanted("drain") {
        stages::drain::measure(&mut field, floor.unwrap_or(f64::NAN)).await;
    }
    field.verdict();
}

/// How many connections are held: `INTEGRATIONS`, one number or several that grow.
fn sizes() -> Vec<usize> {
    let text = std::env::var("INTEGRATIONS").unwrap_or_else(|_| "1000,10000".to_owned());
    text.split(',').map(|size| size.trim().parse().expect("INTEGRATIONS is a list of numbers")).collect()
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
