//! `kubectl integration`: connects projects to third-party apps and tells how their connections are.
//!
//! It talks to the API server with the rights of whoever runs it, and changes nothing but the annotations by which the
//! operator is asked for something. Only `connect --server`, `post`, `call` and `token` talk to the operator itself. Modules that decide what to
//! say ([`words`], [`status::block`], [`status::table`], [`connect::outcome`]) are pure: an object and a time in, text out.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

mod act;
mod adopt;
mod args;
mod cluster;
mod complete;
mod connect;
mod doctor;
mod failure;
mod paint;
mod providers;
mod report;
mod request;
mod status;
mod using;
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
    match Box::pin(run(Cli::parse())).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well; `doctor` alone answers and yet says no.
async fn run(cli: Cli) -> Result<bool, Failure> {
    let open = Cluster::open(&cli.cluster);
    match cli.command {
        // Neither needs a cluster, and the second is quiet without one.
        Command::Completion(completion) => complete::script(completion.shell),
        Command::Complete(complete) => {
            complete::words(&complete.words).await;
            Ok(())
        }
        Command::Connect(connect) => connect::run(&open.await?, &connect).await,
        Command::Status(status) => status::run(&open.await?, &status).await,
        Command::Providers(providers) => providers::run(&open.await?, &providers).await,
        Command::Refresh(act) => act::refresh(&open.await?, &act).await,
        Command::Check(act) => act::check(&open.await?, &act).await,
        Command::Disconnect(disconnect) => act::disconnect(&open.await?, &disconnect).await,
        Command::Adopt(request) => adopt::run(&open.await?, &request).await,
        Command::Post(post) => using::post(&open.await?, &post).await,
        Command::Call(call) => using::call(&open.await?, &call).await,
        Command::Token(token) => using::token(&open.await?, &token).await,
        Command::Report(report) => report::run(&open.await?, &report).await,
        Command::Doctor(doctor) => return doctor::run(&open.await?, &doctor).await,
    }?;
    Ok(true)
}
