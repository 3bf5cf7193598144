//! `POST …/{type}/confirm`: the caller of install says that the connection is theirs.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::{Target, agent_id};
use crate::flow::callback::Confirmer;
use crate::sensitive::Sensitive;

/// What is confirmed.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Confirmation")]
pub(super) struct Yes {
    #[schemars(with = "String")]
    confirmation: Sensitive,
    #[serde(default)]
    agent_id: Option<String>,
    #[serde(default)]
    accept: bool,
}

/// That it is done.
#[derive(Serialize, JsonSchema)]
pub(super) struct Confirmed {
    status: &'static str,
}

/// Confirms a parked connection; with `accept`, another account may take the place of the connected one.
pub(super) async fn confirm(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
    body: Result<Json<Yes>, JsonRejection>,
) -> Result<Json<Confirmed>, ApiError> {
    state.limits.caller(&caller.username)?;
    let namespace = state.permit(&caller, Right::Install, &target).await?;
    let Json(body) = body?;
    let agent_id = agent_id(body.agent_id)?;
    let who = Confirmer {
        namespace: &namespace,
        name: &target.name(),
        caller: &caller.username,
        agent_id: agent_id.as_deref(),
        confirmation: body.confirmation.expose(),
        accept: body.accept,
    };
    state.flow.confirm(&who).await?;
    Ok(Json(Confirmed { status: "connected" }))
}
