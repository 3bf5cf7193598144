//! `kubectl integration`: connects projects to third-party apps and tells how their connections are.
//!
//! It talks to the API server with the rights of whoever runs it, and changes nothing but the annotations by which the
//! operator is asked for something. Only `connect --server` talks to the operator itself. Modules that decide what to
//! say ([`words`], [`status::block`], [`status::table`], [`connect::outcome`]) are pure: an object and a time in, text out.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

mod act;
mod adopt;
mod args;
mod cluster;
mod connect;
mod failure;
mod paint;
mod providers;
mod request;
mod status;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use cluster::Cluster;
use failure::Failure;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Two TLS clients share one provider: kube's and, for `connect --server`, reqwest's. A second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let cluster = Cluster::open(&cli.cluster).await?;
    match cli.command {
        Command::Connect(connect) => connect::run(&cluster, &connect).await,
        Command::Status(status) => status::run(&cluster, &status).await,
        Command::Providers(providers) => providers::run(&cluster, &providers).await,
        Command::Refresh(act) => act::refresh(&cluster, &act).await,
        Command::Check(act) => act::check(&cluster, &act).await,
        Command::Disconnect(disconnect) => act::disconnect(&cluster, &disconnect).await,
        Command::Adopt(request) => adopt::run(&cluster, &request).await,
    }
}
