//! Starts the three components and waits for each: etcd, then the API server, then the controller
//! manager. A port that somebody else took in between means a fresh start.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::access::{self, Credential};
use super::binaries::Binaries;
use super::pki::Pki;
use super::supervisor::{Supervisor, quote};
use super::{Cluster, Options};

pub const ETCD: &str = "etcd";
pub const API_SERVER: &str = "kube-apiserver";
/// Where etcd keeps everything.
pub const ETCD_DATA: &str = "etcd-data";
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// The API server first: it hangs without etcd.
pub const STOP_ORDER: [&str; 3] = [API_SERVER, CONTROLLER_MANAGER, ETCD];

/// The control plane's own users, whose requests are no test's business.
pub const CONTROLLER_MANAGER_USER: &str = "system:kube-controller-manager";
const ADMIN_USER: &str = "test-admin";
const ADMIN_GROUP: &str = "system:masters";

const ATTEMPTS: usize = 5;

/// A program and its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Command {
    fn new(program: &Path, arguments: Vec<String>) -> Self {
        Self { program: program.to_owned(), arguments }
    }

    /// The command as a shell script that becomes the program.
    pub fn script(&self) -> String {
        let words: Vec<String> = std::iter::once(self.program.to_string_lossy().as_ref())
            .chain(self.arguments.iter().map(String::as_str))
            .map(quote)
            .collect();
        format!("exec {}\n", words.join(" "))
    }
}

/// Somebody else was faster on a port.
#[derive(Debug, thiserror::Error)]
#[error("a port was taken by somebody else before {0} had it")]
struct PortTaken(&'static str);

/// Starts a cluster of its own.
pub async fn launch(binaries: &Binaries, options: &Options) -> Result<Cluster> {
    for _ in 1..ATTEMPTS {
        match launch_once(binaries, options).await {
            Err(error) if error.is::<PortTaken>() => {}
            result => return result,
        }
    }
    launch_once(binaries, options).await
}

async fn launch_once(binaries: &Binaries, options: &Options) -> Result<Cluster> {
    let supervisor = match &options.keep_dir {
        Some(directory) => Supervisor::in_kept_directory(directory)?,
        None => Supervisor::in_temporary_directory()?,
    };
    let pki = Pki::new()?;
    let [etcd_port, api_port] = free_ports()?;
    let files = Files::write(&supervisor, &pki, api_port)?;

    let etcd = files.etcd(binaries, options, etcd_port);
    supervisor.start(ETCD, &etcd)?;
    wait_for_etcd(&supervisor, etcd_port, options.patience).await?;

    let apiserver = files.apiserver(binaries, options, etcd_port, api_port);
    supervisor.start(API_SERVER, &apiserver)?;
    let kubeconfig = files.path("kubeconfig");
    let config =
        kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default())
            .await?;
    wait_for_api_server(&supervisor, &config, options.patience).await?;

    let controller_manager = binaries
        .kube_controller_manager
        .as_deref()
        .filter(|_| options.controller_manager)
        .map(|program| files.controller_manager(program));
    if let Some(command) = &controller_manager {
        start_controller_manager(&supervisor, command, options.patience).await?;
    }
    let cluster = Cluster {
        config,
        kubeconfig,
        provided: false,
        has_controller_manager: controller_manager.is_some(),
        audit_log: options.audit_log.then(|| files.path("audit.log")),
        origin: binaries.origin.clone(),
        patience: options.patience,
        etcd: Some((etcd, etcd_port)),
        apiserver: Some(apiserver),
        controller_manager,
        supervisor,
    };
    if cluster.has_controller_manager {
        cluster.wait_for_controller_manager().await?;
    }
    Ok(cluster)
}

