//! The cluster that is tested on: a node of our own, kind, or one that somebody named.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::images::Image;
use crate::programs::Programs;
use crate::shell::{command, find, output, source};
use crate::voice::say;

/// What the packages of Debian are called that the node needs, and a program of each.
const PACKAGES: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("iproute2", "ip"),
    ("conntrack", "conntrack"),
    ("dnsmasq-base", "dnsmasq"),
    ("ethtool", "ethtool"),
    ("openssl", "openssl"),
];
const NETWORK_PLUGINS: (&str, &str) = ("containernetworking-plugins", "/usr/lib/cni/bridge");
/// The name of the cluster that kind makes.
const KIND: &str = "integration-operator-e2e";

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A node of our own, on this machine.
    Node,
    /// A cluster that kind makes, with Docker.
    Kind,
    /// The cluster of this kubeconfig.
    Given(PathBuf),
}

impl std::str::FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "node" => Self::Node,
            "kind" => Self::Kind,
            path => Self::Given(PathBuf::from(path)),
        })
    }
}

/// A running cluster; what we made is taken away when it is dropped.
pub(crate) struct Cluster {
    choice: Choice,
    /// Of an administrator.
    pub(crate) kubeconfig: PathBuf,
    /// Where Pods reach this machine.
    pub(crate) host: IpAddr,
    /// Where this machine reaches ports of the node.
    pub(crate) node: IpAddr,
    directory: PathBuf,
    programs: Programs,
    keep: bool,
}

impl Cluster {
    /// Starts the cluster, or looks at the one that was named. `directory` holds its state.
    pub(crate) async fn start(
        choice: &Choice,
        programs: &Programs,
        pause: &Image,
        directory: &Path,
        keep: bool,
    ) -> Result<Self> {
        match choice {
            Choice::Node => Self::start_node(programs, pause, directory, keep).await,
            Choice::Kind => Self::start_kind(programs, directory, keep).await,
            Choice::Given(kubeconfig) => Self::look_at(programs, kubeconfig, directory).await,
        }
    }

    async fn start_node(programs: &Programs, pause: &Image, directory: &Path, keep: bool) -> Result<Self> {
        packages().await?;
        let cluster = Self {
            choice: Choice::Node,
            kubeconfig: directory.join("kubeconfig/admin"),
            host: [10, 99, 0, 1].into(),
            node: [10, 99, 0, 2].into(),
            directory: directory.to_owned(),
            programs: programs.clone(),
            keep,
        };
        std::fs::create_dir_all(directory)?;
        std::fs::copy(&pause.archive, directory.join("pause.tar"))?;
        output(cluster.script("up.sh").env_remove("KUBECONFIG")).await.context("the node did not start")?;
        Ok(cluster)
    }

