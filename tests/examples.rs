//! The files of `examples/`: what people copy has to be right.
//!
//! Every document is read into its type and written again: a field that the type does not know, or a value that it
//! reads as another, does not come back. Ours also have to pass the CRDs' own CEL rules, which are taken from the CRDs
//! themselves and evaluated as the API server does; `#[kube(cel)]` would want them compiled into the library.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use integration_operator::api::{
    ClusterIntegrationProvider, IntegrationProvider, ProjectIntegration, READABLE_LABEL, crds,
};
use integration_operator::provider::catalogue;
use integration_operator::provider::lint::{Severity, lint};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::cel::Validator;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

/// Where the operator runs in the examples.
const OPERATOR: &str = "integration-operator";

/// Every document with the file it is in.
fn documents() -> Result<Vec<(PathBuf, Value)>, Box<dyn Error>> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))? {
        let path = entry?.path();
        for document in serde_yaml::Deserializer::from_str(&fs::read_to_string(&path)?) {
            documents.push((path.clone(), Value::deserialize(document)?));
        }
    }
    assert!(documents.len() > 6, "examples are missing");
    Ok(documents)
}

/// The documents of one kind.
fn of_kind(kind: &str) -> Result<Vec<(PathBuf, Value)>, Box<dyn Error>> {
    Ok(documents()?.into_iter().filter(|(_, document)| document["kind"] == kind).collect())
}

/// Reads a document into `T` and writes it again.
fn again<T: DeserializeOwned + serde::Serialize>(document: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_value::<T>(document.clone())?)
}

/// The first path of `wanted` that `found` does not have, or has otherwise.
fn missing(wanted: &Value, found: &Value, path: &str) -> Option<String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .find_map(|(key, value)| missing(value, found.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"))),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            wanted.iter().zip(found).find_map(|(wanted, found)| missing(wanted, found, &format!("{path}[]")))
        }
        _ => (wanted != found).then(|| path.to_owned()),
    }
}

#[test]
fn every_field_is_known() -> Outcome {
    for (path, document) in documents()? {
        let kind = document["kind"].as_str().unwrap_or_default();
        let written = match kind {
            "ProjectIntegration" => again::<ProjectIntegration>(&document),
            "ClusterIntegrationProvider" => again::<ClusterIntegrationProvider>(&document),
            "IntegrationProvider" => again::<IntegrationProvider>(&document),
            "Namespace" => again::<Namespace>(&document),
            "Pod" => again::<Pod>(&document),
            "Role" => again::<Role>(&document),
            "RoleBinding" => again::<RoleBinding>(&document),
            "Secret" => again::<Secret>(&document),
            "ServiceAccount" => again::<ServiceAccount>(&document),
            other => panic!("{}: kind {other} is not checked; add it here", path.display()),
        }
        .map_err(|error| format!("{}: {kind}: {error}", path.display()))?;
        assert_eq!(missing(&document, &written, kind), None, "{}", path.display());
    }
    Ok(())
}

/// The schemas of our own kinds.
fn schemas() -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
    let mut schemas = BTreeMap::new();
    for crd in crds() {
        let schema = crd.spec.versions.first().and_then(|version| version.schema.clone()).ok_or("no schema")?;
        schemas.insert(crd.spec.names.kind, serde_json::to_value(schema.open_api_v3_schema)?);
    }
    Ok(schemas)
}

