//! Sends spans to a collector: OTLP over HTTP with protobuf, in batches, beside the work and never in its way.
//!
//! What the standard says by environment variables is obeyed: `OTEL_TRACES_SAMPLER` and `_ARG`, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_BSP_*`.

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::{Certificate, Client, redirect};
use url::Url;

use super::TRACER;
use crate::causes::chain;

/// Longest that a collector may take for one batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest that a stopping process waits for the last batch.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer of a collector that is read.
const LARGEST_ANSWER: usize = 64 * 1024;
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// Traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The client cannot be built.
    #[error("the client for the trace collector could not be made")]
    Client(#[source] reqwest::Error),
    /// The certificates cannot be read.
    #[error("{CERTIFICATE}: cannot read {}", path.display())]
    ReadCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The exporter refused its configuration.
    #[error("the export of traces is not configured well; look at the variables that begin with OTEL_EXPORTER_OTLP")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// It was started before.
    #[error("traces are exported already")]
    Twice,
}

/// Ends the export at last.
#[derive(Debug)]
pub struct Export(SdkTracerProvider);

/// Begins to trace, and to send to `collector`, the base of its addresses. `instance` is this process.
pub fn start(collector: &Url, instance: &str) -> Result<Export, TraceError> {
    let sender =
        Sender { client: client()?, runtime: tokio::runtime::Handle::current(), failing: AtomicBool::new(false) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_endpoint(format!("{}/v1/traces", collector.as_str().trim_end_matches('/')))
        .build()
        .map_err(TraceError::Exporter)?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(instance)).build();
    TRACER.set(provider.tracer(env!("CARGO_PKG_NAME"))).map_err(|_| TraceError::Twice)?;
    Ok(Export(provider))
}

impl Export {
    /// Sends what is left, within bounds.
    pub async fn finish(self) {
        let sent = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_PATIENCE));
        if !matches!(tokio::time::timeout(LAST_PATIENCE * 2, sent).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans could not be sent to the trace collector");
        }
    }
}

/// Who we are; what the environment says comes first.
fn resource(instance: &str) -> Resource {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let instance = (!instance.is_empty()).then(|| KeyValue::new("service.instance.id", instance.to_owned()));
    let mut builder = Resource::builder().with_attributes([version].into_iter().chain(instance));
    if said("OTEL_SERVICE_NAME").is_empty() && !said("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=") {
        builder = builder.with_service_name(env!("CARGO_PKG_NAME"));
    }
    builder.build()
}

fn client() -> Result<Client, TraceError> {
    let mut builder = Client::builder()
        .user_agent(concat!("integration-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE);
    if let Some(path) = std::env::var_os(CERTIFICATE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        let pem = fs::read(&path).map_err(|source| TraceError::ReadCertificate { path, source })?;
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&pem).map_err(TraceError::Client)?);
    }
    builder.build().map_err(TraceError::Client)
}

/// The exporter lives on a thread of its own; requests are made on the runtime of the process.
#[derive(Debug)]
struct Sender {
    client: Client,
    runtime: tokio::runtime::Handle,
    failing: AtomicBool,
}

type Answer = Result<http::Response<Bytes>, HttpError>;

impl Sender {
    /// One line when it begins to fail, and one when it works again.
    fn tell(&self, trouble: Option<String>) {
        let was_failing = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(trouble) if !was_failing => tracing::warn!(trouble, "spans cannot be sent to the trace collector"),
            None if was_failing => tracing::info!("spans are sent to the trace collector again"),
            _ => {}
        }
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(&'a self, request: http::Request<Bytes>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let client = self.client.clone();
        let asked = self.runtime.spawn(async move { ask(&client, request).await });
        Box::pin(async move {
            let answer = match asked.await {
                Ok(answer) => answer,
                Err(error) => Err(error.into()),
            };
            self.tell(match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(answer.status().to_string()),
                Err(error) => Some(chain(&**error)),
            });
            answer
        })
    }
}

async fn ask(client: &Client, request: http::Request<Bytes>) -> Answer {
    let mut answer = client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut told = http::Response::new(Bytes::new());
    *told.status_mut() = answer.status();
    *told.headers_mut() = std::mem::take(answer.headers_mut());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err("the answer is too large".into());
        }
    }
    *told.body_mut() = body.into();
    Ok(told)
}
