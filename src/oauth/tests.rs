//! Requests as a provider sees them: a server on a port of its own, with answers that are told beforehand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use url::Url;

use super::answer::ErrorClass;
use super::attempt::Attempt;
use super::authorize::authorization_url;
use super::client::ClientRules;
use super::introspect::is_active;
use super::revoke::revoke;
use super::token::{TokenOutcome, TokenRequest, send};
use crate::api::ProviderKind;
use crate::grant::binding::ProviderRef;
use crate::grant::{ClientCredentials, Grant, Which};
use crate::provider::endpoints::Endpoints;
use crate::provider::outbound::{Outbound, OutboundOptions};
use crate::provider::resolved::{Provider, Surroundings};
use crate::sensitive::Sensitive;

/// One request: path, headers, and the pairs of its form.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: HeaderMap,
    form: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct App {
    base: Url,
    script: Script,
    outbound: Outbound,
}

impl App {
    /// An app that gives these answers, in this order.
    async fn start(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let script = Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Script::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let insecure_hosts = vec!["127.0.0.1".to_owned()];
        let outbound = Outbound::new(OutboundOptions { insecure_hosts, ..OutboundOptions::default() }).unwrap();
        Self { base, script, outbound }
    }

    fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }

    fn resolved(&self, over: &Value) -> Provider {
        let mut oauth2 = json!({
            "authorizationURL": self.base.join("authorize").unwrap(),
            "tokenURL": self.base.join("token").unwrap(),
            "revocationURL": self.base.join("revoke").unwrap(),
            "introspectionURL": self.base.join("introspect").unwrap(),
        });
        oauth2.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        let reference = ProviderRef {
            kind: ProviderKind::ClusterIntegrationProvider,
            namespace: None,
            name: "app".into(),
            uid: "uid".into(),
        };
        let around = Surroundings { reference, discovered: None, public_url: &self.base, tenant: None };
        let spec = serde_json::from_value(json!({ "oauth2": oauth2 })).unwrap();
        Provider::resolve(&spec, &around).unwrap()
    }

    /// The endpoints of a description whose `oauth2` has this beside its addresses, and a grant that is bound to them.
    fn described(&self, over: &Value, credentials: &ClientCredentials) -> (Endpoints, Grant) {
        let provider = self.resolved(over);
        let client = provider.oauth.as_ref().unwrap();
        let endpoints = Endpoints::render(&provider, client, &credentials.client_id, &BTreeMap::new()).unwrap();
        let grant = serde_json::from_value(json!({
            "integration": { "namespace": "acme", "name": "web.app", "uid": "1" },
            "epoch": 1, "generation": 1,
            "tokens": { "accessToken": "at-0", "tokenType": "Bearer", "refreshToken": "rt-0", "obtainedAt": "2026-01-01T00:00:00Z" },
            "installed": { "at": "2026-01-01T00:00:00Z" },
            "binding": endpoints.binding(&provider, client, credentials),
        }));
        (endpoints, grant.unwrap())
    }
}

async fn answer(State(script): State<Script>, uri: Uri, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let form = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    script.asked.lock().unwrap().push(Asked { path: uri.path().to_owned(), headers, form });
    let (status, body) = script.answers.lock().unwrap().pop_front().unwrap_or((500, json!("no answer was told")));
    (StatusCode::from_u16(status).unwrap(), body.to_string())
}

fn credentials(next: Option<&str>) -> ClientCredentials {
    ClientCredentials {
        client_secret_next: next.map(Sensitive::new),
        ..ClientCredentials::new("id", Some(Sensitive::new("secret-1")))
    }
}

fn refresh() -> TokenRequest {
    TokenRequest::Refresh { refresh_token: Sensitive::new("rt-0"), access_token: Sensitive::new("at-0") }
}

fn code() -> TokenRequest {
    TokenRequest::Code {
        code: Sensitive::new("code-0"),
        redirect_uri: "https://connect.example/callback".parse().unwrap(),
        verifier: Some(Sensitive::new("verifier-0")),
    }
}

