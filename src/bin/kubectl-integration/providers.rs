//! `providers`: the apps that can be connected to here: those of the cluster, and the namespace's own.

use std::fmt::Debug;

use integration_operator::api::{ClusterIntegrationProvider, IntegrationProvider, ProviderSpec, ProviderStatus};
use integration_operator::provider::catalogue::{Kind, with_preset};
use integration_operator::provider::describe::describe;
use integration_operator::text::{Block, table};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::{self, ProvidersOutput};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::words::{printable, sentence};

/// Objects asked for at a time.
const PAGE: u32 = 500;

/// A provider of either kind.
struct Provider {
    name: String,
    /// None for a cluster provider.
    namespace: Option<String>,
    spec: ProviderSpec,
    status: Option<ProviderStatus>,
    object: Value,
}

/// Lists the providers, or tells one in words.
pub(crate) async fn run(cluster: &Cluster, args: &args::Providers) -> Result<(), Failure> {
    let mut providers = of_cluster(cluster).await?;
    providers.extend(of_namespace(cluster).await?);
    if let Some(name) = &args.name {
        providers.retain(|provider| provider.name == *name);
        if providers.is_empty() {
            let what = format!("provider {name}, of the cluster or in namespace {},", cluster.namespace);
            return Err(Failure::NotFound { what });
        }
    }
    match args.output {
        Some(form) => print_objects(&providers, args.name.is_some(), form),
        None if args.name.is_some() => {
            let blocks: Vec<String> = providers.iter().map(in_words).collect();
            print!("{}", blocks.join("\n"));
            Ok(())
        }
        None if providers.is_empty() => {
            eprintln!("no providers, neither of the cluster nor in namespace {}", cluster.namespace);
            Ok(())
        }
        None => {
            print!("{}", in_a_table(&providers));
            Ok(())
        }
    }
}

async fn of_cluster(cluster: &Cluster) -> Result<Vec<Provider>, Failure> {
    let found = all::<ClusterIntegrationProvider>(Api::all(cluster.client.clone()), "the cluster's providers").await?;
    let provider = |object: ClusterIntegrationProvider| {
        let value = whole(&object)?;
        Ok(Provider {
            name: object.name_any(),
            namespace: None,
            spec: object.spec.description,
            status: object.status,
            object: value,
        })
    };
    found.into_iter().map(provider).collect()
}

async fn of_namespace(cluster: &Cluster) -> Result<Vec<Provider>, Failure> {
    let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = all::<IntegrationProvider>(api, &format!("the providers of namespace {}", cluster.namespace)).await?;
    let provider = |object: IntegrationProvider| {
        let value = whole(&object)?;
        Ok(Provider {
            name: object.name_any(),
            namespace: object.namespace(),
            spec: object.spec.description,
            status: object.status,
            object: value,
        })
    };
    found.into_iter().map(provider).collect()
}

