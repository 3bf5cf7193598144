//! The chart: installed, upgraded, taken back and taken away, by Helm.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::shell::{output, source};

/// The name of the release.
pub(crate) const RELEASE: &str = "integration-operator";
/// How long Helm waits for a rollout.
const PATIENCE: &str = "8m";

/// The chart of the source.
pub(crate) fn of_source() -> PathBuf {
    source().join("charts/integration-operator")
}

/// Installs the release in `namespace`, or upgrades it, and waits until it is ready.
pub(crate) async fn apply(
    cluster: &Cluster,
    verb: &str,
    namespace: &str,
    chart: &Path,
    values: &Value,
    directory: &Path,
) -> Result<String> {
    let file = directory.join(format!("values-{namespace}-{verb}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(values)?)?;
    let mut helm = cluster.helm();
    helm.args([verb, RELEASE]).arg(chart).args(["--namespace", namespace, "--wait", "--timeout", PATIENCE]);
    output(helm.arg("--values").arg(file)).await
}

/// Takes the release back to a revision, and waits until it is ready.
pub(crate) async fn rollback(cluster: &Cluster, namespace: &str, revision: u32) -> Result<()> {
    let revision = revision.to_string();
    let arguments = ["rollback", RELEASE, &revision, "--namespace", namespace, "--wait", "--timeout", PATIENCE];
    output(cluster.helm().args(arguments)).await.map(drop)
}

/// Takes the release away.
pub(crate) async fn uninstall(cluster: &Cluster, namespace: &str) -> Result<String> {
    let arguments = ["uninstall", RELEASE, "--namespace", namespace, "--wait", "--timeout", PATIENCE];
    output(cluster.helm().args(arguments)).await
}

/// A copy of the chart that a later version might be: with a new column in the definition of integrations.
pub(crate) fn next(directory: &Path) -> Result<PathBuf> {
    let copy = directory.join("next-chart");
    copy_folder(&of_source(), &copy)?;
    let mut changed = 0;
    visit(&copy, &mut |path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.contains("name: projectintegrations.integrations.tms.dev") {
            let column = "- jsonPath: .spec.suspend\n      name: Suspended\n      type: boolean\n    ";
            let mark = "additionalPrinterColumns:\n    ";
            if text.contains(mark) {
                std::fs::write(path, text.replace(mark, &format!("{mark}{column}")))?;
                changed += 1;
            }
        }
        Ok(())
    })?;
    ensure!(changed > 0, "no file of the chart defines the columns of integrations");
    Ok(copy)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    visit(from, &mut |path| {
        let target = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
        std::fs::copy(path, target)?;
        Ok(())
    })
}

fn visit(folder: &Path, each: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() { visit(&path, each)? } else { each(&path)? }
    }
    Ok(())
}
