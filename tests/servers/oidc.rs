//! `oidc-provider`, a certified authorization server, in a process of its own.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use serde_json::{Value, json};

use super::ledger::{Admin, Fault, TokenRequest};
use super::node::NodeProcess;

/// A client registered with the server.
#[derive(Clone, Debug, Serialize)]
pub struct OidcClient {
    pub client_id: String,
    pub client_secret: String,
    /// Compared exactly.
    pub redirect_uris: Vec<String>,
    /// `client_secret_post`, `client_secret_basic` or `private_key_jwt`; the others are refused.
    pub token_endpoint_auth_method: String,
    /// With `private_key_jwt`: the client's public keys (RFC 7517 §5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
}

impl OidcClient {
    pub fn new(redirect_uri: &str) -> Self {
        Self {
            client_id: "test-client".to_owned(),
            client_secret: "test-client-secret-7f3a".to_owned(),
            redirect_uris: vec![redirect_uri.to_owned()],
            token_endpoint_auth_method: "client_secret_post".to_owned(),
            jwks: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct OidcOptions {
    pub clients: Vec<OidcClient>,
    /// Scopes it knows beside `openid`, `offline_access`, `profile` and `email`; others are dropped silently.
    pub scopes: Vec<String>,
    pub access_ttl_seconds: u32,
    pub refresh_ttl_seconds: u32,
    /// 0 for a free one. A fixed port is for a server that comes back after it was down.
    pub port: u16,
    /// Loopback, unless Pods have to reach it.
    pub host: IpAddr,
}

impl Default for OidcOptions {
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            scopes: Vec::new(),
            access_ttl_seconds: 6,
            refresh_ttl_seconds: 3600,
            port: 0,
            host: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

pub struct OidcProvider {
    /// As in the discovery document and in the `iss` of a callback, such as `http://127.0.0.1:40123`.
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub introspection_endpoint: String,
    pub revocation_endpoint: String,
    pub userinfo_endpoint: String,
    admin: Admin,
    process: NodeProcess,
}

impl OidcProvider {
    pub async fn start(options: OidcOptions) -> Self {
        let environment = vec![
            ("CLIENTS", serde_json::to_string(&options.clients).unwrap()),
            ("SCOPES", serde_json::to_string(&options.scopes).unwrap()),
            ("ACCESS_TTL", options.access_ttl_seconds.to_string()),
            ("REFRESH_TTL", options.refresh_ttl_seconds.to_string()),
        ];
        let (process, ready) = NodeProcess::start(
            "oidc-provider.mjs",
            vec![options.port.to_string(), options.host.to_string()],
            environment,
        )
        .await;
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        Self {
            authorization_endpoint: format!("{issuer}/auth"),
            token_endpoint: format!("{issuer}/token"),
            introspection_endpoint: format!("{issuer}/token/introspection"),
            revocation_endpoint: format!("{issuer}/token/revocation"),
            userinfo_endpoint: format!("{issuer}/me"),
            admin: Admin::new(&issuer),
            issuer,
            process,
        }
    }

    /// Every request to the token endpoint so far, oldest first.
    pub async fn ledger(&self) -> Vec<TokenRequest> {
        self.admin.token_requests().await
    }

    /// Every request of any kind so far: method, path, authorization header, status.
    pub async fn requests(&self) -> Vec<Value> {
        let mut all: Value = self.admin.call("requests", &json!({})).await;
        serde_json::from_value(all["requests"].take()).unwrap()
    }

    /// What happens to the next token requests, in this order; replaces what was set before.
    pub async fn faults(&self, next: &[Fault]) {
        self.admin.faults(None, next).await;
    }

    /// As [`Self::faults`], for another path, such as `/token/revocation`.
    pub async fn faults_at(&self, path: &str, next: &[Fault]) {
        self.admin.faults(Some(path), next).await;
    }

    /// Ends every grant, as if each user had withdrawn consent: the next refresh is `invalid_grant`.
    pub async fn revoke_all(&self) {
        self.admin.call::<Value>("revoke-all", &json!({})).await;
    }

    /// Adds a client, for a redirect URI that was not known at the start.
    pub async fn add_client(&self, client: &OidcClient) {
        self.admin.call::<Value>("client", &json!(client)).await;
    }

    /// Forgets ledger, requests and faults; grants stay.
    pub async fn clear(&self) {
        self.admin.call::<Value>("clear", &json!({})).await;
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }
}
