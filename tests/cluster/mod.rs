//! A Kubernetes control plane for tests and for the demo: etcd, API server and the part of the
//! controller manager that deletes namespaces and collects garbage, on loopback, with RBAC on and
//! without nodes. It knows nothing of the operator.
//!
//! ```ignore
//! mod cluster;
//!
//! #[tokio::test]
//! async fn something() {
//!     let Some(cluster) = cluster::start_or_skip("something", cluster::Options::default()).await else { return };
//!     let client = cluster.client().unwrap();
//! }
//! ```
//!
//! `TEST_KUBECONFIG` names a cluster to use instead; nothing is started then. [`binaries`] tells
//! where the programs come from, [`supervisor`] why nothing stays behind.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test binary includes this module and uses a part of it"
)]

pub mod access;
pub mod archive;
mod backup;
pub mod binaries;
pub mod counts;
pub mod golang;
pub mod launch;
pub mod namespaces;
pub mod pki;
pub mod progress;
pub mod require;
pub mod supervisor;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use binaries::Unavailable;
pub use counts::ApiRequest;
pub use require::{Part, shared, skip, start_or_skip};

use binaries::{Environment, Found};
use supervisor::Supervisor;

/// How a cluster is started. None of it but `controller_manager` concerns a cluster that
/// `TEST_KUBECONFIG` names.
#[derive(Debug, Clone)]
pub struct Options {
    /// Write every request of everybody but the control plane itself to an audit log.
    pub audit_log: bool,
    /// Start the controller manager where there is one.
    pub controller_manager: bool,
    /// A directory to live in and to leave behind, instead of a temporary one. Whatever an
    /// earlier cluster left in it is removed; a directory with other contents is refused.
    pub keep_dir: Option<PathBuf>,
    /// Arguments of kube-apiserver that come last and therefore win.
    pub extra_apiserver_args: Vec<String>,
    /// Arguments of etcd that come last and therefore win.
    pub extra_etcd_args: Vec<String>,
    /// How long each component may take until it is ready.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            audit_log: false,
            controller_manager: true,
            keep_dir: None,
            extra_apiserver_args: Vec::new(),
            extra_etcd_args: Vec::new(),
            patience: Duration::from_secs(90),
        }
    }
}

/// A running cluster. Dropping it, or the death of this process, stops it and removes its
/// directory.
#[derive(Debug)]
pub struct Cluster {
    config: kube::Config,
    kubeconfig: PathBuf,
    provided: bool,
    has_controller_manager: bool,
    audit_log: Option<PathBuf>,
    origin: String,
    patience: Duration,
    etcd: Option<(launch::Command, u16)>,
    apiserver: Option<launch::Command>,
    controller_manager: Option<launch::Command>,
    supervisor: Supervisor,
}

impl Cluster {
    /// Starts a cluster, or joins the one that `TEST_KUBECONFIG` names.
    ///
    /// The error is an [`Unavailable`] where there is no control plane to be had; any other error
    /// means that one was there and did not start.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_in(&Environment::current()?, options).await
    }

    /// Starts a cluster as in an environment that need not be this process's.
    pub async fn start_in(environment: &Environment, options: Options) -> Result<Self> {
        install_crypto_provider();
        match binaries::find(environment).await? {
            Found::Cluster(kubeconfig) => Self::join(kubeconfig, &options).await,
            Found::Binaries(binaries) => launch::launch(&binaries, &options).await,
        }
    }

    async fn join(kubeconfig: PathBuf, options: &Options) -> Result<Self> {
        let read = Kubeconfig::read_from(&kubeconfig)
            .with_context(|| format!("cannot read TEST_KUBECONFIG={}", kubeconfig.display()))?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("cannot use TEST_KUBECONFIG={}", kubeconfig.display()))?;
        let mut cluster = Self {
            config,
            provided: true,
            has_controller_manager: false,
            audit_log: None,
            origin: format!("TEST_KUBECONFIG={}", kubeconfig.display()),
            kubeconfig,
            patience: options.patience,
            etcd: None,
            apiserver: None,
            controller_manager: None,
            supervisor: Supervisor::in_temporary_directory()?,
        };
        if let Err(error) = cluster.client()?.apiserver_version().await {
            bail!("the cluster of {} does not answer: {error}", cluster.origin);
        }
        // Whoever made this ServiceAccount is a controller manager.
        cluster.has_controller_manager = cluster.has_default_service_account().await?;
        cluster.delete_old_namespaces().await?;
        Ok(cluster)
    }

    /// The administrator's configuration.
    pub fn client_config(&self) -> kube::Config {
        self.config.clone()
    }

    /// A new client of the administrator. Clients belong to the runtime that made them: make one
    /// in every test.
    pub fn client(&self) -> Result<kube::Client> {
        kube::Client::try_from(self.config.clone()).context("cannot make a client")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's URL.
    pub fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// A directory of this cluster, for the files of a test; it goes when the cluster goes.
    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    /// Whether the cluster is somebody else's, named by `TEST_KUBECONFIG`.
    pub fn is_provided(&self) -> bool {
        self.provided
    }

    /// Where the control plane came from, for a person to read.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the cluster has the part.
    pub fn has(&self, part: Part) -> bool {
        match part {
            Part::ControllerManager => self.has_controller_manager,
            Part::AuditLog => self.audit_log.is_some(),
            Part::OwnApiServer => self.apiserver.is_some(),
        }
    }

    /// The process ids of what runs here: etcd, kube-apiserver, kube-controller-manager.
    pub fn process_ids(&self) -> Vec<(String, u32)> {
        self.supervisor.process_ids()
    }

    /// Kills the API server, as an outage; `restart_api_server` ends it.
    pub async fn stop_api_server(&self) -> Result<()> {
        if self.apiserver.is_none() {
            bail!("the API server is not ours to stop");
        }
        self.supervisor.kill(launch::API_SERVER).await
    }

    /// Starts the API server again, on the same port with the same arguments, and waits for it.
    pub async fn restart_api_server(&self) -> Result<()> {
        let command = self.apiserver.as_ref().context("the API server is not ours to start")?;
        self.supervisor.kill(launch::API_SERVER).await?;
        self.supervisor.start(launch::API_SERVER, command)?;
        launch::wait_for_api_server(&self.supervisor, &self.config, self.patience).await
    }

    /// Makes the garbage collector follow owners of a group whose CRDs were just created. By
    /// itself it looks for new kinds every 30 seconds, and at its start: so the controller manager
    /// is started again, where it is ours.
    pub async fn follow_owners_of(&self, group: &str) -> Result<()> {
        launch::wait_for_group(&self.client()?, group, self.patience).await?;
        let Some(command) = &self.controller_manager else {
            return Ok(());
        };
        self.supervisor.kill(launch::CONTROLLER_MANAGER).await?;
        launch::start_controller_manager(&self.supervisor, command, self.patience).await
    }

    /// Stops the cluster and waits until it is gone. Dropping it does the same.
    pub fn stop(self) {
        drop(self);
    }
}

/// kube and reqwest need it; a second installation is no error.
fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
