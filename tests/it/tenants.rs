//! Tenants that bring their own app, and an operator that watches named namespaces only.

use serde_json::json;

use crate::connect::description;
use crate::sandbox::{Consent, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, Flags, World, condition, eventually, is_ready};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_provider_has_a_place_of_its_own() {
    let Some(world) = World::start("a_tenants_own_provider_has_a_place_of_its_own").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options);
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    let client = ("sandbox-client", "sandbox-secret");
    world.own_provider("acme", "own", client, description(&sandbox.base_url)).await;
    world.create("acme", "web", "own", json!({ "providerKind": "IntegrationProvider" })).await;
    let token = world.admin_of("acme").await;
    world.wait_reason("acme", "web.own", "Ready", "AuthorizationRequired").await;

    let mut browser = Browser::as_user("dev");
    let url = world.install_in(&mut browser, &token, "acme", "web", "own").await;
    assert!(url.contains("/api/public/tenants/acme/integrations/own/start?"), "{url}");
    let landed = world.walk(&mut browser, &url).await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?integration=own&status=success"));
    world.wait("acme", "web.own", "ready", is_ready).await;
    // All that a revocation takes lies in the grant: a namespace that goes away takes the client's Secret with it first.
    let grant = world.grant("acme", "web.own").await.unwrap();
    assert_eq!(grant["binding"]["client"]["clientId"], json!("sandbox-client"));

    // Another tenant has no such provider.
    world.create("globex", "web", "own", json!({ "providerKind": "IntegrationProvider" })).await;
    let none = world.wait_reason("globex", "web.own", "Ready", "ProviderNotFound").await;
    assert_eq!(condition(&none, "Stalled").0, "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_named_namespaces_are_served() {
    let Some(world) = World::start("only_named_namespaces_are_served").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let _sandbox = crate::connect::sandbox(&world, "app", options).await;
    world.tenant("acme").await;
    world.tenant("globex").await;
    let arguments = vec!["--watch-namespaces".to_owned(), "acme".to_owned()];
    let _operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    world.create("acme", "web", "app", json!({})).await;
    world.create("globex", "web", "app", json!({})).await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let other = world.integrations("globex").get("web.app").await.unwrap();
    assert_eq!(other.status.and_then(|status| status.observed_generation), Some(-1), "nobody looked at it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_frontend_the_operator_shows_its_own_page() {
    let Some(world) = World::start("without_a_frontend_the_operator_shows_its_own_page").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let _sandbox = crate::connect::sandbox(&world, "app", options).await;
    world.tenant("acme").await;
    let _operator = world.operator_with(Flags { own_pages: true, ..Flags::default() }).await;
    let token = world.admin_of("acme").await;
    let mut browser = Browser::as_user("dev");
    let url = world.install_in(&mut browser, &token, "acme", "web", "app").await;
    let page = browser.consent(&url, &[]).await.unwrap();
    assert_eq!(page.status().unwrap(), 200);
    assert!(page.body().contains("<h1>"), "{}", page.body());
    assert!(!page.body().contains("ticket="));
    world.wait("acme", "web.app", "ready", is_ready).await;
    eventually("connected", async || world.grant("acme", "web.app").await.is_some()).await;
}
