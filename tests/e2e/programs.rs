//! kubectl, helm and what the node is made of: found, or built from the pinned Go module.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::cluster::Choice;
use crate::shell::{command, find, output, source};

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
    /// A folder with the programs of a node; empty where none is started.
    pub(crate) node: PathBuf,
}

impl Programs {
    /// All that is needed for a choice of cluster.
    pub(crate) async fn get(choice: &Choice) -> Result<Self> {
        let mut wanted = vec!["helm", "kubectl"];
        if *choice == Choice::Node {
            wanted.extend([
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
            ]);
        } else if let (Some(helm), Some(kubectl)) = (find("helm"), find("kubectl")) {
            return Ok(Self { kubectl, helm, node: PathBuf::new() });
        }
        let cluster = std::env::current_exe()?.with_file_name("cluster");
        ensure!(cluster.is_file(), "there is no {}; `make e2e` builds it", cluster.display());
        let mut build = command(cluster);
        build.current_dir(source()).arg("build").args(&wanted).stderr(std::process::Stdio::inherit());
        let paths = output(&mut build).await?;
        let last = paths.lines().last().map(PathBuf::from).unwrap_or_default();
        let folder = last.parent().map(PathBuf::from).unwrap_or_default();
        ensure!(folder.join("kubectl").is_file(), "{} has no kubectl", folder.display());
        Ok(Self { kubectl: folder.join("kubectl"), helm: folder.join("helm"), node: folder })
    }
}
