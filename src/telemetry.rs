//! The log: one line an event, for people or as JSON, and never a secret.
//!
//! Our own types print their secrets as `[redacted]`. The crates beneath us know nothing of that, and some write whole
//! frames when they are asked for `trace`; so whatever is asked for, they are heard down to `info` or `debug` only.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::causes::chain;
use crate::config::LogFormat;

/// Crates that see raw bytes of requests and answers.
const WIRE: [&str; 7] = ["h2", "hyper", "hyper_util", "reqwest", "rustls", "tokio_rustls", "tower"];

/// How often the file with directives is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Most that is read of it, in bytes; what a `ConfigMap` can hold is more.
const LARGEST_FILE: u64 = 16 * 1024;

/// The log, as far as it can be changed while it is written.
#[derive(Clone, Debug)]
pub struct Log {
    wanted: reload::Handle<EnvFilter, Registry>,
    /// What was asked for at the start.
    given: String,
}

/// Directives from a file could not be taken over.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("the file cannot be read")]
    Read(#[from] std::io::Error),
    #[error("the file has more than {LARGEST_FILE} bytes")]
    TooLarge,
    #[error("the file is not of the form of --log, such as `info` or `integration_operator=debug,kube=warn`")]
    Parse(#[from] ParseError),
    #[error("the log takes no changes any more")]
    Reload(#[from] reload::Error),
}

/// Starts the log. `directives` as in `LOG`.
pub fn init(directives: &str, format: LogFormat) -> Result<Log, ParseError> {
    let (wanted, handle) = reload::Layer::new(filter(directives)?);
    let layer = match format {
        LogFormat::Text => fmt::layer()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    Registry::default().with(wanted).with(layer.with_filter(filter_fn(is_safe))).init();
    Ok(Log { wanted: handle, given: directives.to_owned() })
}

impl Log {
    /// Does what a file says, from now on and whenever it changes. Its limits are those of `LOG`: see `is_safe`.
    pub async fn follow(self, path: PathBuf) {
        // What was taken over, or found useless, last: nothing is told twice.
        let (mut taken, mut told) = (None, None);
        loop {
            match self.look(&path, taken.as_deref()).await {
                Ok(None) => told = None,
                Ok(Some(directives)) => {
                    tracing::info!(directives, "what is logged was changed");
                    (taken, told) = (Some(directives), None);
                }
                Err(error) => {
                    let error = chain(&error);
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(file = %path.display(), error, "what is logged stays as it is");
                    }
                    told = Some(error);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes the file over where it says something else than before. An empty one says what was given at the start.
    async fn look(&self, path: &Path, taken: Option<&str>) -> Result<Option<String>, FollowError> {
        let file = tokio::fs::File::open(path).await?;
        let mut text = String::new();
        file.take(LARGEST_FILE + 1).read_to_string(&mut text).await?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(FollowError::TooLarge);
        }
        let directives = match text.trim() {
            "" => &self.given,
            text => text,
        };
        if taken == Some(directives) {
            return Ok(None);
        }
        self.wanted.reload(filter(directives)?)?;
        Ok(Some(directives.to_owned()))
    }
}

fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(directives)
}

/// Whether a line of this origin and level may be written at all.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let origin = metadata.target().split("::").next().unwrap_or_default();
    if origin == "integration_operator" {
        return true;
    }
    let limit = if WIRE.contains(&origin) { Level::INFO } else { Level::DEBUG };
    *metadata.level() <= limit
}
