//! Chaos: the operator's real binary under load, killed, frozen and lied to at random, against a provider that keeps books.
//!
//! Each test ends with the same question to [`oracle`]: what became of every grant. `make faults` runs them at length
//! (`KILLS`, `SECONDS`), `make test` in a short form; `SEED` repeats a run, as far as chance is ours.
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

mod crowd;
mod figures;
mod freezes;
mod kills;
mod liar;
mod lies;
mod oracle;
mod restores;
mod witness;
