//! The providers that are used: whether each is ready, and whether its client's credentials are there.
//!
//! Of a Secret only the names of its keys are looked at, and whether something is behind them.

use std::collections::{BTreeMap, BTreeSet};

use integration_operator::api::project_integration::SecretKeyRef;
use integration_operator::api::provider::ClientAuthentication;
use integration_operator::api::{
    ClusterIntegrationProvider, IntegrationProvider, ProjectIntegration, ProviderKind, ProviderSpec, ProviderStatus,
    READABLE_LABEL,
};
use integration_operator::provider::catalogue::with_preset;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use url::Url;

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

/// Providers that are looked at where nothing says which are used.
const MOST: u32 = 50;

/// A provider by kind and name.
type Key = (ProviderKind, String);

/// A provider of either kind.
#[derive(Clone, Debug, Default)]
struct Provider {
    spec: ProviderSpec,
    status: Option<ProviderStatus>,
    generation: Option<i64>,
}

/// What came of looking at providers.
#[derive(Default)]
pub(crate) struct Providers {
    /// The checks.
    pub(crate) checks: Vec<Check>,
    /// Their callbacks, of those that are not registered elsewhere.
    pub(crate) callbacks: Vec<Url>,
}

/// Looks at the providers of these integrations, or at all where there are none.
pub(crate) async fn look(cluster: &Cluster, operator: &Operator, used: &[ProjectIntegration]) -> Providers {
    let mut keys: BTreeSet<Key> = used.iter().map(|one| (one.spec.provider_kind, one.spec.type_.clone())).collect();
    let own: Api<IntegrationProvider> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    if let Look::Found(list) = Look::of(own.list_metadata(&ListParams::default().limit(MOST)).await) {
        keys.extend(list.items.iter().map(|one| (ProviderKind::IntegrationProvider, one.name_any())));
    }
    if used.is_empty() {
        let all: Api<ClusterIntegrationProvider> = Api::all(cluster.client.clone());
        if let Look::Found(list) = Look::of(all.list_metadata(&ListParams::default().limit(MOST)).await) {
            keys.extend(list.items.iter().map(|one| (ProviderKind::ClusterIntegrationProvider, one.name_any())));
        }
    }
    let mut found = Providers::default();
    if keys.is_empty() {
        found.checks.push(Check::skipped("providers", "no provider is used here, and none can be seen"));
    }
    for key in keys {
        let provider = read(cluster, &key).await;
        found.checks.push(ready(&key, &cluster.namespace, &provider));
        if let Look::Found(provider) = provider {
            found.checks.extend(credentials(cluster, operator, &key, &provider).await);
            found.callbacks.extend(callback(&provider));
        }
    }
    found
}

async fn read(cluster: &Cluster, (kind, name): &Key) -> Look<Provider> {
    match kind {
        ProviderKind::ClusterIntegrationProvider => {
            let api: Api<ClusterIntegrationProvider> = Api::all(cluster.client.clone());
            Look::of(api.get(name).await.map(|found| Provider {
                generation: found.metadata.generation,
                spec: found.spec.description,
                status: found.status,
            }))
        }
        ProviderKind::IntegrationProvider => {
            let api: Api<IntegrationProvider> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            Look::of(api.get(name).await.map(|found| Provider {
                generation: found.metadata.generation,
                spec: found.spec.description,
                status: found.status,
            }))
        }
    }
}

/// As kubectl is asked for it.
fn asked((kind, name): &Key, namespace: &str) -> String {
    match kind {
        ProviderKind::ClusterIntegrationProvider => format!("clusterintegrationprovider {name}"),
        ProviderKind::IntegrationProvider => format!("integrationprovider {name} -n {namespace}"),
    }
}

fn ready(key: &Key, namespace: &str, provider: &Look<Provider>) -> Check {
    let title = format!("provider {}", key.1);
    let describe = format!("kubectl describe {}", asked(key, namespace));
    let provider = match provider {
        Look::Found(provider) => provider,
        Look::Absent => {
            let to_do = "see which there are: kubectl integration providers; a built-in one is printed by \
                         integration-operator providers NAME -o yaml";
            return Check::failed(title, format!("there is no {}", asked(key, namespace)), to_do);
        }
        Look::Denied(why) | Look::Failed(why) => {
            return Check::skipped(title, format!("it could not be read: {why}"));
        }
    };
    let status = provider.status.clone().unwrap_or_default();
    let Some(condition) = status.conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return Check::failed(title, "the operator has not looked at it yet", "see whether the operator runs");
    };
    if status.observed_generation < provider.generation {
        return Check::warning(title, "the operator has not taken up its last change yet", "see whether it runs");
    }
    let says = format!("{}: {}", condition.reason, condition.message);
    if condition.status == "True" { Check::ok(title, says) } else { Check::failed(title, says, describe) }
}

