//! Reads what goes into a report.

use std::collections::BTreeSet;
use std::fmt::Debug;

use integration_operator::api::{ClusterIntegrationProvider, IntegrationProvider, ProjectIntegration, ProviderKind};
use integration_operator::leader;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, LogParams};
use kube::core::DynamicObject;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::secrets::{self, Place};
use crate::args;
use crate::cluster::Cluster;
use crate::doctor::lease::of_shards;
use crate::doctor::look::Look;
use crate::doctor::operator::Operator;
use crate::doctor::{self, check};
use crate::failure::Failure;

/// Objects of a kind, Events, and Pods with logs, at most.
const MOST: u32 = 500;
const PODS: usize = 6;
/// The kinds whose Events count.
const KINDS: [&str; 3] = ["ProjectIntegration", "IntegrationProvider", "ClusterIntegrationProvider"];

/// Everything.
pub(super) async fn all(cluster: &Cluster, args: &args::Report) -> Result<Bundle, Failure> {
    let operator = Operator::find(cluster, &args.operator_namespace).await;
    let mut bundle = Bundle::default();
    let checks = doctor::examine(cluster, &operator).await?;
    bundle.json("doctor.json", "what `kubectl integration doctor` says", &check::json(&checks));
    bundle.json("versions.json", "versions", &versions(cluster, &operator).await);
    let integrations = integrations(cluster, args.name.as_deref(), &mut bundle).await?;
    let mut places: BTreeSet<Place> =
        integrations.iter().flat_map(|one| secrets::of_integration(one, &operator.namespace)).collect();
    places.extend(providers(cluster, &operator, &integrations, args.name.is_some(), &mut bundle).await);
    let about = "Secrets that are involved: names, types, names of keys, ages";
    bundle.yaml("secrets.yaml", about, &secrets::outlines(cluster, &places).await);
    namespace(cluster, &mut bundle).await;
    events(cluster, &operator, args.name.as_deref(), &mut bundle).await;
    of_operator(cluster, &operator, &mut bundle).await;
    logs(cluster, &operator, args.tail, &mut bundle).await;
    Ok(bundle)
}

async fn versions(cluster: &Cluster, operator: &Operator) -> Value {
    let server = cluster.client.apiserver_version().await;
    json!({
        "plugin": env!("CARGO_PKG_VERSION"),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "apiServer": server.ok().map(|version| version.git_version),
        "operatorImage": operator.image().map(|(image, _)| image),
    })
}

/// The integrations as they are, those that cannot be decoded among them; those that can are returned.
async fn integrations(
    cluster: &Cluster,
    name: Option<&str>,
    bundle: &mut Bundle,
) -> Result<Vec<ProjectIntegration>, Failure> {
    // As the API server has them, so that a field that this program does not know is there as well.
    let resource = kube::core::ApiResource::erase::<ProjectIntegration>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let found = match name {
        Some(name) => vec![api.get(name).await.map_err(|error| Failure::api("get", cluster.called(name), error))?],
        None => match Look::of(api.list(&ListParams::default().limit(MOST)).await) {
            Look::Found(list) => {
                if list.metadata.continue_.is_some_and(|more| !more.is_empty()) {
                    bundle.missing(format!("integrations: there are more than the first {MOST}"));
                }
                list.items
            }
            Look::Absent => Vec::new(),
            Look::Denied(why) | Look::Failed(why) => {
                bundle.missing(format!("integrations: {why}"));
                Vec::new()
            }
        },
    };
    let mut integrations = Vec::new();
    for object in found {
        let name = object.name_any();
        bundle.yaml(&format!("integrations/{name}.yaml"), "an integration", &value(&object));
        match object.try_parse::<ProjectIntegration>() {
            Ok(integration) => integrations.push(integration),
            Err(error) => bundle.missing(format!("integration {name} cannot be read by this version: {error}")),
        }
    }
    Ok(integrations)
}

