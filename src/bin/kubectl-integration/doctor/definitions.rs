//! Whether the custom resource definitions are installed, served, and of the version of this program.
//!
//! The API server drops fields that its definitions do not know, without a word to most clients. So every field of the
//! schemas here is looked for there. Who may not read definitions may read the published schemas.

use integration_operator::api::{GROUP, crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde_json::Value;

use super::check::Check;
use super::look::Look;
use crate::cluster::Cluster;

const VERSION: &str = "v1alpha1";
/// Fields that are named; the rest is counted.
const NAMED: usize = 6;
const APPLY: &str = "apply the definitions of this release: kubectl apply --server-side -f crds/\n\
                     or with the operator's own: integration-operator crds | kubectl apply --server-side -f -";

/// A definition as the cluster has it.
enum Installed {
    /// The schema of the version.
    Served(Value),
    /// There, and not served.
    NotServed(String),
    /// Not there.
    Absent,
    /// Could not be read.
    Unknown(String),
}

/// A check for each definition.
pub(crate) async fn check(cluster: &Cluster) -> Vec<Check> {
    let mut published: Option<Look<Value>> = None;
    let mut checks = Vec::new();
    for wanted in crds() {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
        let found = match Look::of(api.get(&name).await) {
            Look::Found(found) => installed(&found),
            Look::Absent => Installed::Absent,
            Look::Failed(why) => Installed::Unknown(why),
            Look::Denied(why) => {
                if published.is_none() {
                    published = Some(schemas(cluster).await);
                }
                published.as_ref().map_or(Installed::Unknown(why), |look| in_published(look, &wanted.spec.names.kind))
            }
        };
        checks.push(judge(&wanted, &found));
    }
    checks
}

/// The schemas that everybody may read.
async fn schemas(cluster: &Cluster) -> Look<Value> {
    match http::Request::get(format!("/openapi/v3/apis/{GROUP}/{VERSION}")).body(Vec::new()) {
        Ok(request) => Look::of(cluster.client.request(request).await),
        Err(error) => Look::Failed(error.to_string()),
    }
}

fn installed(found: &CustomResourceDefinition) -> Installed {
    let Some(version) = found.spec.versions.iter().find(|version| version.name == VERSION) else {
        return Installed::NotServed(format!("it has no version {VERSION}"));
    };
    if !version.served {
        return Installed::NotServed(format!("version {VERSION} is switched off"));
    }
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let refused = conditions.filter(|condition| condition.type_ == "Established" && condition.status != "True");
    if let Some(condition) = refused.into_iter().next() {
        let said = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or_default();
        return Installed::NotServed(format!("the API server does not serve it: {said}"));
    }
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    Installed::Served(serde_json::to_value(schema).unwrap_or_default())
}

fn in_published(published: &Look<Value>, kind: &str) -> Installed {
    match published {
        Look::Absent => Installed::Absent,
        Look::Denied(why) | Look::Failed(why) => Installed::Unknown(why.clone()),
        Look::Found(document) => {
            let is_it = |schema: &&Value| {
                let kinds = schema["x-kubernetes-group-version-kind"].as_array();
                kinds.is_some_and(|kinds| kinds.iter().any(|named| named["kind"] == kind && named["group"] == GROUP))
            };
            let schemas = document["components"]["schemas"].as_object();
            schemas
                .and_then(|schemas| schemas.values().find(is_it))
                .map_or(Installed::Absent, |schema| Installed::Served(schema.clone()))
        }
    }
}

fn judge(wanted: &CustomResourceDefinition, found: &Installed) -> Check {
    let name = format!("definition {}", wanted.spec.names.plural);
    let kind = &wanted.spec.names.kind;
    match found {
        Installed::Absent => Check::failed(name, format!("{kind} is not installed"), APPLY),
        Installed::NotServed(why) => Check::failed(name, why.clone(), APPLY),
        Installed::Unknown(why) => Check::skipped(name, format!("it could not be read: {why}")),
        Installed::Served(found) => {
            let schema = wanted.spec.versions.first().and_then(|version| version.schema.as_ref());
            let wanted = serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema.as_ref()));
            let wanted = wanted.unwrap_or_default();
            let (here, there) = (lacking("", &wanted, found), lacking("", found, &wanted));
            if !here.is_empty() {
                let says = format!("{VERSION} lacks {}; what is written there is dropped", list(&here));
                return Check::failed(name, says, APPLY);
            }
            if !there.is_empty() {
                let says = format!("{VERSION} has what this program does not know: {}", list(&there));
                return Check::warning(name, says, "use the plugin of the operator's release");
            }
            Check::ok(name, format!("{VERSION} is served, with every field of {}", env!("CARGO_PKG_VERSION")))
        }
    }
}

/// Paths of fields of one schema that another lacks; below one that is lacking nothing more is told.
fn lacking(path: &str, wanted: &Value, found: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, schema) in wanted["properties"].as_object().into_iter().flatten() {
        // What every object has is not the definition's.
        if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            continue;
        }
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match found["properties"].get(name) {
            Some(found) => paths.extend(lacking(&below, schema, found)),
            None => paths.push(below),
        }
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", ".<name>")] {
        if wanted[key].is_object() && found[key].is_object() {
            paths.extend(lacking(&format!("{path}{suffix}"), &wanted[key], &found[key]));
        }
    }
    paths
}

fn list(paths: &[String]) -> String {
    let named = paths.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use serde_json::json;

    fn schema(crd: &CustomResourceDefinition) -> Value {
        let schema = crd.spec.versions[0].schema.clone().unwrap();
        serde_json::to_value(schema.open_api_v3_schema).unwrap()
    }

    #[test]
    fn the_own_definitions_lack_nothing() {
        for crd in crds() {
            let check = judge(&crd, &Installed::Served(schema(&crd)));
            assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        }
    }

    #[test]
    fn an_older_one_and_a_newer_one_are_told() {
        let crd = crds().remove(0);
        let mut older = schema(&crd);
        older["properties"]["spec"]["properties"].as_object_mut().unwrap().remove("apiKey");
        let check = judge(&crd, &Installed::Served(older));
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(check.says.contains("lacks spec.apiKey;"), "{check:?}");
        let mut newer = schema(&crd);
        newer["properties"]["spec"]["properties"]["later"] = json!({ "type": "string" });
        let check = judge(&crd, &Installed::Served(newer));
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.says.ends_with("spec.later"), "{check:?}");
    }

    #[test]
    fn fields_are_looked_for_in_lists_and_maps() {
        let wanted = json!({ "properties": {
            "list": { "items": { "properties": { "a": {}, "b": {} } } },
            "map": { "additionalProperties": { "properties": { "c": {} } } },
        } });
        let found = json!({ "properties": {
            "list": { "items": { "properties": { "a": {} } } },
            "map": { "additionalProperties": { "properties": {} } },
        } });
        assert_eq!(lacking("spec", &wanted, &found), ["spec.list[].b", "spec.map.<name>.c"]);
    }
}
