//! The images: the operator's as `make image` makes it, the same under another tag, and the small one of the Pods that
//! belong to the test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell::{command, output, source};

/// A name that no registry has, so that nothing is pulled by mistake.
const REGISTRY: &str = "e2e.invalid";
/// The tag of the image that is upgraded to.
pub(crate) const NEXT: &str = "next";

/// An image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Name and tag.
    pub(crate) reference: String,
    /// An OCI archive; empty where the image is in a registry.
    pub(crate) archive: PathBuf,
}

impl Image {
    /// The part before the tag.
    pub(crate) fn repository(&self) -> &str {
        self.split().0
    }

    /// The tag.
    pub(crate) fn tag(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        self.reference.rsplit_once(':').unwrap_or((&self.reference, "latest"))
    }

    /// Bytes of the archive.
    pub(crate) fn size(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.archive).with_context(|| self.archive.display().to_string())?.len())
    }
}

/// All images of a run.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// The operator's.
    pub(crate) operator: Image,
    /// The operator's that is upgraded to: another digest, another tag.
    pub(crate) next: Image,
    /// A program that pauses, for the node, and the workload.
    pub(crate) pod: Image,
    /// The same as the node asks for it.
    pub(crate) pause: Image,
}

impl Images {
    /// Builds them, or takes those that are named: `E2E_IMAGE`, `E2E_NEXT_IMAGE` and `E2E_POD_IMAGE`.
    pub(crate) async fn make(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let pod_program = build_pod(directory).await?;
        let program = format!("{}=/pod", pod_program.display());
        let what = ["--binary", &program, "--entrypoint", "/pod", "--user", "65532:65532"].map(OsString::from);
        let pod = pack(directory, "pod", &format!("{REGISTRY}/pod:1"), &what).await?;
        let pause = pack(directory, "pause", &format!("{REGISTRY}/pause:1"), &what).await?;
        if let Ok(operator) = std::env::var("E2E_IMAGE") {
            let named = |name: &str| -> Result<Image> {
                let reference = std::env::var(name).with_context(|| format!("E2E_IMAGE is set, {name} is not"))?;
                Ok(Image { reference, archive: PathBuf::new() })
            };
            let operator = Image { reference: operator, archive: PathBuf::new() };
            return Ok(Self { operator, next: named("E2E_NEXT_IMAGE")?, pod: named("E2E_POD_IMAGE")?, pause });
        }
        // One that was built already, while one works on the test itself.
        let program = match std::env::var_os("E2E_PROGRAM") {
            Some(program) => PathBuf::from(program),
            None => build_operator().await?,
        };
        let program = &program;
        let operator = format!("{REGISTRY}/integration-operator:{}", env!("CARGO_PKG_VERSION"));
        let operator = pack_operator(directory, "operator", &operator, program).await?;
        let next =
            pack_operator(directory, "next", &format!("{REGISTRY}/integration-operator:{NEXT}"), program).await?;
        Ok(Self { operator, next, pod, pause })
    }
}

async fn build_operator() -> Result<PathBuf> {
    let mut build = command(source().join("tools/build-static"));
    build.current_dir(source()).arg("integration-operator").stderr(std::process::Stdio::inherit());
    let program = output(&mut build).await.context("the static program could not be built")?;
    Ok(PathBuf::from(program.trim()))
}

/// The operator's image, as `make image` makes it, under another name.
async fn pack_operator(directory: &Path, name: &str, reference: &str, program: &Path) -> Result<Image> {
    let what = ["--operator".into(), program.as_os_str().to_owned(), "--label".into(), format!("e2e={name}").into()];
    pack(directory, name, reference, &what).await
}

/// The program of the Pods: it needs the standard library alone, and is one file in an image with nothing else.
async fn build_pod(directory: &Path) -> Result<PathBuf> {
    let program = directory.join("pod");
    let mut rustc = command("rustc");
    rustc
        .args(["--edition", "2024", "-C", "opt-level=s", "-C", "strip=symbols", "-C", "panic=abort"])
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static", "-o"])
        .arg(&program)
        .arg(source().join("tests/e2e/pod.rs"));
    output(&mut rustc).await?;
    Ok(program)
}

async fn pack(directory: &Path, name: &str, reference: &str, what: &[OsString]) -> Result<Image> {
    let archive = directory.join(format!("{name}.tar"));
    let packer = std::env::current_exe()?.with_file_name("image");
    let mut pack = command(packer);
    pack.current_dir(source()).args(["--reference", reference]).args(what).arg("--output").arg(&archive);
    output(&mut pack).await?;
    Ok(Image { reference: reference.to_owned(), archive })
}
