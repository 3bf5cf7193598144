//! The archive: files in a folder, with a README that says what they are and what is missing.
//!
//! Whatever goes in passes through [`redact`]; there is no other way in.

use std::fmt::Write as _;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::redact;

/// The folder that the archive unpacks to.
const FOLDER: &str = "integration-report";

/// Files that are collected.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    /// Path, what it is, and content.
    files: Vec<(String, String, String)>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

impl Bundle {
    /// Adds an object as YAML.
    pub(crate) fn yaml(&mut self, path: &str, about: &str, value: &Value) {
        match serde_yaml::to_string(&redact::object(value)) {
            Ok(text) => self.files.push((path.to_owned(), about.to_owned(), text)),
            Err(error) => self.missing(format!("{path}: {error}")),
        }
    }

    /// Adds an object as JSON.
    pub(crate) fn json(&mut self, path: &str, about: &str, value: &Value) {
        match serde_json::to_string_pretty(&redact::object(value)) {
            Ok(text) => self.files.push((path.to_owned(), about.to_owned(), text + "\n")),
            Err(error) => self.missing(format!("{path}: {error}")),
        }
    }

    /// Adds text.
    pub(crate) fn text(&mut self, path: &str, about: &str, text: &str) {
        self.files.push((path.to_owned(), about.to_owned(), redact::text(text)));
    }

    /// Notes what could not be had.
    pub(crate) fn missing(&mut self, what: impl AsRef<str>) {
        self.missing.push(redact::text(what.as_ref()));
    }

    /// How many files there are, the README among them.
    pub(crate) fn len(&self) -> usize {
        self.files.len() + 1
    }

    /// Writes the archive. `seconds`: the time that its files bear.
    pub(crate) fn write(&self, title: &str, seconds: u64, to: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::default()));
        let readme = self.readme(title);
        let files = self.files.iter().map(|(path, _, content)| (path.as_str(), content.as_str()));
        for (path, content) in [("README.md", readme.as_str())].into_iter().chain(files) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(seconds);
            archive.append_data(&mut header, format!("{FOLDER}/{path}"), content.as_bytes())?;
        }
        archive.into_inner()?.finish()?.flush()
    }

    fn readme(&self, title: &str) -> String {
        let mut text = format!("# {title}\n\nWritten by kubectl-integration {}.\n\n", env!("CARGO_PKG_VERSION"));
        text.push_str("| file | what it is |\n|---|---|\n");
        for (path, about, _) in &self.files {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {path} | {about} |");
        }
        text.push_str(LEFT_OUT);
        if !self.missing.is_empty() {
            text.push_str("\n## What could not be had\n\n");
            for missing in &self.missing {
                let _ = writeln!(text, "- {missing}");
            }
        }
        text
    }
}

/// What the README says of what is not there.
const LEFT_OUT: &str = "
## What was left out

Wherever something was left out, `[left out]` stands in its place.

- The data of every Secret. Of those that are involved there are names, types, names of keys, and ages.
- What the apps said of accounts (`status.metadata`): the names of the fields are there.
- Annotations that are not of integrations.tms.dev.
- Values of environment variables and arguments that are not settings of the operator.
- Parameters whose name speaks of a secret.
- Whatever else looks like a token, a key or a password, and the values in the queries of addresses.

Names of namespaces, tenants, projects, Secrets, hosts and Kubernetes users are in it. Look through it before you pass it on.
";

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use serde_json::json;

    #[test]
    fn what_goes_in_comes_out_without_secrets() {
        let mut bundle = Bundle::default();
        bundle.yaml("a.yaml", "an object", &json!({ "annotations": { "x": "canary" } }));
        bundle.json("b.json", "another", &json!({ "env": [{ "name": "X", "value": "canary" }] }));
        bundle.text("logs/c.log", "a log", "Bearer canary12345\nnext line\n");
        bundle.missing("Pods: refresh_token=canary");
        let mut bytes = Vec::new();
        bundle.write("A report", 1_700_000_000, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let mut paths = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert!(!text.contains("canary"), "{text}");
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            if path.ends_with("README.md") {
                assert!(
                    text.contains("| logs/c.log | a log |") && text.contains("- Pods: refresh_token=[left out]"),
                    "{text}"
                );
            }
            paths.push(path);
        }
        let expected = ["README.md", "a.yaml", "b.json", "logs/c.log"].map(|path| format!("integration-report/{path}"));
        assert_eq!(paths, expected);
        assert_eq!(bundle.len(), 4);
    }
}
