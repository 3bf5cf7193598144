//! `providers apply`: makes the cluster's providers those of some files, as the chart's `providers` want it.
//!
//! Every object is labelled with its owner. What somebody else made is never taken over, since its uid stands in grants
//! and its fields decide where they are sent; what the owner declared earlier and does not any more is deleted. The files
//! are looked at as a whole before anything is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::Answer;
use super::lint::read;
use crate::api::GROUP;
use crate::provider::lint::{Severity, lint};

/// Field manager of what is applied; one that only this command has.
const MANAGER: &str = "integration-providers";
/// Label that names the owner.
const OWNER: &str = "integrations.tms.dev/declared-by";

/// Options of `providers apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Files with cluster providers, and folders of such files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Who declares them, such as a release's namespace and name: a label's value.
    #[arg(long)]
    pub owner: String,
}

/// Applies and deletes.
pub(super) fn run(options: &Apply) -> anyhow::Result<Answer> {
    let mut wanted = BTreeMap::new();
    for path in files(&options.files)? {
        for (name, spec) in providers(&read(&path)?).with_context(|| path.display().to_string())? {
            ensure!(wanted.insert(name.clone(), spec).is_none(), "provider {name} is declared twice");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(settle(&wanted, &options.owner)).map(Answer::well)
}

/// The files named, and those in the folders named. What a `ConfigMap` is mounted as has hidden folders beside its files.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
            let path = entry?.path();
            if path.is_file() && !hidden(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// The providers of a file, by name; an error where one could not be used.
fn providers(text: &str) -> anyhow::Result<Vec<(String, Value)>> {
    use serde::Deserialize as _;
    let wrong: Vec<_> = lint(text).into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    let mut providers = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        let name = value["metadata"]["name"].as_str().context("metadata.name is missing")?;
        ensure!(value["kind"] == "ClusterIntegrationProvider", "{name} is no ClusterIntegrationProvider");
        providers.push((name.to_owned(), value["spec"].clone()));
    }
    Ok(providers)
}

async fn settle(wanted: &BTreeMap<String, Value>, owner: &str) -> anyhow::Result<String> {
    let client = kube::Client::try_from(kube::Config::infer().await?)?;
    let kind = GroupVersionKind::gvk(GROUP, "v1alpha1", "ClusterIntegrationProvider");
    let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::from_gvk(&kind));
    let found = api.list(&ListParams::default()).await.context("cannot list cluster providers")?.items;
    let is_ours = |object: &DynamicObject| object.labels().get(OWNER).is_some_and(|label| label == owner);
    if let Some(object) = found.iter().find(|object| wanted.contains_key(&object.name_any()) && !is_ours(object)) {
        bail!(
            "ClusterIntegrationProvider {name} exists and was not declared by {owner}; take it out of the values, or hand \
             it over with `kubectl label clusterintegrationprovider {name} {OWNER}={owner} --overwrite`",
            name = object.name_any()
        );
    }
    let mut said = String::new();
    for (name, spec) in wanted {
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "ClusterIntegrationProvider",
            "metadata": { "name": name, "labels": { OWNER: owner } },
            "spec": spec,
        });
        api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object))
            .await
            .with_context(|| format!("cannot apply provider {name}"))?;
        writeln!(said, "{name} applied")?;
    }
    for object in found.iter().filter(|object| is_ours(object) && !wanted.contains_key(&object.name_any())) {
        let name = object.name_any();
        let exactly = Preconditions { uid: object.uid(), resource_version: None };
        let how = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        match api.delete(&name, &how).await {
            Ok(_) => writeln!(said, "{name} deleted")?,
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error).with_context(|| format!("cannot delete provider {name}")),
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: &str = "apiVersion: integrations.tms.dev/v1alpha1\nkind: ClusterIntegrationProvider\n\
                         metadata: {name: slack}\nspec: {preset: slack, clientCredentialsRef: {name: slack-client}}\n";

    #[test]
    fn folders_are_read_as_kubelet_mounts_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("..2026")).unwrap();
        std::fs::write(folder.path().join("..2026/slack.yaml"), SLACK).unwrap();
        std::os::unix::fs::symlink("..2026", folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/slack.yaml", folder.path().join("slack.yaml")).unwrap();
        assert_eq!(files(&[folder.path().to_owned()]).unwrap(), [folder.path().join("slack.yaml")]);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        assert_eq!(providers(SLACK).unwrap()[0].0, "slack");
        let error = providers(&SLACK.replace("preset: slack", "preset: slick")).unwrap_err().to_string();
        assert!(error.contains("4:") && error.contains("slick"), "{error}");
        let tenants = SLACK.replace("ClusterIntegrationProvider", "IntegrationProvider");
        assert!(providers(&tenants).unwrap_err().to_string().contains("is no ClusterIntegrationProvider"));
    }
}
