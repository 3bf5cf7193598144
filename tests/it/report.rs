//! `kubectl integration report`: what a support case needs is in it, and no secret is, wherever one was planted.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::connect::sandbox;
use crate::doctor::deployment;
use crate::plugin::{plugin, run};
use crate::sandbox::SandboxOptions;
use crate::world::{OPERATOR, World, is_ready};

/// What is planted: in places whose names are known to be of others, and such as look like tokens elsewhere.
const PLAIN: &str = "canary-left-lying-about";
const TOKEN: &str = "Canary8xQ2vL9kT4mZ7nR1wP6";

/// The files of an archive.
fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let path = entry.path().unwrap().strip_prefix("integration-report").unwrap().to_string_lossy().into_owned();
        files.insert(path, text);
    }
    files
}

/// A kubelet that knows nothing but a log.
async fn kubelet(log: String) -> u16 {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let _ = connection.read(&mut [0; 8192]).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                log.len()
            );
            let _ = connection.write_all(format!("{head}{log}").as_bytes()).await;
            let _ = connection.shutdown().await;
        }
    });
    port
}

/// A Pod as if it ran the operator, on a node whose kubelet has this log; not on a cluster of somebody else's.
async fn pod(world: &World, log: String) {
    if world.cluster.is_provided() {
        return;
    }
    let port = kubelet(log).await;
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": "report-node" } })).unwrap();
    let nodes: Api<Node> = Api::all(world.client.clone());
    let _ = nodes.create(&PostParams::default(), &node).await;
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    } });
    nodes.patch_status("report-node", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "operator-1", "labels": { "app.kubernetes.io/name": "integration-operator" } },
        "spec": {
            "nodeName": "report-node",
            "serviceAccountName": "integration-operator",
            "containers": [{ "name": "operator", "image": "integration-operator" }],
        },
    }))
    .unwrap();
    Api::<Pod>::namespaced(world.client.clone(), OPERATOR).create(&PostParams::default(), &pod).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_holds_no_secret() {
    let Some(world) = World::start("a_report_holds_no_secret").await else { return };
    let _sandbox = sandbox(&world, "app", SandboxOptions::default()).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    plant(&world, &operator.log()).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.tar.gz");
    let name = file.to_string_lossy().into_owned();
    let (good, text) = run(&world, &["report", "-n", "acme", "-o", &name]).await;
    assert!(good && text.contains("files in"), "{text}");
    let files = unpacked(&std::fs::read(&file).unwrap());
    look_for_canaries(&world, &files).await;
    what_is_needed_is_there(&files, !world.cluster.is_provided());

    let (good, text) = run(&world, &["report", "-n", "acme", "-o", &name]).await;
    assert!(!good && text.contains("cannot create"), "one that is there is kept: {text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // One integration alone, through a pipe, by somebody who may see no more than integrations.
    let rules = [crate::world::rule(&["get", "list"], &["projectintegrations"])];
    world.caller("acme", "viewer", &rules).await;
    let viewer = world.cluster.service_account_kubeconfig("acme", "viewer", &[]).await.unwrap();
    let files = piped(&world, &viewer, &["report", "web.app", "-n", "acme", "-o", "-"]).await;
    assert!(files.contains_key("integrations/web.app.yaml") && !files.contains_key("integrations/two.app.yaml"));
    assert!(files["README.md"].contains("What could not be had\n\n- "), "{}", files["README.md"]);
    assert!(files["secrets.yaml"].contains("you may not read it"), "{}", files["secrets.yaml"]);
    look_for_canaries(&world, &files).await;
}

async fn piped(world: &World, kubeconfig: &Path, arguments: &[&str]) -> BTreeMap<String, String> {
    let output = plugin(world, arguments).env("KUBECONFIG", kubeconfig).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    unpacked(&output.stdout)
}

/// Puts secrets where none belong.
async fn plant(world: &World, log: &str) {
    let annotations = json!({ "metadata": { "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": PLAIN,
        "integrations.tms.dev/refresh-requested-at": TOKEN,
    } } });
    let integrations = world.integrations("acme");
    integrations.patch("web.app", &PatchParams::default(), &Patch::Merge(&annotations)).await.unwrap();
    world
        .create("acme", "two", "app", json!({ "parameters": { "api-token": PLAIN, "site": TOKEN, "region": "eu" } }))
        .await;
    let provider = json!({ "spec": { "oauth2": { "tokenParams": { "api_password": PLAIN } } } });
    let providers: Api<integration_operator::api::ClusterIntegrationProvider> = Api::all(world.client.clone());
    // A description that was never used, so that the connection is not disturbed.
    world.provider("app-two", "id", "secret", crate::connect::description("https://app.example.com")).await;
    providers.patch("app-two", &PatchParams::default(), &Patch::Merge(&provider)).await.unwrap();
    world.create("acme", "web", "app-two", json!({})).await;
    let secret = json!({ "metadata": { "annotations": { "note": PLAIN } }, "stringData": { "more": PLAIN } });
    world.secrets("acme").patch("web.app", &PatchParams::default(), &Patch::Merge(&secret)).await.unwrap();
    deployment(
        world,
        json!({
            "args": ["run", "--public-url", world.public_url, "--later-flag", PLAIN, format!("--other={PLAIN}")],
            "env": [{ "name": "GREETING", "value": PLAIN }, { "name": "LOG", "value": TOKEN }],
            "livenessProbe": { "httpGet": { "port": 9090, "httpHeaders": [{ "name": "x", "value": PLAIN }] } },
        }),
    )
    .await;
    let log = format!(
        "{log}\nauthorization: Bearer {PLAIN}\nrefresh_token={PLAIN}\nthe answer had {TOKEN} in it\nlast line\n"
    );
    pod(world, log).await;
}