/// The keys that the client's Secret must have; none where there is no OAuth client.
fn wanted(spec: &ProviderSpec) -> Option<Vec<&'static str>> {
    let oauth2 = spec.oauth2.as_ref()?;
    let mut keys = vec!["client_id"];
    match oauth2.client_authentication {
        Some(ClientAuthentication::None) => {}
        Some(ClientAuthentication::PrivateKeyJwt) => keys.push("private_key"),
        _ => keys.push("client_secret"),
    }
    Some(keys)
}

async fn credentials(cluster: &Cluster, operator: &Operator, key: &Key, provider: &Provider) -> Option<Check> {
    let title = format!("client of {}", key.1);
    // A preset that does not exist is told by the provider's condition.
    let spec = with_preset(&provider.spec).ok()?;
    let wanted = wanted(&spec)?;
    let Some(reference) = &spec.client_credentials_ref else {
        if spec.api_key.is_some() {
            return Some(Check::ok(title, "none is named: this app is connected by API keys only"));
        }
        let to_do = format!("name a Secret with the keys {}", wanted.join(" and "));
        return Some(Check::failed(title, "its description has no clientCredentialsRef", to_do));
    };
    let (namespace, own) = match key.0 {
        ProviderKind::ClusterIntegrationProvider => (&operator.namespace, false),
        ProviderKind::IntegrationProvider => (&cluster.namespace, true),
    };
    Some(judge(&title, (namespace, &reference.name), own, &wanted, &outline(cluster, namespace, &reference.name).await))
}

/// A Secret of the tenant that an integration names: whether it is there, labelled, with something under the key.
pub(crate) async fn named(cluster: &Cluster, title: &str, key: &SecretKeyRef) -> Check {
    let secret = outline(cluster, &cluster.namespace, &key.name).await;
    judge(title, (&cluster.namespace, &key.name), true, &[&key.key], &secret)
}

async fn outline(cluster: &Cluster, namespace: &str, name: &str) -> Look<Outline> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    match Look::of(api.get(name).await) {
        Look::Found(secret) => Look::Found(Outline::of(&secret)),
        Look::Absent => Look::Absent,
        Look::Denied(why) => Look::Denied(why),
        Look::Failed(why) => Look::Failed(why),
    }
}

/// What may be known of a Secret: its labels, and which keys have something behind them.
#[derive(Debug, PartialEq, Eq)]
struct Outline {
    readable: bool,
    keys: BTreeMap<String, bool>,
}

impl Outline {
    fn of(secret: &Secret) -> Self {
        let data = secret.data.iter().flatten();
        Self {
            readable: secret.labels().get(READABLE_LABEL).is_some_and(|value| value == "true"),
            keys: data.map(|(key, value)| (key.clone(), !value.0.trim_ascii().is_empty())).collect(),
        }
    }
}

fn judge(title: &str, place: (&str, &str), own: bool, wanted: &[&str], secret: &Look<Outline>) -> Check {
    let (namespace, name) = place;
    let literals: Vec<String> = wanted.iter().map(|key| format!("--from-file={key}=FILE")).collect();
    let create = format!("kubectl create secret generic {name} -n {namespace} {}", literals.join(" "));
    let label = format!("kubectl label secret {name} -n {namespace} {READABLE_LABEL}=true");
    let secret = match secret {
        Look::Found(secret) => secret,
        Look::Absent => {
            let to_do = if own { format!("{create}\n{label}") } else { create };
            return Check::failed(title, format!("Secret {name} is not in namespace {namespace}"), to_do);
        }
        Look::Denied(_) => {
            let says =
                format!("you may not read Secret {name} in namespace {namespace}; the provider's own line counts");
            return Check::skipped(title, says);
        }
        Look::Failed(why) => return Check::skipped(title, format!("Secret {name} could not be read: {why}")),
    };
    if own && !secret.readable {
        return Check::failed(title, format!("Secret {name} is not labelled {READABLE_LABEL}=true"), label);
    }
    let lacking: Vec<&str> = wanted.iter().filter(|key| secret.keys.get(**key) != Some(&true)).copied().collect();
    if !lacking.is_empty() {
        let says = format!("Secret {name} in namespace {namespace} has nothing under {}", lacking.join(" and "));
        return Check::failed(title, says, format!("put it there: kubectl edit secret {name} -n {namespace}"));
    }
    Check::ok(title, format!("Secret {name} in namespace {namespace} has {}", wanted.join(" and ")))
}

