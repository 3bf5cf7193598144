//! The few endpoints of the operator's HTTP API that connecting needs.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_operator::config::is_loopback;
use integration_operator::sensitive::Sensitive;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::connect::target::Target;
use crate::failure::Failure;

/// How long one request may take; a confirmation waits for the exchange of the code.
const TIMEOUT: Duration = Duration::from_secs(45);
/// The keys of `meta` that are about the installation and not of the app.
const OWN_KEYS: [&str; 3] = ["installed_by_agent_id", "installed_at", "last_updated_at"];

/// A client of one integration.
pub(crate) struct Api {
    /// Which one.
    pub(crate) target: Target,
    client: Client,
    base: Url,
    token: Sensitive,
}

/// An integration as the API tells of it; only what is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Integration {
    #[serde(default)]
    meta: BTreeMap<String, Value>,
}

impl Integration {
    /// When it was installed; none when it is not.
    pub(crate) fn installed_at(&self) -> Option<String> {
        self.meta.get("installed_at").and_then(Value::as_str).map(str::to_owned)
    }

    /// What the app said of the account.
    pub(crate) fn account(&self) -> BTreeMap<String, Value> {
        let own = |name: &String| OWN_KEYS.contains(&name.as_str());
        self.meta.iter().filter(|(name, _)| !own(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[derive(Deserialize)]
struct Installed {
    oauth_url: Sensitive,
}

/// The body of every error.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    code: String,
}

impl Api {
    /// A client for one integration at `server`.
    pub(crate) fn new(server: &Url, token: Sensitive, target: Target) -> Result<Self, Failure> {
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if is_loopback(server) {
            // A port-forward is on this machine, where no proxy can reach.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|source| Failure::Http { server: server.to_string(), source })?;
        let mut base = server.clone();
        base.set_path(&format!(
            "{}/v1/tenants/{}/projects/{}/integrations/{}",
            server.path().trim_end_matches('/'),
            target.tenant,
            target.project,
            target.type_
        ));
        Ok(Self { target, client, base, token })
    }

    /// The integration; none where there is none yet.
    pub(crate) async fn get(&self) -> Result<Option<Integration>, Failure> {
        let response = self.send(self.client.get(self.base.clone())).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(response).await.map(Some)
    }

    /// Asks for a link.
    pub(crate) async fn install(
        &self,
        agent_id: Option<&str>,
        return_to: &Url,
        parameters: &[(String, String)],
    ) -> Result<Sensitive, Failure> {
        let mut url = self.below("install");
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("return_to", return_to.as_str());
            if let Some(agent_id) = agent_id {
                query.append_pair("agent_id", agent_id);
            }
            for (name, value) in parameters {
                query.append_pair(&format!("param.{name}"), value);
            }
        }
        let response = self.send(self.client.get(url)).await?;
        let installed: Installed = self.read(response).await?;
        Ok(installed.oauth_url)
    }

    /// Confirms a flow that was begun here.
    pub(crate) async fn confirm(
        &self,
        confirmation: &Sensitive,
        agent_id: Option<&str>,
        accept: bool,
    ) -> Result<(), Failure> {
        let body = json!({ "confirmation": confirmation.expose(), "agent_id": agent_id, "accept": accept });
        let response = self.send(self.client.post(self.below("confirm")).json(&body)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(refused(response).await)
    }

    /// Asks for what lies below the integration, such as `token`.
    pub(crate) async fn look(&self, path: &str) -> Result<Value, Failure> {
        let response = self.send(self.client.get(self.below(path))).await?;
        self.read(response).await
    }

    /// Posts to what lies below the integration, such as `messages`.
    pub(crate) async fn call(&self, path: &str, input: &Value, key: Option<&str>) -> Result<Value, Failure> {
        let mut request = self.client.post(self.below(path)).json(input);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = self.send(request).await?;
        self.read(response).await
    }

    fn below(&self, last: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{last}", self.base.path()));
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.bearer_auth(self.token.expose()).send().await.map_err(|source| self.failed(source))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        response.json().await.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: reqwest::Error) -> Failure {
        // The path is not what a person needs, and a query could hold a capability.
        Failure::Http { server: self.base.origin().ascii_serialization(), source: source.without_url() }
    }
}

/// The operator's own words, and what to do where they are about the token.
async fn refused(response: Response) -> Failure {
    let status = response.status();
    let refusal: Refusal = response.json().await.unwrap_or_default();
    let said = if refusal.error.is_empty() { "without a word".to_owned() } else { refusal.error };
    let remedy = match status {
        StatusCode::UNAUTHORIZED => {
            "\nThe token must be made for the operator: pass --service-account, \
             or --token \"$(kubectl create token NAME --audience integration-operator)\"."
        }
        StatusCode::FORBIDDEN if refusal.code == "forbidden" => {
            "\nThe caller lacks a right in the tenant's namespace: connect needs `create projectintegrations/install` and \
             `get projectintegrations`, post `create projectintegrations/messages`, call `create projectintegrations/actions`, \
             token `get projectintegrations/token`."
        }
        _ => "",
    };
    Failure::refused(format!("the operator refused ({status}): {said}{remedy}"))
}
