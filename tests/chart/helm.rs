//! Helm, built from the Go modules like the control plane, and what it makes of the chart.

#![allow(dead_code, unreachable_pub, reason = "two test binaries include this module and use a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize as _;
use serde_json::Value;

use crate::cluster::binaries::Environment;
use crate::cluster::{golang, skip};

/// The release and namespace that the tests install, unless they say otherwise.
pub const RELEASE: &str = "integration-operator";

/// Helm, with folders of its own.
pub struct Helm {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    /// Helm, or `None` where it cannot be had and the test is skipped.
    #[track_caller]
    pub fn or_skip(test: &str) -> Option<Self> {
        match Self::find() {
            Ok(program) => Some(Self { program, home: tempfile::tempdir().unwrap() }),
            Err(error) => {
                skip(test, format_args!("Helm cannot be had: {error:#}"));
                None
            }
        }
    }

    fn find() -> anyhow::Result<PathBuf> {
        if let Some(program) = std::env::var_os("HELM").filter(|program| !program.is_empty()) {
            return Ok(program.into());
        }
        let folder = Environment::current()?.cache.join(golang::VERSION);
        Ok(golang::build_named("go".as_ref(), &folder, &[golang::HELM])?.remove(0))
    }

    /// Runs Helm; without a cluster, unless `arguments` name one.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(arguments)
            .env_remove("KUBECONFIG")
            .env("HOME", self.home.path())
            .env("HELM_CACHE_HOME", self.home.path().join("cache"))
            .env("HELM_CONFIG_HOME", self.home.path().join("config"))
            .env("HELM_DATA_HOME", self.home.path().join("data"))
            .output()
            .unwrap()
    }

    /// A file with values.
    pub fn values(&self, values: &Value) -> String {
        let path = self.home.path().join(format!("{}.yaml", uuid::Uuid::new_v4()));
        std::fs::write(&path, values.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What the chart renders, as text, or what Helm says against it.
    pub fn template(&self, release: &str, namespace: &str, values: &Value, more: &[&str]) -> Result<String, String> {
        let (chart, values) = (chart(), self.values(values));
        let mut arguments = vec!["template", release, chart.to_str().unwrap(), "-n", namespace, "-f", &values];
        arguments.extend(more);
        let output = self.run(&arguments);
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }

    /// The objects that the chart renders.
    pub fn objects(&self, namespace: &str, values: &Value) -> Vec<Value> {
        documents(&self.template(RELEASE, namespace, values, &[]).unwrap())
    }
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/integration-operator")
}

/// The objects of a stream of YAML.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    documents.filter(|value| !value.is_null()).collect()
}

/// The one object of a kind and name.
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found: Vec<_> = objects.iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

/// Whether there is an object of a kind.
pub fn has(objects: &[Value], kind: &str) -> bool {
    objects.iter().any(|object| object["kind"] == kind)
}