/// Every object, page by page.
async fn all<T: Clone + DeserializeOwned + Debug>(api: Api<T>, what: &str) -> Result<Vec<T>, Failure> {
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = api.list(&page).await.map_err(|error| Failure::api("list", what, error))?;
        objects.extend(found.items);
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// An object as JSON, without managed fields.
fn whole<T: kube::Resource + Clone + serde::Serialize>(object: &T) -> Result<Value, Failure> {
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    serde_json::to_value(object).map_err(|error| failed(&error))
}

fn print_objects(providers: &[Provider], one: bool, form: ProvidersOutput) -> Result<(), Failure> {
    let mut objects: Vec<Value> = providers.iter().map(|provider| provider.object.clone()).collect();
    let value = match objects.pop() {
        Some(object) if one && objects.is_empty() => object,
        last => {
            objects.extend(last);
            json!({ "apiVersion": "v1", "kind": "List", "items": objects })
        }
    };
    match form {
        ProvidersOutput::Json => println!("{}", serde_json::to_string_pretty(&value).map_err(|error| failed(&error))?),
        ProvidersOutput::Yaml => print!("{}", serde_yaml::to_string(&value).map_err(|error| failed(&error))?),
    }
    Ok(())
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::Output { what: "the providers", reason: error.to_string() }
}

impl Provider {
    fn ready(&self) -> Option<&Condition> {
        self.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")
    }

    fn callback(&self) -> &str {
        self.status.as_ref().and_then(|status| status.callback_url.as_deref()).unwrap_or("not known yet")
    }

    /// With its preset underneath; the spec alone where there is no such preset, which its condition says.
    fn effective(&self) -> ProviderSpec {
        with_preset(&self.spec).unwrap_or_else(|_| self.spec.clone())
    }
}

fn in_a_table(providers: &[Provider]) -> String {
    let rows: Vec<[String; 7]> = providers
        .iter()
        .map(|provider| {
            let ready = provider.ready();
            [
                provider.name.clone(),
                provider.namespace.clone().unwrap_or_else(|| "(cluster)".to_owned()),
                Kind::of(&provider.effective()).to_string(),
                provider.spec.preset.clone().unwrap_or_default(),
                ready.map_or_else(|| "Unknown".to_owned(), |ready| ready.status.clone()),
                ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
                provider.callback().to_owned(),
            ]
            .map(|cell| printable(&cell))
        })
        .collect();
    table(["NAME", "NAMESPACE", "KIND", "PRESET", "READY", "REASON", "CALLBACK"], &rows)
}

fn in_words(provider: &Provider) -> String {
    let title = match &provider.namespace {
        Some(namespace) => format!("{} in namespace {namespace}", provider.name),
        None => format!("{} of the cluster", provider.name),
    };
    let mut block = Block::new(&title, 9);
    let state = match provider.ready() {
        Some(ready) if ready.status == "True" => "ready".to_owned(),
        Some(ready) => format!("not ready: {}", ready.reason),
        None => "the operator has not looked at it yet".to_owned(),
    };
    block.lines("State", [state]);
    block.lines("", provider.ready().map(|ready| sentence(&ready.message)));
    block.lines("Preset", provider.spec.preset.as_deref());
    let used = provider.status.as_ref().and_then(|status| status.integrations);
    block.lines("Used by", used.map(|count| format!("{count} integrations")));
    describe(&provider.name, &provider.effective(), provider.callback(), &mut block);
    block.finish().lines().map(|line| printable(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(spec: Value, status: Value) -> Provider {
        Provider {
            name: "acme".to_owned(),
            namespace: None,
            spec: serde_json::from_value(spec).unwrap(),
            status: serde_json::from_value(status).unwrap(),
            object: Value::Null,
        }
    }

    fn ready() -> Value {
        json!({
            "callbackURL": "https://connect.example.com/api/public/integrations/acme/callback",
            "integrations": 2,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Accepted", "message": "The description can be used",
                "lastTransitionTime": "2026-05-01T12:00:00Z",
            }],
        })
    }

    #[test]
    fn a_line_for_each() {
        let text = in_a_table(&[provider(json!({"preset": "slack"}), ready()), provider(json!({}), Value::Null)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let callback = "https://connect.example.com/api/public/integrations/acme/callback";
        assert_eq!(lines[1], ["acme", "(cluster)", "oauth2", "slack", "True", "Accepted", callback]);
        assert_eq!(lines[2], ["acme", "(cluster)", "none", "Unknown", "not", "known", "yet"]);
    }

    #[test]
    fn one_in_words() {
        let spec = json!({"preset": "slack", "parameters": {"site": {"title": "Which site"}}});
        let text = in_words(&provider(spec, ready()));
        for line in [
            "acme of the cluster\n  State      ready\n             The description can be used.\n",
            "  Used by    2 integrations\n",
            "  Form       site: Which site; matches one DNS label\n",
            "  Callback   https://connect.example.com/api/public/integrations/acme/callback\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
