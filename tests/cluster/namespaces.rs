//! Namespaces for tests: each has a name of its own, so that tests share a cluster and can be run
//! again in one that stays. There, those of earlier runs are deleted after an hour.

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Cluster;

const LABEL: &str = "integration-operator.test/throwaway";
const OLD_SECONDS: i64 = 60 * 60;

impl Cluster {
    /// Makes a namespace whose name begins with `prefix`, and gives its name.
    pub async fn create_namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {LABEL: "true"}}}))?;
        let namespaces: Api<Namespace> = Api::all(self.client()?);
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot make the namespace {name}"))?;
        Ok(name)
    }

    /// Deletes what earlier runs left in a cluster that stays.
    pub(super) async fn delete_old_namespaces(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client()?);
        let found = namespaces.list(&ListParams::default().labels(&format!("{LABEL}=true"))).await?;
        let now = Timestamp::now().as_second();
        for namespace in found {
            let created = namespace.creation_timestamp().map_or(now, |time| time.0.as_second());
            if now - created > OLD_SECONDS {
                // Another run may have been faster.
                let _ = namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await;
            }
        }
        Ok(())
    }
}
