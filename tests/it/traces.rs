//! Traces: what belongs together is one trace, nobody forges one, and the last spans are not lost.

use std::collections::BTreeMap;

use crate::collector::{Collector, Seen};
use crate::connect::sandbox;
use crate::sandbox::{Consent, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{Flags, OPERATOR, Operator, World, eventually, is_ready, last_refreshed, now};

const CALLERS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS_SPAN: &str = "b7ad6b7169203331";
const FORGED: &str = "00-11111111111111111111111111111111-2222222222222222-01";
const INSTALL: &str = "GET /v1/tenants/{tenant}/projects/{project}/integrations/{type}/install";

fn willing() -> SandboxOptions {
    SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() }
}

async fn traced(world: &World, collector: &Collector, environment: &[(&str, &str)]) -> Operator {
    let arguments = ["--otlp-endpoint", &collector.url, "--initiator-check", "none"].map(str::to_owned).to_vec();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    world.operator_with(Flags { arguments, environment, ..Flags::default() }).await
}

/// Asks for a link in the trace of the caller, and walks it.
async fn connect(world: &World, token: &str) {
    let path = "/v1/tenants/acme/projects/web/integrations/app/install";
    let asked = world.http.get(format!("{}{path}", world.public_url)).bearer_auth(token);
    let asked = asked.header("traceparent", format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"));
    let answer: serde_json::Value = asked.send().await.unwrap().json().await.unwrap();
    let url = answer["oauth_url"].as_str().unwrap();
    // A browser that names a trace is not believed.
    let visit = world.http.get(url).header("traceparent", FORGED).send().await.unwrap();
    assert_eq!(visit.status(), 303);
    world.walk(&mut Browser::as_user("dev"), url).await;
}

async fn wait_for(collector: &Collector, trace: &str, names: &[&str]) -> BTreeMap<String, Seen> {
    eventually(&format!("the spans {names:?} of {trace}"), async || {
        let found = collector.trace(trace);
        names.iter().all(|name| found.contains_key(*name))
    })
    .await;
    collector.trace(trace)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_one_trace_and_a_refresh_another() {
    let Some(world) = World::start("a_connection_is_one_trace_and_a_refresh_another").await else { return };
    let _sandbox = sandbox(&world, "app", willing()).await;
    let collector = Collector::start().await;
    let operator = traced(&world, &collector, &[("OTEL_BSP_SCHEDULE_DELAY", "200")]).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    connect(&world, &token).await;
    let connected = world.wait("acme", "web.app", "ready", is_ready).await;

    let names = [INSTALL, "start", "callback", "exchange", "POST", "write grant", "reconcile", "publish", "status"];
    let spans = wait_for(&collector, CALLERS_TRACE, &names).await;
    assert_eq!(spans[INSTALL].parent, CALLERS_SPAN);
    assert_eq!(spans[INSTALL].attributes["http.response.status_code"], "Some(IntValue(200))");
    for (child, parent) in [
        ("start", INSTALL),
        ("callback", INSTALL),
        ("exchange", "callback"),
        ("POST", "exchange"),
        ("write grant", "exchange"),
        ("reconcile", "write grant"),
        ("publish", "reconcile"),
        ("status", "reconcile"),
    ] {
        assert_eq!(spans[child].parent, spans[parent].id, "{child} lies in {parent}: {spans:#?}");
    }
    assert_eq!(spans["POST"].attributes["server.address"], "127.0.0.1");
    assert!(spans.values().all(|span| !span.failed), "{spans:#?}");
    let grant = integration_operator::grant::store::grant_name("acme", "web.app");
    let grant = world.secrets(OPERATOR).get(&grant).await.unwrap();
    let left = grant.metadata.annotations.unwrap();
    assert!(!left.contains_key("integrations.tms.dev/traceparent"), "it ends with what is published: {left:#?}");

    world.annotate("acme", "web.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
    let last = last_refreshed(&connected);
    world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != last).await;
    let refreshes = || collector.spans().into_iter().filter(|span| span.name == "refresh").collect::<Vec<_>>();
    eventually("a refresh is told", async || !refreshes().is_empty()).await;
    let root = refreshes().remove(0);
    assert_ne!(root.trace, CALLERS_TRACE);
    assert_eq!(root.parent, "");
    assert_eq!(root.attributes["integration.outcome"], "renewed");
    let spans = wait_for(&collector, &root.trace, &["intent", "POST", "persist", "publish", "status"]).await;
    assert!(spans.values().all(|span| span.id == root.id || span.parent == root.id), "{spans:#?}");
    assert_eq!(spans["POST"].attributes["http.response.status_code"], "Some(IntValue(200))");

    // A refresh is an example of how long requests for tokens take.
    let scrape = async |accept: &str| {
        let asked = world.http.get(format!("{}/metrics", operator.probes)).header("accept", accept);
        asked.send().await.unwrap().text().await.unwrap()
    };
    let exemplar = format!("# {{trace_id=\"{}\"}}", root.trace);
    let text = scrape("application/openmetrics-text;version=1.0.0").await;
    assert!(
        text.lines().any(|line| line.contains("token_request_seconds_bucket") && line.contains(&exemplar)),
        "{text}"
    );
    assert!(!scrape("text/plain").await.contains("trace_id"));

    let spans = collector.spans();
    assert!(spans.iter().all(|span| !FORGED.contains(&span.trace)), "{spans:#?}");
    assert!(spans.iter().all(|span| !format!("{span:?}").contains("ticket")), "{spans:#?}");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_before_the_end_and_unwanted_ones_never() {
    let Some(world) = World::start("the_last_spans_are_sent_before_the_end_and_unwanted_ones_never").await else {
        return;
    };
    let _sandbox = sandbox(&world, "app", willing()).await;
    let (unwanted, collector) = (Collector::start().await, Collector::start().await);
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut operator = traced(&world, &unwanted, &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    connect(&world, &token).await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(operator.terminate().await, Some(0));
    assert!(unwanted.spans().is_empty(), "{:#?}", unwanted.spans());

    let mut operator = traced(&world, &collector, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    connect(&world, &token).await;
    assert_eq!(operator.terminate().await, Some(0));
    let spans = collector.trace(CALLERS_TRACE);
    assert!(spans.contains_key(INSTALL) && spans.contains_key("exchange"), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nothing_up() {
    let Some(world) = World::start("a_collector_that_is_away_holds_nothing_up").await else { return };
    let _sandbox = sandbox(&world, "app", willing()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Connections are taken up by the system, and never answered.
    let collector = format!("http://{}", listener.local_addr().unwrap());
    let arguments = vec!["--otlp-endpoint".to_owned(), collector];
    let environment = vec![("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".to_owned())];
    let mut operator = world.operator_with(Flags { arguments, environment, ..Flags::default() }).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let began = std::time::Instant::now();
    assert_eq!(operator.terminate().await, Some(0));
    println!("COUNT stopped {} ms after it was asked to", began.elapsed().as_millis());
    eventually("it is said", async || operator.log().contains("could not be sent to the trace collector")).await;
}
