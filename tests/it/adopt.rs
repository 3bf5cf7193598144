//! A backup that is restored: the grant of another life is left alone, and adopted by those who may.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use integration_operator::api::{ClusterIntegrationProvider, ProjectIntegration};
use integration_operator::grant::store::grant_name;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::connect::description;
use crate::sandbox::{Consent, Endpoint, Rotation, Sandbox, SandboxOptions};
use crate::world::{OPERATOR, World, condition, eventually, is_ready, last_refreshed, now};

const ADOPT: &str = "integrations.tms.dev/adopt-requested-for";
const DISCONNECT: &str = "integrations.tms.dev/disconnect-requested-at";
const INTENT: &str = "integrations.tms.dev/intent";
const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";

/// A strict provider, with introspection or without.
async fn strict(world: &World, name: &str, introspection: bool) -> Sandbox {
    let options =
        SandboxOptions { consent: Consent::Allow(None), rotation: Rotation::Strict, ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options);
    let mut description = description(&sandbox.base_url);
    if introspection {
        description["oauth2"]["introspectionURL"] = json!(format!("{}/introspect", sandbox.base_url));
    }
    world.provider(name, "sandbox-client", "sandbox-secret", description).await;
    sandbox
}

/// What a backup tool keeps of an object: no uid, no version, no owners, no status.
fn kept(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name.clone(),
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        ..ObjectMeta::default()
    }
}

struct Backup {
    name: String,
    integration: ProjectIntegration,
    grant: Secret,
    published: Secret,
}

impl Backup {
    async fn take(world: &World, name: &str) -> Self {
        let mut integration = world.integrations("acme").get(name).await.unwrap();
        let mut grant = world.secrets(OPERATOR).get(&grant_name("acme", name)).await.unwrap();
        let mut published = world.secrets("acme").get(name).await.unwrap();
        integration.metadata = kept(&integration.metadata);
        integration.status = None;
        grant.metadata = kept(&grant.metadata);
        published.metadata = kept(&published.metadata);
        Self { name: name.to_owned(), integration, grant, published }
    }

    /// All of it goes, and nobody revokes anything.
    async fn lose(&self, world: &World) {
        let api = world.integrations("acme");
        let bare = json!({ "metadata": { "finalizers": null } });
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&bare)).await.unwrap();
        api.delete(&self.name, &DeleteParams::default()).await.unwrap();
        let grants = world.secrets(OPERATOR);
        grants.delete(&grant_name("acme", &self.name), &DeleteParams::default()).await.unwrap();
        let _ = world.secrets("acme").delete(&self.name, &DeleteParams::default()).await;
        world.wait_gone("acme", &self.name).await;
        eventually("the Secret is gone", async || world.secret("acme", &self.name).await.is_none()).await;
    }

    /// Brings it back; the integration has another uid then.
    async fn restore(&self, world: &World) -> String {
        let how = PostParams::default();
        let restored = world.integrations("acme").create(&how, &self.integration).await.unwrap();
        world.secrets(OPERATOR).create(&how, &self.grant).await.unwrap();
        world.secrets("acme").create(&how, &self.published).await.unwrap();
        restored.uid().unwrap()
    }

    /// As if the backup had been made in the middle of a refresh, by an earlier process of the same Pod.
    fn in_mid_refresh(&mut self) {
        let times = (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(30)).to_string();
        let intent = json!([{
            "attempt": "a", "epoch": 1, "boot": "b", "holder": "replica-0", "firstSent": times, "deadline": times,
        }]);
        self.grant.metadata.annotations.as_mut().unwrap().insert(INTENT.to_owned(), intent.to_string());
    }
}

