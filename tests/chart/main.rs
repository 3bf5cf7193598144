//! The Helm chart as text: what it renders from which values, what it refuses, and what is written about it. No cluster;
//! on one it is installed in `tests/it/chart.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value, missing_docs, reason = "a test")]

#[path = "../cluster/mod.rs"]
mod cluster;

mod alerts;
mod documented;
mod exposure;
mod helm;
mod objects;
mod refusals;
mod rights;

use std::path::Path;

use serde_json::{Value, json};

/// The least that an installation needs.
fn minimal() -> Value {
    json!({ "publicUrl": "https://connect.example.com" })
}

/// [`minimal`] with some values more.
fn with(more: Value) -> Value {
    let mut values = minimal();
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    values
}

/// Nearly every value set to something.
fn full() -> Value {
    let text = std::fs::read_to_string(helm::chart().join("ci/full-values.yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// A file of the project, from its root.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Pods in these objects, with their names: of the Deployment, of Jobs, and by themselves.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let mut pods = Vec::new();
    for object in objects {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        match object["kind"].as_str() {
            Some("Deployment" | "Job") => pods.push((name, &object["spec"]["template"]["spec"])),
            Some("Pod") => pods.push((name, &object["spec"])),
            _ => {}
        }
    }
    pods
}

/// Words of a list.
fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}