/// Neither what was planted nor what is really held.
async fn look_for_canaries(world: &World, files: &BTreeMap<String, String>) {
    let mut secrets = vec![PLAIN.to_owned(), TOKEN.to_owned(), "canary".to_owned(), "sandbox-secret".to_owned()];
    let grant = world.grant("acme", "web.app").await.unwrap();
    let tokens = &grant["tokens"];
    let held = ["accessToken", "refreshToken"].map(|name| tokens[name].as_str().map(str::to_owned));
    assert!(held.iter().flatten().count() == 2, "a grant has other names by now");
    secrets.extend(held.into_iter().flatten());
    for (path, text) in files {
        for secret in &secrets {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{secret} is in {path}: {text}");
        }
    }
}

fn what_is_needed_is_there(files: &BTreeMap<String, String>, has_pods: bool) {
    let has = |path: &str, parts: &[&str]| {
        let text = files.get(path).unwrap_or_else(|| panic!("no {path} among {:?}", files.keys()));
        for part in parts {
            assert!(text.contains(part), "{part} is not in {path}: {text}");
        }
    };
    has("README.md", &["| doctor.json |", "## What was left out", "Look through it"]);
    has("doctor.json", &["\"checks\"", "encryption at rest"]);
    has("versions.json", &[env!("CARGO_PKG_VERSION"), "\"apiServer\": \"v"]);
    has("integrations/web.app.yaml", &["reason: Connected", "tenantId: acme", "workspaceId: '[left out]'"]);
    has("integrations/two.app.yaml", &["region: eu", "api-token: '[left out]'"]);
    has("providers/ClusterIntegrationProvider-app.yaml", &["tokenURL: http://127.0.0.1", "callbackURL:"]);
    has("providers/ClusterIntegrationProvider-app-two.yaml", &["api_password: '[left out]'"]);
    has("secrets.yaml", &["name: web.app\n", "name: app-client", "name: grant-", "- access_token", "- client_secret"]);
    has("namespace.yaml", &["integrations.tms.dev/tenant: acme"]);
    has("events.yaml", &["reason: Connected"]);
    has("operator/lease.yaml", &["holderIdentity: replica-0"]);
    if has_pods {
        has("operator/deployment.yaml", &["name: GREETING", "--public-url"]);
        has("operator/pods.yaml", &["operator-1"]);
        has("operator/logs/operator-1.log", &["the answer had [left out] in it\nlast line\n"]);
    }
    println!("{}", files["README.md"]);
}
