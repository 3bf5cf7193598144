//! Grants at rest: sealed with `--grant-key-file`, keys that come and go, and what lies in etcd's files.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration_operator::api::ProjectIntegration;
use integration_operator::grant::store::grant_name;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use crate::cluster::{Options, Part};
use crate::connect::sandbox;
use crate::sandbox::{Consent, Rotation, Sandbox, SandboxOptions};
use crate::world::{
    Flags, OPERATOR, Operator, World, condition, eventually, eventually_within, is_ready, last_refreshed, now,
};

const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";
const SEALED_WITH: &str = "integrations.tms.dev/sealed-with";
/// How the sandbox's tokens begin.
const ACCESS: &str = "sandbox-at-";
const REFRESH_TOKEN: &str = "sandbox-rt-";

/// A line of a key file.
fn key(name: &str, byte: u8) -> String {
    format!("{name}:{}\n", STANDARD.encode([byte; 32]))
}

/// A key file, laid out as the kubelet does it: a link to a directory that is swapped for another.
struct KeyFile {
    directory: tempfile::TempDir,
}

impl KeyFile {
    fn new(text: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().unwrap() };
        std::os::unix::fs::symlink("..data/keys", file.path()).unwrap();
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    fn write(&self, text: &str) {
        let version = uuid::Uuid::new_v4().to_string();
        let directory = self.directory.path();
        std::fs::create_dir(directory.join(&version)).unwrap();
        std::fs::write(directory.join(&version).join("keys"), text).unwrap();
        std::os::unix::fs::symlink(&version, directory.join("..data_tmp")).unwrap();
        std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    }

    fn flags(&self, index: u16) -> Flags {
        let arguments = vec!["--grant-key-file".to_owned(), self.path().display().to_string()];
        Flags { arguments, index, ..Flags::default() }
    }
}

async fn willing(world: &World) -> Sandbox {
    let options =
        SandboxOptions { consent: Consent::Allow(None), rotation: Rotation::Strict, ..SandboxOptions::default() };
    sandbox(world, "app", options).await
}

async fn grant(world: &World, name: &str) -> Secret {
    world.secrets(OPERATOR).get(&grant_name("acme", name)).await.unwrap()
}

fn data(secret: &Secret) -> Vec<u8> {
    secret.data.as_ref().unwrap().values().next().unwrap().0.clone()
}

fn sealed_with(secret: &Secret) -> Option<String> {
    secret.metadata.annotations.as_ref()?.get(SEALED_WITH).cloned()
}

fn holds(data: &[u8], text: &str) -> bool {
    data.windows(text.len()).any(|part| part == text.as_bytes())
}

/// How many of etcd's files hold a text.
fn in_etcd(world: &World, text: &str) -> usize {
    fn walk(directory: &Path, text: &str) -> usize {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| {
                if path.is_dir() { walk(&path, text) } else { usize::from(holds(&std::fs::read(&path).unwrap(), text)) }
            })
            .sum()
    }
    walk(&world.cluster.directory().join("etcd-data"), text)
}

fn said(integration: &ProjectIntegration, type_: &str) -> String {
    let status = integration.status.as_ref().unwrap();
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().message.clone()
}

async fn refreshes(world: &World) {
    let before = last_refreshed(&world.integrations("acme").get("web.app").await.unwrap());
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    world.wait("acme", "web.app", "refreshed", |found| is_ready(found) && last_refreshed(found) != before).await;
}

