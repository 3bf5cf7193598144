//! `kubectl integration post`, `call` and `token` against the running operator.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::acting;
use crate::plugin::{plugin, run};
use crate::sandbox::Consent;
use crate::world::{World, is_ready, rule};

#[tokio::test(flavor = "multi_thread")]
async fn post_call_and_token() {
    let Some(world) = World::start("post_call_and_token").await else { return };
    let (sandbox, app, address) = acting::with_app(&world, None).await;
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    sandbox.reconfigure(|options| options.consent = Consent::Allow(Some("W-ACME".to_owned())));
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let own = world.secret("acme", "web.app").await.unwrap()["access_token"].clone();
    let server = world.public_url.clone();
    let common = ["-n", "acme", "--server", &server, "--token", &token];
    let act = async |words: &[&str]| run(&world, &[words, &common].concat()).await;
    let posted = || app.posted.lock().unwrap().iter().map(|(_, body)| body["content"].clone()).collect::<Vec<_>>();

    let (good, text) = act(&["post", "web.app", "--channel", "1", "Disk full"]).await;
    assert!(good, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "id": "m1" }));
    let (good, text) = act(&["call", "web.app"]).await;
    assert!(good && text.starts_with("send-message"), "{text}");
    let (good, text) =
        act(&["call", "web.app", "send-message", "--input", r#"{"channel": "1", "text": "Still full"}"#]).await;
    assert!(good, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "result": { "id": "m1" } }));
    let arguments = [["call", "web.app", "send-message", "--input", "@-"].as_slice(), &common].concat();
    let mut calling = plugin(&world, &arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = calling.stdin.take().unwrap();
    stdin.write_all(br#"{"channel": "1", "text": "From a pipe"}"#).await.unwrap();
    drop(stdin);
    assert!(calling.wait().await.unwrap().success());
    assert_eq!(posted(), ["Disk full", "Still full", "From a pipe"]);

    let (good, text) = act(&["token", "web.app"]).await;
    assert_eq!((good, text.trim_end()), (true, own.as_str()));
    let (good, text) = act(&["token", "web.app", "-o", "json"]).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert!(good && told["access_token"] == own.as_str() && told["api_base_url"] == format!("{address}/v2"), "{text}");

    // A service account's token is asked of the cluster; it may post and nothing else.
    world.caller("acme", "poster", &[rule(&["create"], &["projectintegrations/messages"])]).await;
    let as_poster = ["-n", "acme", "--server", &server, "--service-account", "poster"];
    let (good, text) =
        run(&world, &[["post", "web.app", "--channel", "1", "By a program"].as_slice(), &as_poster].concat()).await;
    assert!(good, "{text}");
    let (good, text) = run(&world, &[["token", "web.app"].as_slice(), &as_poster].concat()).await;
    assert!(!good && text.contains("a Role in the tenant's namespace grants it") && !text.contains(&own), "{text}");
    assert_eq!(posted().len(), 4);

    // What goes wrong is told, and ends with a failure.
    for (words, told) in [
        (["post", "web.app", "--channel", "2", "To another's"].as_slice(), "is not part of what is connected"),
        (&["post", "web.app", "--channel", "1"], "text"),
        (&["call", "web.app", "fly"], "it has send-message"),
        (&["call", "web.app", "send-message", "--input", "{"], "is no JSON"),
        (&["post", "gone.app", "--channel", "1", "hi"], "gone.app"),
    ] {
        let (good, text) = act(words).await;
        assert!(!good && text.contains(told), "{words:?}: {text}");
    }
    let (good, text) = run(&world, &["post", "web.app", "--channel", "1", "hi", "-n", "acme"]).await;
    assert!(!good && text.contains("pass --server"), "{text}");
    assert_eq!(posted().len(), 4);
}
