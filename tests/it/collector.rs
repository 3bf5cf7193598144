//! A collector of traces: takes OTLP over HTTP, and remembers every span.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A span as tests look at it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub attributes: BTreeMap<String, String>,
    /// Whether it failed.
    pub failed: bool,
}

type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector on this machine.
pub struct Collector {
    pub url: String,
    requests: Requests,
}

impl Collector {
    pub async fn start() -> Self {
        let requests = Requests::default();
        let take = async |State(requests): State<Requests>, body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&requests));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, requests }
    }

    /// All that came, with everything beside the spans, as text.
    pub fn text(&self) -> String {
        format!("{:?}", self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn spans(&self) -> Vec<Seen> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).map(seen).collect()
    }

    /// The spans of a trace by their names; of those with one name the last.
    pub fn trace(&self, id: &str) -> BTreeMap<String, Seen> {
        self.spans().into_iter().filter(|span| span.trace == id).map(|span| (span.name.clone(), span)).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn seen(span: &Span) -> Seen {
    let text = |value: Option<&Value>| match value {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    let attribute = |value: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        (value.key.clone(), text(value.value.as_ref().and_then(|value| value.value.as_ref())))
    };
    Seen {
        name: span.name.clone(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: span.attributes.iter().map(attribute).collect(),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
    }
}
