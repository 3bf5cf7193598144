//! The end-to-end test: the image and the chart as people install them, on a real node, with a real browser, through
//! connecting, refreshing, crashes, upgrades and the uninstall. `make e2e` runs it; it tells what it does and finds, step
//! by step, and ends at the first thing that is not as it should be.
//!
//! `cluster` is what it runs on, `images` and `chart` what is installed there, `edge` the way in from outside, `person`
//! somebody with a browser, `crowd` two hundred projects whose tokens live for seconds, and `steps` the story.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a program for the terminal, whose figures are small"
)]

mod chart;
mod cluster;
mod crowd;
mod edge;
mod images;
mod person;
mod programs;
#[path = "../sandbox/mod.rs"]
mod sandbox;
#[path = "../servers/mod.rs"]
mod servers;
mod shell;
mod stage;
mod steps;
mod voice;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cluster::Choice;
use stage::Stage;
use voice::{elapsed, line};

/// Installs the operator by its chart on a real node, and uses it as its users do.
#[derive(Parser)]
#[command(name = "e2e", max_term_width = 100)]
struct Arguments {
    /// `node`: one of our own, on this machine, as root; `kind`: with Docker; or a path: the cluster of that kubeconfig
    #[arg(long, env = "CLUSTER", default_value = "node", value_parser = |text: &str| text.parse::<Choice>())]
    cluster: Choice,
    /// How many projects are refreshed while things break
    #[arg(long, env = "CROWD", default_value_t = 200)]
    crowd: usize,
    /// Leave the cluster running, and all files in this directory
    #[arg(long, value_name = "DIR")]
    keep_dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        () = stopped() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    match ended {
        Ok(()) => {
            line(format_args!("\nAll of it went well, in {} s.", elapsed()));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            line(format_args!("\n[{:>4} s] FAILED: {failure:#}", elapsed()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = arguments.keep_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut stage = Stage::set(&arguments.cluster, &directory, arguments.keep_dir.is_some()).await?;
    let told = steps::all(&mut stage, arguments.crowd).await;
    if told.is_err() {
        stage.say_what_pods_say().await;
    }
    told
}

async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
