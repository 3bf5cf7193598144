//! `report`: what a support case needs, in one archive, without secrets.
//!
//! It reads with the rights of whoever runs it; what these do not reach is named in the README of the archive. Nothing
//! leaves this machine: the archive is for a person to look through and pass on.

mod bundle;
mod collect;
mod redact;
mod secrets;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::args;
use crate::cluster::Cluster;
use crate::failure::Failure;

/// Collects and writes.
pub(crate) async fn run(cluster: &Cluster, args: &args::Report) -> Result<(), Failure> {
    let now = Timestamp::now();
    let path = args.output.clone().unwrap_or_else(|| default_path(&cluster.namespace, now));
    let to_stdout = path == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::refused("an archive is nothing for a terminal; name a file with -o, or pipe it on"));
    }
    let bundle = collect::all(cluster, args).await?;
    let title = match &args.name {
        Some(name) => format!("Integration {name} in namespace {}, {now:.0}", cluster.namespace),
        None => format!("Integrations in namespace {}, {now:.0}", cluster.namespace),
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let failed = |source| Failure::Local { what: "write the report", source };
    if to_stdout {
        return bundle.write(&title, seconds, io::stdout().lock()).map_err(failed);
    }
    bundle.write(&title, seconds, create(&path)?).map_err(failed)?;
    println!("{} files in {}", bundle.len(), path.display());
    println!("Secrets were left out, and what looks like one; look through it before you pass it on.");
    Ok(())
}

fn default_path(namespace: &str, now: Timestamp) -> PathBuf {
    PathBuf::from(format!("integration-report-{namespace}-{}.tar.gz", now.strftime("%Y%m%dT%H%M%SZ")))
}

/// A new file that only its owner reads; one that is there is not written over.
fn create(path: &Path) -> Result<impl Write + use<>, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map_err(|error| Failure::refused(format!("cannot create {}: {error}", path.display())))
}