/// The providers that are used, and where no integration was named the namespace's own; gives their clients' Secrets.
async fn providers(
    cluster: &Cluster,
    operator: &Operator,
    integrations: &[ProjectIntegration],
    one: bool,
    bundle: &mut Bundle,
) -> BTreeSet<Place> {
    let mut keys: BTreeSet<(ProviderKind, String)> =
        integrations.iter().map(|one| (one.spec.provider_kind, one.spec.type_.clone())).collect();
    let own: Api<IntegrationProvider> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    if !one && let Look::Found(list) = Look::of(own.list_metadata(&ListParams::default().limit(MOST)).await) {
        keys.extend(list.items.iter().map(|own| (ProviderKind::IntegrationProvider, own.name_any())));
    }
    let mut places = BTreeSet::new();
    for (kind, name) in keys {
        let found = match kind {
            ProviderKind::ClusterIntegrationProvider => {
                let api = Api::<ClusterIntegrationProvider>::all(cluster.client.clone());
                read(&api, &name, "cluster provider", bundle).await
            }
            ProviderKind::IntegrationProvider => read(&own, &name, "provider", bundle).await,
        };
        let Some(found) = found else { continue };
        let named = found["spec"]["clientCredentialsRef"]["name"].as_str();
        places.extend(secrets::of_provider(kind, named, &cluster.namespace, &operator.namespace));
        bundle.yaml(&format!("providers/{kind:?}-{name}.yaml"), "a provider", &found);
    }
    places
}

/// One object as JSON; its absence is noted.
async fn read<K>(api: &Api<K>, name: &str, what: &str, bundle: &mut Bundle) -> Option<Value>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    match Look::of(api.get(name).await) {
        Look::Found(found) => Some(value(&found)),
        Look::Absent => {
            bundle.missing(format!("{what} {name}: there is none"));
            None
        }
        Look::Denied(why) | Look::Failed(why) => {
            bundle.missing(format!("{what} {name}: {why}"));
            None
        }
    }
}

fn value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

async fn namespace(cluster: &Cluster, bundle: &mut Bundle) {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    if let Some(found) = read(&api, &cluster.namespace, "namespace", bundle).await {
        bundle.yaml("namespace.yaml", "the namespace, with the tenant's label", &found);
    }
}

/// Events of integrations and providers, and of whatever is in the operator's namespace.
async fn events(cluster: &Cluster, operator: &Operator, name: Option<&str>, bundle: &mut Bundle) {
    let mut told = Vec::new();
    // Events on what lies in no namespace go to `default`.
    let places: BTreeSet<&str> = [cluster.namespace.as_str(), operator.namespace.as_str(), "default"].into();
    for place in places {
        let api: Api<Event> = Api::namespaced(cluster.client.clone(), place);
        match Look::of(api.list(&ListParams::default().limit(MOST)).await) {
            Look::Found(list) => {
                let all = place == operator.namespace;
                told.extend(list.items.iter().filter(|event| all || is_about(event, name)).map(event));
            }
            Look::Absent => {}
            Look::Denied(why) | Look::Failed(why) => bundle.missing(format!("Events in namespace {place}: {why}")),
        }
    }
    bundle.yaml("events.yaml", "Events of integrations, providers and the operator", &Value::Array(told));
}

fn is_about(event: &Event, name: Option<&str>) -> bool {
    let Some(regarding) = &event.regarding else { return false };
    let kind = regarding.kind.as_deref().unwrap_or_default();
    let is_integration = kind == KINDS[0];
    KINDS.contains(&kind) && (!is_integration || name.is_none_or(|name| regarding.name.as_deref() == Some(name)))
}

