//! `GET …/{type}/token`: the access token or key of a connection, for callers that talk to the app themselves.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use jiff::Timestamp;
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::Shared;
use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::Target;

/// A token as a token endpoint would give it (RFC 6749 §5.1), with a moment in place of a lifetime. Never a refresh token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(super) struct Given<'a> {
    access_token: &'a str,
    token_type: &'a str,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
    scopes: &'a [String],
    #[schemars(with = "Option<String>")]
    api_base_url: Option<&'a Url>,
}

/// Gives the token.
pub(super) async fn get(State(state): State<Shared>, target: Target, caller: Caller) -> Result<Response, ApiError> {
    state.limits.caller(&caller.username)?;
    let namespace = state.permit(&caller, Right::Token, &target).await?;
    let in_use = Box::pin(state.in_use(&caller, &namespace, &target)).await?;
    let grant = in_use.grant();
    let token = Given {
        access_token: grant.tokens.access_token.expose(),
        token_type: &grant.tokens.token_type,
        expires_at: grant.tokens.expires_at,
        scopes: &grant.scopes,
        api_base_url: grant.account.api_base.as_ref(),
    };
    tracing::info!(
        target: "audit",
        caller = caller.username,
        namespace,
        name = in_use.integration.name_any(),
        "the access token was given out"
    );
    let mut response = Json(token).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
