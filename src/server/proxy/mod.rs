//! `ANY …/{type}/proxy/{path}`: a call to the app's API with the connection's credential, which the caller never sees.
//!
//! Both bodies stream: memory does not grow with them. The credential goes below the address of the API and nowhere else
//! (`confine`), never to the endpoints that tokens come from or end at; redirects are not followed.

mod confine;
mod headers;

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::{Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use kube::ResourceExt as _;
use url::Url;

pub use confine::Outside;

use super::Shared;
use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::Target;
use super::in_use::InUse;
use super::limits::Allowance;
use crate::act::{Failure, Refusal, is_limit};
use crate::provider::gate::{Busy, Why};
use crate::provider::outbound::{SendError, StreamRequest, retry_after};

/// The action's name in metrics.
const PROXY: &str = "proxy";
/// A body of so many bytes is kept, so that it can be sent again with a refreshed token: 64 KiB.
const KEPT: usize = 64 * 1024;
/// The longest pause within a body.
const IDLE: Duration = Duration::from_mins(1);
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// Passes a request on.
pub(super) async fn pass(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let verb = verb(request.method())?;
    let namespace = state.permit(&caller, Right::Proxy(verb), &target).await?;
    let allowance = state.limits.action(&namespace, &target.name())?;
    let in_use = Box::pin(state.in_use(&caller, &namespace, &target)).await?;
    let provider = &in_use.provider().reference.name;
    if allowance == Allowance::Beyond {
        state.metrics.action(provider, PROXY, "beyond_limit");
    }
    // The prefixes of the routes are cut off already.
    let path = request.uri().path().splitn(4, '/').nth(3).unwrap_or_default();
    let url = confine::below(in_use.api_base()?, path, request.uri().query(), &in_use.grant().binding)?;
    let outcome = Passing { state: &state, caller: &caller, target: &target }.pass(&in_use, url, request).await;
    let (word, status) = match &outcome {
        Ok(response) => ("done", Some(response.status().as_u16())),
        Err(ApiError::Action { failure, .. }) => (failure.outcome(), None),
        Err(_) => ("not_ready", None),
    };
    state.metrics.action(provider, PROXY, word);
    tracing::info!(
        target: "audit",
        caller = caller.username,
        namespace,
        name = in_use.integration.name_any(),
        verb,
        outcome = word,
        status,
        "the app's API was called"
    );
    outcome
}

/// The verb that a method needs, as the API server names them.
fn verb(method: &Method) -> Result<&'static str, ApiError> {
    Ok(match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return Err(ApiError::MethodNotAllowed { allow: Some("GET, HEAD, POST, PUT, PATCH, DELETE") }),
    })
}

struct Passing<'a> {
    state: &'a Shared,
    caller: &'a Caller,
    target: &'a Target,
}

/// What is sent.
enum Content {
    Nothing,
    Kept(Bytes),
    Streamed(Body, Option<u64>),
}

