//! What is generated of the chart: its README, from the comments of the values, and the definitions among its templates,
//! from the source.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use integration_operator::api::crds;
use serde_json::Value;

use super::{Outcome, path, settle};

fn chart(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/integration-operator").join(path)
}

/// Definitions in a chart's `crds/` are never upgraded; as templates they are, and the annotation keeps them, and with
/// them every integration, when the release goes.
#[test]
fn the_chart_has_the_definitions() -> Outcome {
    for crd in crds() {
        let name = crd.metadata.name.clone().ok_or("a definition without a name")?;
        let text = serde_yaml::to_string(&crd)?;
        assert!(!text.contains("{{"), "{name} would be taken for a template");
        let head = format!("metadata:\n  name: {name}\n");
        let with = format!(
            "{head}  labels:\n    {{{{- include \"integration-operator.labels\" . | nindent 4 }}}}\n  \
             {{{{- if .Values.crds.keep }}}}\n  annotations:\n    # Deleting a definition deletes every object of its kind.\n    \
             helm.sh/resource-policy: keep\n  {{{{- end }}}}\n"
        );
        assert_eq!(text.matches(&head).count(), 1);
        let text = text.replace(&head, &with);
        let header = "{{- /* Generated from src/api by `make crds`. */}}\n{{- if .Values.crds.install }}\n";
        let file = path(&crd);
        let file = file.file_name().ok_or("a file without a name")?.to_string_lossy();
        settle(&chart(&format!("templates/crds/{file}")), &format!("{header}{text}{{{{- end }}}}\n"))?;
    }
    Ok(())
}

/// A value with its comment.
struct Described {
    path: Vec<String>,
    text: String,
}

/// The comments `# -- …` of the values, each with the key below it.
fn described(values: &str) -> Vec<Described> {
    let mut found = Vec::new();
    let mut comment: Option<String> = None;
    let mut keys: Vec<(usize, String)> = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(begun) = text.strip_prefix("# -- ") {
            comment = Some(begun.to_owned());
        } else if let (Some(more), Some(comment)) = (text.strip_prefix("# "), &mut comment) {
            comment.push(' ');
            comment.push_str(more);
        } else if let Some((key, _)) = text.split_once(':').filter(|(key, _)| is_key(key)) {
            let indent = line.len() - text.len();
            keys.retain(|(outer, _)| *outer < indent);
            keys.push((indent, key.to_owned()));
            if let Some(text) = comment.take() {
                found.push(Described { path: keys.iter().map(|(_, key)| key.clone()).collect(), text });
            }
        } else {
            comment = None;
        }
    }
    found
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric())
}

/// Every key that has none below it, except where it lies in something that has a comment as a whole.
fn undescribed(value: &Value, path: &mut Vec<String>, described: &[Described], missing: &mut Vec<String>) {
    if described.iter().any(|one| one.path == *path) {
        return;
    }
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                path.push(key.clone());
                undescribed(value, path, described, missing);
                path.pop();
            }
        }
        _ => missing.push(path.join(".")),
    }
}

#[test]
fn every_value_of_the_chart_is_documented() -> Outcome {
    let text = fs::read_to_string(chart("values.yaml"))?;
    let values: Value = serde_yaml::from_str(&text)?;
    let schema: Value = serde_json::from_str(&fs::read_to_string(chart("values.schema.json"))?)?;
    let described = described(&text);
    let mut missing = Vec::new();
    undescribed(&values, &mut Vec::new(), &described, &mut missing);
    assert!(missing.is_empty(), "without a comment in values.yaml: {missing:?}");
    let mut readme = String::from(README);
    readme.push_str("## Values\n\n| value | default | |\n|---|---|---|\n");
    for Described { path, text } in &described {
        let default = path.iter().try_fold(&values, |value, key| value.get(key)).ok_or("a comment without a value")?;
        writeln!(readme, "| `{}` | `{default}` | {} |", path.join("."), text.replace('|', "\\|"))?;
    }
    readme.push_str("\n## An entry of `providers`\n\n| field | |\n|---|---|\n");
    let fields = schema["properties"]["providers"]["items"]["properties"].as_object().ok_or("no providers")?;
    for (name, field) in fields {
        writeln!(readme, "| `{name}` | {} |", field["description"].as_str().ok_or("a field without a description")?)?;
    }
    settle(&chart("README.md"), &readme)
}

const README: &str = "\
# Chart of integration-operator

<!-- Generated from values.yaml by `make crds`; edit there. -->

```sh
helm install integration-operator charts/integration-operator \\
  --namespace integration-operator --create-namespace --values values.yaml
```

A `values.yaml` to begin with:

```yaml
image: {repository: registry.example.com/integration-operator}
publicUrl: https://connect.example.com
frontendUrls: [https://app.example.com]
clusterNetworks: [10.0.0.0/8]
ingress: {enabled: true, className: nginx, tls: [{hosts: [connect.example.com], secretName: connect-tls}]}
providers:
  - {preset: slack, existingSecret: slack-client}
```

Installing, upgrading, rolling back and uninstalling is described in [docs/install.md](../../docs/install.md), the rights that
the chart asks for in [docs/rbac.md](../../docs/rbac.md), the alerts in [docs/runbooks](../../docs/runbooks/README.md).

";
