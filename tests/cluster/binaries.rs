//! Where the control plane's programs come from. [`ways`] is the order, without a look at the
//! disk; [`find`] goes that way until one leads somewhere:
//!
//! 1. `TEST_KUBECONFIG`: a running cluster, no programs at all;
//! 2. `KUBEBUILDER_ASSETS`: a folder with etcd and kube-apiserver;
//! 3. the cache, of what was built from Go modules and of the published archive;
//! 4. the published archive, which has no controller manager;
//! 5. built from the Go modules in `tests/cluster/module`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::{self, Archive};
use super::launch::{API_SERVER, CONTROLLER_MANAGER, ETCD};
use super::{golang, progress};

/// No way led to a control plane; why not, way by way.
#[derive(Debug, thiserror::Error)]
pub struct Unavailable {
    reasons: Vec<String>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no control plane can be had: {}", self.reasons.join("; "))
    }
}

/// The programs of a control plane.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: Option<PathBuf>,
    /// For a person to read.
    pub origin: String,
}

impl Binaries {
    /// The programs in `folder`; the error names those that are missing and cannot be done without.
    pub fn in_folder(folder: &Path, origin: String) -> Result<Self> {
        let program = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let missing: Vec<&str> = [ETCD, API_SERVER].into_iter().filter(|name| program(name).is_none()).collect();
        anyhow::ensure!(missing.is_empty(), "{} has no {}", folder.display(), missing.join(" and no "));
        Ok(Self {
            etcd: folder.join(ETCD),
            kube_apiserver: folder.join(API_SERVER),
            kube_controller_manager: program(CONTROLLER_MANAGER),
            origin,
        })
    }
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// The kubeconfig of a running cluster.
    Cluster(PathBuf),
    Binaries(Binaries),
}

/// What the order depends on.
#[derive(Debug, Clone)]
pub struct Environment {
    pub test_kubeconfig: Option<PathBuf>,
    pub assets: Option<PathBuf>,
    /// The folder `controlplane` of the cache.
    pub cache: PathBuf,
    pub archive: Option<Archive>,
}

impl Environment {
    /// The environment of this process.
    pub fn current() -> Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name), std::env::consts::OS, std::env::consts::ARCH)
    }

    /// An environment of variables on a platform. A variable that is empty counts as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>, os: &str, arch: &str) -> Result<Self> {
        let variable = |name| lookup(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let cache = path("INTEGRATION_OPERATOR_CACHE")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("integration-operator")))
            .or_else(|| path("HOME").map(|home| home.join(".cache/integration-operator")))
            .context("set INTEGRATION_OPERATOR_CACHE: there is no HOME to put a cache in")?;
        let base_url = variable("ENVTEST_BASE_URL").map(|url| url.to_string_lossy().into_owned());
        Ok(Self {
            test_kubeconfig: path("TEST_KUBECONFIG"),
            assets: path("KUBEBUILDER_ASSETS"),
            cache: cache.join("controlplane"),
            archive: archive::published(os, arch, base_url),
        })
    }

    /// The folder of other tools, beside it.
    pub fn tools(&self) -> PathBuf {
        self.cache.with_file_name("tools")
    }

    fn built(&self) -> PathBuf {
        self.cache.join(golang::VERSION)
    }
}

/// One way to a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Cluster(PathBuf),
    Assets(PathBuf),
    /// What an earlier build left in this folder of the cache.
    Built(PathBuf),
    /// What an earlier download left in this folder of the cache.
    Unpacked(PathBuf),
    /// Download the archive into this folder of the cache.
    Download(Archive, PathBuf),
    /// Build into this folder of the cache.
    Build(PathBuf),
}

/// All ways, best first. A cluster that was named is the only one.
pub fn ways(environment: &Environment) -> Vec<Way> {
    if let Some(kubeconfig) = &environment.test_kubeconfig {
        return vec![Way::Cluster(kubeconfig.clone())];
    }
    let mut ways: Vec<Way> = environment.assets.iter().cloned().map(Way::Assets).collect();
    ways.push(Way::Built(environment.built()));
    if let Some(archive) = &environment.archive {
        let folder = environment.cache.join(archive.folder());
        ways.push(Way::Unpacked(folder.clone()));
        ways.push(Way::Download(archive.clone(), folder));
    }
    ways.push(Way::Build(environment.built()));
    ways
}

/// Goes all ways until one leads to a control plane. The error is an [`Unavailable`].
pub async fn find(environment: &Environment) -> Result<Found> {
    first_of(&ways(environment)).await
}

/// Goes these ways until one leads to a control plane, and says why the others did not.
pub async fn first_of(ways: &[Way]) -> Result<Found> {
    let mut reasons = Vec::new();
    for way in ways {
        match go(way).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => {
                progress::say(format_args!("{error:#}"));
                reasons.push(format!("{error:#}"));
            }
        }
    }
    Err(Unavailable { reasons }.into())
}

/// `None` where a cache has nothing, which is nothing to talk about.
async fn go(way: &Way) -> Result<Option<Found>> {
    let binaries = match way {
        Way::Cluster(kubeconfig) => return Ok(Some(Found::Cluster(kubeconfig.clone()))),
        Way::Assets(folder) => {
            let origin = format!("KUBEBUILDER_ASSETS={}", folder.display());
            Binaries::in_folder(folder, origin).context("KUBEBUILDER_ASSETS is of no use")?
        }
        Way::Built(folder) => {
            if !golang::is_complete(folder) {
                return Ok(None);
            }
            Binaries::in_folder(&golang::bin(folder), format!("a build of {}", golang::VERSION))?
        }
        Way::Unpacked(folder) => match archive::unpacked(folder) {
            Some(binaries) => binaries,
            None => return Ok(None),
        },
        Way::Download(archive, folder) => archive::fetch(archive, folder).await?,
        Way::Build(folder) => {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || golang::build("go".as_ref(), &folder)).await??
        }
    };
    Ok(Some(Found::Binaries(binaries)))
}
