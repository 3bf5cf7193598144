//! The demo: a control plane, a third-party app, the operator, and one connection through its first minute of life,
//! told step by step. Nothing has to be there before, nothing is left behind, and nothing is asked.
//!
//! `stage` is what runs: each part of it stops when it is dropped, or when this process dies in any way. `objects` is what
//! is applied to the cluster, `operator` the operator's process, `browser` the person who connects, `workload` the Pod
//! that uses the token. `steps` is the story itself, and `onward` what a reader may try next.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../sandbox/mod.rs"]
mod sandbox;
/// Only the browser: the other servers need Node.
#[path = "../servers"]
mod servers {
    #![allow(clippy::unwrap_used, clippy::missing_panics_doc, dead_code, missing_docs, unreachable_pub)]
    pub(crate) mod browser;
}

mod browser;
mod objects;
mod onward;
mod operator;
mod stage;
mod steps;
mod voice;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use stage::Stage;
use voice::{error, line};

/// Connects a project to an app before your eyes, on a Kubernetes control plane of its own.
#[derive(Parser)]
#[command(name = "demo", max_term_width = 100)]
struct Arguments {
    /// End after the last step, instead of leaving everything running
    #[arg(long)]
    once: bool,
    /// Keep the files of the control plane and the operator's log in this directory
    #[arg(long, value_name = "DIR")]
    keep_dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(failure) => {
            error(format_args!("{failure:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    // Before anything starts, so that a Ctrl-C at any time ends in an orderly way.
    let mut signals = Signals::new()?;
    let mut stage = Stage::default();
    let ended = tokio::select! {
        told = tell(&mut stage, &arguments) => told.map(|()| ExitCode::SUCCESS),
        code = signals.next() => Ok(code),
    };
    // Once all is told, a signal is how it is meant to end.
    let ended = ended.map(|code| if stage.told { ExitCode::SUCCESS } else { code });
    let code = ended.unwrap_or_else(|failure| {
        error(format_args!("\nThe demo failed: {failure:#}"));
        if let Some(operator) = &stage.operator {
            error(format_args!("\nThe last lines of the operator's log:\n{}", operator.log_tail()));
        }
        ExitCode::FAILURE
    });
    line("");
    line("Stopping …");
    drop(stage);
    line(match &arguments.keep_dir {
        Some(directory) => format!("Everything is stopped; its files are in {}.", directory.display()),
        None => "Everything is stopped and removed.".to_owned(),
    });
    Ok(code)
}

async fn tell(stage: &mut Stage, arguments: &Arguments) -> Result<()> {
    steps::all(stage, arguments.keep_dir.clone()).await?;
    if arguments.once {
        return Ok(());
    }
    onward::print(stage)?;
    stage.told = true;
    stage.stand().await
}

/// What asks a process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one, and says with which code a program ends that was stopped by it.
    async fn next(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.interrupt.recv() => ExitCode::from(130),
            _ = self.terminate.recv() => ExitCode::from(143),
            _ = self.hangup.recv() => ExitCode::from(129),
        }
    }
}
