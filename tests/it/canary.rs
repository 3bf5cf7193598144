//! Credentials are searched for everywhere but in Secrets, after everything that could have spilled them.

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use serde_json::json;

use crate::collector::Collector;
use crate::connect::description;
use crate::sandbox::{Consent, Effect, Endpoint, Fault, Sandbox, SandboxOptions};
use crate::servers::browser::Browser;
use crate::world::{FRONTEND, Flags, World, is_ready, last_refreshed, now};

const REFRESH: &str = "integrations.tms.dev/refresh-requested-at";
const CLIENT_SECRET: &str = "canary-client-secret-5c1d";

/// Everything that was seen, by where.
#[derive(Default)]
pub struct Haul(Vec<(String, String)>);

impl Haul {
    pub fn add(&mut self, place: &str, text: String) {
        self.0.push((place.to_owned(), text));
    }

    /// One request; its answer with all its headers.
    pub async fn ask(&mut self, request: reqwest::RequestBuilder, place: &str) {
        let answer = request.send().await.unwrap();
        let head = format!("{} {:?}", answer.status(), answer.headers());
        self.add(place, head + &answer.text().await.unwrap());
    }

    /// All objects of the cluster but Secrets.
    pub async fn objects(&mut self, world: &World) {
        let discovery = Discovery::new(world.client.clone()).run().await.unwrap();
        let mut kinds = 0;
        for (resource, capabilities) in discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources) {
            if resource.kind == "Secret" && resource.group.is_empty() || !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(world.client.clone(), &resource);
            if let Ok(found) = api.list(&ListParams::default()).await {
                kinds += 1;
                self.add(&resource.plural, serde_json::to_string(&found).unwrap());
            }
        }
        assert!(kinds > 20, "{kinds}");
    }

    /// The search itself finds what is there.
    pub fn sees(&self, text: &str) {
        assert!(self.0.iter().any(|(_, found)| found.contains(text)));
    }

    pub fn search(&self, canaries: &[(String, String)]) {
        let mut found = vec![];
        for (place, text) in &self.0 {
            for (what, canary) in canaries {
                if let Some(at) = text.find(canary.as_str()) {
                    let (from, to) = (text.floor_char_boundary(at.saturating_sub(200)), text.len().min(at + 100));
                    found.push(format!("{what} in {place}: {}", &text[from..text.floor_char_boundary(to)]));
                }
            }
        }
        found.truncate(8);
        assert!(found.is_empty(), "{}", found.join("\n\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_in_secrets() {
    let Some(world) = World::start("credentials_stay_in_secrets").await else { return };
    let sandbox = Sandbox::start(SandboxOptions {
        consent: Consent::Allow(None),
        client_secret: CLIENT_SECRET.to_owned(),
        access_token_lifetime: Some(6),
        ..SandboxOptions::default()
    });
    world.provider("app", "sandbox-client", CLIENT_SECRET, description(&sandbox.base_url)).await;
    let collector = Collector::start().await;
    let arguments =
        ["--log", "trace", "--log-format", "json", "--otlp-endpoint", &collector.url].map(str::to_owned).to_vec();
    let mut operator = world.operator_with(Flags { arguments, ..Flags::default() }).await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    let mut haul = Haul::default();
    let mut canaries: Vec<(String, String)> = vec![
        ("client secret".into(), CLIENT_SECRET.into()),
        ("access token".into(), "sandbox-at-".into()),
        ("refresh token".into(), "sandbox-rt-".into()),
        ("code".into(), "sandbox-code-".into()),
        ("the caller's token".into(), token.clone()),
    ];
    let account = serde_yaml::from_str::<serde_json::Value>(
        &std::fs::read_to_string(world.cluster.service_account_kubeconfig("acme", "frontend", &[]).await.unwrap())
            .unwrap(),
    )
    .unwrap();
    let another = account["users"][0]["user"]["token"].as_str().unwrap().to_owned();

    // Flows: done, denied at the exchange, refused with an echo.
    for project in ["web", "refused", "denied"] {
        let mut browser = Browser::as_user("dev");
        let oauth_url = world.install_in(&mut browser, &token, "acme", project, "app").await;
        let ticket = oauth_url.split_once("ticket=").unwrap().1.to_owned();
        let start = browser.get(&oauth_url).await.unwrap();
        let location = start.header("location").unwrap().to_owned();
        let state = location.split_once("state=").unwrap().1.split('&').next().unwrap().to_owned();
        canaries.push(("ticket".into(), ticket));
        canaries.push(("state".into(), state));
        match project {
            "refused" => {
                let echo = format!(r#"{{"error":"invalid_client","error_description":"no {CLIENT_SECRET}"}}"#);
                let answer = Effect::Answer { status: 400, content_type: "application/json".into(), body: echo };
                sandbox.fault(Fault::new(answer).on_exchange());
            }
            "denied" => sandbox.reconfigure(|options| options.consent = Consent::Deny),
            _ => {}
        }
        let landed = browser.consent(&oauth_url, &[FRONTEND]).await.unwrap();
        haul.add("the frontend's address", landed.url.to_string());
        // Its links again, and nonsense.
        haul.ask(world.http.get(&oauth_url), "start again").await;
        let callback = format!("{}/api/public/integrations/app/callback", world.public_url);
        haul.ask(world.http.get(format!("{callback}?code=sandbox-code-zzz&state=nonsense")), "callback").await;
        haul.ask(world.http.get(&callback), "callback").await;
    }
    canaries.push(("another token".into(), another.clone()));
    sandbox.reconfigure(|options| options.consent = Consent::Allow(None));
    let mut last = last_refreshed(&world.wait("acme", "web.app", "ready", is_ready).await);
    for _ in 0..2 {
        let refreshed = world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != last).await;
        last = last_refreshed(&refreshed);
    }
    // Long-lived from now on, so that refreshes are asked for one by one.
    sandbox.reconfigure(|options| options.access_token_lifetime = Some(3600));
    world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != last).await;
    for (status, in_code) in [(400, false), (400, true)] {
        let held = world.grant("acme", "web.app").await.unwrap();
        let (access, refresh) = (held["tokens"]["accessToken"].clone(), held["tokens"]["refreshToken"].clone());
        let words = format!("{access} {refresh} {CLIENT_SECRET}");
        let body = if in_code {
            json!({ "error": refresh, "error_description": access })
        } else {
            json!({ "error": "invalid_client", "error_description": words })
        };
        let (body, reason) = (body.to_string(), "ClientCredentialsInvalid");
        let answer = Effect::Answer { status, content_type: "application/json".into(), body };
        sandbox.fault(Fault::new(answer).on_refresh());
        let before = last_refreshed(&world.integrations("acme").get("web.app").await.unwrap());
        world.annotate("acme", "web.app", REFRESH, &now()).await;
        let failing = world.wait_reason("acme", "web.app", "TokenFresh", reason).await;
        haul.add("the integration", serde_json::to_string(&failing).unwrap());
        haul.ask(
            world
                .http
                .get(format!("{}/v1/tenants/acme/projects/web/integrations/app", world.public_url))
                .bearer_auth(&token),
            "integration",
        )
        .await;
        world.wait("acme", "web.app", "refreshed", |found| last_refreshed(found) != before).await;
    }
    // The health check: refused with an echo, then fine.
    let access = world.grant("acme", "web.app").await.unwrap()["tokens"]["accessToken"].clone();
    let body = json!({ "error": access, "token": access }).to_string();
    let answer = Effect::Answer { status: 401, content_type: "application/json".into(), body };
    sandbox.fault(Fault::new(answer).at(Endpoint::Userinfo));
    world.patch_spec("acme", "web.app", json!({ "healthCheck": { "failureThreshold": 1 } })).await;
    world.annotate("acme", "web.app", "integrations.tms.dev/check-requested-at", &now()).await;
    world.wait_reason("acme", "web.app", "Healthy", "Rejected").await;
    let held = world.grant("acme", "web.app").await.unwrap();
    let words = format!("{} {}", held["tokens"]["accessToken"], held["tokens"]["refreshToken"]);
    let body = json!({ "error": "slow_down", "error_description": words }).to_string();
    sandbox
        .fault(Fault::new(Effect::Answer { status: 429, content_type: "application/json".into(), body }).on_refresh());
    world.annotate("acme", "web.app", REFRESH, &now()).await;
    world.wait_reason("acme", "web.app", "TokenFresh", "RefreshFailing").await;
    haul.objects(&world).await;

    // The HTTP API, with and without a right to it.
    let base = format!("{}/v1/tenants/acme", world.public_url);
    for path in ["projects/web/integrations", "projects/web/integrations/app", "providers", "projects/web/nothing"] {
        for bearer in [token.as_str(), another.as_str(), "nonsense"] {
            haul.ask(world.http.get(format!("{base}/{path}")).bearer_auth(bearer), path).await;
        }
    }
    // Disconnect and delete, with a revocation that fails and echoes.
    let held = world.grant("acme", "web.app").await.unwrap();
    let body = json!({ "error": "x", "error_description": held["tokens"] }).to_string();
    let answer = Effect::Answer { status: 400, content_type: "application/json".into(), body };
    sandbox.fault(Fault::new(answer).at(Endpoint::Revoke));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.annotate("acme", "web.app", "integrations.tms.dev/disconnect-requested-at", &now()).await;
    world.wait_reason("acme", "web.app", "Authorized", "AuthorizationRequired").await;
    haul.objects(&world).await;
    haul.ask(world.http.delete(format!("{base}/projects/web/integrations/app")).bearer_auth(&token), "delete").await;
    world.wait_gone("acme", "web.app").await;
    haul.objects(&world).await;
    haul.ask(world.http.get(format!("{}/metrics", operator.probes)), "metrics").await;
    let log = operator.log();
    let traced = log.lines().filter(|line| line.contains("TRACE")).count();
    println!("COUNT {} lines of log, {traced} at trace", log.lines().count());
    assert!(traced > 0 || log.contains("DEBUG"), "a log at trace");
    haul.add("the log", log);
    assert_eq!(operator.terminate().await, Some(0));
    let spans = collector.spans();
    println!("COUNT {} spans", spans.len());
    for expected in ["start", "callback", "exchange", "POST", "refresh", "publish"] {
        assert!(spans.iter().any(|span| span.name == expected), "{expected} is exported");
    }
    haul.add("the spans", collector.text());
    println!("COUNT {} places searched for {} canaries", haul.0.len(), canaries.len());
    haul.search(&canaries);
    haul.sees("web.app");
}
