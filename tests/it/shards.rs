//! Two operators, each of which reconciles its share of the integrations, and integrations that move between them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use integration_operator::api::ProjectIntegration;
use integration_operator::grant::store::grant_name;
use integration_operator::shard;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use crate::connect::sandbox;
use crate::sandbox::{Account, Consent, Rotation, Sandbox, SandboxOptions, Why};
use crate::servers::browser::Browser;
use crate::world::{Flags, OPERATOR, Operator, World, condition, eventually_within, is_ready, now};

/// Seconds that an access token lives.
const LIFETIME: u32 = 6;
/// A machine may have other things to do.
const PATIENCE: Duration = Duration::from_mins(1);

struct Shards {
    world: World,
    app: Sandbox,
    caller: String,
    default: Operator,
    blue: Operator,
}

impl Shards {
    async fn start(test: &str) -> Option<Self> {
        let world = World::start(test).await?;
        let app = sandbox(
            &world,
            "app",
            SandboxOptions {
                rotation: Rotation::Strict,
                access_token_lifetime: Some(LIFETIME),
                latency: 150,
                ..SandboxOptions::default()
            },
        )
        .await;
        world.tenant("acme").await;
        let caller = world.admin_of("acme").await;
        let shard = |index, name: &str| Flags {
            index,
            arguments: vec!["--shard".to_owned(), name.to_owned()],
            ..Flags::default()
        };
        let default = world.operator_with(shard(0, "default")).await;
        let blue = world.operator_with(shard(1, "blue")).await;
        Some(Self { world, app, caller, default, blue })
    }

    async fn label(&self, project: &str, shard: Option<&str>) {
        let patch = json!({ "metadata": { "labels": { shard::LABEL: shard } } });
        let api = self.world.integrations("acme");
        api.patch(&name(project), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Connects a project with an account of its own; `meanwhile` is done while the person is on the way.
    async fn connect(&self, project: &str, meanwhile: impl AsyncFnOnce()) {
        let account = Account::new(&format!("W-{project}"), project, "ada@acme.example");
        self.app.reconfigure(|options| {
            options.consent = Consent::Allow(Some(account.id.clone()));
            options.accounts = vec![account];
        });
        let mut browser = Browser::as_user("ada");
        let link = self.world.install_in(&mut browser, &self.caller, "acme", project, "app").await;
        meanwhile().await;
        let landed = self.world.walk(&mut browser, &link).await;
        assert!(landed.contains("status=success") || landed.contains("status=pending"), "{landed}");
        self.world.wait("acme", &name(project), "connected", is_ready).await;
    }

    /// The shard that the grant of a project is labelled with.
    async fn grant_is_of(&self, project: &str) -> Option<String> {
        let grant = self.world.secrets(OPERATOR).get_metadata(&grant_name("acme", &name(project))).await.unwrap();
        grant.labels().get(shard::LABEL).cloned()
    }

    /// Whether what is published works at the app, now.
    async fn works(&self, project: &str) -> bool {
        let published = self.world.secret("acme", &name(project)).await.unwrap();
        let url = format!("{}/userinfo", self.app.base_url);
        let answer = self.world.http.get(url).bearer_auth(&published["access_token"]).send().await.unwrap();
        answer.status() == 200
    }

    /// Waits for two more refreshes by one operator; the other makes none from then on.
    async fn is_refreshed_by(&self, project: &str, own: &Operator, other: &Operator) {
        let more = async |count: usize, since: usize| {
            let seen = async || refreshes(own, project) >= since + count;
            eventually_within(PATIENCE, &format!("{project} is refreshed by its shard"), seen).await;
        };
        // The other may still have had one on its way.
        more(1, refreshes(own, project)).await;
        let foreign = refreshes(other, project);
        more(2, refreshes(own, project)).await;
        assert_eq!(refreshes(other, project), foreign, "{project} is refreshed by its own shard alone");
    }
}

/// The name of a project's integration.
fn name(project: &str) -> String {
    format!("{project}.app")
}

/// How often an operator has refreshed the grant of a project, as its log has it.
fn refreshes(operator: &Operator, project: &str) -> usize {
    let name = name(project);
    operator.log().lines().filter(|line| line.contains(" refreshed ") && line.contains(&name)).count()
}

/// Sees every reason of `Authorized` that is ever told of the integrations that are ready.
struct Witness {
    told: Arc<Mutex<BTreeSet<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Witness {
    fn start(api: Api<ProjectIntegration>) -> Self {
        let told = Arc::<Mutex<BTreeSet<String>>>::default();
        let writer = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut objects = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
            while let Some(object) = objects.next().await {
                writer.lock().unwrap().extend(object.ok().map(|object| condition(&object, "Authorized").1));
            }
        });
        Self { told, task }
    }

    fn told(self) -> Vec<String> {
        self.task.abort();
        self.told.lock().unwrap().iter().cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn integrations_move_between_shards_and_no_grant_is_lost() {
    let Some(shards) = Shards::start("integrations_move_between_shards_and_no_grant_is_lost").await else { return };
    let Shards { world, default, blue, .. } = &shards;
    for project in ["stays", "azure", "roams", "late"] {
        world.create("acme", project, "app", json!({})).await;
    }
    shards.label("azure", Some("blue")).await;
    for project in ["stays", "azure", "roams"] {
        shards.connect(project, async || {}).await;
    }
    // One that goes to another shard while the person is at the app.
    shards.connect("late", async || shards.label("late", Some("blue")).await).await;
    assert_eq!(shards.grant_is_of("stays").await, None);
    assert_eq!(shards.grant_is_of("azure").await.as_deref(), Some("blue"));
    assert_eq!(shards.grant_is_of("late").await.as_deref(), Some("blue"));
    tokio::join!(
        shards.is_refreshed_by("stays", default, blue),
        shards.is_refreshed_by("roams", default, blue),
        shards.is_refreshed_by("azure", blue, default),
        shards.is_refreshed_by("late", blue, default),
    );
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), OPERATOR);
    for (lease, holder) in [("integration-operator", "replica-0"), ("integration-operator-blue", "replica-1")] {
        let spec = leases.get(lease).await.unwrap().spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some(holder), "{lease}");
    }

