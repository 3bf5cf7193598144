//! The story, step by step.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use integration_operator::api::{ClusterIntegrationProvider, ProjectIntegration};
use integration_operator::grant::record::GrantView;
use integration_operator::grant::store::grant_name;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::Value;

use crate::browser::{self, Names};
use crate::cluster::binaries::Environment;
use crate::cluster::{Cluster, Options, Part};
use crate::objects::{self, Credentials, FRONTEND, INTEGRATION, OPERATOR, TENANT, WORKLOAD};
use crate::operator::{Operator, USUAL_PORT};
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::stage::Stage;
use crate::voice::{clock, line, moment, say, step};
use crate::workload::{Token, Workload};

/// Seconds that an access token lives: short, so that one can watch it being refreshed.
const LIFETIME: u32 = 20;
const REFRESHES: usize = 2;

/// All steps, up to the point from which the reader goes on alone.
pub(crate) async fn all(stage: &mut Stage, keep_dir: Option<PathBuf>) -> Result<()> {
    line("A project is connected to an app, and its token is kept alive, on a Kubernetes control plane of its own.");
    line("It takes about a minute. Times are UTC; a token is shown as four digits of its hash.");
    control_plane(stage, keep_dir).await?;
    app(stage).await?;
    operator(stage).await?;
    connect(stage).await?;
    let workload = look(stage).await?;
    refreshes(stage, &workload).await
}

async fn control_plane(stage: &mut Stage, keep_dir: Option<PathBuf>) -> Result<()> {
    step(1, "A control plane");
    // Never in somebody else's cluster: what is applied here is not meant to stay.
    let mut environment = Environment::current()?;
    if environment.test_kubeconfig.take().is_some() {
        say("TEST_KUBECONFIG is not used: the demo has a control plane of its own");
    }
    let began = Instant::now();
    let cluster = Cluster::start_in(&environment, Options { keep_dir, ..Options::default() }).await?;
    let cluster = stage.cluster.insert(cluster);
    let client = cluster.client()?;
    let version = client.apiserver_version().await?.git_version;
    let seconds = began.elapsed().as_secs_f64();
    say(format_args!("Kubernetes {version} from {}, ready after {seconds:.1} s", cluster.origin()));
    if !cluster.has(Part::ControllerManager) {
        say("it has no controller manager: namespaces stay when they are deleted, and so does what is owned");
    }
    for definition in objects::definitions(&client).await? {
        say(format_args!("applied  CustomResourceDefinition {definition}"));
    }
    cluster.follow_owners_of(integration_operator::api::GROUP).await?;
    objects::operator(&client).await?;
    say(format_args!("applied  Namespace {OPERATOR}, and in it what the operator may do (deploy/rbac.yaml)"));
    objects::tenant(&client).await?;
    say(format_args!("applied  Namespace {TENANT}, labelled as the tenant “{TENANT}”"));
    say(format_args!("applied  ServiceAccount {FRONTEND}, which may connect apps (examples/rbac.yaml)"));
    say(format_args!("applied  ServiceAccount {WORKLOAD}, which may read the Secret {INTEGRATION} and nothing else"));
    Ok(())
}

async fn app(stage: &mut Stage) -> Result<()> {
    step(2, "A third-party app");
    let credentials = Credentials::new();
    let sandbox = Sandbox::try_start(SandboxOptions {
        client_id: credentials.id.clone(),
        client_secret: credentials.secret.clone(),
        access_token_lifetime: Some(LIFETIME),
        ..SandboxOptions::default()
    })?;
    say(format_args!("the sandbox, a strict OAuth 2.0 provider with a small API, listens on {}", sandbox.base_url));
    say(format_args!("its access tokens live {LIFETIME} s; a refresh token is good once, and used twice it ends all"));
    objects::provider(&stage.cluster()?.client()?, &sandbox, &credentials).await?;
    say("applied  Secret sandbox-client, the app's client id and client secret");
    say("applied  ClusterIntegrationProvider sandbox, which describes the app: addresses, scopes, no code");
    stage.sandbox = Some(sandbox);
    Ok(())
}

async fn operator(stage: &mut Stage) -> Result<()> {
    step(3, "The operator");
    let began = Instant::now();
    let cluster = stage.cluster()?;
    let client = cluster.client()?;
    let kubeconfig = cluster.service_account_kubeconfig(OPERATOR, "integration-operator", &[]).await?;
    let operator = Operator::start(&kubeconfig, cluster.directory())?;
    let (url, probes) = (operator.url.clone(), operator.probes.clone());
    stage.operator = Some(operator);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let ready = async || Ok(http.get(format!("{probes}/readyz")).send().await?.status().is_success().then_some(()));
    stage.until("the operator is ready", ready).await?;
    say(format_args!("runs with its own service account and is ready after {:.1} s", began.elapsed().as_secs_f64()));
    if url.ends_with(&format!(":{USUAL_PORT}")) {
        say(format_args!("people and apps reach it at {url}"));
    } else {
        say(format_args!("people and apps reach it at {url}, as port {USUAL_PORT} is taken"));
    }
    let providers: Api<ClusterIntegrationProvider> = Api::all(client);
    let callback = async || {
        let status = serde_json::to_value(providers.get("sandbox").await?.status)?;
        Ok(is_ready(&status).then(|| status["callbackURL"].as_str().unwrap_or_default().to_owned()))
    };
    let callback = stage.until("the app's description is ready", callback).await?;
    say(format_args!("it takes the description as sound; the callback to register at the app is"));
    say(format_args!("{callback}"));
    Ok(())
}

