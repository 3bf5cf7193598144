//! Keeps processes from outliving their owner. The components are children of a small `sh` that
//! reads commands from a pipe whose other end only the owner holds. When the pipe ends, because
//! the owner is done, crashed or was killed, the shell stops the API server, then the controller
//! manager, then etcd (an API server without etcd hangs), and removes the directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::launch::{self, Command};
use super::progress;

const SCRIPT: &str = r#"
dir=$1 keep=$2
shift 2
trap '' HUP INT TERM

start() {
    rm -f "$dir/$1.pid" "$dir/$1.exit"
    (
        sh "$dir/$1.sh" >>"$dir/$1.log" 2>&1 </dev/null &
        echo "$!" >"$dir/$1.pid.new" && mv "$dir/$1.pid.new" "$dir/$1.pid"
        wait "$!"
        echo "$?" >"$dir/$1.exit"
    ) &
    tries=0
    until [ -f "$dir/$1.pid" ] || [ "$tries" -ge 500 ]; do
        tries=$((tries + 1)); sleep 0.01
    done
}

stop() {
    [ -f "$dir/$1.pid" ] || return 0
    tries=0
    until [ -f "$dir/$1.exit" ] || [ "$tries" -ge 500 ]; do
        kill -9 "$(cat "$dir/$1.pid")" 2>/dev/null
        tries=$((tries + 1)); sleep 0.02
    done
    rm -f "$dir/$1.pid"
}

while read -r command name; do
    case $command in
        start) start "$name" ;;
        stop) stop "$name" ;;
    esac
done
for name; do stop "$name"; done
wait
[ "$keep" = keep ] || rm -rf "$dir"
"#;

/// In a directory that holds a cluster's files; what it lacks is not ours to clear.
const MARKER: &str = ".test-cluster";

/// The shell that owns the components, and the directory that they share.
#[derive(Debug)]
pub struct Supervisor {
    directory: PathBuf,
    shell: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Supervisor {
    /// Supervises a new temporary directory, removed at the end.
    pub fn in_temporary_directory() -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("test-cluster-").tempdir().context("cannot make a temporary directory")?;
        // From here on the shell removes it, whatever becomes of this process.
        Self::spawn(directory.keep(), false)
    }

    /// Supervises `directory`, which is cleared first and kept at the end.
    pub fn in_kept_directory(directory: &Path) -> Result<Self> {
        clear(directory)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        fs::write(directory.join(MARKER), "The next test cluster in this directory removes all of it.\n")?;
        Self::spawn(directory, true)
    }

    fn spawn(directory: PathBuf, keep: bool) -> Result<Self> {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", SCRIPT, "test-cluster"])
            .arg(&directory)
            .arg(if keep { "keep" } else { "remove" })
            .args(launch::STOP_ORDER)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the way of a Ctrl-C, which is for the owner.
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Self { directory, shell, pipe })
    }

    /// The directory of the components' files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file of this cluster, readable to its owner only.
    pub fn write(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        write_private(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a component; its output goes to `NAME.log`.
    pub fn start(&self, name: &str, command: &Command) -> Result<()> {
        let _ = fs::remove_file(self.path(name, "exit"));
        self.write(&format!("{name}.sh"), &command.script())?;
        self.tell("start", name)
    }

    /// Kills a component and waits until it is gone.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.tell("stop", name)?;
        let deadline = Instant::now() + Duration::from_secs(15);
        // The shell removes it when it is done.
        while self.path(name, "pid").exists() {
            if Instant::now() > deadline {
                bail!("{name} cannot be killed");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn tell(&self, command: &str, name: &str) -> Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe.as_mut().context("the cluster is stopped")?;
        writeln!(pipe, "{command} {name}").context("the shell that supervises the cluster is gone")
    }

    /// The exit code of a component that ended.
    pub fn exit_code(&self, name: &str) -> Option<String> {
        let code = fs::read_to_string(self.path(name, "exit")).ok()?;
        Some(code.trim().to_owned())
    }

    /// What a component wrote.
    pub fn log(&self, name: &str) -> String {
        fs::read(self.path(name, "log"))
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines that a component wrote.
    pub fn log_tail(&self, name: &str) -> String {
        let log = self.log(name);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The components that were started and have not ended.
    pub fn process_ids(&self) -> Vec<(String, u32)> {
        launch::STOP_ORDER
            .iter()
            .filter(|name| self.exit_code(name).is_none())
            .filter_map(|name| {
                let pid = fs::read_to_string(self.path(name, "pid")).ok()?;
                Some(((*name).to_owned(), pid.trim().parse().ok()?))
            })
            .collect()
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.directory.join(format!("{name}.{extension}"))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(self.shell.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                progress::say(format_args!("the cluster in {} does not stop", self.directory.display()));
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn clear(directory: &Path) -> Result<()> {
    let Ok(mut entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    if directory.join(MARKER).exists() {
        return fs::remove_dir_all(directory).with_context(|| format!("cannot clear {}", directory.display()));
    }
    if entries.next().is_some() {
        bail!("{} is neither empty nor a test cluster's", directory.display());
    }
    Ok(())
}

fn write_private(path: &Path, contents: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(contents.as_bytes())
}

/// Quotes a word for `sh`.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Makes a file executable.
pub fn make_executable(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
