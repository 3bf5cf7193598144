//! What is applied to the cluster, as a person would with kubectl.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration_operator::api::{ClusterIntegrationProvider, TENANT_LABEL};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// The operator's namespace.
pub(crate) const OPERATOR: &str = "integration-operator";
/// The tenant, and its namespace.
pub(crate) const TENANT: &str = "acme";
/// Who calls the operator's HTTP API.
pub(crate) const FRONTEND: &str = "frontend";
/// Who uses the token.
pub(crate) const WORKLOAD: &str = "notifier";
/// The integration: project `web`, app `sandbox`.
pub(crate) const INTEGRATION: &str = "web.sandbox";

const CLIENT_ID: &str = "demo-client";
const ESTABLISHED_WITHIN: Duration = Duration::from_mins(1);

/// The credentials of the app's OAuth client; new ones for each demo.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        Self { id: CLIENT_ID.to_owned(), secret: uuid::Uuid::new_v4().simple().to_string() }
    }
}

/// The kinds of objects that the operator brings; their names.
pub(crate) async fn definitions(client: &kube::Client) -> Result<Vec<String>> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    for definition in integration_operator::api::crds() {
        let name = definition.metadata.name.clone().context("a definition without name")?;
        api.patch(&name, &manager(), &Patch::Apply(&definition))
            .await
            .with_context(|| format!("cannot apply {name}"))?;
        names.push(name);
    }
    let deadline = Instant::now() + ESTABLISHED_WITHIN;
    for name in &names {
        while !is_established(&api.get(name).await?) {
            ensure!(Instant::now() < deadline, "{name} is not served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(names)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// The operator's namespace, and what it may do.
pub(crate) async fn operator(client: &kube::Client) -> Result<()> {
    namespace(client, OPERATOR, &json!({})).await?;
    documents(client, include_str!("../../deploy/rbac.yaml")).await
}

/// The tenant's namespace, and in it a frontend and a workload with the rights of such.
pub(crate) async fn tenant(client: &kube::Client) -> Result<()> {
    namespace(client, TENANT, &json!({ TENANT_LABEL: TENANT })).await?;
    documents(client, include_str!("../../examples/rbac.yaml")).await?;
    let metadata = json!({ "name": WORKLOAD });
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": metadata }))?;
    let role: Role = serde_json::from_value(json!({
        "metadata": metadata,
        "rules": [{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [INTEGRATION], "verbs": ["get"] }],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": WORKLOAD },
        "subjects": [{ "kind": "ServiceAccount", "name": WORKLOAD, "namespace": TENANT }],
    }))?;
    let of = || client.clone();
    Api::<ServiceAccount>::namespaced(of(), TENANT).patch(WORKLOAD, &manager(), &Patch::Apply(&account)).await?;
    Api::<Role>::namespaced(of(), TENANT).patch(WORKLOAD, &manager(), &Patch::Apply(&role)).await?;
    Api::<RoleBinding>::namespaced(of(), TENANT).patch(WORKLOAD, &manager(), &Patch::Apply(&binding)).await?;
    Ok(())
}

/// The description of the app, and the Secret of its OAuth client.
pub(crate) async fn provider(client: &kube::Client, sandbox: &Sandbox, credentials: &Credentials) -> Result<()> {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "sandbox-client" },
        "stringData": { "client_id": credentials.id, "client_secret": credentials.secret },
    }))?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), OPERATOR);
    secrets.patch("sandbox-client", &manager(), &Patch::Apply(&secret)).await?;
    let provider: ClusterIntegrationProvider =
        serde_json::from_value(json!({ "metadata": { "name": "sandbox" }, "spec": description(&sandbox.base_url) }))?;
    let providers: Api<ClusterIntegrationProvider> = Api::all(client.clone());
    providers.patch("sandbox", &manager(), &Patch::Apply(&provider)).await.context("cannot apply the description")?;
    Ok(())
}

fn description(base: &str) -> Value {
    json!({
        "displayName": "Sandbox",
        "clientCredentialsRef": { "name": "sandbox-client" },
        "oauth2": {
            "authorizationURL": format!("{base}/authorize"),
            "tokenURL": format!("{base}/token"),
            "revocationURL": format!("{base}/revoke"),
            "userinfoURL": format!("{base}/userinfo"),
            "scopes": ["messages:read", "messages:write"],
            "grantIdentity": "response.workspace.id",
        },
        "metadata": { "workspaceId": "response.workspace.id", "workspaceName": "response.workspace.name" },
    })
}

async fn namespace(client: &kube::Client, name: &str, labels: &Value) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }))?;
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(name, &manager(), &Patch::Apply(&namespace)).await.with_context(|| format!("cannot apply {name}"))?;
    Ok(())
}

/// Applies a file of several documents.
async fn documents(client: &kube::Client, text: &str) -> Result<()> {
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = DynamicObject::deserialize(document)?;
        let types = object.types.clone().context("a document without kind")?;
        let name = object.metadata.name.clone().context("a document without name")?;
        let (resource, capabilities) = pinned_kind(client, &GroupVersionKind::try_from(&types)?).await?;
        let namespace = object.metadata.namespace.as_deref();
        let api: Api<DynamicObject> = match (capabilities.scope, namespace) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
            _ => Api::all_with(client.clone(), &resource),
        };
        let applied = api.patch(&name, &manager(), &Patch::Apply(&object)).await;
        applied.with_context(|| format!("cannot apply {} {name}", types.kind))?;
    }
    Ok(())
}

fn manager() -> PatchParams {
    PatchParams::apply("demo").force()
}
