//! Many projects at apps of all four ways of rotating, whose access tokens live for seconds.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::oracle::Apps;
use crate::sandbox::{Account, Consent, Rotation, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, World, condition, eventually, eventually_within, is_ready};

/// The tenant, and its namespace.
pub const TENANT: &str = "crowd";

/// A machine may have other things to do.
const PATIENCE: Duration = Duration::from_mins(3);

/// How the apps of a crowd are.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Projects in all; each app has a quarter.
    pub size: usize,
    /// Seconds that an access token lives.
    pub lifetime: u32,
    /// See [`SandboxOptions::latency`].
    pub latency: u32,
}

/// The projects and their apps.
pub struct Crowd {
    pub apps: Apps,
    pub plan: Plan,
    caller: String,
}

/// The apps' names, which are also the ways they rotate.
pub const PROFILES: [(&str, Rotation); 4] = [
    ("none", Rotation::None),
    ("grace", Rotation::Grace { seconds: 300 }),
    ("lenient", Rotation::Lenient),
    ("strict", Rotation::Strict),
];

impl Crowd {
    /// Makes the apps and the tenant; nobody is connected yet.
    pub async fn gather(world: &World, plan: Plan) -> Self {
        let mut apps = Apps::new();
        for (name, rotation) in PROFILES {
            let sandbox = Sandbox::start(SandboxOptions {
                rotation,
                access_token_lifetime: Some(plan.lifetime),
                latency: plan.latency,
                ..SandboxOptions::default()
            });
            world.provider(name, "sandbox-client", "sandbox-secret", description(&sandbox.base_url, rotation)).await;
            apps.insert(name.to_owned(), sandbox);
        }
        world.tenant(TENANT).await;
        let caller = world.admin_of(TENANT).await;
        Self { apps, plan, caller }
    }

    /// Connects all of them, and waits until they are ready.
    pub async fn connect_all(&self, world: &World) {
        for (name, _) in PROFILES {
            eventually("the provider is known", async || {
                let path = format!("/v1/tenants/{TENANT}/projects/p0/integrations/{name}/install");
                world.get(&self.caller, &path).await.status() == 200
            })
            .await;
        }
        join_all(PROFILES.map(async |(name, _)| {
            for number in 0..self.plan.size / PROFILES.len() {
                self.connect(world, &format!("p{number}.{name}")).await;
            }
        }))
        .await;
        eventually_within(PATIENCE, "all of the crowd are ready", async || {
            let all = world.integrations(TENANT).list(&kube::api::ListParams::default()).await.unwrap();
            all.iter().all(is_ready)
        })
        .await;
    }

    /// Connects a project, or connects it again, as a person does: who sees an error page begins anew.
    pub async fn connect(&self, world: &World, name: &str) {
        let mut errors = vec![];
        for _ in 0..5 {
            match self.try_to_connect(world, name).await {
                Ok(()) => return,
                Err(error) => errors.push(error),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("{name} cannot be connected: {errors:#?}");
    }

    /// As a browser that calls install itself.
    async fn try_to_connect(&self, world: &World, name: &str) -> Result<(), String> {
        let (project, type_) = name.split_once('.').unwrap();
        let account = Account::new(&format!("W-{project}"), project, "ada@acme.example");
        self.apps[type_].reconfigure(|options| {
            options.consent = Consent::Allow(Some(account.id.clone()));
            options.accounts = vec![account];
        });
        let path = format!("/v1/tenants/{TENANT}/projects/{project}/integrations/{type_}/install?agent_id=agent");
        let request = world.http.get(format!("{}{path}", world.public_url)).bearer_auth(&self.caller);
        let answer = request.send().await.map_err(|error| format!("install: {error}"))?;
        if answer.status() != 200 {
            return Err(format!("install answers {}", answer.status()));
        }
        let mut browser = Browser::as_user("ada");
        for cookie in answer.headers().get_all("set-cookie") {
            browser.set_cookie(&world.public_url, cookie.to_str().unwrap());
        }
        let body: Value = answer.json().await.map_err(|error| format!("install: {error}"))?;
        let link = body["oauth_url"].as_str().unwrap_or_default().to_owned();
        let landed = browser.consent(&link, &[FRONTEND]).await.map_err(|error| format!("browser: {error}"))?;
        let landed = landed.url.as_str();
        let connected = landed.contains("status=success") || landed.contains("status=pending");
        if connected { Ok(()) } else { Err(landed.to_owned()) }
    }

    /// Waits until the end of a grant is told on its integration.
    pub async fn told(&self, world: &World, name: &str) {
        world
            .wait(TENANT, name, "told of its loss", |found| {
                condition(found, "Authorized").1 == "ReauthorizationRequired"
            })
            .await;
    }
}

fn description(base: &str, rotation: Rotation) -> Value {
    let refresh = match rotation {
        Rotation::None => json!({ "rotation": "None" }),
        Rotation::Grace { seconds } => json!({ "rotation": "Grace", "graceSeconds": seconds }),
        Rotation::Lenient => json!({ "rotation": "Lenient" }),
        Rotation::Strict => json!({ "rotation": "Strict" }),
    };
    json!({ "oauth2": {
        "authorizationURL": format!("{base}/authorize"),
        "tokenURL": format!("{base}/token"),
        "introspectionURL": format!("{base}/introspect"),
        "revocationURL": format!("{base}/revoke"),
        "refresh": refresh,
    }})
}
