//! The operator's binary: reads the command line, prepares cryptography and the log, and runs what was asked for.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use integration_operator::command::{probe, providers};
use integration_operator::config::{Cli, Command, LogFormat};
use integration_operator::{api, app, cleanup, import, telemetry};

/// A reconcile is thousands of small strings, and memory that was used for a list has to be given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // One implementation for the API server's connections and the providers' alike.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another implementation of cryptography is installed already");
    }
    let outcome: anyhow::Result<()> = match cli.command {
        Command::Crds => print(&crds()?),
        Command::Providers(arguments) => {
            return match providers::run(arguments) {
                Ok(answer) => print(&answer.text).map(|()| answer.exit_code()),
                Err(error) => {
                    eprintln!("error: {error:#}");
                    Ok(ExitCode::FAILURE)
                }
            };
        }
        Command::Run(options) => {
            let log = telemetry::init(&options.log, options.log_format).context("--log cannot be read")?;
            block_on(async {
                if let Some(file) = options.log_directives_file.clone() {
                    tokio::spawn(log.follow(file));
                }
                Box::pin(app::run(*options)).await
            })?
            .map_err(Into::into)
        }
        Command::Import(options) => {
            telemetry::init("warn", LogFormat::Text)?;
            let say = |line: &str| print(&format!("{line}\n")).unwrap_or_default();
            let failed = block_on(import::import(options, say))??;
            return Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) });
        }
        Command::Cleanup(options) => {
            telemetry::init("info", LogFormat::Text)?;
            block_on(cleanup::cleanup(options))?.map_err(Into::into)
        }
        Command::Probe(options) => block_on(probe::run(&options))?.and_then(|said| print(&said)),
    };
    outcome.map(|()| ExitCode::SUCCESS)
}

fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future))
}

fn crds() -> anyhow::Result<String> {
    let documents: Result<Vec<_>, _> = api::crds().iter().map(serde_yaml::to_string).collect();
    Ok(documents?.join("---\n"))
}

/// Writes to standard output; a reader that closed it early has seen what it wanted.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
