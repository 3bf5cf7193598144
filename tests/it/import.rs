//! Rows of the table of before become integrations that go on without a new consent.

use std::process::{Output, Stdio};

use integration_operator::api::ProjectIntegration;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::connect::sandbox;
use crate::sandbox::{Consent, Rotation, SandboxOptions};
use crate::world::{World, is_ready, last_refreshed};

const HEAD: &str = "id,tenant_id,project_id,integration_type,meta,status,created_at,updated_at\n";

fn row(tenant: &str, project: &str, type_: &str, meta: &Value, status: &str) -> String {
    let meta = meta.to_string().replace('"', "\"\"");
    format!(
        "{},{tenant},{project},{type_},\"{meta}\",{status},2025-01-02 03:04:05+00,2025-02-03 04:05:06+00\n",
        uuid::Uuid::new_v4()
    )
}

async fn import(world: &World, rows: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_integration-operator"))
        .args(["import", "--file", "-", "--allow-insecure-provider-hosts", "127.0.0.1"])
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", world.cluster.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(rows.as_bytes()).await.unwrap();
    drop(stdin);
    let output: Output = child.wait_with_output().await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("sandbox-at-") && !text.contains("sandbox-rt-"), "no token is printed: {text}");
    (output.status.code(), text)
}

fn agent(found: &ProjectIntegration) -> Option<String> {
    found.status.as_ref()?.installation.as_ref()?.agent_id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_integrations_that_go_on() {
    let Some(world) = World::start("rows_become_integrations_that_go_on").await else { return };
    let options =
        SandboxOptions { consent: Consent::Allow(None), rotation: Rotation::Strict, ..SandboxOptions::default() };
    let sandbox = sandbox(&world, "new-app", options).await;
    world.tenant("acme").await;
    let meta = |extra: Value| {
        let (_, issued) = sandbox.seed("W-ACME", "read write");
        let mut meta = json!({
            "access_token": issued.access_token, "refresh_token": issued.refresh_token, "token_type": "bearer",
            "scope": "read write", "workspace_id": "W1", "workspace_name": "Imported",
            "installed_by_agent_id": "agent-7", "installed_at": "2025-01-01T00:00:00Z",
        });
        meta.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        meta
    };
    let rows = [
        HEAD.to_owned(),
        row("acme", "web", "new_app", &meta(json!({})), "active"),
        row("acme", "api", "new_app", &meta(json!({ "expires_at": "2099-01-01T00:00:00Z" })), "active"),
        row("acme", "idle", "new_app", &meta(json!({})), "inactive"),
        row("nobody", "web", "new_app", &meta(json!({})), "active"),
        row("acme", "web", "unheard_of", &meta(json!({})), "active"),
        row("acme", "empty", "new_app", &json!({ "scope": "read" }), "active"),
        row("acme", "Bad Name", "new_app", &meta(json!({})), "active"),
        "x,acme,torn\n".to_owned(),
    ]
    .concat();

    let (code, dry) = import(&world, &rows, &["--dry-run"]).await;
    assert_eq!(code, Some(2), "{dry}");
    assert!(dry.contains("acme/web.new-app would be created"), "{dry}");
    assert!(world.integrations("acme").list(&ListParams::default()).await.unwrap().items.is_empty());

    let (code, text) = import(&world, &rows, &[]).await;
    assert_eq!(code, Some(2), "{text}");
    for line in [
        "line 2: acme/web.new-app created",
        "line 3: acme/api.new-app created",
        "line 4: acme/idle.new-app created, suspended",
        "line 5: nobody/web.new-app failed: no namespace has the label",
        "line 6: acme/web.unheard-of failed: provider unheard-of:",
        "line 7: acme/empty.new-app failed: meta holds no access_token",
        "line 8: ? failed: column project_id is not a UUID or a DNS label",
        "line 9: ? failed: the line is not CSV",
        "2 created, 1 created, suspended, 5 failed",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let operator = world.operator().await;
    // Nobody knew how long its token lives, so it was refreshed at once.
    let web = world.wait("acme", "web.new-app", "ready", |found| is_ready(found) && agent(found).is_some()).await;
    assert_eq!(agent(&web).as_deref(), Some("agent-7"));
    let status = web.status.as_ref().unwrap();
    assert_eq!(status.installation.as_ref().unwrap().installed_at, "2025-01-01T00:00:00Z");
    assert_eq!(status.metadata["workspaceName"], json!("Imported"));
    assert!(!last_refreshed(&web).starts_with("2025-"), "{}", last_refreshed(&web));
    let api = world.wait("acme", "api.new-app", "ready", is_ready).await;
    assert!(last_refreshed(&api).starts_with("2025-02-03"), "it is good until 2099");
    world.wait_reason("acme", "idle.new-app", "Ready", "Suspended").await;
    assert!(world.secret("acme", "web.new-app").await.unwrap()["access_token"].starts_with("sandbox-at-"));
    let grant = world.grant("acme", "web.new-app").await.unwrap();
    assert!(grant["installation"].is_string(), "told apart by the workspace");
    let refreshed = sandbox.ledger().token_requests("refresh_token");
    assert_eq!(refreshed, 1);

    // Again: nothing changes, and what was refreshed is not overwritten.
    let (code, text) = import(&world, &rows, &[]).await;
    assert_eq!(code, Some(2));
    assert!(text.contains("3 exists, 5 failed"), "{text}");
    assert_eq!(world.grant("acme", "web.new-app").await.unwrap()["tokens"], grant["tokens"]);
    let good = rows.lines().take(3).collect::<Vec<_>>().join("\n");
    assert_eq!(import(&world, &good, &[]).await.0, Some(0));
    // And where it is wanted, it is.
    let fresh = [HEAD.to_owned(), row("acme", "web", "new_app", &meta(json!({})), "active")].concat();
    let (code, text) = import(&world, &fresh, &["--replace"]).await;
    assert!(code == Some(0) && text.contains("acme/web.new-app replaced"), "{text}");
    let before = last_refreshed(&web);
    world.wait("acme", "web.new-app", "refreshed", |found| is_ready(found) && last_refreshed(found) != before).await;
    assert_eq!(world.grant("acme", "web.new-app").await.unwrap()["epoch"], json!(2));
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()));
    drop(operator);
}