async fn wait_sealed(world: &World, name: &str, key: &str) {
    eventually(&format!("{name} is sealed with {key}"), async || {
        sealed_with(&grant(world, name).await).as_deref() == Some(key)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_sealed_and_keys_rotate_while_it_runs() {
    let Some(world) = World::start("grants_are_sealed_and_keys_rotate_while_it_runs").await else { return };
    let sandbox = willing(&world).await;
    // One that was written before there was a key.
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut operator = world.operator().await;
    world.connect(&token, "acme", "old", "app").await;
    world.wait("acme", "old.app", "ready", is_ready).await;
    assert!(holds(&data(&grant(&world, "old.app").await), REFRESH_TOKEN), "the search sees what is there");
    assert_eq!(operator.terminate().await, Some(0));

    let keys = KeyFile::new(&key("a", 1));
    let operator = world.operator_with(keys.flags(0)).await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    refreshes(&world).await;
    // By itself, without a refresh.
    wait_sealed(&world, "old.app", "a").await;
    world.install(&token, "acme", "third", "app").await;
    let all = world.secrets(OPERATOR).list(&ListParams::default()).await.unwrap();
    let kinds = "integrations.tms.dev/kind";
    let ours = all.items.iter().filter(|secret| secret.metadata.labels.iter().any(|labels| labels.contains_key(kinds)));
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), 3, "two grants and an attempt");
    for secret in ours {
        let text = serde_json::to_string(secret).unwrap();
        for data in secret.data.iter().flat_map(|data| data.values()) {
            assert!(data.0.starts_with(b"sealed/1 a\n"), "{text}");
            assert!(!holds(&data.0, ACCESS) && !holds(&data.0, REFRESH_TOKEN) && !holds(&data.0, "verifier"));
        }
        assert!(!holds(text.as_bytes(), ACCESS) && !holds(text.as_bytes(), REFRESH_TOKEN));
        assert_eq!(sealed_with(secret).as_deref(), Some("a"));
    }
    eventually("counted", async || {
        (operator.metric(r#"integration_operator_grants{key="a"}"#).await - 2.0).abs() < 0.1
    })
    .await;

    // A second key is written with, then the first goes. Nothing is restarted.
    keys.write(&[key("b", 2), key("a", 1)].concat());
    wait_sealed(&world, "old.app", "b").await;
    wait_sealed(&world, "web.app", "b").await;
    keys.write(&key("b", 2));
    eventually("the file is read again", async || operator.log().contains("keys=\"b\"")).await;
    refreshes(&world).await;
    assert_eq!(sealed_with(&grant(&world, "web.app").await).as_deref(), Some("b"));

    // A file that cannot be used leaves the keys as they are.
    keys.write("nonsense");
    let usable = "integration_operator_grant_key_file_usable";
    eventually("that is told", async || operator.metric(usable).await < 0.5).await;
    assert!(operator.log().contains("line 1 of the grant key file"));
    refreshes(&world).await;
    std::fs::remove_file(keys.path()).unwrap();
    eventually("that too", async || operator.log().contains("cannot be read")).await;
    refreshes(&world).await;
    keys.write(&key("b", 2));
    std::os::unix::fs::symlink("..data/keys", keys.path()).unwrap();
    eventually("mended", async || operator.metric(usable).await > 0.5).await;
    assert!(sandbox.ledger().grants.iter().all(|grant| grant.ended.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_a_grant_is_lost_to_nobody() {
    let Some(world) = World::start("without_its_key_a_grant_is_lost_to_nobody").await else { return };
    let sandbox = willing(&world).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let keys = KeyFile::new(&key("a", 1));
    let mut operator = world.operator_with(keys.flags(0)).await;
    for project in ["web", "gone", "again"] {
        world.connect(&token, "acme", project, "app").await;
        world.wait("acme", &format!("{project}.app"), "ready", is_ready).await;
    }
    let before = data(&grant(&world, "web.app").await);
    assert_eq!(operator.terminate().await, Some(0));
    let requests = sandbox.ledger().entries.len();

    let mut operator = world.operator().await;
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    let unread = world.wait_reason("acme", "web.app", "Ready", "StorageFailed").await;
    let message = said(&unread, "Authorized");
    assert!(message.contains("sealed with key a") && message.contains("--grant-key-file"), "{message}");
    assert_eq!(condition(&unread, "Stalled").0, "True");
    // Deleting is not stopped for ever, and takes nothing along.
    world.integrations("acme").delete("gone.app", &DeleteParams::default()).await.unwrap();
    let api = world.integrations("acme");
    eventually_within(std::time::Duration::from_mins(3), "it is gone", async || {
        api.get_opt("gone.app").await.unwrap().is_none()
    })
    .await;
    let left = grant(&world, "gone.app").await;
    assert!(data(&left).starts_with(b"sealed/1 a\n"));
    let events: Api<Event> = Api::namespaced(world.client.clone(), "acme");
    eventually("that is told", async || {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        all.iter().any(|event| event.reason.as_deref() == Some("RevocationFailed"))
    })
    .await;
    assert_eq!(data(&grant(&world, "web.app").await), before);
    assert_eq!(sandbox.ledger().entries.len(), requests, "nothing was sent to the app");
    // Who cannot get the key back connects again.
    world.connect(&token, "acme", "again", "app").await;
    world.wait("acme", "again.app", "ready", is_ready).await;
    assert_eq!(sealed_with(&grant(&world, "again.app").await), None);
    assert_eq!(operator.terminate().await, Some(0));

    // With its key all goes on; with another key of the same name it does not.
    let wrong = KeyFile::new(&key("a", 9));
    let mut operator = world.operator_with(wrong.flags(0)).await;
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    eventually("the wrong key is told", async || {
        let found = world.integrations("acme").get("web.app").await.unwrap();
        said(&found, "Authorized").contains("does not open with key a")
    })
    .await;
    assert!(
        !grant(&world, "web.app").await.metadata.annotations.unwrap().contains_key("integrations.tms.dev/intent"),
        "nothing was sent, and nothing says that it was"
    );
    wrong.write(&key("a", 1));
    world.wait("acme", "web.app", "ready", is_ready).await;
    refreshes(&world).await;
    assert_eq!(operator.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_different_keys_mend_themselves() {
    let Some(world) = World::start("replicas_with_different_keys_mend_themselves").await else { return };
    let _sandbox = willing(&world).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let (first, second) = (KeyFile::new(&key("a", 1)), KeyFile::new(&[key("b", 2), key("a", 1)].concat()));
    let leader = world.operator_with(first.flags(0)).await;
    eventually("the first leads", async || leader.metric("integration_operator_leader").await >= 1.0).await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    // The other replica has a key that the leader has not been given yet, and writes the grant of a callback.
    let other = world.operator_with(second.flags(1)).await;
    connect_by(&world, &other, &token).await;
    let unread = world.wait_reason("acme", "web.app", "Ready", "StorageFailed").await;
    let message = said(&unread, "Authorized");
    assert!(message.contains("key b") && message.contains("it holds a"), "{message}");
    first.write(&[key("a", 1), key("b", 2)].concat());
    world.wait("acme", "web.app", "ready", is_ready).await;
    wait_sealed(&world, "web.app", "a").await;
}

/// Connects again, with the callback served by one replica.
async fn connect_by(world: &World, operator: &Operator, token: &str) {
    let mut browser = crate::servers::browser::Browser::as_user("dev");
    let oauth_url = world.install_in(&mut browser, token, "acme", "web", "app").await;
    let start = browser.get(&oauth_url).await.unwrap();
    let at_app = start.header("location").unwrap().to_owned();
    let back = browser.get(&at_app).await.unwrap();
    let callback = back.header("location").unwrap().replace(&world.public_url, &operator.url);
    // The cookie is for the host, whatever the port.
    let landed = browser.get(&callback).await.unwrap();
    assert!(landed.header("location").unwrap().contains("status="), "{:?}", landed.header("location"));
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_holds_no_refresh_token_of_a_sealed_grant() {
    let Some(world) = World::start("etcd_holds_no_refresh_token_of_a_sealed_grant").await else { return };
    if !world.cluster.has_or_skip(Part::OwnApiServer, "etcd_holds_no_refresh_token_of_a_sealed_grant") {
        return;
    }
    let sandbox = willing(&world).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let keys = KeyFile::new(&key("a", 1));
    let mut operator = world.operator_with(keys.flags(0)).await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    refreshes(&world).await;
    assert_eq!(sandbox.ledger().token_requests("refresh_token"), 1);
    assert_eq!(in_etcd(&world, REFRESH_TOKEN), 0);
    // What is published for the workload lies in the tenant's namespace as it is.
    assert!(in_etcd(&world, ACCESS) > 0);
    assert_eq!(operator.terminate().await, Some(0));
    // Without a key it would be there.
    let operator = world.operator().await;
    world.connect(&token, "acme", "plain", "app").await;
    world.wait("acme", "plain.app", "ready", is_ready).await;
    assert!(in_etcd(&world, REFRESH_TOKEN) > 0);
    drop(operator);
}

/// The API server's own encryption at rest, and no key of ours.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_holds_no_token_where_the_api_server_encrypts() {
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{ "resources": ["secrets"], "providers": [
            { "aesgcm": { "keys": [{ "name": "k", "secret": STANDARD.encode([3; 32]) }] } }, { "identity": {} },
        ] }],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), configuration.to_string()).unwrap();
    let options = Options {
        extra_apiserver_args: vec![format!("--encryption-provider-config={}", file.path().display())],
        ..Options::default()
    };
    let test = "etcd_holds_no_token_where_the_api_server_encrypts";
    let Some(world) = World::start_with(test, options).await else { return };
    if !world.cluster.has_or_skip(Part::OwnApiServer, test) {
        return;
    }
    let _sandbox = willing(&world).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let _operator = world.operator().await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    refreshes(&world).await;
    assert!(world.secret("acme", "web.app").await.unwrap()["access_token"].starts_with(ACCESS));
    for canary in [ACCESS, REFRESH_TOKEN, "sandbox-secret"] {
        assert_eq!(in_etcd(&world, canary), 0, "{canary}");
    }
    assert!(in_etcd(&world, "web.app") > 0, "the search sees what is there");
}
