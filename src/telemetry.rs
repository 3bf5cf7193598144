//! The log: one line an event, for people or as JSON, and never a secret.
//!
//! Our own types print their secrets as `[redacted]`. The crates beneath us know nothing of that, and some write whole
//! frames when they are asked for `trace`; so whatever is asked for, they are heard down to `info` or `debug` only.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::config::LogFormat;

/// Crates that see raw bytes of requests and answers.
const WIRE: [&str; 7] = ["h2", "hyper", "hyper_util", "reqwest", "rustls", "tokio_rustls", "tower"];

/// Starts the log. `directives` as in `LOG`.
pub fn init(directives: &str, format: LogFormat) -> Result<(), ParseError> {
    let wanted = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(directives)?;
    let layer = match format {
        LogFormat::Text => fmt::layer()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    Registry::default().with(wanted).with(layer.with_filter(filter_fn(is_safe))).init();
    Ok(())
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
