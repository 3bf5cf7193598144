//! Ways to connect: by annotation, with a slow provider, again with another account.

use std::time::Duration;

use serde_json::json;

use crate::refresh::strict;
use crate::sandbox::{Effect, Fault, Sandbox, SandboxOptions};
use crate::servers;
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, World, condition, eventually, is_ready, now};

/// A sandbox, and a provider that describes it by its URLs.
pub async fn sandbox(world: &World, name: &str, options: SandboxOptions) -> Sandbox {
    let sandbox = Sandbox::start(options);
    world.provider(name, "sandbox-client", "sandbox-secret", description(&sandbox.base_url)).await;
    sandbox
}

pub fn description(base: &str) -> serde_json::Value {
    json!({
        "displayName": "Sandbox",
        "oauth2": {
            "authorizationURL": format!("{base}/authorize"),
            "tokenURL": format!("{base}/token"),
            "revocationURL": format!("{base}/revoke"),
            "userinfoURL": format!("{base}/userinfo"),
            "scopes": ["read", "write"],
            "grantIdentity": "response.workspace.id",
        },
        "metadata": { "workspaceId": "response.workspace.id", "workspaceName": "response.workspace.name" },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn by_annotation_without_http() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("by_annotation_without_http").await else { return };
    let _server = strict(&world, "strict", 3600).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.create("acme", "web", "strict", json!({})).await;
    let fresh = world.wait_reason("acme", "web.strict", "Ready", "AuthorizationRequired").await;
    assert_eq!(condition(&fresh, "Stalled").0, "True");

    world.annotate("acme", "web.strict", "integrations.tms.dev/connect-requested-at", &now()).await;
    let asked = world
        .wait("acme", "web.strict", "asking for authorization", |found| {
            found.status.as_ref().is_some_and(|status| status.authorization.is_some())
        })
        .await;
    assert_eq!(condition(&asked, "Stalled").0, "False", "a person is expected");
    let authorization = asked.status.unwrap().authorization.unwrap();
    let url = world.secret("acme", &authorization.secret_name).await.unwrap()["url"].clone();

    let mut browser = Browser::as_user("dev");
    let landed = world.walk(&mut browser, &url).await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?integration=strict&status=success"));
    let connected = world.wait("acme", "web.strict", "ready", is_ready).await;
    assert!(connected.status.unwrap().authorization.is_none());
    eventually("the link is gone", async || world.secret("acme", &authorization.secret_name).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_authorization_is_told_on_the_resource() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("a_denied_authorization_is_told_on_the_resource").await else { return };
    let _server = strict(&world, "strict", 3600).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    world.create("acme", "web", "strict", json!({})).await;
    world.annotate("acme", "web.strict", "integrations.tms.dev/connect-requested-at", &now()).await;
    let asked = world
        .wait("acme", "web.strict", "asking", |found| {
            found.status.as_ref().is_some_and(|status| status.authorization.is_some())
        })
        .await;
    let name = asked.status.unwrap().authorization.unwrap().secret_name;
    let url = world.secret("acme", &name).await.unwrap()["url"].clone();
    let mut browser = Browser::as_user("dev");
    let landed = browser.deny_consent(&url, &[FRONTEND]).await.unwrap();
    assert_eq!(landed.query("error").as_deref(), Some("strict_oauth_denied"));
    world.wait_reason("acme", "web.strict", "Authorized", "AuthorizationDenied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_exchange_ends_by_itself() {
    let Some(world) = World::start("a_slow_exchange_ends_by_itself").await else { return };
    let sandbox = sandbox(&world, "slow", SandboxOptions::default()).await;
    sandbox.fault(Fault::new(Effect::Delay { millis: 5_000 }).on_exchange());
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut browser = Browser::as_user("dev");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "slow").await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?integration=slow&status=pending"));
    world.wait("acme", "web.slow", "ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_an_exchange_loses_nothing() {
    let Some(world) = World::start("sigterm_in_the_middle_of_an_exchange_loses_nothing").await else { return };
    let sandbox = sandbox(&world, "slow", SandboxOptions::default()).await;
    sandbox.fault(Fault::new(Effect::Delay { millis: 5_000 }).on_exchange());
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut browser = Browser::as_user("dev");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "slow").await;
    assert!(landed.ends_with("status=pending"), "{landed}");
    assert_eq!(operator.terminate().await, Some(0));
    let grant = world.grant("acme", "web.slow").await.expect("the answer was kept");
    assert_eq!(grant["metadata"]["workspaceId"], json!("W-ACME"));
    drop(operator);
    let _operator = world.operator().await;
    world.wait("acme", "web.slow", "ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_does_not_replace_the_first_silently() {
    let Some(world) = World::start("another_account_does_not_replace_the_first_silently").await else { return };
    let sandbox = sandbox(&world, "app", SandboxOptions::default()).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let connected = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(connected.status.unwrap().metadata["workspaceName"], json!("Acme Workspace"));

    sandbox.reconfigure(|options| options.consent = crate::sandbox::Consent::Allow(Some("W-GLOBEX".into())));
    let mut browser = Browser::as_user("dev");
    let landed = world.connect_as(&mut browser, &token, "acme", "web", "app").await;
    assert_eq!(landed, format!("{FRONTEND}/dashboard?error=account_mismatch"));
    let kept = world.wait_reason("acme", "web.app", "Authorized", "AccountMismatch").await;
    assert!(is_ready(&kept), "what is held still works");
    assert_eq!(world.grant("acme", "web.app").await.unwrap()["metadata"]["workspaceId"], json!("W-ACME"));

    // The same account again is no question, and clears it.
    sandbox.reconfigure(|options| options.consent = crate::sandbox::Consent::Allow(Some("W-ACME".into())));
    world.connect(&token, "acme", "web", "app").await;
    world.wait_reason("acme", "web.app", "Authorized", "Granted").await;

    // After a disconnect another account is welcome.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.annotate("acme", "web.app", "integrations.tms.dev/disconnect-requested-at", &now()).await;
    world.wait_reason("acme", "web.app", "Authorized", "AuthorizationRequired").await;
    sandbox.reconfigure(|options| options.consent = crate::sandbox::Consent::Allow(Some("W-GLOBEX".into())));
    world.connect(&token, "acme", "web", "app").await;
    let other = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(other.status.unwrap().metadata["workspaceName"], json!("Globex Workspace"));
}
