//! `…/webhook`: what apps send by themselves. No token is asked for: a request proves itself by its signature.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Shared;
use super::error::ApiError;
use super::ids::Target;
use crate::flow::Place;
use crate::provider::resolved::Provider;
use crate::webhook::desk::{Arrived, Desk, Reply};

/// The most bytes of bodies that are held at once, on one replica: 64 MiB.
pub(super) const MOST_HELD: usize = 64 << 20;
/// How long a body may take, and the longest that anything of it may be waited for.
const BODY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(5);

/// For all connections of an app.
pub(super) async fn shared(State(state): State<Shared>, place: Place, request: Request) -> Result<Response, ApiError> {
    let since = Instant::now();
    let namespace = match &place.tenant {
        None => None,
        Some(tenant) => Some(state.flow.tenants.namespace_of(tenant).ok_or(ApiError::NoSuchPath)?),
    };
    let provider = Desk::provider(&state.flow, namespace.as_deref(), &place.type_).await?;
    let (arrived, _held) = arrived(&state.bodies, &provider, request, since).await?;
    Ok(answer(Box::pin(state.desk.shared(&state.flow, &provider, &arrived)).await?))
}

/// For one integration.
pub(super) async fn own(State(state): State<Shared>, target: Target, request: Request) -> Result<Response, ApiError> {
    let since = Instant::now();
    let namespace = state.flow.tenants.namespace_of(&target.tenant).ok_or(ApiError::NoSuchPath)?;
    let (integration, provider) = state.desk.integration(&state.flow, &namespace, &target.name()).await?;
    if integration.spec.tenant_id != target.tenant {
        return Err(ApiError::NoSuchPath);
    }
    let (arrived, _held) = arrived(&state.bodies, &provider, request, since).await?;
    Ok(answer(Box::pin(state.desk.own(&state.flow, integration, &provider, &arrived)).await?))
}

/// The request with its whole body, and the room that it takes.
async fn arrived(
    bodies: &Arc<Semaphore>,
    provider: &Provider,
    request: Request,
    since: Instant,
) -> Result<(Arrived, Option<OwnedSemaphorePermit>), ApiError> {
    let most = provider.webhooks.as_ref().map_or(0, |rules| rules.max_bytes);
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let (body, room) = whole(bodies, &head.headers, body, most).await?;
    Ok((Arrived { headers: head.headers, query, body, since }, room))
}

async fn whole(
    bodies: &Arc<Semaphore>,
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > most)) {
        return Err(ApiError::TooLarge);
    }
    let (mut bytes, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
    let mut chunks = body.into_data_stream();
    let read = async {
        loop {
            let chunk = tokio::time::timeout(PAUSE, chunks.next()).await.map_err(|_| ApiError::TooSlow)?;
            let Some(chunk) = chunk else { return Ok(()) };
            let form = "as long as it says";
            let chunk = chunk.map_err(|_| ApiError::Malformed { what: "the body", form })?;
            if chunk.len() > most - bytes.len() {
                return Err(ApiError::TooLarge);
            }
            let room = u32::try_from(chunk.len()).map_err(|_| ApiError::TooLarge)?;
            let room = Arc::clone(bodies).try_acquire_many_owned(room).map_err(|_| ApiError::Crowded)?;
            match &mut held {
                Some(held) => held.merge(room),
                None => held = Some(room),
            }
            bytes.extend_from_slice(&chunk);
        }
    };
    tokio::time::timeout(BODY, read).await.map_err(|_| ApiError::TooSlow)??;
    Ok((bytes.into(), held))
}

/// What the app sees. A body of a receiver must not be taken for a page of ours.
fn answer(reply: Reply) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    if let Some((kind, body)) = reply.body {
        headers.insert(CONTENT_TYPE, kind);
        *response.body_mut() = Body::from(body);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bodies: &Arc<Semaphore>, body: Body, most: usize) -> Result<usize, &'static str> {
        let read = whole(bodies, &HeaderMap::new(), body, most).await;
        read.map(|(bytes, _)| bytes.len()).map_err(|error| error.kind().1)
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_in_size_time_and_number() {
        let bodies = Arc::new(Semaphore::new(100));
        assert_eq!(read(&bodies, Body::from("x".repeat(50)), 50).await, Ok(50));
        assert_eq!(read(&bodies, Body::from("x".repeat(51)), 50).await, Err("body_too_large"));
        assert_eq!(read(&bodies, Body::from("x".repeat(101)), 200).await, Err("crowded"));
        assert_eq!(bodies.available_permits(), 100);
        let drip = |pause: u64| {
            Body::from_stream(futures::stream::unfold((), move |()| async move {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                Some((Ok::<_, std::io::Error>("x"), ()))
            }))
        };
        for pause in [1, 6] {
            assert_eq!(read(&bodies, drip(pause), 50).await, Err("body_too_slow"), "{pause}");
        }
        assert_eq!(bodies.available_permits(), 100);
    }
}