fn event(event: &Event) -> Value {
    let regarding = event.regarding.clone().unwrap_or_default();
    json!({
        "regarding": { "kind": regarding.kind, "namespace": regarding.namespace, "name": regarding.name },
        "type": event.type_,
        "reason": event.reason,
        "action": event.action,
        "note": event.note,
        "first": event.event_time.as_ref().map(|time| time.0.to_string()).or_else(|| {
            event.deprecated_first_timestamp.as_ref().map(|time| time.0.to_string())
        }),
        "last": event.series.as_ref().map(|series| series.last_observed_time.0.to_string()),
        "count": event.series.as_ref().map(|series| series.count).or(event.deprecated_count),
        "by": event.reporting_controller,
    })
}

async fn of_operator(cluster: &Cluster, operator: &Operator, bundle: &mut Bundle) {
    match &operator.deployment {
        Look::Found(deployment) => {
            bundle.yaml("operator/deployment.yaml", "the operator's Deployment", &value(deployment));
        }
        Look::Absent => bundle.missing(format!("Deployment: there is none in namespace {}", operator.namespace)),
        Look::Denied(why) | Look::Failed(why) => bundle.missing(format!("Deployment: {why}")),
    }
    match &operator.pods {
        Look::Found(pods) if !pods.is_empty() => {
            bundle.yaml("operator/pods.yaml", "the operator's Pods", &pods.iter().map(pod).collect());
        }
        Look::Found(_) | Look::Absent => bundle.missing("Pods: there are none, so there are no logs"),
        Look::Denied(why) | Look::Failed(why) => bundle.missing(format!("Pods: {why}")),
    }
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &operator.namespace);
    let listed = api.list(&ListParams::default()).await.map(|list| of_shards(list.items.iter().map(Lease::name_any)));
    let names = listed.ok().filter(|names| !names.is_empty()).unwrap_or_else(|| vec![leader::NAME.to_owned()]);
    for name in names {
        if let Some(lease) = read(&api, &name, "Lease", bundle).await {
            let shard = name.strip_prefix(leader::NAME).unwrap_or_default();
            bundle.yaml(&format!("operator/lease{shard}.yaml"), "which replica leads", &lease);
        }
    }
}

/// How a Pod is; what it is made of stands in the Deployment.
fn pod(pod: &Pod) -> Value {
    json!({
        "name": pod.name_any(),
        "uid": pod.uid(),
        "created": pod.creation_timestamp().map(|created| created.0.to_string()),
        "node": pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        "status": pod.status,
    })
}

async fn logs(cluster: &Cluster, operator: &Operator, tail: u32, bundle: &mut Bundle) {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &operator.namespace);
    for pod in operator.pods.found().into_iter().flatten().take(PODS) {
        let name = pod.name_any();
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarted = statuses.map(|status| status.restart_count).max().unwrap_or_default() > 0;
        for previous in [false, true] {
            if previous && !restarted {
                continue;
            }
            let params = LogParams { previous, tail_lines: Some(i64::from(tail)), ..LogParams::default() };
            let path = format!("operator/logs/{name}{}.log", if previous { ".previous" } else { "" });
            match Look::of(api.logs(&name, &params).await) {
                Look::Found(text) => bundle.text(&path, "the end of a log", &text),
                Look::Absent => bundle.missing(format!("{path}: the Pod is gone")),
                Look::Denied(why) | Look::Failed(why) => bundle.missing(format!("{path}: {why}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_others_do_not_count() {
        let of = |kind: &str, name: &str| -> Event {
            serde_json::from_value(
                json!({ "metadata": {}, "eventTime": null, "regarding": { "kind": kind, "name": name } }),
            )
            .unwrap()
        };
        assert!(is_about(&of("ProjectIntegration", "web.slack"), None));
        assert!(is_about(&of("ProjectIntegration", "web.slack"), Some("web.slack")));
        assert!(!is_about(&of("ProjectIntegration", "web.jira"), Some("web.slack")));
        assert!(is_about(&of("IntegrationProvider", "slack"), Some("web.slack")));
        assert!(!is_about(&of("Pod", "web.slack"), None));
    }
}
