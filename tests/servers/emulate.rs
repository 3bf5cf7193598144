//! `emulate`, stateful emulators of third-party services, in one process of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ledger::{Admin, Fault, TokenRequest};
use super::node::NodeProcess;

/// The key that the Stripe emulator knows.
pub const STRIPE_KEY: &str = "rk_test_emulated4711";

/// The OAuth application that is registered with each service.
#[derive(Clone, Debug)]
pub struct EmulateOptions {
    pub client_id: String,
    pub client_secret: String,
    /// Scheme, host, port and path must match; a query is ignored.
    pub redirect_uris: Vec<String>,
    /// Merged over the seed of a service, in emulate's own form: `{"slack": {"channels": […]}}`.
    pub seed: Value,
}

impl EmulateOptions {
    pub fn new(redirect_uri: &str) -> Self {
        Self {
            client_id: "4711.0815".to_owned(),
            client_secret: "emulate-client-secret-91c4".to_owned(),
            redirect_uris: vec![redirect_uri.to_owned()],
            seed: json!({}),
        }
    }

    fn seed(&self) -> Value {
        let app = json!({
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "name": "Test App",
            "redirect_uris": self.redirect_uris,
        });
        let with = |more: Value| {
            let mut app = app.clone();
            app.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            app
        };
        let mut seed = json!({
            "slack": {
                "team": { "name": "Acme", "domain": "acme" },
                "users": [{ "name": "dev", "real_name": "Dev Eloper", "email": "dev@example.test" }],
                "channels": [{ "name": "alerts", "topic": "What went wrong" }],
                "oauth_apps": [with(json!({
                    "app_id": "A000000001",
                    "scopes": ["chat:write", "channels:read"],
                    "user_scopes": ["users:read"],
                    "bot_name": "test-app",
                }))],
                "strict_scopes": true,
            },
            "github": {
                "users": [{ "login": "octocat", "name": "The Octocat", "email": "octocat@example.test" }],
                "repos": [{ "owner": "octocat", "name": "hello-world", "auto_init": true }],
                "oauth_apps": [app],
            },
            "linear": {
                "organization": { "name": "Acme", "url_key": "acme" },
                "users": [{ "email": "dev@example.test", "name": "Dev Eloper", "admin": true }],
                "teams": [{ "key": "ENG", "name": "Engineering" }],
                "oauth_apps": [with(json!({
                    "scopes": ["read", "write", "issues:create", "comments:create"],
                    "actor": "user",
                }))],
                "strict_scopes": true,
            },
            "google": {
                "users": [{ "email": "dev@example.test", "name": "Dev Eloper", "hd": "example.test" }],
                "calendars": [{
                    "id": "dev@example.test", "user_email": "dev@example.test", "summary": "dev@example.test",
                    "primary": true, "time_zone": "Europe/Vienna",
                }],
                "oauth_clients": [app],
            },
            "microsoft": {
                "users": [{ "email": "dev@example.test", "name": "Dev Eloper" }],
                "oauth_clients": [app],
            },
            "stripe": {
                "customers": [{ "email": "dev@example.test", "name": "Dev Eloper" }],
                "tokens": [{ "token": STRIPE_KEY }],
            },
        });
        merge(&mut seed, &self.seed);
        seed
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

pub struct Emulate {
    pub client_id: String,
    pub client_secret: String,
    /// Base URLs by service.
    pub urls: BTreeMap<String, String>,
    admins: BTreeMap<String, Admin>,
    process: NodeProcess,
}

impl Emulate {
    pub async fn start(services: &[&str], options: EmulateOptions) -> Self {
        let arguments = services.iter().map(|&service| service.to_owned()).collect();
        let environment = vec![("SEED", options.seed().to_string())];
        let (process, ready) = NodeProcess::start("emulate.mjs", arguments, environment).await;
        let urls: BTreeMap<String, String> = serde_json::from_value(ready).unwrap();
        let admins = urls.iter().map(|(service, url)| (service.clone(), Admin::new(url))).collect();
        Self { client_id: options.client_id, client_secret: options.client_secret, urls, admins, process }
    }

    /// The base URL of a service that was started.
    pub fn url(&self, service: &str) -> &str {
        &self.urls[service]
    }

    pub fn slack(&self) -> &str {
        self.url("slack")
    }

    pub fn github(&self) -> &str {
        self.url("github")
    }

    pub async fn ledger(&self, service: &str) -> Vec<TokenRequest> {
        self.admins[service].token_requests().await
    }

    /// Every request of any kind so far: method, path, authorization header, status.
    pub async fn requests(&self, service: &str) -> Vec<Value> {
        let mut all: Value = self.admins[service].call("requests", &json!({})).await;
        serde_json::from_value(all["requests"].take()).unwrap()
    }

    /// What happens to the next token requests of a service.
    pub async fn faults(&self, service: &str, next: &[Fault]) {
        self.admins[service].faults(None, next).await;
    }

    /// What happens to the next requests to a path of a service, such as `/api/chat.postMessage`.
    pub async fn faults_at(&self, service: &str, path: &str, next: &[Fault]) {
        self.admins[service].faults(Some(path), next).await;
    }

    /// Withdraws every access token of a service.
    pub async fn revoke_all(&self, service: &str) {
        self.admins[service].call::<Value>("revoke-all", &json!({})).await;
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }
}
