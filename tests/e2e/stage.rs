//! What runs, and how one asks it something.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use integration_operator::api::ProjectIntegration;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams, LogParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::chart::RELEASE;
use crate::cluster::{Choice, Cluster};
use crate::crowd::LIFETIME;
use crate::edge::{Edge, Plan};
use crate::images::{Image, Images};
use crate::programs::Programs;
use crate::sandbox::{Consent, Sandbox, SandboxOptions};
use crate::servers::{OidcClient, OidcOptions, OidcProvider, available};
use crate::shell::output;
use crate::voice::{line, say, step};

/// The operator's namespace.
pub(crate) const OPERATOR: &str = "integration-operator";
/// How long anything may take that a person would wait for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// All that runs.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) images: Images,
    pub(crate) plan: Plan,
    pub(crate) edge: Option<Edge>,
    /// A strict authorization server that others wrote: where the person connects.
    pub(crate) oidc: OidcProvider,
    /// A strict authorization server that keeps books: where the crowd connects.
    pub(crate) sandbox: Sandbox,
    pub(crate) directory: PathBuf,
    /// Last, so that it outlives what uses it.
    pub(crate) cluster: Cluster,
}

impl Stage {
    /// Builds the images, starts the cluster, and the OAuth servers where its Pods reach them.
    pub(crate) async fn set(choice: &Choice, directory: &Path, keep: bool) -> Result<Self> {
        anyhow::ensure!(available(), "Node 20 or newer is needed");
        step("Programs and images");
        let programs = Programs::get(choice).await?;
        let images = Images::make(&directory.join("images")).await?;
        for image in [&images.operator, &images.next].into_iter().filter(|image| image.archive.is_file()) {
            say(format_args!("{}: {:.1} MB", image.reference, image.size()? as f64 / 1e6));
        }

        step("A cluster");
        let began = Instant::now();
        let cluster = Cluster::start(choice, &programs, &images.pause, &directory.join("cluster"), keep).await?;
        let config = Kubeconfig::read_from(&cluster.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        say(output(cluster.kubectl().args(["get", "nodes", "-o", "wide"])).await?.trim_end());
        say(format_args!("ready after {:.0} s", began.elapsed().as_secs_f64()));
        for image in [&images.operator, &images.next, &images.pod] {
            cluster.load(image).await.with_context(|| format!("cannot load {}", image.reference))?;
        }

        let plan = Plan::new()?;
        let callback = format!("{}/api/public/integrations/login/callback", plan.public_url());
        let options = OidcOptions {
            clients: vec![OidcClient::new(&callback)],
            access_ttl_seconds: 300,
            host: cluster.host,
            ..OidcOptions::default()
        };
        let oidc = OidcProvider::start(options).await;
        let sandbox = Sandbox::try_start(SandboxOptions {
            listen: SocketAddr::new(cluster.host, 0),
            redirect_uris: vec![format!("{}/api/public/integrations/crowd/callback", plan.public_url())],
            consent: Consent::Allow(None),
            access_token_lifetime: Some(LIFETIME),
            ..SandboxOptions::default()
        })?;
        say(format_args!("OAuth servers: oidc-provider at {}, the sandbox at {}", oidc.issuer, sandbox.base_url));
        Ok(Self { client, images, plan, edge: None, oidc, sandbox, directory: directory.to_owned(), cluster })
    }

    /// What the chart is installed with.
    pub(crate) fn values(&self, image: &Image) -> Value {
        json!({
            "image": { "repository": image.repository(), "tag": image.tag(), "pullPolicy": "IfNotPresent" },
            "replicaCount": 3,
            "publicUrl": self.plan.public_url(),
            "allowInsecureProviderHosts": [self.cluster.host.to_string()],
            "log": { "level": "info", "format": "json" },
            "service": { "type": "NodePort" },
            "ingress": { "enabled": true },
            "providerRequestsPerSecond": 500,
            // Where policies are enforced, the OAuth servers of this machine have to be within reach.
            "networkPolicy": { "providerPorts": [port(&self.oidc.issuer), port(&self.sandbox.base_url)] },
            "providers": [
                { "name": "login", "existingSecret": "login-client", "spec": self.login() },
                { "name": "crowd", "existingSecret": "crowd-client", "spec": self.crowd() },
            ],
        })
    }

    fn login(&self) -> Value {
        json!({
            "displayName": "Login",
            "oauth2": {
                "issuer": self.oidc.issuer,
                "scopes": ["openid", "offline_access"],
                "authorizationParams": { "prompt": "consent" },
                "grantIdentity": "identity.sub",
            },
            "metadata": { "subject": "identity.sub" },
        })
    }

    fn crowd(&self) -> Value {
        let base = &self.sandbox.base_url;
        json!({
            "displayName": "Crowd",
            "oauth2": {
                "authorizationURL": format!("{base}/authorize"),
                "tokenURL": format!("{base}/token"),
                "revocationURL": format!("{base}/revoke"),
                "scopes": ["messages:read"],
            },
        })
    }

    /// Applies objects, as a person would with kubectl.
    pub(crate) async fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let mut kubectl = self.cluster.kubectl();
        kubectl.args(["apply", "--server-side", "-f", "-"]).stdin(std::process::Stdio::piped());
        kubectl.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = kubectl.spawn()?;
        child.stdin.take().context("no standard input")?.write_all(list.as_bytes()).await?;
        let done = child.wait_with_output().await?;
        anyhow::ensure!(done.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// A namespace, a tenant's where one is given.
    pub(crate) async fn namespace(&self, name: &str, tenant: bool) -> Result<()> {
        let mut labels = json!({});
        if tenant {
            labels["integrations.tms.dev/tenant"] = json!(name);
        }
        self.apply(&[
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } }),
        ])
        .await
    }

    /// An integration of a tenant that is named like its namespace.
    pub(crate) async fn integration(&self, namespace: &str, project: &str, type_: &str) -> Result<()> {
        self.apply(&[json!({
            "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
            "metadata": { "name": format!("{project}.{type_}"), "namespace": namespace },
            "spec": { "tenantId": namespace, "projectId": project, "type": type_ },
        })])
        .await
    }

    pub(crate) fn integrations(&self, namespace: &str) -> Api<ProjectIntegration> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The operator's Pods that are not on their way out.
    pub(crate) async fn pods(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR);
        let found = api.list(&ListParams::default().labels("app.kubernetes.io/name=integration-operator")).await?;
        let runs = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && !pod.name_any().contains("cleanup");
        Ok(found.into_iter().filter(runs).collect())
    }

    /// The address on the node of the operator's port for people and apps.
    pub(crate) async fn on_node(&self) -> Result<String> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), OPERATOR);
        let ports = services.get(RELEASE).await?.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports.iter().find(|port| port.name.as_deref() == Some("http")).and_then(|port| port.node_port);
        Ok(format!("http://{}:{}", self.cluster.node, port.context("the Service has no port on the node")?))
    }

    /// Shows the end of the operator's logs, for whoever has to find out.
    pub(crate) async fn say_what_pods_say(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR);
        let found = pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        for pod in found {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            line(format_args!("--- Pod {} ({phase})", pod.name_any()));
            let parameters = LogParams { tail_lines: Some(25), ..LogParams::default() };
            if let Ok(log) = pods.logs(&pod.name_any(), &parameters).await {
                line(log);
            }
        }
    }
}

/// The port of an address.
fn port(url: &str) -> u16 {
    url::Url::parse(url).ok().and_then(|url| url.port()).unwrap_or(443)
}

/// Asks until there is an answer.
pub(crate) async fn until<T: Debug>(what: &str, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let why = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if Instant::now() > deadline {
            bail!("waited {} s in vain until {what}{why}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The status of a condition, `Unknown` where there is none, with its reason.
pub(crate) fn condition(found: &ProjectIntegration, type_: &str) -> (String, String) {
    let conditions = found.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == type_)
        .map(|condition| (condition.status.clone(), condition.reason.clone()))
        .next()
        .unwrap_or_else(|| ("Unknown".to_owned(), String::new()))
}