/// The address that leads back here; none for one that is registered elsewhere.
fn callback(provider: &Provider) -> Option<Url> {
    let spec = with_preset(&provider.spec).ok()?;
    if spec.oauth2.is_some_and(|oauth2| oauth2.redirect_uri.is_some()) {
        return None;
    }
    Url::parse(provider.status.as_ref()?.callback_url.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use serde_json::{Value, json};

    fn provider(spec: Value, status: Value) -> Provider {
        let read = serde_json::from_value::<ProviderSpec>(spec).unwrap();
        Provider { spec: read, status: serde_json::from_value(status).unwrap(), generation: Some(2) }
    }

    fn key() -> Key {
        (ProviderKind::ClusterIntegrationProvider, "slack".to_owned())
    }

    fn status(ready: &str, observed: i64) -> Value {
        json!({
            "observedGeneration": observed,
            "callbackURL": "https://connect.example.com/api/public/integrations/slack/callback",
            "conditions": [{
                "type": "Ready", "status": ready, "reason": "Accepted", "message": "x",
                "lastTransitionTime": "2026-05-01T12:00:00Z",
            }],
        })
    }

    #[test]
    fn the_operators_word_counts() {
        for (status, verdict) in [
            (status("True", 2), Verdict::Ok),
            (status("False", 2), Verdict::Failed),
            (status("True", 1), Verdict::Warning),
            (Value::Null, Verdict::Failed),
        ] {
            let look = Look::Found(provider(json!({ "preset": "slack" }), status));
            assert_eq!(ready(&key(), "acme", &look).verdict, verdict);
        }
        assert_eq!(ready(&key(), "acme", &Look::Absent).verdict, Verdict::Failed);
        assert_eq!(ready(&key(), "acme", &Look::Denied("no".to_owned())).verdict, Verdict::Skipped);
    }

    #[test]
    fn the_keys_are_those_that_the_client_needs() {
        for (authentication, keys) in [
            (Value::Null, vec!["client_id", "client_secret"]),
            (json!("None"), vec!["client_id"]),
            (json!("PrivateKeyJwt"), vec!["client_id", "private_key"]),
        ] {
            let provider = provider(json!({ "oauth2": { "clientAuthentication": authentication } }), Value::Null);
            assert_eq!(wanted(&provider.spec), Some(keys));
        }
        assert_eq!(wanted(&provider(json!({ "apiKey": {} }), Value::Null).spec), None);
    }

    #[test]
    fn a_secret_is_outlined_and_never_shown() {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "labels": { READABLE_LABEL: "true" } },
            "data": { "client_id": "aHVudGVyMg==", "client_secret": "Cg==" },
        }))
        .unwrap();
        let outline = Outline::of(&secret);
        assert!(!format!("{outline:?}").contains("hunter2"));
        let check =
            judge("client", ("ops", "slack-client"), false, &["client_id", "client_secret"], &Look::Found(outline));
        assert_eq!(check.verdict, Verdict::Failed);
        assert_eq!(check.says, "Secret slack-client in namespace ops has nothing under client_secret");
    }

    #[test]
    fn a_tenants_secret_has_to_be_labelled() {
        let outline = || Outline { readable: false, keys: BTreeMap::from([("client_id".to_owned(), true)]) };
        let judged = |own| judge("client", ("acme", "x"), own, &["client_id"], &Look::Found(outline()));
        assert_eq!(judged(false).verdict, Verdict::Ok);
        assert_eq!(
            judged(true).to_do.as_deref(),
            Some("kubectl label secret x -n acme integrations.tms.dev/readable=true")
        );
    }

    #[test]
    fn a_callback_elsewhere_is_nobodys_business() {
        let here = provider(json!({ "oauth2": {} }), status("True", 2));
        assert!(callback(&here).is_some());
        let elsewhere =
            provider(json!({ "oauth2": { "redirectURI": "https://other.example.com/cb" } }), status("True", 2));
        assert!(callback(&elsewhere).is_none());
    }
}
