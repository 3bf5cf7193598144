//! The app's own API, small but real: who am I, post a message, read the messages of my workspace. It takes a bearer token
//! and nothing else, so whoever can post here holds a token that works.

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Refusal},
    authority::{Authority, GrantId},
    connection::Link,
    fault::Target,
    ledger::Endpoint,
    server::Shared,
};

const MESSAGES_KEPT: usize = 1000;

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/userinfo", get(userinfo).post(userinfo))
        .route("/api/messages", post(post_message).get(messages))
}

async fn userinfo(State(shared): State<Shared>, ConnectInfo(link): ConnectInfo<Link>, headers: HeaderMap) -> Response {
    with_token(&shared, &link, Endpoint::Userinfo, &headers, |authority, grant| {
        let account = authority.workspace(grant).unwrap();
        let workspace = json!({"id": account.id, "name": account.name});
        Ok(Answer::ok("ok", grant, json!({"sub": account.user, "name": account.user, "workspace": workspace})))
    })
    .await
}

async fn post_message(
    State(shared): State<Shared>,
    ConnectInfo(link): ConnectInfo<Link>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    with_token(&shared, &link, Endpoint::Messages, &headers, move |authority, grant| {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = body["text"].as_str().ok_or_else(|| Refusal::invalid_request("text is missing").of(grant))?;
        let workspace = authority.workspace(grant).unwrap().id.clone();
        authority.posted += 1;
        let id = format!("M-{}", authority.posted);
        let message = json!({"id": id, "text": text, "workspace": workspace, "at": authority.now().to_string()});
        if authority.messages.len() == MESSAGES_KEPT {
            authority.messages.pop_front();
        }
        authority.messages.push_back(message.clone());
        Ok(Answer::ok("posted", grant, message).with_status(StatusCode::CREATED))
    })
    .await
}

async fn messages(State(shared): State<Shared>, ConnectInfo(link): ConnectInfo<Link>, headers: HeaderMap) -> Response {
    with_token(&shared, &link, Endpoint::Messages, &headers, |authority, grant| {
        let workspace = authority.workspace(grant).unwrap().id.as_str();
        let theirs: Vec<_> = authority.messages.iter().filter(|message| message["workspace"] == workspace).collect();
        Ok(Answer::ok("ok", grant, json!({"messages": theirs})))
    })
    .await
}

async fn with_token(
    shared: &Shared,
    link: &Link,
    endpoint: Endpoint,
    headers: &HeaderMap,
    process: impl FnOnce(&mut Authority, GrantId) -> Result<Answer, Refusal> + Send + 'static,
) -> Response {
    let token = bearer(headers).map(str::to_owned);
    let grant = token.as_deref().and_then(|token| shared.authority().grant_of(token));
    let target = Target { endpoint, grant_type: None, grant };
    let process = move |authority: &mut Authority| {
        let grant = authority.authenticate(&token.ok_or_else(Refusal::token_missing)?)?;
        process(authority, grant)
    };
    shared.serve(link, target, None, process).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
