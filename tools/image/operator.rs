//! The operator's own image: which files are in it, as whom it runs, what its labels say.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use cargo_lock::Lockfile;
use pem::{EncodeConfig, LineEnding, Pem};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::archive::File;
use crate::sbom::{Component, Tree, locked};
use crate::source::Source;

/// The program in the image.
pub(crate) const PROGRAM: &str = "/integration-operator";
/// What it is told to do.
pub(crate) const COMMAND: &str = "run";
/// A user that is nobody's, the one of distroless images.
pub(crate) const USER: &str = "65532:65532";
/// Where programs look for the certificates of authorities.
pub(crate) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The licence of the operator.
pub(crate) const LICENCE: &str = "/usr/share/doc/integration-operator/LICENSE";
/// What the program is made of.
pub(crate) const SBOM: &str = "/usr/share/doc/integration-operator/integration-operator.cdx.json";
/// The licences of what it is made of.
pub(crate) const NOTICES: &str = "/usr/share/doc/integration-operator/THIRD-PARTY";
/// Who is who. Kubernetes does not need it; tools that ask for a user's name do.
pub(crate) const PASSWD: &str = "root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n";
/// Likewise for groups.
pub(crate) const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// The labels. Those of the package are the same for every build of a version.
pub(crate) fn labels(source: &Source) -> BTreeMap<String, String> {
    let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    let mut labels = BTreeMap::from([
        label("title", env!("CARGO_PKG_NAME")),
        label("description", env!("CARGO_PKG_DESCRIPTION")),
        label("version", env!("CARGO_PKG_VERSION")),
        label("licenses", env!("CARGO_PKG_LICENSE")),
        label("revision", &source.revision),
        label("created", &source.created.to_string()),
    ]);
    // There is an address once the package has one.
    if !env!("CARGO_PKG_REPOSITORY").is_empty() {
        labels.extend([label("source", env!("CARGO_PKG_REPOSITORY"))]);
    }
    labels
}

/// The files that every image of ours has.
pub(crate) fn users() -> BTreeMap<String, File> {
    BTreeMap::from([("/etc/passwd".to_owned(), text(PASSWD)), ("/etc/group".to_owned(), text(GROUP))])
}

/// The files besides the program.
pub(crate) fn files(source: &Path, sbom: &str, notices: &str) -> Result<BTreeMap<String, File>> {
    let licence = std::fs::read_to_string(source.join("LICENSE")).context("LICENSE")?;
    let mut files = users();
    files.extend([
        (CERTIFICATES.to_owned(), text(&certificates())),
        (LICENCE.to_owned(), text(&licence)),
        (SBOM.to_owned(), text(sbom)),
        (NOTICES.to_owned(), text(notices)),
    ]);
    Ok(files)
}

fn text(content: &str) -> File {
    File { content: content.as_bytes().to_vec(), executable: false }
}

/// Mozilla's list of authorities, of the day of the locked crate.
pub(crate) fn certificates() -> String {
    let all: Vec<_> = TLS_SERVER_ROOT_CERTS.iter().map(|der| Pem::new("CERTIFICATE", der.to_vec())).collect();
    pem::encode_many_config(&all, EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// What the image is made of.
pub(crate) fn parts(folder: &Path, target: &str) -> Result<Tree> {
    let mut tree = Tree::of(folder, target)?;
    let other = |name: &str, version: Option<String>, licence: &str| Component {
        name: name.to_owned(),
        version,
        licence: licence.to_owned(),
        sha256: None,
        kind: "library",
        origin: "generic",
    };
    tree.link(other("rust-std", said("rustc", &["--version"], 1), "MIT OR Apache-2.0"));
    tree.link(if target.ends_with("-musl") {
        other("musl", None, "MIT")
    } else {
        other("glibc", said("getconf", &["GNU_LIBC_VERSION"], 1), "LGPL-2.1-or-later")
    });
    let lock = Lockfile::load(folder.join("Cargo.lock"))?;
    let authorities = locked(&lock, "webpki-root-certs", |_| true).context("webpki-root-certs is not locked")?;
    tree.link(Component { kind: "data", licence: "CDLA-Permissive-2.0".to_owned(), ..authorities });
    Ok(tree)
}

/// The same as text.
pub(crate) fn sbom(parts: &Tree, source: &Source, target: &str) -> Result<String> {
    let mut text = serde_json::to_string_pretty(&parts.to_json(source.created, target)?)?;
    text.push('\n');
    Ok(text)
}

/// One word of what a program prints.
fn said(program: &str, arguments: &[&str], word: usize) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().nth(word).map(ToOwned::to_owned)
}
