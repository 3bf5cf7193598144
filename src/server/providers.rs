//! `GET /v1/providers`: the apps that this cluster knows, for a catalogue that people choose from.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::Shared;
use super::auth::Caller;
use crate::api::provider::Parameter;
use crate::provider::catalogue::Kind;
use crate::provider::registry::ListedProvider;

/// All apps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Providers")]
pub(super) struct Listing {
    providers: Vec<Listed>,
}

/// One app: what a frontend needs to show it and to ask for what it wants. Nothing of the client's credentials is in it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Provider")]
struct Listed {
    name: String,
    display_name: String,
    /// `oauth2` where a consent is possible, else `api_key`.
    #[serde(rename = "type")]
    type_: &'static str,
    /// Every way to connect: `oauth2`, `api_key` or both.
    ways: Vec<&'static str>,
    scopes: Vec<String>,
    parameters: BTreeMap<String, Question>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<Key>,
    /// Whether it can be connected to now.
    ready: bool,
}

/// One question of the form.
#[derive(Serialize, JsonSchema)]
struct Question {
    #[serde(flatten)]
    parameter: Parameter,
    /// Whether it may be left unanswered: it is optional, or has a default.
    optional: bool,
}

/// What an API key is called, and where it is made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKeyForm")]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

/// Lists the cluster's providers to any authenticated caller.
pub(super) async fn list(State(state): State<Shared>, _: Caller) -> Json<Listing> {
    let providers = state.flow.registry.cluster_providers();
    Json(Listing { providers: providers.into_iter().map(listed).collect() })
}

fn listed(ListedProvider { name, ready, spec }: ListedProvider) -> Listed {
    let ways = match Kind::of(&spec) {
        Kind::OAuth2 => vec!["oauth2"],
        Kind::ApiKey => vec!["api_key"],
        Kind::Both => vec!["oauth2", "api_key"],
        Kind::Neither => vec![],
    };
    Listed {
        display_name: spec.display_name.unwrap_or_else(|| name.clone()),
        name,
        type_: ways.first().copied().unwrap_or("none"),
        ways,
        scopes: spec.oauth2.and_then(|client| client.scopes).unwrap_or_default(),
        parameters: spec.parameters.into_iter().map(|(name, parameter)| (name, question(parameter))).collect(),
        api_key: spec.api_key.map(|key| Key { title: key.title, description: key.description }),
        ready,
    }
}

fn question(mut parameter: Parameter) -> Question {
    let optional = std::mem::take(&mut parameter.optional) || parameter.default.is_some();
    Question { parameter, optional }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(spec: Value) -> Value {
        let spec = serde_json::from_value(spec).unwrap();
        serde_json::to_value(listed(ListedProvider { name: "acme".to_owned(), ready: true, spec })).unwrap()
    }

    #[test]
    fn a_form_says_what_it_asks_for() {
        let shown = shown(json!({
            "displayName": "Acme",
            "clientCredentialsRef": {"name": "acme-client"},
            "oauth2": {"scopes": ["a"]},
            "apiKey": {"title": "Key", "description": "Under Settings", "pattern": "k-.*"},
            "parameters": {
                "site": {"title": "Site", "description": "Yours", "pattern": "[a-z]+"},
                "region": {"default": "eu"},
                "team": {"optional": true},
            },
        }));
        assert_eq!(
            shown,
            json!({
                "name": "acme", "display_name": "Acme", "type": "oauth2", "ways": ["oauth2", "api_key"], "scopes": ["a"],
                "parameters": {
                    "site": {"title": "Site", "description": "Yours", "pattern": "[a-z]+", "optional": false},
                    "region": {"default": "eu", "optional": true},
                    "team": {"optional": true},
                },
                "api_key": {"title": "Key", "description": "Under Settings"},
                "ready": true,
            })
        );
    }

    #[test]
    fn an_app_by_key_alone() {
        let shown = shown(json!({"apiKey": {}}));
        assert_eq!(
            (&shown["type"], &shown["ways"], &shown["api_key"]),
            (&json!("api_key"), &json!(["api_key"]), &json!({}))
        );
    }
}
