//! The connections: integrations and grants in the form in which the operator writes them, with tokens that the
//! provider has in its books.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::iter;
use integration_operator::api::{FINALIZER, ProjectIntegration};
use integration_operator::grant::store::Marks;
use integration_operator::grant::store::grant_name;
use integration_operator::grant::{Grant, GrantStore, Handled, Owner, Summary};
use integration_operator::sensitive::Sensitive;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::meter;
use crate::sandbox::{Account, Consent, GrantId, Sandbox, SandboxOptions};
use crate::servers;
use crate::setting;
use crate::world::{Flags, OPERATOR, Operator, World, is_ready};

/// Requests of this program that are under way at once.
const AT_ONCE: usize = 48;
/// Connections of one tenant.
const TENANT_SIZE: usize = 100;
/// Seconds that tokens live which nobody is to refresh while something else is measured.
pub const LONG: u32 = 30 * 24 * 3600;

/// A control plane with connections in it.
pub struct Field {
    pub world: World,
    pub sandbox: Sandbox,
    pub operator: Option<Operator>,
    pub store: GrantStore,
    /// Whose grant is whose.
    pub owners: HashMap<GrantId, Owner>,
    template: Grant,
    /// The app's API, which answers every request.
    pub upstream: String,
}

impl Field {
    /// Connects one project as a person does. Its grant is the model of all others.
    pub async fn new(world: World) -> Self {
        let sandbox = Sandbox::start(SandboxOptions {
            consent: Consent::Allow(None),
            access_token_lifetime: Some(LONG),
            ..SandboxOptions::default()
        });
        let base = &sandbox.base_url;
        let upstream = upstream().await;
        let mut description = json!({
            "api": { "baseURL": upstream },
            "webhooks": { "signature": { "algorithm": "HmacSha256", "header": "X-App-Signature" }, "id": "request.body.id" },
            "oauth2": { "authorizationURL": format!("{base}/authorize"), "tokenURL": format!("{base}/token") },
            "metadata": { "workspaceId": "response.workspace.id", "workspaceName": "response.workspace.name" },
        });
        if setting("HEALTH_CHECKS", 1) == 1 {
            description["oauth2"]["userinfoURL"] = json!(format!("{base}/userinfo"));
        }
        world.provider("app", "sandbox-client", "sandbox-secret", description).await;
        let store = GrantStore::new(world.client.clone(), OPERATOR);
        let operator = run(&world).await;
        world.tenant("model").await;
        let token = world.admin_of("model").await;
        world.connect(&token, "model", "model", "app").await;
        world.wait("model", "model.app", "ready", is_ready).await;
        let template = store.get(&grant_name("model", "model.app")).await.unwrap().unwrap().grant;
        let owners = HashMap::new();
        Self { world, sandbox, operator: Some(operator), store, owners, template, upstream }
    }

    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().unwrap()
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) {
        self.operator.take().unwrap().terminate().await;
    }

    /// Runs the operator, and says when it was executed.
    pub async fn start(&mut self) -> Instant {
        let began = Instant::now();
        self.operator = Some(run(&self.world).await);
        began
    }

    /// Makes connections until there are so many, and waits until each of them is told to be ready.
    pub async fn grow(&mut self, size: usize) {
        let began = Instant::now();
        let present = self.owners.len();
        if size > present {
            println!("\nmaking {} connections …", size - present);
            for tenant in present.div_ceil(TENANT_SIZE)..size.div_ceil(TENANT_SIZE) {
                self.world.tenant(&format!("t{tenant}")).await;
            }
            let this = &*self;
            let made: Vec<_> =
                iter(present..size).map(|number| this.make(number)).buffer_unordered(AT_ONCE).collect().await;
            self.owners.extend(made);
            println!("made after {:.0} s", began.elapsed().as_secs_f64());
        }
        self.settled().await;
        println!("all ready after {:.0} s", began.elapsed().as_secs_f64());
    }

    async fn make(&self, number: usize) -> (GrantId, Owner) {
        let (namespace, project) = (format!("t{}", number / TENANT_SIZE), format!("p{number}"));
        let name = format!("{project}.app");
        let object: ProjectIntegration = serde_json::from_value(json!({
            "metadata": { "name": name, "finalizers": [FINALIZER] },
            "spec": { "tenantId": namespace, "projectId": project, "type": "app" },
        }))
        .unwrap();
        let api: Api<ProjectIntegration> = Api::namespaced(self.world.client.clone(), &namespace);
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        let owner = Owner { namespace, name, uid: made.uid().unwrap() };
        let account = Account::new(&format!("W-{number}"), &format!("Workspace {number}"), "ada@example.test");
        let (id, issued) = self.sandbox.seed_for(account, &self.template.scopes.join(" "));
        let mut grant = self.template.clone();
        let now = Timestamp::now();
        grant.integration = owner.clone();
        grant.tokens.access_token = Sensitive::new(issued.access_token);
        grant.tokens.refresh_token = issued.refresh_token.map(Sensitive::new);
        grant.tokens.obtained_at = now;
        grant.tokens.expires_at = issued.expires_in.map(|seconds| now + SignedDuration::from_secs(seconds.into()));
        grant.installed.at = now;
        self.store.create(&grant, &Handled::default(), None).await.unwrap();
        (id, owner)
    }

    /// Waits until the operator counts every connection as ready.
    pub async fn settled(&self) {
        let wanted = self.owners.len() as f64 + 1.0;
        let began = Instant::now();
        loop {
            let ready = self.operator().metric("integration_operator_integrations{reason=\"Connected\"}").await;
            if ready >= wanted {
                break;
            }
            let patience = Duration::from_secs(120 + self.owners.len() as u64 / 50);
            assert!(began.elapsed() < patience, "{ready} of {wanted} are ready: {}", meter::tail(self.operator()));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.quiet().await;
    }

    /// Waits until the operator has nothing to do: less than a tenth of a core for two seconds in a row.
    pub async fn quiet(&self) -> Instant {
        let process = self.operator().process_id();
        let mut calm_since = None;
        loop {
            let before = meter::cpu(process);
            tokio::time::sleep(Duration::from_millis(250)).await;
            if meter::cpu(process) - before > 0.025 {
                calm_since = None;
            } else if calm_since.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(2) {
                return calm_since.unwrap();
            }
        }
    }

    /// Puts the times of every grant back, as if the operator had not been there for a while: `moments` says when a
    /// grant's tokens were obtained and when they expire.
    pub async fn put_back(&self, moments: impl Fn(usize) -> (Timestamp, Timestamp)) -> HashMap<GrantId, Timestamp> {
        let moments = &moments;
        iter(self.owners.iter().enumerate())
            .map(|(number, (id, owner))| async move {
                let held = self.store.get(&grant_name(&owner.namespace, &owner.name)).await.unwrap().unwrap();
                let (obtained_at, expires_at) = moments(number);
                let mut grant = held.grant;
                grant.tokens.obtained_at = obtained_at;
                grant.tokens.expires_at = Some(expires_at);
                self.store.replace(&held.view, &grant, &Marks::default()).await.unwrap();
                (*id, expires_at)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }

    /// The grant's summary as the operator plans with it.
    pub fn summary(&self, owner: &Owner, generation: u64, obtained_at: Timestamp, lifetime: u32) -> Summary {
        let mut grant = self.template.clone();
        grant.integration = owner.clone();
        grant.generation = generation;
        grant.tokens.obtained_at = obtained_at;
        grant.tokens.expires_at = Some(obtained_at + SignedDuration::from_secs(lifetime.into()));
        grant.summary()
    }

    /// The size of etcd's database in MiB, as the API server knows it.
    pub async fn etcd_size(&self) -> f64 {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = self.world.client.request_text(request).await.unwrap();
        let line = text.lines().find(|line| line.starts_with("apiserver_storage_size_bytes"));
        let size = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        size.unwrap_or(f64::NAN) / f64::from(1 << 20)
    }

    /// Strict books: no grant was lost, and no two requests with one refresh token were under way together.
    pub fn verdict(&self) {
        let ledger = self.sandbox.ledger();
        let lost = ledger.grants.iter().filter(|grant| grant.ended.is_some()).count();
        let together = ledger.grants.iter().map(|grant| grant.max_in_flight).max().unwrap_or_default();
        println!(
            "\n{} grants, {lost} lost; at most {together} request with one refresh token at a time",
            ledger.grants.len()
        );
        assert_eq!(lost, 0);
        assert!(together <= 1);
    }
}

/// Reads a body, and says nothing but yes.
async fn upstream() -> String {
    let routes = axum::Router::new().route("/echo", axum::routing::post(async |_: axum::body::Bytes| "ok"));
    servers::serve(routes).await
}

async fn run(world: &World) -> Operator {
    let rate = setting("PROVIDER_RATE", 0);
    let mut arguments = ["--log", "warn", "--actions-per-minute", "10000000"].map(str::to_owned).to_vec();
    if rate > 0 {
        arguments.push(format!("--provider-requests-per-second={rate}"));
    }
    world.operator_with(Flags { arguments, ..Flags::default() }).await
}
