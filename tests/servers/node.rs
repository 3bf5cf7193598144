//! Node: is it there, are the packages installed, and processes that end with their owner.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

const OLDEST_NODE: u32 = 20;
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Whether these servers can run here. Without Node it says so on standard error, so that a test
/// can return early; on CI, where a skipped test would look like a passed one, it panics.
pub fn available() -> bool {
    match node_version() {
        Some(major) if major >= OLDEST_NODE => return true,
        Some(major) => {
            eprintln!("skipped: Node {OLDEST_NODE} or newer is needed, this is Node {major}");
        }
        None => {
            eprintln!("skipped: the OAuth servers of this test need Node {OLDEST_NODE} or newer");
        }
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "this test must not be skipped on CI: install Node {OLDEST_NODE} or newer"
    );
    false
}

fn node_version() -> Option<u32> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers")
}

/// Installs the packages of a directory's lock file, once: other tests and other processes wait,
/// and an installation that is current is kept.
pub fn install(directory: &Path) {
    let lock_path = directory.join("package-lock.json");
    let stamp = directory.join("node_modules/.installed-lock-hash");
    let lock_file = std::fs::File::open(&lock_path).unwrap();
    lock_file.lock().unwrap();
    let hash = super::s256(&std::fs::read_to_string(&lock_path).unwrap());
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == hash) {
        return;
    }
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(directory)
        .output()
        .expect("npm comes with Node");
    assert!(output.status.success(), "npm ci failed:\n{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(stamp, hash).unwrap();
}

/// A running script. It ends when this is dropped, and also when this process is killed: the
/// script watches its standard input, of which this process holds the only other end.
pub struct NodeProcess {
    child: Child,
}

impl NodeProcess {
    /// Starts a script and waits for the one line of JSON that says it is ready.
    pub async fn start(
        script: &'static str,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
    ) -> (Self, Value) {
        tokio::task::spawn_blocking(move || Self::start_blocking(script, &arguments, environment)).await.unwrap()
    }

    fn start_blocking(script: &str, arguments: &[String], environment: Vec<(&'static str, String)>) -> (Self, Value) {
        install(&directory());
        let mut child = Command::new("node")
            .arg(script)
            .args(arguments)
            .current_dir(directory())
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node is there: call `available` first");
        let stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || forward(stderr));
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            if let Some(Ok(line)) = lines.next() {
                let _ = sender.send(line);
            }
            lines.for_each(drop);
        });
        let mut process = Self { child };
        if let Ok(line) = receiver.recv_timeout(START_TIMEOUT) {
            let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{script} said {line:?}: {error}"));
            return (process, ready);
        }
        process.stop();
        panic!("{script} did not start:\n{}", log.join().unwrap());
    }

    /// The process id, for a test that checks it ends.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Keeps the pipe empty, passes the lines on if `TEST_SERVERS_LOG` is set, and gives them all back.
fn forward(stream: impl Read) -> String {
    let show = std::env::var_os("TEST_SERVERS_LOG").is_some();
    let mut all = String::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if show {
            eprintln!("{line}");
        }
        if all.len() < 100_000 {
            all.push_str(&line);
            all.push('\n');
        }
    }
    all
}
