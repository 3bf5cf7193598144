//! The operator's binary: reads the command line, prepares cryptography and the log, and runs what was asked for.

#![forbid(unsafe_code)]

use anyhow::Context as _;
use clap::Parser as _;
use integration_operator::config::{Cli, Command, LogFormat};
use integration_operator::provider::catalogue;
use integration_operator::{api, app, cleanup, telemetry};

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One implementation for the API server's connections and the providers' alike.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another implementation of cryptography is installed already");
    }
    match cli.command {
        Command::Crds => print(&crds()?),
        Command::Providers { name: None } => {
            print(&catalogue::names().fold(String::new(), |text, name| text + name + "\n"))
        }
        Command::Providers { name: Some(name) } => print(&preset(&name)?),
        Command::Run(options) => {
            telemetry::init(&options.log, options.log_format).context("--log cannot be read")?;
            block_on(app::run(*options))?.map_err(Into::into)
        }
        Command::Cleanup(options) => {
            telemetry::init("info", LogFormat::Text)?;
            block_on(cleanup::cleanup(options))?.map_err(Into::into)
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future))
}

fn crds() -> anyhow::Result<String> {
    let documents: Result<Vec<_>, _> = api::crds().iter().map(serde_yaml::to_string).collect();
    Ok(documents?.join("---\n"))
}

fn preset(name: &str) -> anyhow::Result<String> {
    let spec = catalogue::preset(name)
        .with_context(|| format!("there is no built-in description of {name}; run `providers` for a list"))?;
    Ok(serde_yaml::to_string(&spec)?)
}

/// Writes to standard output; a reader that closed it early has seen what it wanted.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
