//! What the operator's program is made of, as a `CycloneDX` document.
//!
//! Cargo says what is linked: the normal dependencies for one target, without macros and build scripts, which run
//! when the program is built and are not in it. Its lock file has the digests. The document has no serial number and
//! bears the time of the source, so that it is the same for the same source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cargo_lock::Lockfile;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Where a crate lies in the tree that Cargo prints: `name v1.2.3`, perhaps with a path, and its licence.
const FORMAT: &str = "\t{p}\t{l}";

/// A crate, or something else that is linked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Component {
    /// Its name.
    pub(crate) name: String,
    /// Its version, where it is known.
    pub(crate) version: Option<String>,
    /// An SPDX expression.
    pub(crate) licence: String,
    /// The digest of what was downloaded.
    pub(crate) sha256: Option<String>,
    /// What kind of thing it is: `library` or `data`.
    pub(crate) kind: &'static str,
    /// The kind of package: `cargo` or `generic`.
    pub(crate) origin: &'static str,
}

impl Component {
    fn purl(&self) -> String {
        let version = self.version.as_ref().map(|version| format!("@{}", version.replace('+', "%2B")));
        format!("pkg:{}/{}{}", self.origin, self.name, version.unwrap_or_default())
    }

    fn to_json(&self) -> Value {
        let mut value = json!({ "type": self.kind, "bom-ref": self.purl(), "name": self.name });
        if let Some(version) = &self.version {
            value["version"] = json!(version);
        }
        if let Some(sha256) = &self.sha256 {
            value["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
        }
        // Old crates separate by a slash what an expression separates by "OR".
        value["licenses"] = json!([{ "expression": self.licence.replace('/', " OR ") }]);
        value["purl"] = json!(self.purl());
        value
    }
}

/// Components, and by the index of each what it depends on. The first is the program.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    components: Vec<Component>,
    edges: BTreeMap<usize, BTreeSet<usize>>,
}

impl Tree {
    /// Asks Cargo about the source in a folder.
    pub(crate) fn of(source: &Path, target: &str) -> Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .current_dir(source)
            .args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "depth"])
            .args(["--target", target, "--format", FORMAT])
            .output()
            .context("cargo cannot be run")?;
        if !output.status.success() {
            bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        }
        let lock = Lockfile::load(source.join("Cargo.lock"))?;
        Self::parse(&String::from_utf8(output.stdout)?, &lock)
    }

    /// Reads what `cargo tree` prints. A crate's dependencies are below its first mention; the depth leads each line.
    pub(crate) fn parse(text: &str, lock: &Lockfile) -> Result<Self> {
        let mut tree = Self::default();
        let mut path: Vec<usize> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mut parts = line.split('\t');
            let (Some(depth), Some(package), Some(licence)) = (parts.next(), parts.next(), parts.next()) else {
                bail!("cargo tree printed a line that is not understood: {line}");
            };
            let component = component(package, licence.trim_end_matches("(*)").trim(), lock)
                .with_context(|| format!("cargo tree printed a line that is not understood: {line}"))?;
            path.truncate(depth.parse()?);
            let index = tree.add(component);
            if let Some(parent) = path.last() {
                tree.edges.entry(*parent).or_default().insert(index);
            }
            path.push(index);
        }
        Ok(tree)
    }

    /// Adds what the program depends on and Cargo does not know of.
    pub(crate) fn link(&mut self, component: Component) {
        let index = self.add(component);
        self.edges.entry(0).or_default().insert(index);
    }

    /// All that is linked into the program.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().skip(1)
    }

    fn add(&mut self, component: Component) -> usize {
        self.components.iter().position(|known| *known == component).unwrap_or_else(|| {
            self.components.push(component);
            self.components.len() - 1
        })
    }

    /// The document.
    pub(crate) fn to_json(&self, created: Timestamp, target: &str) -> Result<Value> {
        let (program, libraries) = self.components.split_first().context("cargo tree printed nothing")?;
        let mut root = program.to_json();
        root["type"] = json!("application");
        let mut sorted: Vec<_> = libraries.to_vec();
        sorted.sort();
        let mut dependencies: Vec<_> = (0..self.components.len()).map(|index| self.dependencies(index)).collect();
        dependencies.sort();
        let dependencies: Vec<_> =
            dependencies.into_iter().map(|(of, on)| json!({ "ref": of, "dependsOn": on })).collect();
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "timestamp": created.to_string(),
                "lifecycles": [{ "phase": "build" }],
                "component": root,
                "properties": [{ "name": "target", "value": target }],
            },
            "components": sorted.iter().map(Component::to_json).collect::<Vec<_>>(),
            "dependencies": dependencies,
        }))
    }

    fn dependencies(&self, index: usize) -> (String, BTreeSet<String>) {
        let on = self.edges.get(&index).into_iter().flatten().map(|index| self.components[*index].purl()).collect();
        (self.components[index].purl(), on)
    }
}

/// Reads `name v1.2.3`, followed by a path where it is of this source.
fn component(package: &str, licence: &str, lock: &Lockfile) -> Option<Component> {
    let mut words = package.split(' ');
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    let locked = locked(lock, name, |found| found == version)?;
    Some(Component { licence: licence.to_owned(), ..locked })
}

/// A crate of the lock file, still without a licence.
pub(crate) fn locked(lock: &Lockfile, name: &str, wanted: impl Fn(&str) -> bool) -> Option<Component> {
    let package = lock.packages.iter().find(|p| p.name.as_str() == name && wanted(&p.version.to_string()))?;
    Some(Component {
        name: name.to_owned(),
        version: Some(package.version.to_string()),
        licence: String::new(),
        sha256: package.checksum.as_ref().map(ToString::to_string),
        kind: "library",
        origin: "cargo",
    })
}
