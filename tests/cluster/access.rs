//! Kubeconfigs and the tokens of service accounts.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::Cluster;
use super::pki::Identity;

/// Long enough for a day of the demo.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// How a user of a kubeconfig shows who it is.
pub enum Credential<'a> {
    Certificate(&'a Identity),
    Token(&'a str),
}

/// A kubeconfig's entry for a server with its authority in PEM.
pub fn cluster_entry(server: &str, authority: &str) -> Value {
    json!({"server": server, "certificate-authority-data": STANDARD.encode(authority)})
}

/// A kubeconfig with one user.
pub fn kubeconfig(cluster: &Value, namespace: &str, credential: &Credential<'_>) -> String {
    let user = match credential {
        Credential::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
        Credential::Token(token) => json!({"token": token}),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
    });
    format!("{config:#}\n")
}

impl Cluster {
    /// A token of a service account, which must exist. Without audiences it is for the API server.
    pub async fn service_account_token(&self, namespace: &str, name: &str, audiences: &[&str]) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audiences.iter().map(ToString::to_string).collect(),
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for ServiceAccount {namespace}/{name}"))?;
        Ok(answer.status.context("a TokenRequest without status")?.token)
    }

    /// A kubeconfig with a token of a service account, in its namespace. It goes with the cluster.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str, audiences: &[&str]) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name, audiences).await?;
        let config = kubeconfig(&self.cluster_entry(), namespace, &Credential::Token(&token));
        let file = format!("{namespace}.{name}.{}.kubeconfig", uuid::Uuid::new_v4().simple());
        self.supervisor.write(&file, &config)
    }

    /// The cluster as a kubeconfig has it, whichever way the configuration came by it.
    fn cluster_entry(&self) -> Value {
        let config = &self.config;
        let mut entry = json!({"server": config.cluster_url.to_string()});
        if let Some(certificates) = &config.root_cert {
            let pem: String = certificates.iter().map(|der| certificate_pem(der)).collect();
            entry["certificate-authority-data"] = STANDARD.encode(pem).into();
        }
        if config.accept_invalid_certs {
            entry["insecure-skip-tls-verify"] = true.into();
        }
        if let Some(name) = &config.tls_server_name {
            entry["tls-server-name"] = name.as_str().into();
        }
        if let Some(proxy) = &config.proxy_url {
            entry["proxy-url"] = proxy.to_string().into();
        }
        entry
    }
}

fn certificate_pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<String> =
        encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
