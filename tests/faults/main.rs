//! Every request that an operation makes goes wrong in every way, one at a time, and the provider's books are compared with
//! what is held.
//!
//! The operator's real binary talks to a real API server and to a strict app through proxies. A reference run of each
//! operation at each kind of app is written down; then it is played again for each of its requests and each fault, with
//! SIGKILL where the fault is a death. `make faults` plays all cells; `make test` those of the crash matrix, and a lost answer
//! to each write of each operation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    clippy::similar_names,
    clippy::print_stdout,
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

mod cell;
mod matrix;
mod names;
mod proxy;
mod replay;
mod stage;

use std::time::Instant;

use cell::{Cell, Operation};
use matrix::{Reference, Table, chosen, spoil};
use stage::Profile;

#[tokio::test(flavor = "multi_thread")]
async fn no_grant_is_lost_that_could_be_kept() {
    let setting = |name| std::env::var(name).unwrap_or_default();
    let full = setting("FAULTS") == "full";
    // A part of what a cell is called, to play it alone.
    let only = setting("ONLY");
    // Each has a control plane of its own.
    let stages = setting("STAGES").parse().unwrap_or(if full { 6 } else { 3 });
    let began = Instant::now();
    let wanted = |cell: &Cell| only.is_empty() || cell.to_string().contains(&only);
    let mut references = vec![];
    for operation in Operation::ALL {
        for profile in Profile::ALL {
            let cell = Cell { operation, profile, spoilt: None };
            if full || operation == Operation::Refresh || profile == Profile::StrictAsked {
                references.push(cell);
            }
        }
    }
    let Some(mut stages) = matrix::stages(stages).await else { return };
    let played = matrix::play_all(&mut stages, references).await;
    let references: Vec<Reference> = played.into_iter().map(Reference::new).collect();
    let cells: Vec<Cell> = if full {
        references.iter().flat_map(spoil).filter(wanted).collect()
    } else {
        references.iter().flat_map(chosen).filter(wanted).collect()
    };
    println!("FAULTS {} cells on {} control planes", cells.len(), stages.len());
    let played = matrix::play_all(&mut stages, cells).await;
    let table = Table::new(&references, played);
    println!("{}", table.render(began.elapsed()));
    table.write();
    let wrong = table.wrong();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}
