//! Leaving: an uninstall that leaves nothing stuck, and grants whose integration is gone.

use std::process::Command;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::connect::sandbox;
use crate::sandbox::{Consent, SandboxOptions};
use crate::world::{OPERATOR, World, eventually, eventually_within, is_ready};

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_grant_is_reported_and_not_revoked() {
    let Some(world) = World::start("an_orphaned_grant_is_reported_and_not_revoked").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let sandbox = sandbox(&world, "app", options).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    operator.terminate().await;
    // What a restored backup, or a forced deletion, leaves behind.
    let off = json!({ "metadata": { "finalizers": null } });
    let api = world.integrations("acme");
    api.patch("web.app", &PatchParams::default(), &Patch::Merge(&off)).await.unwrap();
    api.delete("web.app", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.app").await;

    let operator = world.operator().await;
    let grant = integration_operator::grant::store::grant_name("acme", "web.app");
    let orphaned = async || {
        let secret = world.secrets(OPERATOR).get(&grant).await.unwrap();
        secret.metadata.annotations.unwrap_or_default().contains_key("integrations.tms.dev/orphaned-at")
    };
    eventually_within(Duration::from_mins(1), "the orphan is marked", orphaned).await;
    eventually("the orphan is counted", async || operator.metric("integration_operator_orphaned_grants").await >= 1.0)
        .await;
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()), "nothing is revoked");

    // The same name again is another integration: what lies there is not adopted silently.
    world.create("acme", "web", "app", json!({})).await;
    world.wait_reason("acme", "web.app", "Authorized", "ForeignGrant").await;
    // Connecting again replaces it.
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    assert!(!orphaned().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_takes_the_finalizers_off_and_revokes_when_told() {
    let Some(world) = World::start("cleanup_takes_the_finalizers_off_and_revokes_when_told").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let sandbox = sandbox(&world, "app", options).await;
    let mut operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    operator.terminate().await;
    let done = Command::new(env!("CARGO_BIN_EXE_integration-operator"))
        .args(["cleanup", "--revoke", "--allow-insecure-provider-hosts", "127.0.0.1"])
        .env_clear()
        .env("KUBECONFIG", world.cluster.kubeconfig())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_some()), "revoked at the provider");
    world.integrations("acme").delete("web.app", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.app").await;
}
