//! Backups of etcd, and the way back to one: what administrators do after a disaster, and what makes everybody else see the
//! past.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Cluster;
use super::launch::{self, API_SERVER, ETCD, ETCD_DATA};

impl Cluster {
    /// Copies everything that is stored, under a name. The control plane is down meanwhile.
    pub async fn back_up(&self, name: &str) -> Result<()> {
        let (data, backup) = (self.directory().join(ETCD_DATA), self.backup(name));
        self.while_down(|| copy(&data, &backup)).await
    }

    /// Goes back to a backup. The control plane is down meanwhile, and what was stored since is gone.
    pub async fn restore(&self, name: &str) -> Result<()> {
        let (data, backup) = (self.directory().join(ETCD_DATA), self.backup(name));
        self.while_down(|| {
            std::fs::remove_dir_all(&data)?;
            copy(&backup, &data)
        })
        .await
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.directory().join(format!("{ETCD_DATA}-{name}"))
    }

    async fn while_down(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let (etcd, port) = self.etcd.as_ref().context("etcd is not ours to stop")?;
        self.supervisor.kill(API_SERVER).await?;
        self.supervisor.kill(ETCD).await?;
        change()?;
        self.supervisor.start(ETCD, etcd)?;
        launch::wait_for_etcd(&self.supervisor, *port, self.patience).await?;
        self.restart_api_server().await
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().context("cannot start cp")?;
    ensure!(copied.success(), "cannot copy {} to {}", from.display(), to.display());
    Ok(())
}
