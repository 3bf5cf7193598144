//! The Secrets that are involved: their names, types, names of keys and ages. Never what they hold.

use std::collections::BTreeSet;

use integration_operator::api::{ProjectIntegration, ProviderKind};
use integration_operator::grant::store::grant_name;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::doctor::look::Look;

/// A Secret, by namespace and name.
pub(super) type Place = (String, String);

/// Those of an integration: what it publishes, what it is given, what is held for it.
pub(super) fn of_integration(integration: &ProjectIntegration, operator: &str) -> BTreeSet<Place> {
    let (name, namespace) = (integration.name_any(), integration.namespace().unwrap_or_default());
    let (spec, status) = (&integration.spec, integration.status.clone().unwrap_or_default());
    let mut names = BTreeSet::new();
    let published = status.token.and_then(|token| token.secret_name);
    let wanted = spec.secret.as_ref().and_then(|secret| secret.name.clone());
    names.insert(published.or(wanted).unwrap_or_else(|| name.clone()));
    names.extend(status.authorization.map(|authorization| authorization.secret_name));
    names.extend(spec.api_key.iter().map(|key| key.secret_ref.name.clone()));
    let signing = spec.webhook.iter().flat_map(|webhook| &webhook.signing_secret_refs);
    let events = spec.events.iter().filter_map(|events| events.signing_secret_ref.as_ref());
    names.extend(signing.chain(events).map(|reference| reference.name.clone()));
    let mut places: BTreeSet<Place> = names.into_iter().map(|one| (namespace.clone(), one)).collect();
    places.insert((operator.to_owned(), grant_name(&namespace, &name)));
    places
}

/// That of a provider's client.
pub(super) fn of_provider(kind: ProviderKind, named: Option<&str>, namespace: &str, operator: &str) -> Option<Place> {
    let place = match kind {
        ProviderKind::ClusterIntegrationProvider => operator,
        ProviderKind::IntegrationProvider => namespace,
    };
    named.map(|name| (place.to_owned(), name.to_owned()))
}

/// What may be told of each.
pub(super) async fn outlines(cluster: &Cluster, places: &BTreeSet<Place>) -> Value {
    let mut outlines = Vec::new();
    for (namespace, name) in places {
        let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
        let mut outline = json!({ "namespace": namespace, "name": name });
        match Look::of(api.get(name).await) {
            Look::Found(secret) => describe(&mut outline, &secret),
            Look::Absent => outline["state"] = "absent".into(),
            Look::Denied(_) => outline["state"] = "you may not read it".into(),
            Look::Failed(why) => outline["state"] = why.into(),
        }
        outlines.push(outline);
    }
    Value::Array(outlines)
}

fn describe(outline: &mut Value, secret: &Secret) {
    outline["state"] = "present".into();
    outline["type"] = secret.type_.clone().into();
    outline["created"] = secret.creation_timestamp().map(|created| created.0.to_string()).into();
    outline["keys"] = secret.data.iter().flatten().map(|(key, _)| key.clone()).collect();
    outline["labels"] = secret.labels().keys().cloned().collect();
    outline["owners"] =
        secret.owner_references().iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    #[test]
    fn those_that_are_involved() {
        let places = of_integration(&sample::connected(), "ops");
        let grant = grant_name("acme", "web.slack");
        let expected = [("acme", "web.slack"), ("ops", grant.as_str())];
        let expected: BTreeSet<Place> = expected.map(|(namespace, name)| (namespace.into(), name.into())).into();
        assert_eq!(places, expected);
        let cluster = of_provider(ProviderKind::ClusterIntegrationProvider, Some("c"), "acme", "ops");
        assert_eq!(cluster, Some(("ops".to_owned(), "c".to_owned())));
    }

    #[test]
    fn what_they_hold_is_not_told() {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "a", "annotations": { "x": "canary" }, "labels": { "l": "canary" } },
            "type": "Opaque",
            "data": { "access_token": "Y2FuYXJ5" },
        }))
        .unwrap();
        let mut outline = json!({});
        describe(&mut outline, &secret);
        assert_eq!(outline["keys"], json!(["access_token"]));
        assert!(!outline.to_string().contains("canary") && !outline.to_string().contains("Y2FuYXJ5"), "{outline}");
    }
}
