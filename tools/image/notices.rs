//! The licences of the libraries in the program, as most of them ask to be passed on with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::sbom::Component;

/// How files begin that hold a licence or a notice.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// A list of the libraries, and then every text once, after the names of those it belongs to.
pub(crate) fn text<'a>(source: &Path, target: &str, libraries: impl Iterator<Item = &'a Component>) -> Result<String> {
    let folders = folders(source, target)?;
    let mut list = String::from("The program contains these libraries, under these licences.\n\n");
    let mut texts: Vec<(Vec<String>, String)> = Vec::new();
    let mut known = BTreeMap::new();
    let mut libraries: Vec<_> = libraries.collect();
    libraries.sort();
    for library in libraries {
        let name = format!("{} {}", library.name, library.version.as_deref().unwrap_or_default());
        writeln!(list, "{}: {}", name.trim_end(), library.licence)?;
        for text in folders.get(&name).map(|folder| licences(folder)).transpose()?.unwrap_or_default() {
            // The same text is often wrapped in another way.
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let index = *known.entry(words).or_insert(texts.len());
            if index == texts.len() {
                texts.push((Vec::new(), text));
            }
            if !texts[index].0.contains(&name) {
                texts[index].0.push(name.clone());
            }
        }
    }
    for (names, text) in texts {
        write!(list, "\n{}\n{}\n\n{}\n", "=".repeat(80), names.join(", "), text.trim_end())?;
    }
    Ok(list)
}

/// Where Cargo keeps each crate, by name and version.
fn folders(source: &Path, target: &str) -> Result<BTreeMap<String, PathBuf>> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .current_dir(source)
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", target])
        .output()
        .context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let folder = |package: &Value| {
        let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
        Some((name, Path::new(package["manifest_path"].as_str()?).parent()?.to_owned()))
    };
    Ok(packages.iter().filter_map(folder).collect())
}

/// The texts in a crate's folder, in the order of their files' names.
fn licences(folder: &Path) -> Result<Vec<String>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let is_licence = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && NAMES.iter().any(|start| name.starts_with(start))
    };
    let read = |path: &PathBuf| Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned());
    files.iter().filter(|path| is_licence(path)).map(read).collect()
}
