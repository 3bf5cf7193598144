//! The archive that the controller-tools project publishes for such tests: etcd, kube-apiserver
//! and kubectl, pinned by a checksum. Nothing of it is unpacked before the checksum is right.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ring::digest;

use super::binaries::Binaries;
use super::launch::{API_SERVER, ETCD};
use super::{progress, supervisor};

const VERSION: &str = "v1.34.1";
const BASE_URL: &str = "https://github.com/kubernetes-sigs/controller-tools/releases/download";
const LINUX_AMD64: &str = "c5e7c237ae18a8c65d0df1214b864ecd19aa9ff4f1383dbd477c202546d778c0\
                           f74efe15750ec38f57d8de26ba17cd62f404446cdd3c975399a5d4589de35cdd";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// An archive and the checksum it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where releases lie; the rest of the address follows from version and platform.
    pub base_url: String,
    pub version: String,
    pub platform: String,
    pub sha512: String,
    /// How long to wait for a connection, and for the first byte of an answer.
    pub connect_timeout: Duration,
}

impl Archive {
    /// The name of its folder in the cache.
    pub fn folder(&self) -> String {
        format!("envtest-{}-{}", self.version, self.platform)
    }

    fn url(&self) -> String {
        format!(
            "{}/envtest-{version}/envtest-{version}-{}.tar.gz",
            self.base_url.trim_end_matches('/'),
            self.platform,
            version = self.version
        )
    }
}

/// The archive for a platform, if its checksum is known.
pub fn published(os: &str, arch: &str, base_url: Option<String>) -> Option<Archive> {
    let (platform, sha512) = match (os, arch) {
        ("linux", "x86_64") => ("linux-amd64", LINUX_AMD64),
        _ => return None,
    };
    Some(Archive {
        base_url: base_url.unwrap_or_else(|| BASE_URL.to_owned()),
        version: VERSION.to_owned(),
        platform: platform.to_owned(),
        sha512: sha512.to_owned(),
        connect_timeout: CONNECT_TIMEOUT,
    })
}

/// What an earlier download left, if it is complete: the folder appears as a whole.
pub fn unpacked(folder: &Path) -> Option<Binaries> {
    let bin = folder.join("bin");
    if !bin.is_dir() {
        return None;
    }
    Binaries::in_folder(&bin, format!("the published archive in {}", folder.display())).ok()
}

/// Downloads, checks and unpacks an archive into `folder`.
pub async fn fetch(archive: &Archive, folder: &Path) -> Result<Binaries> {
    let url = archive.url();
    progress::say(format_args!("downloading {url}"));
    let bytes = download(archive, &url).await?;
    check(&bytes, &archive.sha512).with_context(|| format!("{url} is refused"))?;
    unpack(&bytes, folder).with_context(|| format!("cannot unpack {url}"))?;
    unpacked(folder).with_context(|| format!("{url} lacks etcd or kube-apiserver"))
}

async fn download(archive: &Archive, url: &str) -> Result<Vec<u8>> {
    super::install_crypto_provider();
    let client =
        reqwest::Client::builder().connect_timeout(archive.connect_timeout).read_timeout(READ_TIMEOUT).build()?;
    let failed = || format!("cannot download {url}");
    // Twice: redirects connect anew, and a server may accept and then say nothing.
    let answer = tokio::time::timeout(archive.connect_timeout * 2, client.get(url).send()).await;
    let Ok(answer) = answer else { bail!("{}: no answer", failed()) };
    let mut answer = answer.and_then(reqwest::Response::error_for_status).with_context(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(failed)? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn check(bytes: &[u8], sha512: &str) -> Result<()> {
    let found = sha512_hex(bytes);
    ensure!(found == sha512, "its SHA-512 is {found}, not {sha512}");
    Ok(())
}

/// The checksum as it is written down.
pub fn sha512_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    digest::digest(&digest::SHA512, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Unpacks beside the folder and renames, so that the folder is there whole or not at all. Another
/// process that does the same at the same time gets there first or second, and both are content.
fn unpack(bytes: &[u8], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let beside = tempfile::Builder::new().prefix("unpack-").tempdir_in(folder)?;
    let file = beside.path().join("archive.tar.gz");
    fs::write(&file, bytes)?;
    let everything = beside.path().join("everything");
    fs::create_dir(&everything)?;
    let output = std::process::Command::new("tar")
        .arg("-xzf")
        .arg(&file)
        .arg("-C")
        .arg(&everything)
        .output()
        .context("cannot run tar")?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr).trim());

    let bin = beside.path().join("bin");
    fs::create_dir(&bin)?;
    for name in [ETCD, API_SERVER] {
        let found = find_file(&everything, name)?.with_context(|| format!("there is no {name} in it"))?;
        fs::rename(found, bin.join(name))?;
        supervisor::make_executable(&bin.join(name))?;
    }
    let target = folder.join("bin");
    match fs::rename(&bin, &target) {
        Err(_) if unpacked(folder).is_some() => Ok(()),
        result => result.with_context(|| format!("cannot make {}", target.display())),
    }
}

fn find_file(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() && entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir()
            && let Some(found) = find_file(&entry.path(), name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
