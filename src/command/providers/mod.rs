//! `providers`: the catalogue, and help for whoever writes a description.

mod apply;
mod args;
mod diff;
mod lint;
mod list;
mod test;

use std::process::ExitCode;

pub use args::{Output, Providers};

use crate::text;
use args::Command;

/// What a command says, and whether all is well.
#[derive(Debug)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Answer {
    /// All is well.
    fn well(text: String) -> Self {
        Self { text, code: 0 }
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Carries a command out.
pub fn run(arguments: Providers) -> anyhow::Result<Answer> {
    match (arguments.command, arguments.name) {
        (Some(Command::Lint(options)), _) => lint::run(&options),
        (Some(Command::Diff(options)), _) => diff::run(&options),
        (Some(Command::Apply(options)), _) => apply::run(&options),
        (Some(Command::Test(options)), _) => test::run(&options),
        (None, None) => list::all(arguments.output).map(Answer::well),
        (None, Some(name)) => list::one(&name, arguments.output).map(Answer::well),
    }
}
