//! The endpoints that only the client talks to: token (RFC 6749), revocation (RFC 7009), introspection (RFC 7662), and the
//! metadata that announces them all (RFC 8414).

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Refusal},
    authority::Authority,
    client,
    connection::Link,
    fault::Target,
    ledger::Endpoint,
    params::Params,
    server::Shared,
};

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/jwks", get(async || Json(json!({"keys": []}))))
        .route("/token", post(token))
        .route("/revoke", post(revoke))
        .route("/introspect", post(introspect))
}

async fn metadata(State(shared): State<Shared>) -> Json<Value> {
    let authority = shared.authority();
    let (issuer, options) = (&authority.issuer, &authority.options);
    let methods = if options.client_secret.is_empty() {
        json!(["none"])
    } else {
        json!(["client_secret_basic", "client_secret_post"])
    };
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "authorization_response_iss_parameter_supported": true,
    });
    if options.introspection {
        document["introspection_endpoint"] = format!("{issuer}/introspect").into();
        document["introspection_endpoint_auth_methods_supported"] = methods;
    }
    if !options.scopes.is_empty() {
        document["scopes_supported"] = json!(options.scopes);
    }
    Json(document)
}

async fn token(
    State(shared): State<Shared>,
    ConnectInfo(link): ConnectInfo<Link>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = read(&shared, &headers, query.as_deref(), &body);
    let given = |name| params.as_ref().ok().and_then(|params| params.get(name)).map(str::to_owned);
    let refresh_token = given("refresh_token");
    let target = target(&shared, Endpoint::Token, given("grant_type"), refresh_token.as_deref());
    let process = move |authority: &mut Authority| {
        let params = params?;
        let client = client::authenticate(&authority.options, &headers, &params)?;
        match params.require("grant_type")? {
            "authorization_code" => exchange(authority, &client, &params),
            "refresh_token" => refresh(authority, &client, &params),
            _ => Err(Refusal::new("unsupported_grant_type", "only authorization_code and refresh_token")),
        }
    };
    shared.serve(&link, target, refresh_token.as_deref(), process).await
}

fn exchange(authority: &mut Authority, client: &str, params: &Params) -> Result<Answer, Refusal> {
    let code = params.require("code")?;
    let (grant, issued) = authority.redeem(client, code, params.get("redirect_uri"), params.get("code_verifier"))?;
    Ok(Answer::ok("issued", grant, issued.to_json()))
}

fn refresh(authority: &mut Authority, client: &str, params: &Params) -> Result<Answer, Refusal> {
    let token = params.require("refresh_token")?;
    let (grant, outcome, issued) = authority.refresh(client, token, params.get("scope"))?;
    Ok(Answer::ok(outcome, grant, issued.to_json()))
}

async fn revoke(
    State(shared): State<Shared>,
    ConnectInfo(link): ConnectInfo<Link>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = read(&shared, &headers, query.as_deref(), &body);
    let token = params.as_ref().ok().and_then(|params| params.get("token")).map(str::to_owned);
    let target = target(&shared, Endpoint::Revoke, None, token.as_deref());
    let process = move |authority: &mut Authority| {
        let params = params?;
        let client = client::authenticate(&authority.options, &headers, &params)?;
        let grant = authority.revoke(&client, params.require("token")?)?;
        Ok(Answer::empty(if grant.is_some() { "revoked" } else { "unknown" }, grant))
    };
    shared.serve(&link, target, None, process).await
}

async fn introspect(
    State(shared): State<Shared>,
    ConnectInfo(link): ConnectInfo<Link>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = read(&shared, &headers, query.as_deref(), &body);
    let token = params.as_ref().ok().and_then(|params| params.get("token")).map(str::to_owned);
    let target = target(&shared, Endpoint::Introspect, None, token.as_deref());
    let process = move |authority: &mut Authority| {
        if !authority.options.introspection {
            return Ok(Answer::empty("absent", None).with_status(StatusCode::NOT_FOUND));
        }
        let params = params?;
        let client = client::authenticate(&authority.options, &headers, &params)?;
        let body = authority.introspect(&client, params.require("token")?);
        let outcome = if body["active"] == true { "active" } else { "inactive" };
        Ok(Answer { body: Some(body), ..Answer::empty(outcome, None) })
    };
    shared.serve(&link, target, None, process).await
}

fn read(shared: &Shared, headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> Result<Params, Refusal> {
    let accept_json = shared.authority().options.accept_json;
    Params::from_request(headers, query, body, accept_json)
}

fn target(shared: &Shared, endpoint: Endpoint, grant_type: Option<String>, token: Option<&str>) -> Target {
    let grant = token.and_then(|token| shared.authority().grant_of(token));
    Target { endpoint, grant_type, grant }
}
