//! `adopt`: has the operator take over a grant of another life of an integration, as after a restored backup.
//!
//! The request is an annotation on the grant itself, in the operator's namespace: who may write there may ask.

use integration_operator::api::{ConditionType, ProjectIntegration, Reason};
use integration_operator::grant::GrantView;
use integration_operator::grant::record::ADOPT;
use integration_operator::grant::store::grant_name;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::args::Adopt;
use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::failure::Failure;
use crate::request::PACE;
use crate::status::{condition, is_true};
use crate::words::sentence;

/// Asks, waits, and says how it went.
pub(crate) async fn run(cluster: &Cluster, adopt: &Adopt) -> Result<(), Failure> {
    let name = &adopt.act.name;
    let integration = cluster.integration(name).await?;
    let uid = integration.uid().unwrap_or_default();
    let grants = Grants { cluster, namespace: &adopt.operator_namespace, name: grant_name(&cluster.namespace, name) };
    let view = grants.view().await?;
    let foreign = view.summary.integration.uid != uid;
    if !foreign && !is_reason(&integration, Reason::ProviderChanged) {
        println!("nothing to adopt: the grant of {name} is its own");
        return Ok(());
    }
    grants.ask(&view, &uid).await?;
    if adopt.act.no_wait {
        println!("asked, on Secret {} in namespace {}", grants.name, grants.namespace);
        return Ok(());
    }
    let deadline = Instant::now() + adopt.act.timeout;
    loop {
        sleep(PACE).await;
        let integration = cluster.integration(name).await?;
        let adopted = grants.view().await?.adopt.is_none();
        let told = !is_reason(&integration, Reason::ForeignGrant) && !is_reason(&integration, Reason::ProviderChanged);
        let settled =
            told && (is_true(&integration, ConditionType::Ready) || is_true(&integration, ConditionType::Stalled));
        let over = Instant::now() >= deadline;
        if adopted && (settled || over) {
            return outcome(&integration);
        }
        if over {
            return Err(Failure::refused(format!(
                "not adopted yet: {}\nThe request stays on the grant; to take it back: kubectl annotate secret {} -n {} {ADOPT}-",
                authorized(&integration),
                grants.name,
                grants.namespace
            )));
        }
    }
}

struct Grants<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    name: String,
}

impl Grants<'_> {
    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client.clone(), self.namespace)
    }

    fn called(&self) -> String {
        format!("the grant (Secret {} in namespace {})", self.name, self.namespace)
    }

    /// By its metadata: the credentials are none of this tool's business.
    async fn view(&self) -> Result<GrantView, Failure> {
        let found = self.api().get_metadata(&self.name).await.map_err(|error| {
            match Failure::api("get", self.called(), error) {
                Failure::NotFound { what } => Failure::refused(format!(
                    "{what} is not there, so there is nothing to adopt: restore it from the backup, or connect again"
                )),
                failure => failure,
            }
        })?;
        GrantView::from_metadata(&found.metadata).map_err(|error| Failure::refused(error.to_string()))
    }

    async fn ask(&self, view: &GrantView, uid: &str) -> Result<(), Failure> {
        let patch = json!({ "metadata": {
            "uid": view.uid,
            "resourceVersion": view.resource_version,
            "annotations": { ADOPT: uid },
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.api()
            .patch_metadata(&self.name, &params, &Patch::Merge(&patch))
            .await
            .map(|_| ())
            .map_err(|error| Failure::api("patch", self.called(), error))
    }
}

fn is_reason(integration: &ProjectIntegration, reason: Reason) -> bool {
    condition(integration, ConditionType::Authorized).is_some_and(|condition| condition.reason == reason.as_str())
}

fn authorized(integration: &ProjectIntegration) -> String {
    condition(integration, ConditionType::Authorized)
        .map_or_else(|| "the operator says nothing".to_owned(), |condition| sentence(&condition.message))
}

fn outcome(integration: &ProjectIntegration) -> Result<(), Failure> {
    if is_true(integration, ConditionType::Ready) {
        println!("adopted, and ready");
        return Ok(());
    }
    let ready = condition(integration, ConditionType::Ready);
    let why = ready.map_or_else(
        || authorized(integration),
        |condition| format!("{}: {}", condition.reason, sentence(&condition.message)),
    );
    Err(Failure::refused(format!("adopted, but not ready: {why}")))
}
