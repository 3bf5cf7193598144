//! A person with a real browser, Debian's Chromium.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::cluster::install;
use crate::edge::{HOST, Plan};
use crate::shell::{command, find, output, source};

/// Where a visit ended.
#[derive(Debug, Deserialize)]
pub(crate) struct Visit {
    /// Host and path of the last page.
    pub(crate) url: String,
    pub(crate) title: String,
    pub(crate) heading: String,
    pub(crate) text: String,
    pub(crate) status: Option<u16>,
    /// Hosts and paths of all pages.
    pub(crate) trail: Vec<String>,
}

/// The folder of the script's packages, installed from their lock file.
async fn packages() -> Result<PathBuf> {
    let folder = source().join("tests/chromium");
    let mut npm = command("npm");
    npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    if !folder.join("node_modules/playwright-core").is_dir() {
        output(&mut npm).await.context("npm ci failed")?;
    }
    Ok(folder)
}

fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find)
}

/// Opens `link` as `user` and goes where the pages lead.
pub(crate) async fn visit(link: &str, user: &str, plan: &Plan, screenshot: &Path) -> Result<Visit> {
    if chromium().is_none() {
        install(&["chromium"]).await?;
    }
    let Some(browser) = chromium() else { bail!("no Chromium") };
    let input = json!({
        "link": link, "user": user, "host": HOST, "port": plan.port, "keyHash": plan.key_hash,
        "packages": packages().await?, "screenshot": screenshot,
    });
    let mut node = command("node");
    node.arg(source().join("tests/e2e/person.mjs")).arg(input.to_string()).env("CHROMIUM", browser);
    let text = output(&mut node).await?;
    let visit: Visit = serde_json::from_str(&text).with_context(|| format!("the browser said {text:?}"))?;
    ensure!(visit.url.contains(HOST), "the browser ended on {}: {}", visit.url, visit.text);
    Ok(visit)
}