fn tokens() -> (u16, Value) {
    (200, json!({ "access_token": "at-1", "refresh_token": "rt-1" }))
}

fn wrong_client() -> (u16, Value) {
    (401, json!({ "error": "invalid_client", "error_description": "secret-1 and secret-2 are wrong" }))
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test]
async fn an_authorization_request_has_its_parameters_in_order() {
    let app = App::start([]).await;
    let client = credentials(None);
    let over = json!({
        "scopeSeparator": ",",
        "parameterNames": { "client_id": "client_key", "scope": "may" },
        "authorizationParams": { "prompt": "consent", "access_type": "offline", "note": "a&state=b c" },
    });
    let (endpoints, _) = app.described(&over, &client);
    let provider = app.resolved(&over);
    let attempt = |scopes: Value| -> Attempt {
        let attempt = json!({
            "nonce": "nonce", "verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "integration": { "namespace": "acme", "name": "web.app", "uid": "1" },
            "tenant": "acme", "project": "web", "type": "app", "provider": provider.reference,
            "displayName": "App", "pin": "pin", "redirectUri": "https://connect.example/callback", "scopes": scopes,
            "createdAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:10:00Z",
        });
        serde_json::from_value(attempt).unwrap()
    };
    let url = |provider: &Provider, scopes| {
        let client_of = provider.oauth.as_ref().unwrap();
        let url = authorization_url(&endpoints, client_of, &client, &attempt(scopes), "state-0");
        url.query().unwrap().to_owned()
    };
    assert_eq!(
        url(&provider, json!(["a", "b:c"])),
        "response_type=code&client_key=id&redirect_uri=https%3A%2F%2Fconnect.example%2Fcallback&state=state-0\
         &may=a%2Cb%3Ac&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
         &access_type=offline&note=a%26state%3Db+c&prompt=consent"
    );
    let plain = app.resolved(&json!({ "pkce": "None" }));
    assert_eq!(
        url(&plain, json!([])),
        "response_type=code&client_id=id&redirect_uri=https%3A%2F%2Fconnect.example%2Fcallback&state=state-0\
         &access_type=offline&note=a%26state%3Db+c&prompt=consent"
    );
}

#[tokio::test]
async fn requests_are_as_the_description_says() {
    let app = App::start([tokens(), tokens(), (200, json!({ "active": true })), (200, json!({}))]).await;
    let client = credentials(None);
    let over = json!({
        "parameterNames": { "client_id": "client_key", "code_verifier": "proof", "token": "which", "refresh_token": "renewal" },
        "tokenHeaders": { "Accept": "application/vnd.app+json", "X-Version": "2" },
        "tokenParams": { "resource": "a&b=c" },
        "refreshParams": { "audience": "{}" },
        "refreshURL": app.base.join("renew").unwrap(),
    });
    let (endpoints, grant) = app.described(&over, &client);
    assert!(matches!(send(&app.outbound, &endpoints.token, &client, &code()).await, TokenOutcome::Tokens(_)));
    assert!(matches!(send(&app.outbound, &endpoints.token, &client, &refresh()).await, TokenOutcome::Tokens(_)));
    let url = endpoints.introspection.as_ref().unwrap();
    let networks = Arc::clone(&endpoints.token.private_networks);
    let rules = ClientRules::from(&endpoints.token);
    assert!(is_active(&app.outbound, url, rules, &client, &Sensitive::new("rt-0"), networks).await.unwrap());
    revoke(&app.outbound, &grant, Some(&client)).await.unwrap();

    let asked = app.asked();
    let paths: Vec<_> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/token", "/renew", "/introspect", "/revoke"]);
    let known = [("client_key", "id"), ("client_secret", "secret-1")];
    let [client_id, secret] = known;
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", "code-0"),
        ("redirect_uri", "https://connect.example/callback"),
        ("proof", "verifier-0"),
        ("resource", "a&b=c"),
        client_id,
        secret,
    ];
    assert_eq!(asked[0].form, map(exchange));
    assert_eq!(asked[0].headers["accept"], "application/vnd.app+json");
    assert_eq!(asked[0].headers["x-version"], "2");
    let renewal = [("grant_type", "refresh_token"), ("renewal", "rt-0"), ("audience", "{}"), client_id, secret];
    assert_eq!(asked[1].form, map(renewal));
    assert_eq!(asked[1].headers["x-version"], "2");
    assert_eq!(asked[2].form, map([("which", "rt-0"), ("token_type_hint", "refresh_token"), client_id, secret]));
    assert_eq!(asked[2].headers.get("x-version"), None, "they are headers of token requests");
    assert_eq!(asked[3].form, map([("which", "rt-0"), client_id, secret]));
}