async fn plugin(kubeconfig: &Path, name: &str) -> (bool, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubectl-integration"))
        .args(["adopt", name, "-n", "acme", "--timeout", "40s"])
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn annotation(secret: &Secret, name: &str) -> Option<String> {
    secret.metadata.annotations.as_ref()?.get(name).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_adopted() {
    let Some(world) = World::start("a_restored_backup_is_adopted").await else { return };
    let sandbox = strict(&world, "app", false).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut operator = world.operator().await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(operator.terminate().await, Some(0));
    let mut backup = Backup::take(&world, "web.app").await;
    let asked = BTreeMap::from([(DISCONNECT.to_owned(), now()), (REFRESH.to_owned(), now())]);
    backup.integration.annotations_mut().extend(asked);
    backup.lose(&world).await;
    // The provider's object is another one as well.
    let providers: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    let mut provider = providers.get("app").await.unwrap();
    providers.delete("app", &DeleteParams::default()).await.unwrap();
    (provider.metadata, provider.status) = (kept(&provider.metadata), None);
    providers.create(&PostParams::default(), &provider).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let uid = backup.restore(&world).await;
    let requests = sandbox.ledger().entries.len();

    let _operator = world.operator().await;
    world.wait_reason("acme", "web.app", "Ready", "ForeignGrant").await;
    // Who may do everything in the tenant's namespace may not do this, on whatever object.
    let tenant = world.cluster.service_account_kubeconfig("acme", "frontend", &[]).await.unwrap();
    let (good, text) = plugin(&tenant, "web.app").await;
    assert!(!good && text.contains("you may not get the grant"), "{text}");
    world.annotate("acme", "web.app", ADOPT, &uid).await;
    world.wait_reason("acme", "web.app", "Ready", "ForeignGrant").await;
    assert_eq!(sandbox.ledger().entries.len(), requests, "nothing was sent");

    let published = world.secrets("acme").get("web.app").await.unwrap();
    let (good, text) = plugin(world.cluster.kubeconfig(), "web.app").await;
    assert!(good && text.contains("adopted, and ready"), "{text}");
    let adopted = world.wait("acme", "web.app", "ready", is_ready).await;
    assert_eq!(world.grant("acme", "web.app").await.unwrap()["integration"]["uid"], json!(uid));
    let owned = world.secrets("acme").get("web.app").await.unwrap();
    assert_eq!(owned.uid(), published.uid(), "the very Secret that workloads have mounted");
    assert_eq!(owned.owner_references()[0].uid, uid);
    let refreshes = || sandbox.ledger().token_requests("refresh_token");
    assert_eq!(refreshes(), 0, "what was asked for in another life is not done again");
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    let before = last_refreshed(&adopted);
    world.wait("acme", "web.app", "refreshed", |found| is_ready(found) && last_refreshed(found) != before).await;
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()));
    assert_eq!(sandbox.ledger().of(Endpoint::Revoke).count(), 0);
    let events: Api<Event> = Api::namespaced(world.client.clone(), "acme");
    eventually("that is told", async || {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        all.iter().any(|event| event.reason.as_deref() == Some("Adopted"))
    })
    .await;
    let (good, text) = plugin(world.cluster.kubeconfig(), "web.app").await;
    assert!(good && text.contains("nothing to adopt"), "{text}");
}

/// The refresh token of the backup was used since: the app is asked and not told, and the person has to come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_too_old_is_said_to_be_dead() {
    let Some(world) = World::start("a_backup_that_is_too_old_is_said_to_be_dead").await else { return };
    let sandbox = strict(&world, "app", true).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut operator = world.operator().await;
    world.connect(&token, "acme", "web", "app").await;
    let connected = world.wait("acme", "web.app", "ready", is_ready).await;
    let mut backup = Backup::take(&world, "web.app").await;
    backup.in_mid_refresh();
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    let before = last_refreshed(&connected);
    world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != before).await;
    assert_eq!(operator.terminate().await, Some(0));
    backup.lose(&world).await;
    backup.restore(&world).await;
    let _operator = world.operator().await;
    world.wait_reason("acme", "web.app", "Ready", "ForeignGrant").await;
    let (good, text) = plugin(world.cluster.kubeconfig(), "web.app").await;
    assert!(!good && text.contains("ReauthorizationRequired") && text.contains("not active"), "{text}");
    assert_eq!(sandbox.ledger().token_requests("refresh_token"), 1, "the used token was not sent again");
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()), "nothing was revoked");
    assert!(world.grant("acme", "web.app").await.is_some(), "and nothing thrown away");
}

/// A backup from the middle of a refresh: what cannot be known is not tried.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_refresh_in_a_backup_is_not_sent_blindly() {
    let Some(world) = World::start("an_unfinished_refresh_in_a_backup_is_not_sent_blindly").await else { return };
    let mute = strict(&world, "mute", false).await;
    let told = strict(&world, "told", true).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut operator = world.operator().await;
    let mut backups = vec![];
    for type_ in ["mute", "told"] {
        let name = format!("web.{type_}");
        world.connect(&token, "acme", "web", type_).await;
        world.wait("acme", &name, "ready", is_ready).await;
        let mut backup = Backup::take(&world, &name).await;
        backup.in_mid_refresh();
        backups.push(backup);
    }
    assert_eq!(operator.terminate().await, Some(0));
    // Somebody else's Secret has the name by now.
    backups[0].published.type_ = Some("Opaque".to_owned());
    for backup in &backups {
        backup.lose(&world).await;
        backup.restore(&world).await;
    }
    let _operator = world.operator().await;
    for name in ["web.mute", "web.told"] {
        world.wait_reason("acme", name, "Ready", "ForeignGrant").await;
    }
    let (good, text) = plugin(world.cluster.kubeconfig(), "web.told").await;
    assert!(good, "{text}");
    let grant = world.secrets(OPERATOR).get(&grant_name("acme", "web.told")).await.unwrap();
    assert_eq!(annotation(&grant, INTENT), None, "the app says that the refresh was not carried out");
    assert_eq!(told.ledger().token_requests("refresh_token"), 0);

    let (good, text) = plugin(world.cluster.kubeconfig(), "web.mute").await;
    assert!(!good && text.contains("SecretConflict"), "{text}");
    let opaque = world.secrets("acme").get("web.mute").await.unwrap();
    assert!(opaque.owner_references().is_empty(), "a Secret of somebody else is left alone");
    let uncertain = world.wait_reason("acme", "web.mute", "TokenFresh", "RefreshAmbiguous").await;
    assert_eq!(condition(&uncertain, "Authorized").0, "True");
    assert_eq!(mute.ledger().token_requests("refresh_token"), 0);
    let grant = world.secrets(OPERATOR).get(&grant_name("acme", "web.mute")).await.unwrap();
    assert!(annotation(&grant, INTENT).is_some());
}
