//! What git knows of the source. A folder without history has no revision, and the time zero.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

/// The source that an image is made from.
#[derive(Debug)]
pub(crate) struct Source {
    /// The commit, with `-dirty` where something has been changed since; empty without history.
    pub(crate) revision: String,
    /// `SOURCE_DATE_EPOCH`, or the commit's time.
    pub(crate) created: Timestamp,
}

impl Source {
    /// Asks git about the folder. The epoch is the value of `SOURCE_DATE_EPOCH`.
    pub(crate) fn of(folder: &Path, epoch: Option<&str>) -> Result<Self> {
        let history = has_history(folder);
        let mut revision = String::new();
        if history && let Some(commit) = git(folder, &["rev-parse", "HEAD"]) {
            let changed = git(folder, &["status", "--porcelain"]).is_none_or(|files| !files.is_empty());
            revision = if changed { format!("{commit}-dirty") } else { commit };
        }
        let commit_time = || git(folder, &["log", "-1", "--format=%ct"])?.parse().ok();
        let seconds = match epoch {
            Some(epoch) => epoch.parse().context("SOURCE_DATE_EPOCH has to be seconds since 1970")?,
            None if history => commit_time().unwrap_or(0),
            None => 0,
        };
        let created = Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH is out of range")?;
        Ok(Self { revision, created })
    }
}

/// Whether the folder is a checkout itself. One that was unpacked inside of another project's checkout is not.
fn has_history(folder: &Path) -> bool {
    let top = git(folder, &["rev-parse", "--show-toplevel"]).and_then(|top| Path::new(&top).canonicalize().ok());
    top.is_some() && top == folder.canonicalize().ok()
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(folder).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