#[tokio::test]
async fn the_other_secret_is_tried_and_remembered() {
    let app = App::start([wrong_client(), tokens(), tokens(), wrong_client(), tokens()]).await;
    let client = credentials(Some("secret-2"));
    let (endpoints, _) = app.described(&json!({}), &client);
    for request in [refresh(), code(), refresh()] {
        assert!(matches!(send(&app.outbound, &endpoints.token, &client, &request).await, TokenOutcome::Tokens(_)));
    }
    let sent: Vec<_> = app.asked().iter().map(|asked| asked.form["client_secret"].clone()).collect();
    assert_eq!(sent, ["secret-1", "secret-2", "secret-2", "secret-2", "secret-1"]);
    assert_eq!(client.first(), Which::Current);
}

#[tokio::test]
async fn nothing_but_a_refused_client_is_sent_again() {
    let described = json!({ "errors": { "configuration": ["bad_client_secret"] } });
    for (answer, sends, class) in [
        ((400, json!({ "error": "invalid_grant" })), 1, Some(ErrorClass::Permanent)),
        ((400, json!({ "error": "invalid_request" })), 1, Some(ErrorClass::Configuration)),
        ((503, json!({})), 1, Some(ErrorClass::Transient)),
        ((500, json!({ "error": "invalid_client" })), 1, None),
        ((200, json!({ "ok": true })), 1, None),
        ((400, json!({ "error": "invalid_client" })), 2, Some(ErrorClass::Configuration)),
        ((401, json!("who are you")), 2, Some(ErrorClass::Configuration)),
        ((200, json!({ "error": "bad_client_secret" })), 2, Some(ErrorClass::Configuration)),
    ] {
        let app = App::start([answer.clone(), answer.clone(), answer.clone()]).await;
        let client = credentials(Some("secret-2"));
        let (endpoints, _) = app.described(&described, &client);
        let outcome = send(&app.outbound, &endpoints.token, &client, &refresh()).await;
        let told = match &outcome {
            TokenOutcome::Refused { refusal, .. } => Some(refusal.class),
            _ => None,
        };
        assert_eq!((app.asked().len(), told), (sends, class), "{answer:?}: {outcome:?}");
        assert_eq!(client.first(), Which::Current, "nothing has worked");
    }
    let app = App::start([wrong_client(), tokens()]).await;
    let alone = credentials(None);
    let (endpoints, _) = app.described(&json!({}), &alone);
    let outcome = send(&app.outbound, &endpoints.token, &alone, &refresh()).await;
    assert!(matches!(outcome, TokenOutcome::Refused { .. }), "there is no other secret");
}

#[tokio::test]
async fn neither_secret_is_told_of_a_refusal() {
    let app = App::start([wrong_client(), wrong_client()]).await;
    let client = credentials(Some("secret-2"));
    let (endpoints, _) = app.described(&json!({}), &client);
    let TokenOutcome::Refused { refusal, .. } = send(&app.outbound, &endpoints.token, &client, &refresh()).await else {
        panic!("not refused")
    };
    assert_eq!(refusal.to_string(), "invalid_client: [redacted] and [redacted] are wrong");
}

