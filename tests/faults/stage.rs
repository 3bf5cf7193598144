//! What a cell of the matrix is played on: a control plane and an operator that reaches it through a proxy, and an app of
//! each profile behind another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::cluster::Options;
use crate::names;
use crate::proxy::Proxy;
use crate::sandbox::{Account, Consent, OldAccessToken, Rotation, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, Flags, Operator, World};

/// The tenant of all cells.
pub const TENANT: &str = "acme";

/// How an app treats refresh tokens, and how it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// The refresh token stays.
    None,
    /// The old one can be sent again for five minutes.
    Grace,
    /// The old one is dead, and its use harms nothing.
    Lenient,
    /// Its use ends the grant, and nobody can be asked.
    Strict,
    /// The same, with introspection.
    StrictAsked,
    /// The same, where the old access token dies at a refresh and can be tried.
    StrictProbed,
}

impl Profile {
    pub const ALL: [Self; 6] =
        [Self::None, Self::Grace, Self::Lenient, Self::Strict, Self::StrictAsked, Self::StrictProbed];

    /// Also the name of the app's provider.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Grace => "grace",
            Self::Lenient => "lenient",
            Self::Strict => "strict",
            Self::StrictAsked => "strict-asked",
            Self::StrictProbed => "strict-probed",
        }
    }

    /// Whether what was committed while its answer was lost is there again for who asks again.
    pub const fn replays(self) -> bool {
        matches!(self, Self::None | Self::Grace)
    }

    fn sandbox(self) -> SandboxOptions {
        SandboxOptions {
            consent: Consent::Allow(None),
            rotation: match self {
                Self::None => Rotation::None,
                Self::Grace => Rotation::Grace { seconds: 300 },
                Self::Lenient => Rotation::Lenient,
                Self::Strict | Self::StrictAsked | Self::StrictProbed => Rotation::Strict,
            },
            old_access_token: if self == Self::StrictProbed { OldAccessToken::Dies } else { OldAccessToken::Lives },
            introspection: self == Self::StrictAsked,
            // Where nobody can be asked, the end of the token is waited for.
            access_token_lifetime: Some(if self == Self::Strict { 14 } else { 3_600 }),
            ..SandboxOptions::default()
        }
    }

    fn description(self, direct: &str, proxied: &str) -> Value {
        let mut refresh = match self {
            Self::None => json!({ "rotation": "None" }),
            Self::Grace => json!({ "rotation": "Grace", "graceSeconds": 300 }),
            Self::Lenient => json!({ "rotation": "Lenient" }),
            _ => json!({ "rotation": "Strict" }),
        };
        if self == Self::StrictProbed {
            refresh["oldAccessToken"] = json!("Dies");
        }
        let mut oauth2 = json!({
            "authorizationURL": format!("{direct}/authorize"),
            "tokenURL": format!("{proxied}/token"),
            "revocationURL": format!("{proxied}/revoke"),
            "userinfoURL": format!("{proxied}/userinfo"),
            "refresh": refresh,
        });
        if self == Self::StrictAsked {
            oauth2["introspectionURL"] = json!(format!("{proxied}/introspect"));
        }
        json!({ "oauth2": oauth2, "metadata": { "workspaceId": "response.workspace.id" } })
    }
}

/// An app and the proxy before it.
pub struct App {
    pub sandbox: Sandbox,
    pub proxy: Proxy,
}

/// A control plane, an operator, an app of each profile.
pub struct Stage {
    pub world: World,
    pub api: Proxy,
    pub apps: BTreeMap<Profile, App>,
    kubeconfig: PathBuf,
    operator: Option<Operator>,
    /// The token of somebody who may connect.
    caller: String,
}