    async fn start_kind(programs: &Programs, directory: &Path, keep: bool) -> Result<Self> {
        for program in ["kind", "docker"] {
            ensure!(find(program).is_some(), "CLUSTER=kind needs {program} on the path");
        }
        std::fs::create_dir_all(directory)?;
        let kubeconfig = directory.join("kubeconfig");
        let known = output(command("kind").args(["get", "clusters"])).await?;
        if !known.lines().any(|name| name == KIND) {
            output(
                command("kind")
                    .args(["create", "cluster", "--name", KIND, "--wait", "180s", "--kubeconfig"])
                    .arg(&kubeconfig),
            )
            .await?;
        }
        let text = output(command("kind").args(["get", "kubeconfig", "--name", KIND])).await?;
        std::fs::write(&kubeconfig, text)?;
        let docker = async |arguments: &[&str]| -> Result<IpAddr> {
            let text = output(command("docker").args(arguments)).await?;
            text.split_whitespace()
                .find_map(|word| word.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4))
                .with_context(|| format!("docker {} names no address", arguments.join(" ")))
        };
        let gateways = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
        let addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        Ok(Self {
            choice: Choice::Kind,
            kubeconfig,
            host: docker(&["network", "inspect", "kind", "--format", gateways]).await?,
            node: docker(&["inspect", &format!("{KIND}-control-plane"), "--format", addresses]).await?,
            directory: directory.to_owned(),
            programs: programs.clone(),
            keep,
        })
    }

    async fn look_at(programs: &Programs, kubeconfig: &Path, directory: &Path) -> Result<Self> {
        ensure!(kubeconfig.is_file(), "CLUSTER={} is neither node, kind nor a kubeconfig", kubeconfig.display());
        let host = std::env::var("E2E_HOST_ADDRESS").context(
            "set E2E_HOST_ADDRESS: under which address do Pods of this cluster reach this machine, which runs the OAuth servers?",
        )?;
        let address = "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
        let node = output(command(&programs.kubectl).arg("--kubeconfig").arg(kubeconfig).args([
            "get",
            "nodes",
            "-o",
            &format!("jsonpath={address}"),
        ]))
        .await?;
        Ok(Self {
            choice: Choice::Given(kubeconfig.to_owned()),
            kubeconfig: kubeconfig.to_owned(),
            host: host.parse().context("E2E_HOST_ADDRESS is no address")?,
            node: node.trim().parse().context("the first node of the cluster has no address")?,
            directory: directory.to_owned(),
            programs: programs.clone(),
            keep: true,
        })
    }

    /// Makes an image known to the cluster.
    pub(crate) async fn load(&self, image: &Image) -> Result<()> {
        match &self.choice {
            Choice::Node => {
                let mut import = self.script("do.sh");
                import.args(["ctr", "-n", "k8s.io", "images", "import"]).arg(&image.archive);
                output(&mut import).await.map(drop)
            }
            Choice::Kind => {
                let mut load = command("kind");
                load.args(["load", "image-archive", "--name", KIND]).arg(&image.archive);
                output(&mut load).await.map(drop)
            }
            Choice::Given(_) => {
                say(format_args!("{} has to be in a registry that the cluster pulls from", image.reference));
                Ok(())
            }
        }
    }

    /// Kills the API server; whoever keeps it starts it again. `false` where that is not ours to do.
    pub(crate) async fn kill_api_server(&self) -> Result<bool> {
        match &self.choice {
            Choice::Node => {
                output(self.script("do.sh").args(["pkill", "-9", "-x", "kube-apiserver"])).await?;
            }
            Choice::Kind => {
                let container = format!("{KIND}-control-plane");
                output(command("docker").args(["exec", &container, "pkill", "-9", "-x", "kube-apiserver"])).await?;
            }
            Choice::Given(_) => return Ok(false),
        }
        Ok(true)
    }

    /// kubectl, as an administrator.
    pub(crate) fn kubectl(&self) -> tokio::process::Command {
        let mut kubectl = command(&self.programs.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig);
        kubectl
    }

    /// Helm, as an administrator.
    pub(crate) fn helm(&self) -> tokio::process::Command {
        let mut helm = command(&self.programs.helm);
        helm.arg("--kubeconfig").arg(&self.kubeconfig);
        helm
    }

    fn script(&self, name: &str) -> tokio::process::Command {
        let mut script = command(source().join("tests/node").join(name));
        script.env("NODE_DIR", &self.directory).env("NODE_BIN", &self.programs.node);
        script
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = match &self.choice {
            _ if self.keep => return,
            Choice::Node => self.script("down.sh"),
            Choice::Kind => {
                let mut delete = command("kind");
                delete.args(["delete", "cluster", "--name", KIND]);
                delete
            }
            Choice::Given(_) => return,
        };
        let _ = stop.as_std_mut().status();
    }
}

/// Installs what the node needs, where that is ours to do.
async fn packages() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a node of our own needs root; or use CLUSTER=kind");
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| find(program).is_none()).map(|(package, _)| *package).collect();
    if !Path::new(NETWORK_PLUGINS.1).is_file() {
        missing.push(NETWORK_PLUGINS.0);
    }
    install(&missing).await
}

/// Installs packages of Debian.
pub(crate) async fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        bail!("missing: {}. Install them, or run this as root on Debian or Ubuntu", packages.join(", "));
    }
    say(format_args!("installing {}", packages.join(", ")));
    output(command("apt-get").args(["update", "-qq"])).await?;
    let mut apt = command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-qq", "-y", "--no-install-recommends"])
        .args(packages);
    output(&mut apt).await.map(drop)
}