#[tokio::test]
async fn introspection_and_revocation_try_both_secrets_too() {
    for method in ["ClientSecretPost", "ClientSecretBasic"] {
        let app = App::start([wrong_client(), (200, json!({ "active": false }))]).await;
        let client = credentials(Some("secret-2"));
        let (endpoints, _) = app.described(&json!({ "clientAuthentication": method }), &client);
        let url = endpoints.introspection.as_ref().unwrap();
        let networks = Arc::clone(&endpoints.token.private_networks);
        let rules = ClientRules::from(&endpoints.token);
        assert!(!is_active(&app.outbound, url, rules, &client, &Sensitive::new("rt-0"), networks).await.unwrap());
        assert_eq!(client.first(), Which::Next);
    }
    let by_basic = json!({ "revocation": { "url": "URL", "authentication": "ClientBasic" } });
    for over in [json!({}), by_basic] {
        let app = App::start([wrong_client(), (200, json!({}))]).await;
        let client = credentials(Some("secret-2"));
        let over = serde_json::from_str(&over.to_string().replace("URL", app.base.as_str())).unwrap();
        let (_, grant) = app.described(&over, &client);
        revoke(&app.outbound, &grant, Some(&client)).await.unwrap();
        assert_eq!((app.asked().len(), client.first()), (2, Which::Next));
    }
    // A token that is sent as Bearer has nothing to do with the client's secrets.
    let app = App::start([wrong_client()]).await;
    let client = credentials(Some("secret-2"));
    let over = json!({ "revocation": { "url": app.base, "authentication": "Bearer" } });
    let (_, grant) = app.described(&over, &client);
    revoke(&app.outbound, &grant, None).await.unwrap();
    assert_eq!(app.asked()[0].headers["authorization"], "Bearer at-0");
}

#[tokio::test]
async fn assertions_are_those_of_rfc_7523() {
    let app = App::start([tokens(), tokens(), (200, json!({}))]).await;
    let mut client = ClientCredentials::new("id", None);
    client.private_key = Some(Sensitive::new(include_str!("../../tests/keys/ec.pem")));
    let over = json!({
        "clientAuthentication": "PrivateKeyJwt",
        "assertion": { "algorithm": "ES256", "keyId": "described" },
        "refreshURL": app.base.join("renew").unwrap(),
    });
    let (endpoints, grant) = app.described(&over, &client);
    let before = jiff::Timestamp::now().as_second();
    assert!(matches!(send(&app.outbound, &endpoints.token, &client, &refresh()).await, TokenOutcome::Tokens(_)));
    client.key_id = Some("of the Secret".to_owned());
    assert!(matches!(send(&app.outbound, &endpoints.token, &client, &code()).await, TokenOutcome::Tokens(_)));
    revoke(&app.outbound, &grant, Some(&client)).await.unwrap();

    let parts = |asked: &Asked| -> (Value, Value) {
        assert_eq!(asked.form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert!(!asked.form.contains_key("client_secret"));
        let assertion = asked.form["client_assertion"].split('.').collect::<Vec<_>>();
        let decode = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        (decode(assertion[0]), decode(assertion[1]))
    };
    let asked = app.asked();
    let [first, second, revocation] = [0, 1, 2].map(|index| parts(&asked[index]));
    assert_eq!(first.0, json!({ "alg": "ES256", "typ": "JWT", "kid": "described" }));
    assert_eq!(second.0["kid"], "of the Secret");
    for (_, claims) in [&first, &second, &revocation] {
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("id"), &json!("id")));
        assert_eq!(claims["aud"], json!(endpoints.token.url), "the token endpoint, wherever it is sent");
        let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!(issued >= before && expires > issued && expires <= issued + 300, "{claims}");
    }
    let ids = [&first, &second, &revocation].map(|(_, claims)| claims["jti"].as_str().unwrap());
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "each is used once");
}