async fn connect(stage: &Stage) -> Result<()> {
    step(4, "Connecting project “web”");
    let (operator, sandbox) = (stage.operator()?, stage.sandbox()?);
    let token = stage.cluster()?.service_account_token(TENANT, FRONTEND, &["integration-operator"]).await?;
    let path = format!("/v1/tenants/{TENANT}/projects/web/integrations/sandbox/install");
    say("the frontend asks for a link, with a token of its service account:");
    say(format_args!("operator  GET   {path}"));
    let http = reqwest::Client::builder().no_proxy().build()?;
    let request = http.get(format!("{}{path}?agent_id=ada", operator.url)).bearer_auth(token);
    let answer = request.send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    let link = body["oauth_url"].as_str().with_context(|| format!("install answers {status}: {}", body["error"]))?;
    say("a person opens the link in a browser:");
    browser::connect(link, &Names { operator: &operator.url, app: &sandbox.base_url }).await
}

async fn look(stage: &mut Stage) -> Result<Workload> {
    step(5, "The connection");
    let client = stage.cluster()?.client()?;
    let integrations: Api<ProjectIntegration> = Api::namespaced(client, TENANT);
    let ready = async || {
        let status = serde_json::to_value(integrations.get(INTEGRATION).await?.status)?;
        Ok(is_ready(&status).then_some(status))
    };
    let status = stage.until("the integration is ready", ready).await?;
    say(format_args!("ProjectIntegration {INTEGRATION} in namespace {TENANT}, and what its status says:"));
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let word = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let (kind, status, reason) = (word("type"), word("status"), word("reason"));
        say(format_args!("  {kind:<11} {status:<6} {reason:<10} {}", word("message")));
    }

    let cluster = stage.cluster()?;
    let kubeconfig = cluster.service_account_kubeconfig(TENANT, WORKLOAD, &[]).await?;
    let workload = Workload::new(&kubeconfig, &stage.sandbox()?.base_url).await?;
    let token = workload.token().await?;
    say(format_args!("Secret {INTEGRATION}, which a workload mounts:"));
    for (key, value) in &token.data {
        let shown = if key == "access_token" { format!("(token {})", token.fingerprint()) } else { value.clone() };
        say(format_args!("  {key:<14} {shown}"));
    }
    ensure!(!token.data.contains_key("refresh_token"), "the refresh token lies in the tenant's namespace");
    say(format_args!("The refresh token is not in it: that never leaves the namespace {OPERATOR}."));
    let id = workload.post(&token, "Hello from the demo").await?;
    let count = workload.count(&token).await?;
    say(format_args!("{WORKLOAD} posts to /api/messages with the token: message {id}; the workspace now has {count}"));
    Ok(workload)
}

async fn refreshes(stage: &mut Stage, workload: &Workload) -> Result<()> {
    step(6, "The token is refreshed before it expires");
    let client = stage.cluster()?.client()?;
    let grants: Api<Secret> = Api::namespaced(client.clone(), OPERATOR);
    let integrations: Api<ProjectIntegration> = Api::namespaced(client, TENANT);
    let generation = async || -> Result<u64> {
        let metadata = grants.get_metadata(&grant_name(TENANT, INTEGRATION)).await?.metadata;
        Ok(GrantView::from_metadata(&metadata)?.summary.generation)
    };
    let mut token = workload.token().await?;
    let status = integrations.get(INTEGRATION).await?.status.unwrap_or_default();
    let next = status.token.and_then(|token| token.next_refresh_at).unwrap_or_default();
    say(format_args!("{}  generation {}  token {}", clock(Timestamp::now()), generation().await?, token.fingerprint()));
    say(format_args!("          expires at {}, to be refreshed at {}", moment(token.expires_at()), moment(&next)));
    for _ in 0..REFRESHES {
        let old = token.fingerprint();
        let renewed = async || {
            let found: Token = workload.token().await?;
            Ok((found.fingerprint() != old).then_some(found))
        };
        token = stage.until("the token is refreshed", renewed).await?;
        let at = clock(Timestamp::now());
        let id = workload.post(&token, "Still here").await?;
        say(format_args!("{at}  generation {}  token {old} became {}", generation().await?, token.fingerprint()));
        say(format_args!("          expires at {}; the app takes it: message {id}", moment(token.expires_at())));
    }
    let ledger = stage.sandbox()?.ledger();
    ensure!(ledger.grants.iter().all(|grant| grant.ended.is_none()), "the app ended the grant");
    Ok(())
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
