//! Whether the HTTP API is what `/openapi.json` says: schemathesis makes requests of the document, good ones and bad ones,
//! and compares each answer with it.

use crate::acting;
use crate::schemathesis;
use crate::world::{World, is_ready};

/// Requests of each operation and phase.
const EXAMPLES: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_in_the_document() {
    if !schemathesis::available() {
        return;
    }
    let Some(world) = World::start("every_answer_is_in_the_document").await else { return };
    let (_sandbox, _app, _) = acting::with_app(&world, None).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let server = &world.public_url;

    // Of a connection that is there; it is deleted last.
    let others = ["--exclude-operation-id", "deleteIntegration"];
    schemathesis::run(server, &token, EXAMPLES, "connected.toml", &others).await;
    // Of whatever is asked for.
    schemathesis::run(server, &token, EXAMPLES / 4, "anything.toml", &[]).await;
    let delete = ["--include-operation-id", "deleteIntegration"];
    schemathesis::run(server, &token, EXAMPLES / 4, "connected.toml", &delete).await;
    world.wait_gone("acme", "web.app").await;

    // Not refusals alone were compared.
    let one = "/v1/tenants/{tenant}/projects/{project}/integrations/{type}";
    for (method, rest, status) in [
        ("GET", "", 200),
        ("GET", "/install", 200),
        ("GET", "/token", 200),
        ("GET", "/actions", 200),
        ("POST", "/refresh", 202),
        ("POST", "/messages", 403),
        ("POST", "/actions/{action}", 403),
        ("GET", "/proxy/{*path}", 404),
        ("DELETE", "", 202),
    ] {
        let labels = format!("{{method=\"{method}\",route=\"{one}{rest}\",status=\"{status}\"}}");
        let counted = operator.metric(&format!("integration_operator_http_requests_total{labels}")).await;
        assert!(counted >= 1.0, "{labels}");
    }
}
