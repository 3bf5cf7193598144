//! The sandbox's own controls over HTTP, for tests in other languages and for a curious person with curl. They ask for no
//! credential, and the sandbox listens on loopback only; the ledger shows hashes, never tokens.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    authority::GrantId,
    fault::Fault,
    ledger::{GrantRecord, Ledger, Why},
    server::Shared,
};

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/_sandbox/fault", post(fault).delete(clear_faults))
        .route("/_sandbox/ledger", get(ledger))
        .route("/_sandbox/grants/{grant}", get(grant).delete(end_grant))
        .route("/_sandbox/grants", post(seed))
        .route("/_sandbox/clock", post(clock))
}

async fn fault(State(shared): State<Shared>, Json(fault): Json<Fault>) -> (StatusCode, Json<Value>) {
    let mut authority = shared.authority();
    authority.faults.push(fault);
    (StatusCode::ACCEPTED, Json(json!({"pending": authority.faults.pending()})))
}

async fn clear_faults(State(shared): State<Shared>) -> StatusCode {
    shared.authority().faults.clear();
    StatusCode::NO_CONTENT
}

async fn ledger(State(shared): State<Shared>) -> Json<Ledger> {
    Json(shared.authority().ledger())
}

async fn grant(State(shared): State<Shared>, Path(grant): Path<GrantId>) -> Result<Json<GrantRecord>, StatusCode> {
    shared.authority().record(grant).map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// As when an administrator removes the app from the workspace.
async fn end_grant(State(shared): State<Shared>, Path(grant): Path<GrantId>) -> StatusCode {
    shared.authority().end(grant, Why::Revoked);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Seed {
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    scope: String,
}

/// A grant without a browser; the one place where tokens are handed out freely, and they are new.
async fn seed(State(shared): State<Shared>, Json(seed): Json<Seed>) -> Result<Json<Value>, StatusCode> {
    let mut authority = shared.authority();
    let account = match &seed.account {
        Some(id) => authority.account(id).ok_or(StatusCode::NOT_FOUND)?.clone(),
        None => authority.options.accounts[0].clone(),
    };
    let client = authority.options.client_id.clone();
    let grant = authority.grant(&client, account, seed.scope.clone());
    let issued = authority.issue(grant, seed.scope);
    Ok(Json(json!({"grant": grant, "token": issued.to_json()})))
}

#[derive(Deserialize)]
struct Clock {
    advance_seconds: u32,
}

async fn clock(State(shared): State<Shared>, Json(clock): Json<Clock>) -> Json<Value> {
    let mut authority = shared.authority();
    authority.advance(clock.advance_seconds);
    Json(json!({"now": authority.now().to_string()}))
}