impl Stage {
    /// `None` where the control plane cannot be had.
    pub async fn start(test: &str) -> Option<Self> {
        let world = World::start_with(test, Options::default()).await?;
        let (api, kubeconfig) = api_proxy(&world).await;
        let mut apps = BTreeMap::new();
        for profile in Profile::ALL {
            let sandbox = Sandbox::start(profile.sandbox());
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let proxy = Proxy::start(&sandbox.base_url, client, names::provider).await;
            let description = profile.description(&sandbox.base_url, &proxy.url);
            world.provider(profile.name(), "sandbox-client", "sandbox-secret", description).await;
            apps.insert(profile, App { sandbox, proxy });
        }
        world.tenant(TENANT).await;
        let caller = world.admin_of(TENANT).await;
        let mut stage = Self { world, api, apps, kubeconfig, operator: None, caller };
        stage.raise().await;
        Some(stage)
    }

    /// Starts the operator, again after it was killed: in place, with the identity that it had.
    pub async fn raise(&mut self) {
        if let Some(mut dead) = self.operator.take() {
            dead.kill();
        }
        let environment = vec![("KUBECONFIG".to_owned(), self.kubeconfig.display().to_string())];
        let operator = self.world.operator_with(Flags { environment, ..Flags::default() }).await;
        self.api.aim(operator.process_id());
        for app in self.apps.values() {
            app.proxy.aim(operator.process_id());
        }
        self.operator = Some(operator);
    }

    /// Where the running process writes its log.
    pub fn log(&self) -> String {
        self.operator.as_ref().map(Operator::log).unwrap_or_default()
    }

    /// An account at the app for this cell alone.
    pub fn account(&self, profile: Profile, cell: &str) {
        let account = Account::new(&format!("W-{cell}"), cell, "ada@acme.example");
        self.apps[&profile].sandbox.reconfigure(|options| {
            options.consent = Consent::Allow(Some(account.id.clone()));
            options.accounts = vec![account];
        });
    }

    /// Connects as a browser that calls install itself; says where it landed, or what went wrong on the way.
    pub async fn connect(&self, project: &str, type_: &str) -> Result<String, String> {
        let base = &self.world.public_url;
        let url = format!("{base}/v1/tenants/{TENANT}/projects/{project}/integrations/{type_}/install?agent_id=agent");
        let asked = self.world.http.get(url).bearer_auth(&self.caller).timeout(Duration::from_secs(40)).send().await;
        let answer = asked.map_err(|error| format!("install: {error}"))?;
        if answer.status() != 200 {
            return Err(format!("install: {}", answer.status()));
        }
        let mut browser = Browser::as_user("ada");
        for cookie in answer.headers().get_all("set-cookie") {
            browser.set_cookie(base, cookie.to_str().unwrap());
        }
        let body: Value = answer.json().await.map_err(|error| format!("install: {error}"))?;
        let link = body["oauth_url"].as_str().unwrap().to_owned();
        let landed = browser.consent(&link, &[FRONTEND]).await.map_err(|error| format!("browser: {error}"))?;
        let landed = landed.url.to_string();
        if landed.contains("status=success") || landed.contains("status=pending") { Ok(landed) } else { Err(landed) }
    }

    /// Waits until nothing has been written for a while.
    pub async fn quiet(&self) {
        let began = Instant::now();
        while self.api.quiet_for() < Duration::from_millis(250) && began.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A proxy before the API server, and the operator's kubeconfig with the proxy's address.
async fn api_proxy(world: &World) -> (Proxy, PathBuf) {
    let text = std::fs::read_to_string(world.kubeconfig()).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().unwrap().trim_end_matches('/').to_owned();
    let mut client = reqwest::Client::builder().no_proxy();
    if let Some(authority) = cluster["certificate-authority-data"].as_str() {
        let pem = STANDARD.decode(authority).unwrap();
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).unwrap());
    }
    let proxy = Proxy::start(&server, client.build().unwrap(), names::api).await;
    *cluster = json!({ "server": proxy.url });
    let path = world.kubeconfig().with_extension("proxied");
    std::fs::write(&path, serde_yaml::to_string(&config).unwrap()).unwrap();
    (proxy, path)
}