    // Back and forth, in less and more time than a refresh takes, which is asked for again and again.
    let witness = Witness::start(world.integrations("acme"));
    for turn in 0..30_u64 {
        shards.label("roams", (turn % 2 == 0).then_some("blue")).await;
        if turn % 3 == 0 {
            world.annotate("acme", "roams.app", "integrations.tms.dev/refresh-requested-at", &now()).await;
        }
        tokio::time::sleep(Duration::from_millis(40 + turn * 97 % 900)).await;
    }
    for (shard, own, other) in [(Some("blue"), blue, default), (None, default, blue), (Some("blue"), blue, default)] {
        shards.label("roams", shard).await;
        shards.is_refreshed_by("roams", own, other).await;
        assert_eq!(shards.grant_is_of("roams").await.as_deref(), shard);
    }
    tokio::join!(shards.is_refreshed_by("stays", default, blue), shards.is_refreshed_by("azure", blue, default),);
    for project in ["stays", "azure", "roams", "late"] {
        world.wait("acme", &name(project), "ready", is_ready).await;
        let works = async || shards.works(project).await;
        eventually_within(PATIENCE, "what is published works", works).await;
    }
    assert_eq!(witness.told(), ["Granted"], "nobody was ever told that a grant is missing");
    let ledger = shards.app.ledger();
    assert_eq!(ledger.grants.len(), 4);
    assert!(ledger.grants.iter().all(|grant| grant.ended.is_none()), "{:#?}", ledger.grants);
    assert!(ledger.grants.iter().all(|grant| grant.max_in_flight <= 1), "{:#?}", ledger.grants);
    let refreshes = ledger.token_requests("refresh_token");
    let logged: usize =
        ["stays", "azure", "roams", "late"].map(|project| refreshes_of_both(&shards, project)).into_iter().sum();
    println!(
        "{refreshes} refreshes, {logged} of them told; of the one that moves {}",
        refreshes_of_both(&shards, "roams")
    );

    // The way out is the shard's too.
    let published = world.secret("acme", "roams.app").await.unwrap();
    let grant = shards.app.grant_of(&published["access_token"]).unwrap();
    world.integrations("acme").delete("roams.app", &DeleteParams::default()).await.unwrap();
    world.wait_gone("acme", "roams.app").await;
    assert_eq!(shards.app.grant(grant).unwrap().ended.map(|end| end.why), Some(Why::Revoked));
    assert_eq!(world.grant("acme", "roams.app").await, None::<Value>);
}

fn refreshes_of_both(shards: &Shards, project: &str) -> usize {
    refreshes(&shards.default, project) + refreshes(&shards.blue, project)
}
