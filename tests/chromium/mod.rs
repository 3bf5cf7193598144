//! Chromium, driven through pages by keyboard: what it saw on each, and what axe found there.
//!
//! Needs Node, and Debian's `chromium`, or another that `CHROMIUM` names. Its packages are those of the lock file; none of
//! them downloads a browser. `TEST_PICTURES=/some/folder` keeps a picture of each page that is looked at. Begin a test with `if !chromium::available("its name") { return; }`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{cluster, servers};

const PATIENCE: Duration = Duration::from_mins(6);

/// How a person looks at pages.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct View {
    pub name: &'static str,
    /// `light` or `dark`.
    pub color: &'static str,
    pub width: u32,
    pub height: u32,
    pub scale: u32,
    /// Colours of the person's own, and more contrast.
    pub forced: bool,
}

/// A way through pages, in a browser without cookies.
#[derive(Clone, Debug, Serialize)]
pub struct Tour {
    pub name: String,
    pub view: View,
    /// Where pages may come from.
    pub origins: Vec<String>,
    pub steps: Vec<Step>,
}

/// One step; fields that are not used are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Step {
    goto: Option<String>,
    /// Tab, until the element of this name has the focus.
    tab: Option<String>,
    /// Enter, and the page that comes of it.
    enter: bool,
    /// The cookies.
    forget: bool,
    look: Option<String>,
    picture: Option<PathBuf>,
}

impl Step {
    pub fn goto(url: impl Into<String>) -> Self {
        Self { goto: Some(url.into()), ..Self::default() }
    }

    pub fn tab(name: &str) -> Self {
        Self { tab: Some(name.to_owned()), ..Self::default() }
    }

    pub fn enter() -> Self {
        Self { enter: true, ..Self::default() }
    }

    pub fn forget() -> Self {
        Self { forget: true, ..Self::default() }
    }

    pub fn look(name: &str) -> Self {
        Self { look: Some(name.to_owned()), ..Self::default() }
    }

    /// Kept as a picture as well.
    #[must_use]
    pub fn to(self, picture: Option<PathBuf>) -> Self {
        Self { picture, ..self }
    }
}

/// What came of a tour.
#[derive(Clone, Debug, Deserialize)]
pub struct Toured {
    pub name: String,
    pub looks: Vec<Look>,
    pub error: Option<String>,
}

/// One page as it was seen.
#[derive(Clone, Debug, Deserialize)]
pub struct Look {
    pub name: String,
    /// What had the focus since the last look.
    pub tabs: Vec<Focus>,
    pub url: String,
    pub title: String,
    pub language: String,
    pub headings: Vec<String>,
    pub mains: usize,
    /// What is read out by itself.
    pub news: Vec<String>,
    /// For support.
    pub word: Option<String>,
    pub text: String,
    /// By how much the page is wider than the window.
    pub width: i32,
    pub background: String,
    pub console: Vec<String>,
    /// Of the page's own policy.
    pub violations: Vec<String>,
    /// Requests to other places.
    pub foreign: Vec<String>,
    /// What axe found.
    pub barriers: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Focus {
    pub name: String,
    /// Pixels around it.
    pub outline: f32,
}

impl Look {
    /// Everything that no page may have.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (what, found) in [
            ("axe", &self.barriers),
            ("console", &self.console),
            ("policy", &self.violations),
            ("request", &self.foreign),
        ] {
            faults.extend(found.iter().map(|found| format!("{what}: {found}")));
        }
        for (is_bad, what) in [
            (self.width > 0, "wider than the window"),
            (self.language != "en", "no language"),
            (self.headings.len() != 1, "not one h1"),
            (self.mains != 1, "not one main"),
            (self.title.is_empty(), "no title"),
        ] {
            faults.extend(is_bad.then(|| what.to_owned()));
        }
        faults
    }
}

/// Whether there is a browser to drive. Where not, says so, and panics with `CI=true`.
pub fn available(test: &str) -> bool {
    if !servers::available() {
        return false;
    }
    if find().is_none() {
        cluster::skip(test, "it needs Chromium: apt-get install chromium, or name one with CHROMIUM");
        return false;
    }
    true
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    let mut all = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    all.find(|candidate| candidate.is_file())
}

/// Goes on these tours, one after the other.
pub async fn tour(tours: &[Tour]) -> Vec<Toured> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chromium");
    let installed = directory.clone();
    tokio::task::spawn_blocking(move || servers::install(&installed)).await.unwrap();
    let job = serde_json::to_vec(&serde_json::json!({ "chromium": find(), "tours": tours })).unwrap();
    let mut child = Command::new("node")
        .arg("visit.mjs")
        .current_dir(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&job).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the browser ends").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser failed:\n{errors}");
    let toured: Vec<Toured> = serde_json::from_slice(&output.stdout).unwrap();
    for tour in &toured {
        assert!(tour.error.is_none(), "{}: {}", tour.name, tour.error.as_deref().unwrap_or_default());
    }
    toured
}
