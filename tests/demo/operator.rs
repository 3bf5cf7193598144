//! The operator's process. It is the child of a small `sh` that waits for the end of a pipe whose other end only the demo
//! holds: when that ends, because the demo is done, crashed or was killed, the shell stops the operator. The shell ends
//! with the operator, and with its exit code.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// The port one expects; another where it is taken.
pub(crate) const USUAL_PORT: u16 = 8080;

const SCRIPT: &str = r#"
log=$1
shift
exec 3<&0
"$@" >"$log" 2>&1 </dev/null 3<&- &
operator=$!
trap '' HUP INT TERM
{
    while read -r _; do :; done
    kill "$operator"
    tries=0
    while kill -0 "$operator" && [ "$tries" -lt 50 ]; do
        tries=$((tries + 1)); sleep 0.1
    done
    kill -9 "$operator"
} <&3 &
watch=$!
exec 3<&-
wait "$operator"
code=$?
kill -9 "$watch"
exit "$code"
"#;

/// A running operator; stopped when dropped.
pub(crate) struct Operator {
    shell: Child,
    pipe: Option<ChildStdin>,
    /// Where it serves people and apps.
    pub(crate) url: String,
    /// Where it serves probes and metrics.
    pub(crate) probes: String,
    pub(crate) log: PathBuf,
}

impl Operator {
    /// Starts the operator that was built beside this program.
    pub(crate) fn start(kubeconfig: &Path, directory: &Path) -> Result<Self> {
        let program = binaries()?.join("integration-operator");
        ensure!(program.is_file(), "there is no {}; `cargo build --bins` makes it", program.display());
        let port = port()?;
        let url = format!("http://127.0.0.1:{port}");
        let probes = free_port()?;
        let log = directory.join("operator.log");
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "demo-operator"])
            .arg(&log)
            .arg(&program)
            .arg("run")
            .args(["--public-url", &url])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{probes}")])
            .args(["--allow-insecure-provider-hosts", "127.0.0.1"])
            // Its flags are environment variables, too, and those of whoever runs the demo are not meant for it.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the way of a Ctrl-C, which is for the demo.
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe, url, probes: format!("http://127.0.0.1:{probes}"), log })
    }

    /// Fails when the operator has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.shell.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the operator ended by itself ({status})"),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.pipe.take();
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.shell.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where the programs lie: cargo puts examples into a folder of theirs below it.
pub(crate) fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("this program lies in no folder of cargo's")?;
    Ok(folder.to_owned())
}

fn port() -> Result<u16> {
    let usual = (Ipv4Addr::LOCALHOST, USUAL_PORT);
    // Some systems let two listen on one port, one of them on all addresses: so look who answers, too.
    let answers = TcpStream::connect_timeout(&usual.into(), Duration::from_secs(1)).is_ok();
    if !answers && TcpListener::bind(usual).is_ok() { Ok(USUAL_PORT) } else { free_port() }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}
