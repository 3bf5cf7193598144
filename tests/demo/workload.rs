//! The workload: it may read one Secret, and nothing else. It takes the access token from there each time it needs it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::objects::{INTEGRATION, TENANT};
use crate::voice::fingerprint;

/// A program of the tenant's that talks to the app.
pub(crate) struct Workload {
    secrets: Api<Secret>,
    http: reqwest::Client,
    messages: String,
}

/// What lies in the Secret.
pub(crate) struct Token {
    pub(crate) data: BTreeMap<String, String>,
}

impl Token {
    /// How the token may be shown.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(self.value("access_token"))
    }

    pub(crate) fn expires_at(&self) -> &str {
        self.value("expires_at")
    }

    fn value(&self, key: &str) -> &str {
        self.data.get(key).map_or("", String::as_str)
    }
}

impl Workload {
    /// A workload with an identity of its own.
    pub(crate) async fn new(kubeconfig: &Path, app: &str) -> Result<Self> {
        let read = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let secrets = Api::namespaced(kube::Client::try_from(config)?, TENANT);
        let http = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(10)).build()?;
        Ok(Self { secrets, http, messages: format!("{app}/api/messages") })
    }

    /// What lies in the Secret at this moment.
    pub(crate) async fn token(&self) -> Result<Token> {
        let secret = self.secrets.get(INTEGRATION).await.context("the workload cannot read its Secret")?;
        let mut data = BTreeMap::new();
        for (key, value) in secret.data.unwrap_or_default() {
            data.insert(key, String::from_utf8(value.0)?);
        }
        Ok(Token { data })
    }

    /// Posts a message with a token; its id at the app.
    pub(crate) async fn post(&self, token: &Token, text: &str) -> Result<String> {
        let request = self.http.post(&self.messages).json(&json!({ "text": text }));
        let posted = Self::answer(request, token).await?;
        Ok(posted["id"].as_str().unwrap_or_default().to_owned())
    }

    /// How many messages the workspace has.
    pub(crate) async fn count(&self, token: &Token) -> Result<usize> {
        let listed = Self::answer(self.http.get(&self.messages), token).await?;
        Ok(listed["messages"].as_array().map_or(0, Vec::len))
    }

    async fn answer(request: reqwest::RequestBuilder, token: &Token) -> Result<Value> {
        let answer = request.bearer_auth(token.value("access_token")).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "the app refused the token of the workload: {status}");
        Ok(answer.json().await?)
    }
}
