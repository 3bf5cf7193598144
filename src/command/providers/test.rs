//! `providers test`: plays recordings to descriptions, offline.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use super::Answer;
use super::lint::read;
use crate::recording::play;

/// Options of `providers test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Descriptions; the recording of slack.yaml is slack.recording.yaml beside it.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The recording, where it lies elsewhere.
    #[arg(long, value_name = "FILE")]
    pub recording: Option<PathBuf>,
}

/// Plays recordings. Exits with 1 where a step fails.
pub(super) fn run(options: &Test) -> anyhow::Result<Answer> {
    if options.recording.is_some() && options.files.len() > 1 {
        bail!("--recording goes with one description");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut text, mut code) = (String::new(), 0);
    for file in &options.files {
        let recording = options.recording.clone().unwrap_or_else(|| beside(file));
        let (description, played) = (read(file)?, read(&recording)?);
        let report = runtime
            .block_on(play(&description, &played))
            .with_context(|| format!("{} with {}", file.display(), recording.display()))?;
        text.extend([file.display().to_string(), "\n".to_owned(), report.in_words()]);
        code = code.max(u8::from(!report.is_well()));
    }
    Ok(Answer { text, code })
}

/// `slack.recording.yaml` for `slack.yaml`.
fn beside(file: &Path) -> PathBuf {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("yaml");
    file.with_extension(format!("recording.{extension}"))
}