impl Passing<'_> {
    async fn pass(&self, in_use: &InUse, url: Url, request: Request) -> Result<Response, ApiError> {
        let (head, body) = request.into_parts();
        let content = content(&head.headers, body).await?;
        let again = match &content {
            Content::Nothing => Some(Content::Nothing),
            Content::Kept(bytes) => Some(Content::Kept(bytes.clone())),
            Content::Streamed(..) => None,
        };
        let answer = self.once(in_use, &head.method, &url, &head.headers, content).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(self.answer(in_use, answer));
        }
        let refused = || {
            let refusal = Refusal { status: 401, ..Refusal::default() };
            failed(in_use, Failure::Unauthorized(refusal))
        };
        let Some(renewed) = self.state.renewed(self.caller, self.target, in_use).await? else { return Err(refused()) };
        // A body that streamed is gone.
        let Some(content) = again else { return Err(ApiError::TokenRefreshed) };
        let answer = self.once(&renewed, &head.method, &url, &head.headers, content).await?;
        if answer.status() == StatusCode::UNAUTHORIZED { Err(refused()) } else { Ok(self.answer(&renewed, answer)) }
    }

    async fn once(
        &self,
        in_use: &InUse,
        method: &Method,
        url: &Url,
        given: &HeaderMap,
        content: Content,
    ) -> Result<reqwest::Response, ApiError> {
        let provider = in_use.provider();
        let uid = in_use.integration.metadata.uid.as_deref().unwrap_or_default();
        let host = format!("actions of {}", url.host_str().unwrap_or_default());
        let admission = self.state.flow.gates.wait(uid, &host, PATIENCE).await;
        let admission = admission.map_err(|busy: Busy| {
            failed(
                in_use,
                match busy.why {
                    Why::Limited => Failure::Limited { refusal: None, retry_after: Some(busy.retry_in) },
                    Why::Open => Failure::Paused { retry_after: busy.retry_in },
                },
            )
        })?;
        let credential = in_use.placed()?.header(&in_use.grant().tokens.access_token);
        let (carrier, value) = credential.ok_or(ApiError::NotConnected)?;
        let mut headers = headers::outward(given, &provider.api.headers(), &carrier);
        headers.insert(carrier, value);
        let body = match content {
            Content::Nothing => None,
            Content::Kept(bytes) => Some(reqwest::Body::from(bytes)),
            Content::Streamed(body, length) => {
                if let Some(length) = length {
                    headers.insert(CONTENT_LENGTH, length.into());
                }
                Some(reqwest::Body::wrap_stream(without_pauses(body.into_data_stream())))
            }
        };
        let request = StreamRequest {
            method: method.clone(),
            url: url.clone(),
            headers,
            body,
            private_networks: provider.private_networks.clone(),
        };
        match self.state.flow.outbound.stream(request).await {
            Ok(answer) => {
                if is_limit(answer.status(), answer.headers()) {
                    admission.limited(retry_after(answer.headers(), Timestamp::now()));
                } else if answer.status().is_server_error() {
                    admission.failed();
                } else {
                    admission.succeeded();
                }
                Ok(answer)
            }
            Err(error) => {
                admission.failed();
                Err(failed(
                    in_use,
                    match error {
                        error @ SendError::Unknown { .. } => Failure::Unknown(error),
                        error => Failure::NotSent(error),
                    },
                ))
            }
        }
    }

    fn answer(&self, in_use: &InUse, answer: reqwest::Response) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = headers::inward(answer.headers());
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        if let Some(location) = location.and_then(|location| self.rewritten(in_use, answer.url(), location)) {
            response.headers_mut().insert(LOCATION, location);
        }
        *response.body_mut() = Body::from_stream(without_pauses(answer.bytes_stream()));
        response
    }

    /// Where a `Location` below the API lies as callers see it; `None` for all others, which would lead them out.
    fn rewritten(&self, in_use: &InUse, asked: &Url, location: &str) -> Option<http::HeaderValue> {
        let base = in_use.api_base().ok()?;
        let to = asked.join(location).ok()?;
        let rest = to.path().strip_prefix(base.path().trim_end_matches('/'))?.strip_prefix('/')?;
        if to.origin() != base.origin() || !to.username().is_empty() || to.password().is_some() {
            return None;
        }
        let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
        let Target { tenant, project, type_ } = self.target;
        let prefix = self.state.flow.public_url.path().trim_end_matches('/');
        format!("{prefix}/v1/tenants/{tenant}/projects/{project}/integrations/{type_}/proxy/{rest}{query}").parse().ok()
    }
}

fn failed(in_use: &InUse, failure: Failure) -> ApiError {
    ApiError::Action { app: in_use.provider().display_name.clone(), failure: Box::new(failure) }
}

/// What a request carries: kept where it is small, so that it can be sent twice.
async fn content(headers: &HeaderMap, body: Body) -> Result<Content, ApiError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(0) => Ok(Content::Nothing),
        None if !headers.contains_key(TRANSFER_ENCODING) => Ok(Content::Nothing),
        Some(length) if length <= KEPT as u64 => {
            let read = tokio::time::timeout(IDLE, to_bytes(body, KEPT)).await.map_err(|_| ApiError::TimedOut)?;
            read.map(Content::Kept).map_err(|_| ApiError::Malformed { what: "the body", form: "as long as it says" })
        }
        length => Ok(Content::Streamed(body, length)),
    }
}

/// A body that ends with an error where nothing comes for a minute.
fn without_pauses<S, E>(stream: S) -> impl Stream<Item = Result<Bytes, axum::BoxError>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<axum::BoxError>,
{
    futures::stream::try_unfold(Box::pin(stream), |mut stream| async move {
        match tokio::time::timeout(IDLE, stream.next()).await {
            Ok(Some(Ok(bytes))) => Ok(Some((bytes, stream))),
            Ok(Some(Err(error))) => Err(error.into()),
            Ok(None) => Ok(None),
            Err(_) => Err("nothing has come for a minute".into()),
        }
    })
}
