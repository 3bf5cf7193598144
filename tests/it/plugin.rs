//! `kubectl integration` against the running operator, by annotation and over HTTP.

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::connect::sandbox;
use crate::sandbox::{Consent, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{Flags, World, is_ready};

pub fn plugin(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-integration"));
    command.args(arguments).env_clear().env("KUBECONFIG", world.cluster.kubeconfig());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub async fn run(world: &World, arguments: &[&str]) -> (bool, String) {
    let output: Output = plugin(world, arguments).output().await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Reads what the plugin prints until it shows a link.
async fn link(child: &mut Child) -> String {
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut out, mut err) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
    let mut seen = String::new();
    let found = loop {
        let line = tokio::select! {
            Ok(Some(line)) = out.next_line() => line,
            Ok(Some(line)) = err.next_line() => line,
            else => panic!("no link: {seen}"),
        };
        if let Some(start) = line.find("http://").filter(|_| line.contains("ticket=")) {
            break line[start..].split_whitespace().next().unwrap().to_owned();
        }
        seen.push_str(&line);
    };
    // The rest is drained, so that the plugin never waits for a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
    tokio::spawn(async move { while let Ok(Some(_)) = err.next_line().await {} });
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_status_refresh_disconnect() {
    let Some(world) = World::start("connect_status_refresh_disconnect").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let sandbox = sandbox(&world, "app", options).await;
    let _operator = world.operator_with(Flags { own_pages: true, ..Flags::default() }).await;
    world.tenant("acme").await;

    let mut connecting =
        plugin(&world, &["connect", "web.app", "-n", "acme", "--create", "--no-browser"]).spawn().unwrap();
    let url = link(&mut connecting).await;
    let mut browser = Browser::as_user("dev");
    browser.consent(&url, &[]).await.unwrap();
    assert!(connecting.wait().await.unwrap().success());

    let (good, text) = run(&world, &["status", "web.app", "-n", "acme"]).await;
    assert!(good && text.contains("Acme Workspace") && text.contains("Connected"), "{text}");
    forms_of_status(&world).await;
    let (good, text) = run(&world, &["refresh", "web.app", "-n", "acme"]).await;
    assert!(good, "{text}");
    assert_eq!(sandbox.ledger().token_requests("refresh_token"), 1);
    let (good, text) = run(&world, &["check", "web.app", "-n", "acme"]).await;
    assert!(good, "{text}");
    let (good, text) = run(&world, &["disconnect", "web.app", "-n", "acme", "--yes"]).await;
    assert!(good, "{text}");
    assert!(world.grant("acme", "web.app").await.is_none());
    let (good, text) = run(&world, &["status", "gone.app", "-n", "acme"]).await;
    assert!(!good && text.contains("gone.app"), "{text}");
}

/// One and all, of the namespace and of every one, for people and for programs.
async fn forms_of_status(world: &World) {
    let (good, text) = run(world, &["status", "-A"]).await;
    assert!(good && text.starts_with("NAMESPACE") && text.contains("acme        web.app"), "{text}");
    let (good, text) = run(world, &["status", "-n", "acme", "-o", "wide"]).await;
    assert!(good && text.contains("PROVIDER") && text.contains("ClusterIntegrationProvider   web.app"), "{text}");
    let (good, text) = run(world, &["status", "web.app", "-n", "acme", "-o", "wide"]).await;
    assert!(good && text.contains("MESSAGE"), "{text}");
    for arguments in [["status", "-n", "acme", "-o"].as_slice(), &["status", "-A", "-o"]] {
        let (good, text) = run(world, &[arguments, &["json"]].concat()).await;
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(good && list["kind"] == "List" && list["items"][0]["metadata"]["name"] == "web.app", "{text}");
        let (good, text) = run(world, &[arguments, &["yaml"]].concat()).await;
        let same: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert!(good && same["items"][0]["spec"] == list["items"][0]["spec"], "{text}");
    }
    let (good, text) = run(world, &["status", "web.app", "-n", "acme", "-o", "json"]).await;
    let one: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(good && one["kind"] == "ProjectIntegration" && one["metadata"].get("managedFields").is_none(), "{text}");
    let (good, text) = run(world, &["status", "web.app", "-n", "acme", "-o", "yaml"]).await;
    assert!(good && text.contains("kind: ProjectIntegration"), "{text}");
    let mut watching = plugin(world, &["status", "-n", "acme", "--watch"]).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("NAME"));
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("web.app"));
    world.annotate("acme", "web.app", "example.com/seen", "yes").await;
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("web.app"));
    watching.kill().await.unwrap();
    for (words, expected) in [
        (["status", "-n", "acme", "we"].as_slice(), "web.app\n:4\n"),
        (&["providers", "a"], "app\n:4\n"),
        (&["refresh", "-n", "ac"], "acme\n:4\n"),
    ] {
        let (good, text) = run(world, &[&["__complete", "--"], words].concat()).await;
        assert!(good && text == expected, "{words:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_over_http_with_confirmation() {
    let Some(world) = World::start("connect_over_http_with_confirmation").await else { return };
    let options = SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() };
    let _sandbox = sandbox(&world, "app", options).await;
    let arguments = vec!["--initiator-check".to_owned(), "confirm".to_owned()];
    let _operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    world.tenant("acme").await;
    world.create("acme", "web", "app", serde_json::json!({})).await;
    let token = world.admin_of("acme").await;
    let server = world.public_url.clone();
    let arguments = [
        "connect",
        "web.app",
        "-n",
        "acme",
        "--no-browser",
        "--server",
        &server,
        "--token",
        &token,
        "--tenant",
        "acme",
    ];
    let mut connecting = plugin(&world, &arguments).spawn().unwrap();
    let url = link(&mut connecting).await;
    let mut browser = Browser::as_user("dev");
    browser.consent(&url, &[]).await.unwrap();
    assert!(connecting.wait().await.unwrap().success());
    world.wait("acme", "web.app", "ready", is_ready).await;
}
