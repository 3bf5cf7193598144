//! The command line of `providers`.

use clap::{Args, Subcommand, ValueEnum};

use super::apply::Apply;
use super::diff::Diff;
use super::lint::Lint;
use super::test::Test;

/// Options of `providers`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Providers {
    /// What to do with descriptions of your own.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The one to describe; all are listed when absent.
    pub name: Option<String>,
    /// The form: yaml is what can be applied, comments and all.
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// What to do with descriptions of one's own.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell every mistake of a description, with its place in the file; exits with 1 where there is one.
    Lint(Lint),
    /// Play a recording of a vendor's documented answers to a description, without a network; exits with 1 where the
    /// operator would do otherwise than recorded.
    Test(Test),
    /// Tell what would change if a description were applied, and who would have to authorize again and why; exits with 2
    /// where somebody would.
    Diff(Diff),
    /// Make the cluster's providers those of these files: apply each, and delete what the same owner declared earlier.
    Apply(Apply),
}

/// Forms of `providers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Manifests as JSON.
    Json,
    /// Manifests as YAML.
    Yaml,
    /// Names alone.
    Name,
}
