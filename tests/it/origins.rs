//! Credentials go to the origins that they were given for, and nowhere else, whoever edits what.

use std::net::TcpListener;
use std::time::Duration;

use integration_operator::api::{ClusterIntegrationProvider, IntegrationProvider};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::connect::description;
use crate::sandbox::{Consent, Endpoint, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, Flags, OPERATOR, World, condition, eventually, is_ready, now};

fn willing() -> SandboxOptions {
    SandboxOptions { consent: Consent::Allow(None), ..SandboxOptions::default() }
}

fn providers(world: &World) -> Api<ClusterIntegrationProvider> {
    Api::all(world.client.clone())
}

async fn edit(world: &World, name: &str, spec: Value) {
    let patch = json!({ "spec": spec });
    providers(world).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// Asks for everything that sends a credential, and waits until the operator says that it sends none.
async fn refused(world: &World, name: &str, evil: &Sandbox, why: &str, told: &str) {
    world.wait_reason("acme", name, "Authorized", "ProviderChanged").await;
    world.annotate("acme", name, "integrations.tms.dev/refresh-requested-at", &now()).await;
    world.annotate("acme", name, "integrations.tms.dev/check-requested-at", &now()).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let found = world.wait_reason("acme", name, "Authorized", "ProviderChanged").await;
    assert_eq!(condition(&found, "Ready"), ("False".into(), "ProviderChanged".into()), "{why}");
    let conditions = &found.status.as_ref().unwrap().conditions;
    let message = &conditions.iter().find(|condition| condition.type_ == "Authorized").unwrap().message;
    assert!(message.contains(told), "{why}: {message}");
    assert!(evil.ledger().entries.is_empty(), "{why}: {:?}", evil.ledger().entries);
    assert!(world.grant("acme", name).await.is_some(), "{why}: the grant is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_provider_gets_nothing() {
    let Some(world) = World::start("a_changed_provider_gets_nothing").await else { return };
    let good = crate::connect::sandbox(&world, "app", willing()).await;
    let evil = Sandbox::start(willing());
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.create("acme", "web", "app", json!({ "healthCheck": { "interval": "1s", "failureThreshold": 1 } })).await;
    world.connect(&token, "acme", "web", "app").await;
    world.wait("acme", "web.app", "ready", is_ready).await;
    let grant = world.grant("acme", "web.app").await.unwrap();

    let at = |path: &str| format!("{}/{path}", evil.base_url);
    world.client_secret(OPERATOR, "other-client", "another-client", "another-secret", false).await;
    let changes = [
        ("tokenURL", json!({ "oauth2": { "tokenURL": at("token") } }), "the token endpoint lies elsewhere"),
        ("userinfoURL", json!({ "oauth2": { "userinfoURL": at("userinfo") } }), "the identity call goes elsewhere"),
        (
            "introspectionURL",
            json!({ "oauth2": { "introspectionURL": at("introspect") } }),
            "the introspection endpoint lies elsewhere",
        ),
        (
            "identity",
            json!({ "oauth2": { "userinfoURL": null }, "identity": { "url": at("userinfo") } }),
            "the identity call goes elsewhere",
        ),
        (
            "clientCredentialsRef",
            json!({ "clientCredentialsRef": { "name": "other-client" } }),
            "The client id changed: connect again",
        ),
    ];
    let mut back = description(&good.base_url);
    back["clientCredentialsRef"] = json!({ "name": "app-client" });
    back["oauth2"]["introspectionURL"] = Value::Null;
    back["identity"] = Value::Null;
    for (why, change, told) in changes {
        edit(&world, "app", change).await;
        refused(&world, "web.app", &evil, why, told).await;
        edit(&world, "app", back.clone()).await;
        world.wait_reason("acme", "web.app", "Authorized", "Granted").await;
        world.wait("acme", "web.app", "ready again", is_ready).await;
    }
    let after = world.grant("acme", "web.app").await.unwrap();
    assert_eq!(grant["epoch"], after["epoch"], "nobody had to connect again");

    // The tenant points the integration at a provider of its own with the same name.
    world.own_provider("acme", "app", ("sandbox-client", "sandbox-secret"), description(&evil.base_url)).await;
    world.patch_spec("acme", "web.app", json!({ "providerKind": "IntegrationProvider" })).await;
    refused(&world, "web.app", &evil, "providerKind", "the provider object was deleted and made again").await;
    world.patch_spec("acme", "web.app", json!({ "providerKind": "ClusterIntegrationProvider" })).await;
    world.wait_reason("acme", "web.app", "Authorized", "Granted").await;

    // Revocation goes where the grant was made, whatever the provider says by now.
    good.reconfigure(|options| options.consent = Consent::Allow(Some("W-GLOBEX".into())));
    world.connect(&token, "acme", "other", "app").await;
    world.wait("acme", "other.app", "ready", is_ready).await;
    edit(&world, "app", json!({ "oauth2": { "revocationURL": at("revoke") } })).await;
    world.integrations("acme").delete("other.app", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "other.app").await;
    assert_eq!(good.ledger().of(Endpoint::Revoke).count(), 1);
    assert!(evil.ledger().entries.is_empty());
    edit(&world, "app", back.clone()).await;

    // Deleted and made again it is another one, though it says the same.
    providers(&world).delete("app", &DeleteParams::default()).await.unwrap();
    world.wait_reason("acme", "web.app", "Ready", "ProviderNotFound").await;
    let mut again = back.clone();
    again["oauth2"].as_object_mut().unwrap().remove("introspectionURL");
    again.as_object_mut().unwrap().remove("identity");
    let again: ClusterIntegrationProvider =
        serde_json::from_value(json!({ "metadata": { "name": "app" }, "spec": again })).unwrap();
    providers(&world).create(&PostParams::default(), &again).await.unwrap();
    let sent = good.ledger().entries.len();
    refused(&world, "web.app", &evil, "re-created", "the provider object was deleted and made again").await;
    assert_eq!(good.ledger().entries.len(), sent, "nothing is sent at all");
    edit(&world, "app", json!({ "oauth2": { "revocationURL": at("revoke") } })).await;
    world.integrations("acme").delete("web.app", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.app").await;
    assert!(evil.ledger().entries.is_empty(), "deletion sends nothing to the new place");
    assert!(world.grant("acme", "web.app").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_changed_in_mid_flow_ends_it() {
    let Some(world) = World::start("a_provider_changed_in_mid_flow_ends_it").await else { return };
    let good = crate::connect::sandbox(&world, "app", willing()).await;
    let evil = Sandbox::start(willing());
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let callback = format!("{}/api/public/integrations/app/callback", world.public_url);
    for (project, change) in [
        ("url", json!({ "oauth2": { "tokenURL": format!("{}/token", evil.base_url) } })),
        ("scopes", json!({ "oauth2": { "scopes": ["read", "write", "admin"] } })),
    ] {
        let mut browser = Browser::as_user("dev");
        let url = world.install_in(&mut browser, &token, "acme", project, "app").await;
        let stopped = browser.consent(&url, &[&callback]).await.unwrap();
        assert!(stopped.url.as_str().starts_with(&callback));
        edit(&world, "app", change).await;
        eventually("the operator has seen the change", async || {
            let found = providers(&world).get("app").await.unwrap();
            found.status.and_then(|status| status.observed_generation) == found.metadata.generation
        })
        .await;
        let page = browser.get(stopped.url.as_str()).await.unwrap();
        let landed = browser.follow_until(page, |url| url.as_str().starts_with(FRONTEND)).await.unwrap();
        assert_eq!(landed.url.as_str(), format!("{FRONTEND}/dashboard?error=invalid_state"));
        assert!(world.grant("acme", &format!("{project}.app")).await.is_none());
        edit(&world, "app", description(&good.base_url)).await;
    }
    assert_eq!(good.ledger().of(Endpoint::Token).count(), 0, "no exchange");
    assert!(evil.ledger().entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_inside_are_out_of_reach() {
    let Some(world) = World::start("addresses_inside_are_out_of_reach").await else { return };
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    inside.set_nonblocking(true).unwrap();
    let port = inside.local_addr().unwrap().port();
    let arguments = vec!["--allow-insecure-provider-hosts=provider.example.test".to_owned()];
    let _operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let addresses = [
        format!("https://127.0.0.1:{port}/token"),
        format!("https://2130706433:{port}/token"),
        format!("https://0177.0.0.1:{port}/token"),
        format!("https://[::ffff:127.0.0.1]:{port}/token"),
        format!("https://[::1]:{port}/token"),
        format!("https://localhost:{port}/token"),
        format!("http://127.0.0.1:{port}/token"),
        format!("https://provider.example.test@127.0.0.1:{port}/token"),
        format!("https://0.0.0.0:{port}/token"),
        "https://2852039166/token".to_owned(),
        "https://[::ffff:169.254.169.254]/token".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "https://kubernetes.default.svc/token".to_owned(),
        format!("https://{}/api", world.cluster.server().trim_start_matches("https://").trim_end_matches('/')),
    ];
    for (index, address) in addresses.iter().enumerate() {
        let name = format!("inside-{index}");
        let spec = json!({ "oauth2": {
            "authorizationURL": "https://provider.example.test/authorize", "tokenURL": address, "scopes": ["a"],
        } });
        let client = (world.public_url.as_str(), "secret");
        world.provider(&name, client.0, client.1, spec).await;
        let provider = async || providers(&world).get(&name).await.unwrap().status;
        eventually("the provider is looked at", async || {
            provider().await.is_some_and(|status| !status.conditions.is_empty())
        })
        .await;
        let ready = provider().await.unwrap().conditions.into_iter().find(|one| one.type_ == "Ready").unwrap();
        if ready.status == "False" {
            println!("{address}: not Ready, {}: {}", ready.reason, ready.message);
            assert_eq!(ready.reason, "InvalidSpec", "{address}");
            continue;
        }
        let mut browser = Browser::as_user("dev");
        let url = world.install_in(&mut browser, &token, "acme", "web", &name).await;
        let stopped = browser.consent(&url, &["https://provider.example.test"]).await.unwrap();
        let state = stopped.query("state").unwrap();
        let callback = format!("{}/api/public/integrations/{name}/callback?code=x&state={state}", world.public_url);
        let page = browser.get(&callback).await.unwrap();
        let landed = browser.follow_until(page, |url| url.as_str().starts_with(FRONTEND)).await.unwrap();
        println!("{address}: {}", landed.url);
        assert_eq!(landed.query("error").as_deref(), Some("token_exchange_failed"), "{address}");
    }
    assert!(inside.accept().is_err(), "somebody called");
    inside.set_nonblocking(false).unwrap();
    // So that the check above can fail: a caller would have been seen.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert!(inside.accept().is_ok());

    // A tenant may neither open private networks nor have a Secret read that is not labelled for it.
    let own: Api<IntegrationProvider> = Api::namespaced(world.client.clone(), "acme");
    let fine = json!({ "oauth2": {
        "authorizationURL": "https://provider.example.test/authorize",
        "tokenURL": "https://provider.example.test/token", "scopes": ["a"],
    } });
    let mut open = fine.clone();
    open["allowedPrivateCIDRs"] = json!(["10.0.0.0/8"]);
    world.own_provider("acme", "open", ("id", "secret"), open).await;
    world.client_secret("acme", "private", "id", "secret", false).await;
    let mut unlabelled = fine.clone();
    unlabelled["clientCredentialsRef"] = json!({ "name": "private" });
    let unlabelled: IntegrationProvider =
        serde_json::from_value(json!({ "metadata": { "name": "unlabelled" }, "spec": unlabelled })).unwrap();
    own.create(&PostParams::default(), &unlabelled).await.unwrap();
    for (name, reason, word) in
        [("open", "InvalidSpec", "allowedPrivateCIDRs"), ("unlabelled", "ClientCredentialsMissing", "not labelled")]
    {
        eventually(name, async || {
            let status = own.get(name).await.unwrap().status.unwrap_or_default();
            status.conditions.iter().any(|condition| {
                condition.status == "False" && condition.reason == reason && condition.message.contains(word)
            })
        })
        .await;
    }
}