#[test]
fn the_rules_of_the_crds_hold() -> Outcome {
    for (kind, schema) in schemas()? {
        for (path, document) in of_kind(&kind)? {
            let verdict = Validator::new().validate(&schema, &document, None);
            assert!(
                verdict.is_ok(),
                "{}: {}",
                path.display(),
                verdict.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
    }
    Ok(())
}

#[test]
fn the_rules_of_the_crds_bite() -> Outcome {
    let schema = &schemas()?["ProjectIntegration"];
    let good = json!({
        "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
        "metadata": { "name": "web.slack" },
        "spec": { "tenantId": "acme", "projectId": "web", "type": "slack" },
    });
    let changed = |pointer: &str, value: Value| {
        let mut object = good.clone();
        if let Some(place) = object.pointer_mut(pointer) {
            *place = value;
        }
        object
    };
    let said = |object: &Value, old: Option<&Value>| {
        Validator::new().validate(schema, object, old).err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    assert_eq!(said(&good, Some(&good)), "");
    assert!(said(&changed("/metadata/name", json!("slack")), None).contains("the name must be <projectId>.<type>"));
    assert!(said(&changed("/spec/tenantId", json!("globex")), Some(&good)).contains("tenantId is immutable"));
    let sink = json!({ "tenantId": "acme", "projectId": "web", "type": "slack", "events": { "sink": {} } });
    assert!(said(&changed("/spec", sink), None).contains("name either uri or service"));
    Ok(())
}

#[test]
fn descriptions_have_no_mistakes() -> Outcome {
    let mut checked = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        if text.contains("IntegrationProvider\nmetadata") {
            let errors: Vec<_> = lint(&text).into_iter().filter(|one| one.severity == Severity::Error).collect();
            assert_eq!(errors, [], "{}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 0, "no example describes an app");
    Ok(())
}

#[test]
fn presets_and_their_overrides_fit() -> Outcome {
    for (path, document) in of_kind("ClusterIntegrationProvider")? {
        let provider: ClusterIntegrationProvider = serde_json::from_value(document)?;
        catalogue::with_preset(&provider.spec.description).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for (path, document) in of_kind("IntegrationProvider")? {
        let provider: IntegrationProvider = serde_json::from_value(document)?;
        catalogue::with_preset(&provider.spec.description).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

#[test]
fn clients_lie_where_the_operator_looks() -> Outcome {
    let secrets = of_kind("Secret")?;
    for (kind, namespace) in [("ClusterIntegrationProvider", Some(OPERATOR)), ("IntegrationProvider", None)] {
        for (path, provider) in of_kind(kind)? {
            if provider["spec"].get("oauth2").is_none() && provider["spec"].get("apiKey").is_some() {
                assert_eq!(
                    provider["spec"].get("clientCredentialsRef"),
                    None,
                    "{}: keys need no client",
                    path.display()
                );
                continue;
            }
            let namespace = namespace.or(provider["metadata"]["namespace"].as_str());
            let name = &provider["spec"]["clientCredentialsRef"]["name"];
            let (_, secret) = secrets
                .iter()
                .find(|(_, secret)| secret["metadata"]["name"] == *name)
                .ok_or_else(|| format!("{}: no Secret {name}", path.display()))?;
            assert_eq!(secret["metadata"]["namespace"].as_str(), namespace, "{}", path.display());
            let readable = secret["metadata"]["labels"][READABLE_LABEL] == "true";
            assert!(readable || kind == "ClusterIntegrationProvider", "{} lacks its label", path.display());
            assert!(secret["stringData"]["client_id"].is_string(), "{} has no client_id", path.display());
        }
    }
    Ok(())
}

#[test]
fn keys_lie_where_integrations_say() -> Outcome {
    let secrets = of_kind("Secret")?;
    let mut named = 0;
    for (path, integration) in of_kind("ProjectIntegration")? {
        let reference = &integration["spec"]["apiKey"]["secretRef"];
        let Some(key) = reference["key"].as_str() else { continue };
        named += 1;
        let metadata = &integration["metadata"];
        let (_, secret) = secrets
            .iter()
            .find(|(_, secret)| {
                secret["metadata"]["name"] == reference["name"]
                    && secret["metadata"]["namespace"] == metadata["namespace"]
            })
            .ok_or_else(|| format!("{}: no Secret {reference}", path.display()))?;
        assert_eq!(secret["metadata"]["labels"][READABLE_LABEL], "true", "{}", path.display());
        assert!(secret["stringData"][key].is_string(), "{} has no {key}", path.display());
    }
    assert!(named > 0);
    Ok(())
}