/// Free ports, distinct because they are held until all are known.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// The files that the components read, by absolute path.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn write(supervisor: &Supervisor, pki: &Pki, api_port: u16) -> Result<Self> {
        let ca = pki.authority_pem();
        supervisor.write("ca.crt", &ca)?;
        supervisor.write("service-account.key", &pki.service_account_key_pem())?;
        supervisor.write("service-account.pub", &pki.service_account_public_key_pem())?;
        supervisor.write("audit-policy.json", &audit_policy())?;
        for (name, identity) in [
            ("etcd", pki.server("etcd")?),
            ("apiserver", pki.server("kube-apiserver")?),
            ("etcd-client", pki.client("kube-apiserver", "etcd-clients")?),
        ] {
            supervisor.write(&format!("{name}.crt"), &identity.certificate)?;
            supervisor.write(&format!("{name}.key"), &identity.key)?;
        }
        let server = format!("https://127.0.0.1:{api_port}");
        for (file, user) in [("kubeconfig", ADMIN_USER), ("controller-manager.kubeconfig", CONTROLLER_MANAGER_USER)] {
            let credential = Credential::Certificate(&pki.client(user, ADMIN_GROUP)?);
            let kubeconfig = access::kubeconfig(&access::cluster_entry(&server, &ca), "default", &credential);
            supervisor.write(file, &kubeconfig)?;
        }
        Ok(Self { directory: supervisor.directory().to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn argument(&self, flag: &str, file: &str) -> String {
        format!("--{flag}={}", self.path(file).display())
    }

    fn etcd(&self, binaries: &Binaries, options: &Options, port: u16) -> Command {
        let url = format!("https://127.0.0.1:{port}");
        let arguments = [
            self.argument("data-dir", ETCD_DATA),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            // There are no peers; whichever port is free will do.
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
            self.argument("cert-file", "etcd.crt"),
            self.argument("key-file", "etcd.key"),
            self.argument("trusted-ca-file", "ca.crt"),
            "--client-cert-auth=true".to_owned(),
            "--enable-grpc-gateway=false".to_owned(),
            "--unsafe-no-fsync=true".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        Command::new(&binaries.etcd, arguments.into_iter().chain(options.extra_etcd_args.iter().cloned()).collect())
    }

    fn apiserver(&self, binaries: &Binaries, options: &Options, etcd_port: u16, port: u16) -> Command {
        let mut arguments = vec![
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // Endpoints of the service `kubernetes` may not be on loopback.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={port}"),
            self.argument("tls-cert-file", "apiserver.crt"),
            self.argument("tls-private-key-file", "apiserver.key"),
            self.argument("client-ca-file", "ca.crt"),
            format!("--etcd-servers=https://127.0.0.1:{etcd_port}"),
            self.argument("etcd-cafile", "ca.crt"),
            self.argument("etcd-certfile", "etcd-client.crt"),
            self.argument("etcd-keyfile", "etcd-client.key"),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            self.argument("service-account-key-file", "service-account.pub"),
            self.argument("service-account-signing-key-file", "service-account.key"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--profiling=false".to_owned(),
        ];
        if options.audit_log {
            arguments.push(self.argument("audit-policy-file", "audit-policy.json"));
            arguments.push(self.argument("audit-log-path", "audit.log"));
        }
        arguments.extend(options.extra_apiserver_args.iter().cloned());
        Command::new(&binaries.kube_apiserver, arguments)
    }

    fn controller_manager(&self, program: &Path) -> Command {
        Command::new(
            program,
            vec![
                self.argument("kubeconfig", "controller-manager.kubeconfig"),
                "--controllers=namespace,serviceaccount,serviceaccount-token,garbagecollector".to_owned(),
                self.argument("service-account-private-key-file", "service-account.key"),
                self.argument("root-ca-file", "ca.crt"),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                "--kube-api-qps=500".to_owned(),
                "--kube-api-burst=1000".to_owned(),
            ],
        )
    }
}

/// Who did what to which object, without bodies; not what the control plane does by itself.
fn audit_policy() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": [CONTROLLER_MANAGER_USER, "system:apiserver", "system:anonymous"]},
            {"level": "Metadata"},
        ],
    })
    .to_string()
}

/// Waits until etcd listens.
pub async fn wait_for_etcd(supervisor: &Supervisor, port: u16, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        pause(supervisor, ETCD, deadline, "nothing listens on its port").await?;
    }
    Ok(())
}

/// Waits until the API server calls itself ready.
pub async fn wait_for_api_server(supervisor: &Supervisor, config: &kube::Config, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut impatient = config.clone();
    impatient.default_retry = false;
    let client = kube::Client::try_from(impatient)?;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
        let why = match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "/readyz does not answer".to_owned(),
        };
        pause(supervisor, API_SERVER, deadline, &why).await?;
    }
}

/// Starts the controller manager and waits until it follows owners.
pub async fn start_controller_manager(supervisor: &Supervisor, command: &Command, patience: Duration) -> Result<()> {
    // It has no other way to tell: its readiness does not depend on its controllers.
    let synced = || {
        let log = supervisor.log(CONTROLLER_MANAGER);
        log.matches("all resource monitors have synced").count()
    };
    let before = synced();
    let deadline = Instant::now() + patience;
    supervisor.start(CONTROLLER_MANAGER, command)?;
    while synced() == before {
        let why = "its garbage collector has not looked at all resources";
        pause(supervisor, CONTROLLER_MANAGER, deadline, why).await?;
    }
    Ok(())
}

/// Waits until the API server lists a group: its resources answer a little earlier.
pub async fn wait_for_group(client: &kube::Client, group: &str, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let groups = client.list_api_groups_aggregated().await.context("cannot list the API groups")?;
        let mut names = groups.items.iter().filter_map(|item| item.metadata.as_ref()?.name.as_deref());
        if names.any(|name| name == group) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the API server does not list the group {group}");
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A short wait between two looks at a component, unless it ended or time is up.
async fn pause(supervisor: &Supervisor, name: &'static str, deadline: Instant, why: &str) -> Result<()> {
    if let Some(code) = supervisor.exit_code(name) {
        let tail = supervisor.log_tail(name);
        if tail.contains("address already in use") {
            return Err(PortTaken(name).into());
        }
        bail!("{name} ended with exit code {code}; the end of its log:\n{tail}");
    }
    // An API server whose etcd is gone would wait for it in vain.
    if name != ETCD
        && let Some(code) = supervisor.exit_code(ETCD)
    {
        let tail = supervisor.log_tail(ETCD);
        if tail.contains("address already in use") {
            return Err(PortTaken(ETCD).into());
        }
        bail!("{ETCD} ended with exit code {code}; the end of its log:\n{tail}");
    }
    if Instant::now() > deadline {
        bail!("{name} is not ready in time: {why}; the end of its log:\n{}", supervisor.log_tail(name));
    }
    tokio::time::sleep(Duration::from_millis(25)).await;
    Ok(())
}

impl Cluster {
    /// Whether a controller made the `ServiceAccount` that every namespace gets.
    pub(super) async fn has_default_service_account(&self) -> Result<bool> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, "default");
        let account = accounts.get_opt("default").await.context("cannot read a ServiceAccount")?;
        Ok(account.is_some())
    }

    async fn wait_for_controller_manager(&self) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        while !self.has_default_service_account().await? {
            let why = "the namespace `default` has no ServiceAccount";
            pause(&self.supervisor, CONTROLLER_MANAGER, deadline, why).await?;
        }
        Ok(())
    }
}
