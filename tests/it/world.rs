//! One test's world: a control plane, tenants with people in them, providers, and the operator's processes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use integration_operator::api::{ClusterIntegrationProvider, IntegrationProvider, ProjectIntegration};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cluster::{self, Cluster, Options};
use crate::servers;
use crate::servers::browser::Browser;

/// The operator's namespace.
pub const OPERATOR: &str = "integration-operator";
/// The frontend that browsers return to; nobody serves it, and nobody visits it.
pub const FRONTEND: &str = "https://app.example.test";

/// One test's world.
pub struct World {
    pub cluster: Cluster,
    pub client: kube::Client,
    pub http: reqwest::Client,
    pub public_url: String,
    port: u16,
    kubeconfig: PathBuf,
    /// On a cluster that was named, one world at a time.
    _alone: Option<tokio::sync::MutexGuard<'static, ()>>,
}

/// Worlds share names, so on a cluster of somebody else's they come one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Marks the namespaces that a test made, so that the next one can clear them away.
const TEST_LABEL: &str = "integrations.tms.dev/test";

/// A running operator; killed when dropped.
pub struct Operator {
    child: Child,
    /// Where this very process serves people and apps.
    pub url: String,
    /// Where it serves probes and metrics.
    pub probes: String,
    pub log: PathBuf,
}

/// How to run an operator.
#[derive(Clone, Default)]
pub struct Flags {
    pub arguments: Vec<String>,
    /// Which of several processes: each has ports and an identity of its own.
    pub index: u16,
    /// No frontend: the operator shows its own pages.
    pub own_pages: bool,
    /// Further environment.
    pub environment: Vec<(String, String)>,
}

impl World {
    /// Starts a world; `None` where the control plane cannot be had and the test is skipped.
    pub async fn start(test: &str) -> Option<Self> {
        Self::start_with(test, Options { audit_log: true, ..Options::default() }).await
    }

