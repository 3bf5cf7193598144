//! Requests to the API server come to an end: one that gets no answer is an error, and not a task that waits for ever with
//! tokens in its hands.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body as Answer, Bytes, HttpBody, to_bytes};
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

/// How long a request may take, with the client's own repetitions of it. Watches are let be: their streams go on for
/// minutes, and the watcher knows when they are dead.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(20);

/// Bounds each request of a client for the API server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience;

impl<S> Layer<S> for Patience {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner }
    }
}

/// A client whose requests are bounded.
#[derive(Clone, Debug)]
pub struct Bounded<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let endless = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let answer = self.inner.call(request);
        Box::pin(async move {
            if endless {
                return Ok(answer.await.map_err(Into::into)?.map(Answer::new));
            }
            let whole = async {
                let (parts, body) = answer.await.map_err(Into::into)?.into_parts();
                let body = to_bytes(Answer::new(body), usize::MAX).await?;
                Ok(Response::from_parts(parts, Answer::from(body)))
            };
            tokio::time::timeout(LONGEST_REQUEST, whole).await.unwrap_or_else(|_| {
                Err(format!("the API server gave no answer within {} s", LONGEST_REQUEST.as_secs()).into())
            })
        })
    }
}
