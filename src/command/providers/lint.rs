//! `providers lint`: every mistake of a file, with its place.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Answer;
use crate::provider::lint::{Finding, Severity, lint};

/// Options of `providers lint`.
#[derive(Debug, Args)]
pub struct Lint {
    /// Files with descriptions; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The form.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: LintOutput,
}

/// Forms of `providers lint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LintOutput {
    /// A line each, which editors understand.
    #[default]
    Text,
    /// A list of objects.
    Json,
}

/// A finding, with its file.
#[derive(Serialize)]
struct InFile<'a> {
    file: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Looks at files. Exits with 1 where there is an error; warnings alone are none.
pub(super) fn run(options: &Lint) -> anyhow::Result<Answer> {
    let mut findings: Vec<(String, Finding)> = Vec::new();
    for path in &options.files {
        let name = path.display().to_string();
        findings.extend(lint(&read(path)?).into_iter().map(|finding| (name.clone(), finding)));
    }
    let code = u8::from(findings.iter().any(|(_, finding)| finding.severity == Severity::Error));
    let text = match options.output {
        LintOutput::Text => {
            findings.iter().fold(String::new(), |text, (file, finding)| text + &format!("{file}:{finding}\n"))
        }
        LintOutput::Json => {
            let all: Vec<_> = findings.iter().map(|(file, finding)| InFile { file, finding }).collect();
            serde_json::to_string_pretty(&all)? + "\n"
        }
    };
    Ok(Answer { text, code })
}

/// Reads a file, or standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
