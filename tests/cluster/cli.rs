//! `cluster fetch` gets the control plane ahead of the tests, `cluster build helm kubectl` further programs of the same
//! Go modules, `cluster up` runs a control plane until Ctrl-C.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "mod.rs"]
mod cluster;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use cluster::binaries::{self, Environment, Found};
use cluster::{Cluster, Options, Part, golang};

#[derive(Parser)]
#[command(about = "The control plane of the tests")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Download or build the control plane, unless it is there
    Fetch {
        /// Build it with its controller manager, even where an archive could be downloaded
        #[arg(long)]
        build: bool,
    },
    /// Build programs from the Go modules, unless they are there, and print their paths
    Build {
        /// Such as helm or kubectl
        #[arg(required = true, value_parser = clap::builder::PossibleValuesParser::new(golang::names()))]
        programs: Vec<String>,
    },
    /// Run a control plane until Ctrl-C
    Up {
        /// Live in this directory and leave it behind
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Write an audit log
        #[arg(long)]
        audit: bool,
        /// A further argument of kube-apiserver
        #[arg(long = "apiserver-arg", allow_hyphen_values = true)]
        apiserver_args: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Verb::Fetch { build } => fetch(build).await,
        Verb::Build { programs } => build(programs).await,
        Verb::Up { dir, audit, apiserver_args } => {
            up(Options { keep_dir: dir, audit_log: audit, extra_apiserver_args: apiserver_args, ..Options::default() })
                .await
        }
    }
}

async fn fetch(build: bool) -> Result<()> {
    let environment = Environment::current()?;
    let found = if build {
        let folder = environment.cache.join(golang::VERSION);
        Found::Binaries(tokio::task::spawn_blocking(move || golang::build("go".as_ref(), &folder)).await??)
    } else {
        binaries::find(&environment).await?
    };
    match found {
        Found::Cluster(kubeconfig) => {
            println!("the tests use the cluster of {}", kubeconfig.display());
        }
        Found::Binaries(binaries) => {
            println!("{}: {}", binaries.origin, binaries.kube_apiserver.display());
            if binaries.kube_controller_manager.is_none() {
                println!("without a controller manager, which `fetch --build` builds");
            }
        }
    }
    Ok(())
}

async fn build(programs: Vec<String>) -> Result<()> {
    let folder = Environment::current()?.cache.join(golang::VERSION);
    let build = move || {
        let names: Vec<&str> = programs.iter().map(String::as_str).collect();
        golang::build_named("go".as_ref(), &folder, &names)
    };
    for path in tokio::task::spawn_blocking(build).await?? {
        println!("{}", path.display());
    }
    Ok(())
}

async fn up(options: Options) -> Result<()> {
    // Before the start, so that a Ctrl-C during it ends in an orderly way, too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let start = Instant::now();
    let cluster = tokio::select! {
        cluster = Cluster::start(options) => cluster?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    eprintln!("ready after {:.1} s, from {}", start.elapsed().as_secs_f64(), cluster.origin());
    if !cluster.has(Part::ControllerManager) {
        eprintln!("no controller manager: namespaces are not deleted and no garbage is collected");
    }
    println!("{}", cluster.kubeconfig().display());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cluster.stop();
    Ok(())
}
