//! Traces: what belongs together, from a request for a link to the Secret of a workload, and each refresh.
//!
//! Off until [`export::start`] was called; then a span costs what an `Option` costs. Spans are made here and nowhere
//! else, so that nothing of the crates beneath us, which know no secrets from other words, is ever exported. Names are
//! fixed words or route patterns. Values are of [`set`](Span::set): methods, hosts, statuses, names of objects, words
//! of ours; never a path, a query, a header or a body.
//!
//! Between processes, and across the API server, a trace travels as a `traceparent` (W3C Trace Context). `tracestate`
//! is dropped: its words are other people's.

pub mod export;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context as Wakes, Poll, ready};
use std::time::SystemTime;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use pin_project_lite::pin_project;

pub use opentelemetry::trace::SpanKind as Kind;

/// The header, the annotation's content and the field: all the same text.
pub const TRACEPARENT: &str = "traceparent";

/// Set once, by [`export::start`].
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A span that is under way; nothing where nobody traces. It ends when its work is done, or when nobody has it any more.
#[derive(Clone, Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// The first span of a trace.
    pub fn root(name: impl Into<String>, kind: Kind) -> Self {
        Self::start(name, kind, None, &Context::new())
    }

    /// The next span of a trace that came from elsewhere; the first of one where nothing that can be read came.
    pub fn continuing(traceparent: Option<&str>, name: impl Into<String>, kind: Kind, since: SystemTime) -> Self {
        if TRACER.get().is_none() {
            return Self(None);
        }
        Self::start(name, kind, Some(since), &traceparent.map(parse).unwrap_or_default())
    }

    /// A part of what is under way here; nothing where that is not traced.
    pub fn child(name: impl Into<String>, kind: Kind) -> Self {
        if TRACER.get().is_none() {
            return Self(None);
        }
        let here = Context::current();
        if here.has_active_span() { Self::start(name, kind, None, &here) } else { Self(None) }
    }

    fn start(name: impl Into<String>, kind: Kind, since: Option<SystemTime>, parent: &Context) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let mut builder = SpanBuilder::from_name(name.into()).with_kind(kind);
        builder.start_time = since;
        let span = tracer.build_with_context(builder, parent);
        Self(Some(parent.with_span(span)))
    }

    /// A part of this one; nothing where this is nothing.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Self {
        match &self.0 {
            Some(context) => Self::start(name, Kind::Internal, None, context),
            None => Self(None),
        }
    }

    /// Whether this is a span at all.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a value that is nobody's secret; a text is copied only where somebody traces.
    pub fn set(&self, key: &'static str, value: impl Told) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value.told()));
        }
    }

    /// What it was about failed; `word` is one of ours.
    pub fn fail(&self, word: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(word));
        }
    }

    /// Does `work` within this span, which ends with it.
    pub fn run<F: Future>(&self, work: F) -> Traced<F> {
        Traced { work, context: self.0.clone(), ends: true }
    }

    /// Does `work` within this span, which goes on.
    pub fn within<F: Future>(&self, work: F) -> Traced<F> {
        Traced { work, context: self.0.clone(), ends: false }
    }

    /// It is over, whoever may have it still.
    pub fn end(&self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }

    /// This span, for somebody who continues the trace.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(context, &mut carrier);
        carrier.remove(TRACEPARENT)
    }

    /// The same, where the trace is kept: nobody need write down one that is not.
    pub fn kept_traceparent(&self) -> Option<String> {
        self.trace_id().and_then(|_| self.traceparent())
    }

    /// The trace's id, where it is kept.
    pub fn trace_id(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        let span = context.span();
        let of = span.span_context();
        of.is_sampled().then(|| of.trace_id().to_string())
    }
}

/// What can be a value of a span.
pub trait Told {
    /// As a span has it.
    fn told(self) -> Value;
}

impl Told for &str {
    fn told(self) -> Value {
        self.to_owned().into()
    }
}

impl Told for u16 {
    fn told(self) -> Value {
        i64::from(self).into()
    }
}

impl Told for bool {
    fn told(self) -> Value {
        self.into()
    }
}

/// Whether anything is traced.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The span in which this is done.
pub fn current() -> Span {
    if TRACER.get().is_none() {
        return Span(None);
    }
    let here = Context::current();
    Span(here.has_active_span().then_some(here))
}

/// For a task of its own, which would otherwise leave the trace that it is begun in.
pub fn carried<F: Future>(work: F) -> Traced<F> {
    current().within(work)
}

fn parse(traceparent: &str) -> Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

pin_project! {
    /// Work that is done within a span.
    pub struct Traced<F> {
        #[pin]
        work: F,
        context: Option<Context>,
        ends: bool,
    }
}

impl<F: Future> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, wakes: &mut Wakes<'_>) -> Poll<F::Output> {
        let this = self.project();
        let output = {
            let _here = this.context.clone().map(Context::attach);
            ready!(this.work.poll(wakes))
        };
        if let Some(context) = this.context.take().filter(|_| *this.ends) {
            context.span().end();
        }
        Poll::Ready(output)
    }
}

#[cfg(test)]
mod tests;
