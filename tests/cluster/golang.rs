//! Builds the control plane, and further programs by name, from the Go modules pinned in
//! `tests/cluster/module`. A program is
//! built under another name and renamed, and then told in the file `complete`, so that a build
//! that was interrupted goes on where it stopped; a lock lets one process build at a time.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::binaries::Binaries;
use super::launch::{API_SERVER, CONTROLLER_MANAGER, ETCD};
use super::progress;

/// The version of Kubernetes in the module, and the name of the cache's folder.
pub const VERSION: &str = "v1.37.2";

/// The version of Helm in the module.
pub const HELM_VERSION: &str = "v4.3.1";

/// The name of Helm.
pub const HELM: &str = "helm";

/// Small first, so that a missing toolchain or network shows at once.
const PROGRAMS: [(&str, &str); 3] = [
    (ETCD, "go.etcd.io/etcd/server/v3"),
    (API_SERVER, "k8s.io/kubernetes/cmd/kube-apiserver"),
    (CONTROLLER_MANAGER, "k8s.io/kubernetes/cmd/kube-controller-manager"),
];

/// What else the module has: for the chart, and for a node.
const FURTHER: [(&str, &str); 5] = [
    (HELM, "helm.sh/helm/v4/cmd/helm"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
];

/// The names that [`build_named`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().chain(&FURTHER).map(|(name, _)| *name)
}

/// The folder of the programs.
pub fn bin(folder: &Path) -> PathBuf {
    folder.join("bin")
}

/// The folder of the pinned module.
pub fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/module")
}

/// Whether all programs are there.
pub fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|(name, _)| has(folder, name))
}

/// Whether a program is there, with the size that it had when it was built.
fn has(folder: &Path, name: &str) -> bool {
    let Ok(complete) = fs::read_to_string(folder.join("complete")) else {
        return false;
    };
    let Ok(file) = fs::metadata(bin(folder).join(name)) else {
        return false;
    };
    complete.lines().any(|line| line == entry(name, file.len()))
}

fn entry(name: &str, size: u64) -> String {
    format!("{name} {size}")
}

/// Builds what is missing of the control plane with the program `go`.
pub fn build(go: &OsStr, folder: &Path) -> Result<Binaries> {
    let _lock = lock(folder)?;
    let missing: Vec<_> = PROGRAMS.iter().filter(|(name, _)| !has(folder, name)).collect();
    if !missing.is_empty() {
        progress::say(format_args!(
            "building Kubernetes {VERSION} from Go modules into {}; on two cores this takes about 16 minutes, \
             once, and may be interrupted",
            folder.display()
        ));
    }
    for (name, package) in missing {
        build_program(go, folder, name, package)?;
    }
    Binaries::in_folder(&bin(folder), format!("a build of {VERSION}"))
}

/// Builds these programs where they are missing, and says where they are.
pub fn build_named(go: &OsStr, folder: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let known = PROGRAMS.iter().chain(&FURTHER);
    let mut programs = Vec::new();
    for name in wanted {
        let program = known.clone().find(|(known, _)| known == name);
        programs.push(program.with_context(|| {
            format!("nothing here is called {name}; there are {}", names().collect::<Vec<_>>().join(", "))
        })?);
    }
    // What is there needs no lock: the control plane may be in the making for a quarter of an hour.
    if programs.iter().any(|(name, _)| !has(folder, name)) {
        let _lock = lock(folder)?;
        for (name, package) in &programs {
            if !has(folder, name) {
                build_program(go, folder, name, package)?;
            }
        }
    }
    Ok(programs.iter().map(|(name, _)| bin(folder).join(name)).collect())
}

/// Held until it is dropped or the process dies.
fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(bin(folder)).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress::say("another process builds here; waiting for it");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

fn build_program(go: &OsStr, folder: &Path, name: &str, package: &str) -> Result<()> {
    let unfinished = bin(folder).join(format!(".{name}.unfinished"));
    let log = folder.join(format!("{name}.build.log"));
    progress::say(format_args!("building {name}"));
    let start = Instant::now();
    run_go(go, &unfinished, package, &log, || {
        progress::say(format_args!("still building {name}, after {} s", start.elapsed().as_secs()));
    })
    .with_context(|| format!("cannot build {name} with Go"))?;

    let target = bin(folder).join(name);
    fs::rename(&unfinished, &target)?;
    let size = fs::metadata(&target)?.len();
    record(folder, name, size)?;
    progress::say(format_args!("built {name} in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Adds a program to the file `complete`, which is replaced as a whole.
fn record(folder: &Path, name: &str, size: u64) -> Result<()> {
    let path = folder.join("complete");
    let other = format!("{name} ");
    let mut lines: Vec<String> = fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with(&other))
        .map(str::to_owned)
        .collect();
    lines.push(entry(name, size));
    let unfinished = folder.join(".complete.unfinished");
    fs::write(&unfinished, lines.join("\n") + "\n")?;
    fs::rename(&unfinished, &path)?;
    Ok(())
}

fn run_go(go: &OsStr, output: &Path, package: &str, log: &Path, mut still: impl FnMut()) -> Result<()> {
    let log_file = File::create(log)?;
    let mut build = Command::new(go)
        .current_dir(module())
        .args(["build", "-trimpath", "-ldflags", &linker_flags(), "-o"])
        .arg(output)
        .arg(package)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .spawn()
        .with_context(|| format!("cannot start {}; is Go installed?", go.display()))?;
    let mut told = Instant::now();
    let status = loop {
        if let Some(status) = build.try_wait()? {
            break status;
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            still();
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let log = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        bail!("{status}: {}", lines[lines.len().saturating_sub(10)..].join("\n"));
    }
    Ok(())
}

/// Without the version, Helm takes the API server for v0.0.0.
fn linker_flags() -> String {
    let mut numbers = VERSION.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    let package = "k8s.io/component-base/version";
    let helm = format!("-X helm.sh/helm/v4/internal/version.version={HELM_VERSION}");
    format!(
        "-s -w {helm} -X {package}.gitVersion={VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}