    pub async fn start_with(test: &str, options: Options) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = cluster::start_or_skip(test, options).await?;
        let client = cluster.client().unwrap();
        let alone = if cluster.is_provided() { Some(ALONE.lock().await) } else { None };
        if alone.is_some() {
            clear(&client).await;
        }
        install(&client).await;
        cluster.follow_owners_of(integration_operator::api::GROUP).await.unwrap();
        let kubeconfig = cluster.service_account_kubeconfig(OPERATOR, "integration-operator", &[]).await.unwrap();
        let port = free_port();
        let public_url = format!("http://127.0.0.1:{port}");
        Some(Self { cluster, client, http: servers::http_client(), public_url, port, kubeconfig, _alone: alone })
    }

    /// The operator's kubeconfig.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// Runs the operator and waits until it is ready.
    pub async fn operator(&self) -> Operator {
        self.operator_with(Flags::default()).await
    }

    pub async fn operator_with(&self, flags: Flags) -> Operator {
        let operator = self.spawn(&flags);
        operator.ready().await;
        operator
    }

    /// Runs the operator without waiting. The first has the port that the public address names.
    pub fn spawn(&self, flags: &Flags) -> Operator {
        let port = if flags.index == 0 { self.port } else { free_port() };
        let probes = free_port();
        let log = self.cluster.directory().join(format!("operator-{}-{}.log", flags.index, uuid::Uuid::new_v4()));
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(program())
            .arg("run")
            .args(["--public-url", &self.public_url])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{probes}")])
            .args(if flags.arguments.iter().any(|flag| flag.starts_with("--allow-insecure-provider-hosts")) {
                vec![]
            } else {
                vec!["--allow-insecure-provider-hosts", "127.0.0.1,localhost"]
            })
            .args(if flags.arguments.iter().any(|flag| flag.starts_with("--provider-requests-per-second")) {
                vec![]
            } else {
                vec!["--provider-requests-per-second", "1000"]
            })
            .args(["--identity", &format!("replica-{}", flags.index)])
            .args(if flags.arguments.iter().any(|flag| flag == "--log") {
                vec![]
            } else {
                vec!["--log", "info,integration_operator=debug"]
            })
            .args(if flags.own_pages { vec![] } else { vec!["--frontend-url", FRONTEND] })
            .args(&flags.arguments)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUST_BACKTRACE", "1")
            .envs(flags.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Operator { child, url: format!("http://127.0.0.1:{port}"), probes: format!("http://127.0.0.1:{probes}"), log }
    }

    /// A namespace that belongs to `tenant`, named like it.
    pub async fn tenant(&self, tenant: &str) {
        self.namespace(tenant, Some(tenant)).await;
    }

    pub async fn namespace(&self, name: &str, tenant: Option<&str>) {
        let mut labels = json!({ TEST_LABEL: "true" });
        if let Some(tenant) = tenant {
            labels["integrations.tms.dev/tenant"] = json!(tenant);
        }
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap();
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }

    /// A service account in `namespace` with these rights there; returns a token for the operator's HTTP API.
    pub async fn caller(&self, namespace: &str, name: &str, rules: &[PolicyRule]) -> String {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata: metadata.clone(), ..ServiceAccount::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        accounts.create(&PostParams::default(), &account).await.unwrap();
        if !rules.is_empty() {
            let role = Role { metadata: metadata.clone(), rules: Some(rules.to_vec()) };
            let api: Api<Role> = Api::namespaced(self.client.clone(), namespace);
            api.create(&PostParams::default(), &role).await.unwrap();
            let binding: RoleBinding = serde_json::from_value(json!({
                "metadata": { "name": name },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
            }))
            .unwrap();
            let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), namespace);
            bindings.create(&PostParams::default(), &binding).await.unwrap();
        }
        self.cluster.service_account_token(namespace, name, &["integration-operator"]).await.unwrap()
    }

    /// A service account that may do everything with integrations in `namespace`.
    pub async fn admin_of(&self, namespace: &str) -> String {
        let of = |subresource: &str| format!("projectintegrations/{subresource}");
        let uses = ["install", "credentials", "messages", "actions", "token", "proxy"].map(of);
        let mut everything = vec!["projectintegrations"];
        everything.extend(uses.iter().map(String::as_str));
        self.caller(namespace, "frontend", &[rule(&["*"], &everything)]).await
    }

    /// A cluster provider and the Secret with its client's credentials.
    pub async fn provider(&self, name: &str, client_id: &str, client_secret: &str, spec: Value) {
        self.client_secret(OPERATOR, &format!("{name}-client"), client_id, client_secret, false).await;
        let mut spec = spec;
        spec["clientCredentialsRef"] = json!({ "name": format!("{name}-client") });
        let provider: ClusterIntegrationProvider =
            serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
        let api: Api<ClusterIntegrationProvider> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &provider).await.unwrap();
    }

    /// A tenant's own provider and the Secret with its client's credentials.
    pub async fn own_provider(&self, namespace: &str, name: &str, client: (&str, &str), spec: Value) {
        self.client_secret(namespace, &format!("{name}-client"), client.0, client.1, true).await;
        let mut spec = spec;
        spec["clientCredentialsRef"] = json!({ "name": format!("{name}-client") });
        let provider: IntegrationProvider =
            serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
        let api: Api<IntegrationProvider> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &provider).await.unwrap();
    }

    pub async fn client_secret(&self, namespace: &str, name: &str, client_id: &str, secret: &str, readable: bool) {
        let labels = readable.then(|| json!({ "integrations.tms.dev/readable": "true" }));
        let object: Secret = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels },
            "stringData": { "client_id": client_id, "client_secret": secret },
        }))
        .unwrap();
        self.secrets(namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    pub fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub fn integrations(&self, namespace: &str) -> Api<ProjectIntegration> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The data of a Secret as text; `None` when there is none.
    pub async fn secret(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.secrets(namespace).get_opt(name).await.unwrap()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value.0))).collect())
    }

    /// The grant of an integration as JSON.
    pub async fn grant(&self, namespace: &str, name: &str) -> Option<Value> {
        let grant = integration_operator::grant::store::grant_name(namespace, name);
        let data = self.secret(OPERATOR, &grant).await?;
        Some(serde_json::from_str(&data["grant"]).unwrap())
    }

    pub async fn create(&self, namespace: &str, project: &str, type_: &str, spec: Value) -> ProjectIntegration {
        let mut full = json!({ "tenantId": namespace, "projectId": project, "type": type_ });
        full.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
        let object: ProjectIntegration =
            serde_json::from_value(json!({ "metadata": { "name": format!("{project}.{type_}") }, "spec": full }))
                .unwrap();
        self.integrations(namespace).create(&PostParams::default(), &object).await.unwrap()
    }

    pub async fn annotate(&self, namespace: &str, name: &str, annotation: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { annotation: value } } });
        self.integrations(namespace).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn patch_spec(&self, namespace: &str, name: &str, spec: Value) {
        let patch = json!({ "spec": spec });
        self.integrations(namespace).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Waits until an integration looks right; fails with what it looks like otherwise.
    pub async fn wait(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        check: impl Fn(&ProjectIntegration) -> bool,
    ) -> ProjectIntegration {
        let began = Instant::now();
        loop {
            let found = self.integrations(namespace).get_opt(name).await.unwrap();
            if let Some(found) = found.as_ref().filter(|found| check(found)) {
                return found.clone();
            }
            assert!(
                began.elapsed() < Duration::from_secs(40),
                "{namespace}/{name} did not become {what}: {}",
                serde_json::to_string_pretty(&found.map(|found| found.status)).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn wait_reason(&self, namespace: &str, name: &str, type_: &str, reason: &str) -> ProjectIntegration {
        self.wait(namespace, name, &format!("{type_} {reason}"), |found| condition(found, type_).1 == reason).await
    }

    /// Waits until an integration is gone.
    pub async fn wait_gone(&self, namespace: &str, name: &str) {
        let api = self.integrations(namespace);
        eventually("the integration is gone", async || api.get_opt(name).await.unwrap().is_none()).await;
    }

    /// Asks for an authorization link over HTTP.
    pub async fn install(&self, token: &str, tenant: &str, project: &str, type_: &str) -> String {
        let answer =
            self.get(token, &format!("/v1/tenants/{tenant}/projects/{project}/integrations/{type_}/install")).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body["oauth_url"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, token: &str, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.public_url)).bearer_auth(token).send().await.unwrap()
    }

    /// Connects over HTTP as a browser that calls install itself: it has the cookie and passes straight through.
    pub async fn connect(&self, token: &str, tenant: &str, project: &str, type_: &str) -> Browser {
        let mut browser = Browser::as_user("dev");
        let landed = self.connect_as(&mut browser, token, tenant, project, type_).await;
        assert!(
            landed.contains("status=success") || landed.contains("status=pending"),
            "the browser landed on {landed}"
        );
        browser
    }

    /// The same, with a browser of one's own; returns where it would have gone.
    pub async fn connect_as(
        &self,
        browser: &mut Browser,
        token: &str,
        tenant: &str,
        project: &str,
        type_: &str,
    ) -> String {
        let url = self.install_in(browser, token, tenant, project, type_).await;
        self.walk(browser, &url).await
    }

    /// Calls install with a browser's cookies, and lets it keep those of the answer.
    pub async fn install_in(
        &self,
        browser: &mut Browser,
        token: &str,
        tenant: &str,
        project: &str,
        type_: &str,
    ) -> String {
        let path = format!("/v1/tenants/{tenant}/projects/{project}/integrations/{type_}/install?agent_id=agent-7");
        let answer = self.get(token, &path).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        for cookie in answer.headers().get_all("set-cookie") {
            browser.set_cookie(&self.public_url, cookie.to_str().unwrap());
        }
        answer.json::<Value>().await.unwrap()["oauth_url"].as_str().unwrap().to_owned()
    }

    /// Goes through the pages behind `url` and says yes; returns where the browser would have gone.
    pub async fn walk(&self, browser: &mut Browser, url: &str) -> String {
        browser.consent(url, &[FRONTEND]).await.unwrap().url.to_string()
    }
}

impl Operator {
    /// Waits until `/readyz` says yes.
    pub async fn ready(&self) {
        let http = servers::http_client();
        let began = Instant::now();
        loop {
            if let Ok(answer) = http.get(format!("{}/readyz", self.probes)).send().await
                && answer.status().is_success()
            {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// SIGTERM; waits for the end and returns its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            // It waits for answers for 80 seconds at most.
            assert!(began.elapsed() < Duration::from_secs(95), "did not stop: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let text =
            servers::http_client().get(format!("{}/metrics", self.probes)).send().await.unwrap().text().await.unwrap();
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("--- the operator's last words\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The operator's binary: the one of this build, or the one that `INTEGRATION_OPERATOR` names.
fn program() -> PathBuf {
    let named = std::env::var_os("INTEGRATION_OPERATOR").filter(|named| !named.is_empty());
    named.map_or_else(|| env!("CARGO_BIN_EXE_integration-operator").into(), PathBuf::from)
}

/// Clears away what an earlier world left on a cluster that was named.
async fn clear(client: &kube::Client) {
    let everything = ListParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let integrations: Api<ProjectIntegration> = Api::all(client.clone());
    let off = json!({ "metadata": { "finalizers": null } });
    for integration in integrations.list(&everything).await.map(|found| found.items).unwrap_or_default() {
        let namespace = integration.metadata.namespace.unwrap_or_default();
        let name = integration.metadata.name.unwrap_or_default();
        let api: Api<ProjectIntegration> = Api::namespaced(client.clone(), &namespace);
        let _ = api.patch(&name, &PatchParams::default(), &Patch::Merge(&off)).await;
    }
    let providers: Api<ClusterIntegrationProvider> = Api::all(client.clone());
    let _ = providers.delete_collection(&DeleteParams::default(), &everything).await;
    let ours = async || namespaces.list(&ListParams::default().labels(TEST_LABEL)).await.unwrap().items;
    for namespace in ours().await {
        let _ = namespaces.delete(namespace.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await;
    }
    eventually("what was left is gone", async || ours().await.is_empty()).await;
}

/// CRDs, the operator's namespace and its RBAC, as a person would apply them.
async fn install(client: &kube::Client) {
    let parameters = PatchParams::apply("test").force();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in integration_operator::api::crds() {
        let name = crd.metadata.name.clone().unwrap();
        crds.patch(&name, &parameters, &Patch::Apply(&crd)).await.unwrap();
    }
    for crd in integration_operator::api::crds() {
        let name = crd.metadata.name.unwrap();
        eventually("the CRD is served", async || {
            let found = crds.get(&name).await.unwrap();
            found.status.and_then(|status| status.conditions).is_some_and(|conditions| {
                conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
            })
        })
        .await;
    }
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(OPERATOR.to_owned()),
            labels: Some([(TEST_LABEL.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(OPERATOR, &parameters, &Patch::Apply(&namespace)).await.unwrap();
    apply_yaml(client, include_str!("../../deploy/rbac.yaml")).await;
}

/// Applies a file of several documents.
pub async fn apply_yaml(client: &kube::Client, text: &str) {
    use serde::Deserialize as _;
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = DynamicObject::deserialize(document).unwrap();
        let types = object.types.clone().unwrap();
        let kind = GroupVersionKind::try_from(&types).unwrap();
        let (resource, capabilities) = kube::discovery::pinned_kind(client, &kind).await.unwrap();
        let api: Api<DynamicObject> = if capabilities.scope == kube::discovery::Scope::Cluster {
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), object.metadata.namespace.as_deref().unwrap(), &resource)
        };
        let name = object.metadata.name.clone().unwrap();
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
    eventually_within(Duration::from_secs(40), what, check).await;
}

pub async fn eventually_within(patience: Duration, what: &str, check: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < patience, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Status and reason of a condition; empty where there is none.
pub fn condition(integration: &ProjectIntegration, type_: &str) -> (String, String) {
    integration
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|condition| condition.type_ == type_)
        .map(|condition| (condition.status.clone(), condition.reason.clone()))
        .unwrap_or_default()
}

pub fn is_ready(integration: &ProjectIntegration) -> bool {
    condition(integration, "Ready").0 == "True"
}

pub fn last_refreshed(integration: &ProjectIntegration) -> String {
    integration
        .status
        .as_ref()
        .and_then(|status| status.token.clone())
        .map(|token| token.last_refreshed_at)
        .unwrap_or_default()
}

/// A rule over resources of the project's API group.
pub fn rule(verbs: &[&str], resources: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![integration_operator::api::GROUP.to_owned()]),
        resources: Some(resources.iter().map(ToString::to_string).collect()),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        ..PolicyRule::default()
    }
}

/// The current time as annotations hold it.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A port that nobody listens on, and that the system gives to nobody: those from 32768 on are handed out to outgoing
/// connections and to whoever asks for any, so that one of them may be taken between here and its use.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test processes that run side by side begin at different places.
        let number = std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let port = 20_000 + u16::try_from(number).unwrap();
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return port;
        }
    }
}
