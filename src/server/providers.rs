//! `GET /v1/providers`: the apps that this cluster knows, for a catalogue that people choose from.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Shared;
use super::auth::Caller;
use crate::api::ProviderSpec;
use crate::api::provider::Parameter;

/// All apps.
#[derive(Serialize)]
pub(super) struct Listing {
    providers: Vec<Listed>,
}

/// One app.
#[derive(Serialize)]
struct Listed {
    name: String,
    display_name: String,
    #[serde(rename = "type")]
    type_: &'static str,
    scopes: Vec<String>,
    parameters: BTreeMap<String, Parameter>,
}

/// Lists the cluster's providers to any authenticated caller.
pub(super) async fn list(State(state): State<Shared>, _: Caller) -> Json<Listing> {
    let providers = state.flow.registry.cluster_providers();
    Json(Listing { providers: providers.into_iter().map(|(name, spec)| listed(name, spec)).collect() })
}

fn listed(name: String, spec: ProviderSpec) -> Listed {
    let type_ = if spec.oauth2.is_some() { "oauth2" } else { "api_key" };
    Listed {
        display_name: spec.display_name.unwrap_or_else(|| name.clone()),
        name,
        type_,
        scopes: spec.oauth2.and_then(|client| client.scopes).unwrap_or_default(),
        parameters: spec.parameters,
    }
}
