use opentelemetry::trace::{TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::*;

const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The tracer belongs to the process, so all tests of it are one.
#[tokio::test]
async fn a_trace_goes_on_across_tasks_and_texts() {
    assert!(!Span::root("before", Kind::Internal).is_some(), "nobody traces yet");
    assert!(!Span::continuing(Some(GIVEN), "before", Kind::Internal, SystemTime::now()).is_some());
    assert!(current().traceparent().is_none());
    let provider = SdkTracerProvider::builder().build();
    TRACER.set(provider.tracer("test")).unwrap();

    let root = Span::root("root", Kind::Internal);
    let id = root.trace_id().unwrap();
    assert!(!Span::child("a child of nobody", Kind::Internal).is_some());
    let (told, inside) = root
        .run(async {
            let inside = tokio::spawn(carried(async { Span::child("inside", Kind::Client).trace_id() })).await.unwrap();
            let lost = tokio::spawn(async { current().is_some() }).await.unwrap();
            assert!(!lost, "a task of its own has no trace unless it is carried there");
            (current().traceparent().unwrap(), inside)
        })
        .await;
    assert_eq!(inside.as_ref(), Some(&id));
    assert!(!current().is_some(), "nothing is left behind");
    let next = Span::continuing(Some(&told), "next", Kind::Server, SystemTime::now());
    assert_eq!(next.trace_id().as_ref(), Some(&id));
    assert_ne!(next.traceparent().unwrap(), told, "a span of its own");

    let given = Span::continuing(Some(GIVEN), "given", Kind::Server, SystemTime::now());
    assert_eq!(given.trace_id().unwrap(), TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap().to_string());
    for nonsense in ["", "00-0af7651916cd43dd8448eb211c80319c", "canary", &GIVEN.replace("0af", "xyz")] {
        let fresh = Span::continuing(Some(nonsense), "fresh", Kind::Server, SystemTime::now());
        assert!(fresh.trace_id().is_some(), "{nonsense}");
        assert_ne!(fresh.trace_id(), given.trace_id(), "{nonsense}");
    }
    let unkept = Span::continuing(Some(&GIVEN.replace("-01", "-00")), "unkept", Kind::Server, SystemTime::now());
    assert!(unkept.trace_id().is_none() && unkept.kept_traceparent().is_none());
    assert!(unkept.traceparent().unwrap().ends_with("-00"), "who goes on does not keep it either");
}
