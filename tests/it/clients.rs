//! How the client makes itself known: by a signed assertion, and by secrets that change while grants live.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration_operator::api::{ClusterIntegrationProvider, ProjectIntegration};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::sandbox::{Consent, Endpoint, Sandbox, SandboxOptions};
use crate::servers::{self, OidcClient, OidcOptions, OidcProvider};
use crate::world::{OPERATOR, World, eventually, is_ready, last_refreshed};

const KEY: &str = include_str!("../keys/ec.pem");

/// The public half of [`KEY`] as a JSON Web Key (RFC 7518 §6.2.1).
fn public_key() -> Value {
    let der = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "key-1", "use": "sig", "alg": "ES256" })
}

/// Puts these keys into a provider's Secret, and takes those out that are null.
async fn change_secret(world: &World, name: &str, keys: Value) {
    let keys: serde_json::Map<String, Value> = keys.as_object().unwrap().clone();
    let data: serde_json::Map<String, Value> = keys
        .into_iter()
        .map(|(key, value)| match value.as_str() {
            Some(text) => (key, json!(base64::engine::general_purpose::STANDARD.encode(text))),
            None => (key, Value::Null),
        })
        .collect();
    let patch = Patch::Merge(json!({ "data": data }));
    world.secrets(OPERATOR).patch(&format!("{name}-client"), &PatchParams::default(), &patch).await.unwrap();
}

/// Status, reason and message of a provider's `Ready`.
async fn provider_ready(world: &World, name: &str) -> (String, String, String) {
    let api: Api<ClusterIntegrationProvider> = Api::all(world.client.clone());
    let status = api.get(name).await.unwrap().status.unwrap_or_default();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map(|ready| (ready.status, ready.reason, ready.message)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_signs_connects_refreshes_and_revokes() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("a_client_that_signs_connects_refreshes_and_revokes").await else { return };
    let redirect = format!("{}/api/public/integrations/signing/callback", world.public_url);
    let client = OidcClient {
        token_endpoint_auth_method: "private_key_jwt".to_owned(),
        jwks: Some(json!({ "keys": [public_key()] })),
        ..OidcClient::new(&redirect)
    };
    let options = OidcOptions { clients: vec![client.clone()], access_ttl_seconds: 4, ..OidcOptions::default() };
    let server = OidcProvider::start(options).await;
    let mut description = crate::refresh::description(&server.issuer);
    description["oauth2"]["clientAuthentication"] = json!("PrivateKeyJwt");
    description["oauth2"]["assertion"] = json!({ "algorithm": "ES256" });
    world.provider("signing", &client.client_id, "unused", description).await;
    let _operator = world.operator().await;

    // Without a key, and with one that cannot sign, the provider says so before anybody connects.
    let told = async |reason: &str, message: &str| {
        eventually(message, async || {
            let ready = provider_ready(&world, "signing").await;
            ready.0 == "False" && ready.1 == reason && ready.2.contains(message)
        })
        .await;
    };
    told("ClientCredentialsMissing", "has no usable key private_key").await;
    change_secret(&world, "signing", json!({ "private_key": include_str!("../keys/rsa.pem") })).await;
    told("ClientCredentialsInvalid", "private_key of Secret integration-operator/signing-client cannot be used").await;
    change_secret(&world, "signing", json!({ "private_key": KEY, "key_id": "key-1", "client_secret": null })).await;
    eventually("the provider is ready", async || provider_ready(&world, "signing").await.0 == "True").await;

    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "signing").await;
    let mut last = last_refreshed(&world.wait("acme", "web.signing", "ready", is_ready).await);
    for _ in 0..3 {
        let refreshed = world.wait("acme", "web.signing", "refreshed", |found| last_refreshed(found) != last).await;
        assert!(is_ready(&refreshed), "{:?}", refreshed.status);
        last = last_refreshed(&refreshed);
    }
    world.integrations("acme").delete("web.signing", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "web.signing").await;

    let ledger = server.ledger().await;
    assert!(ledger.iter().filter(|request| request.is_refresh()).count() >= 3);
    for request in &ledger {
        assert_eq!(request.outcome.as_deref(), Some("ok"), "{request:#?}");
        assert!(request.param("client_assertion").is_some() && request.param("client_secret").is_none());
    }
    let revocations: Vec<_> = server.requests().await;
    let revocations: Vec<_> = revocations.iter().filter(|request| request["path"] == "/token/revocation").collect();
    assert_eq!(revocations.len(), 1);
    assert_eq!(revocations[0]["status"], json!(200), "{revocations:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_change_and_no_refresh_fails() {
    let Some(world) = World::start("secrets_change_and_no_refresh_fails").await else { return };
    let sandbox = Sandbox::start(SandboxOptions {
        consent: Consent::Allow(None),
        client_secret: "first".to_owned(),
        access_token_lifetime: Some(3),
        ..SandboxOptions::default()
    });
    world.provider("app", "sandbox-client", "first", crate::connect::description(&sandbox.base_url)).await;
    // The next secret is known here before the provider knows it, or the other way round.
    change_secret(&world, "app", json!({ "client_secret_next": "second" })).await;
    let operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    world.connect(&token, "acme", "web", "app").await;
    let mut last = last_refreshed(&world.wait("acme", "web.app", "ready", is_ready).await);
    let mut refreshes = async |stage: &str| {
        for _ in 0..2 {
            let renewed = |found: &ProjectIntegration| last_refreshed(found) != last;
            let refreshed = world.wait("acme", "web.app", stage, renewed).await;
            assert!(is_ready(&refreshed), "{stage}: {:?}", refreshed.status);
            last = last_refreshed(&refreshed);
        }
    };
    refreshes("refreshed by the first secret").await;
    sandbox.reconfigure(|options| options.next_client_secret = Some("second".to_owned()));
    refreshes("refreshed while both are good").await;
    sandbox.reconfigure(|options| {
        options.client_secret = "second".to_owned();
        options.next_client_secret = None;
    });
    refreshes("refreshed after the first has ended").await;
    change_secret(&world, "app", json!({ "client_secret": "second", "client_secret_next": null })).await;
    refreshes("refreshed with one secret again").await;

    let ledger = sandbox.ledger();
    let outcomes: Vec<_> = ledger.of(Endpoint::Token).map(|entry| entry.outcome).collect();
    let refused = outcomes.iter().filter(|outcome| **outcome == "invalid_client").count();
    assert_eq!(refused, 1, "what worked is tried first: {outcomes:?}");
    let after = outcomes.iter().skip_while(|outcome| **outcome != "invalid_client").nth(1);
    assert_eq!(after, Some(&"refreshed"), "and the other at once: {outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "refreshed").count() + 2, outcomes.len(), "{outcomes:?}");
    let renewed = operator.metric("integration_operator_refreshes_total{provider=\"app\",outcome=\"renewed\"}").await;
    let all = operator.metric("integration_operator_refreshes_total{provider=\"app\"").await;
    assert!(renewed >= 8.0 && (renewed - all).abs() < 0.5, "{renewed} of {all}");
}
