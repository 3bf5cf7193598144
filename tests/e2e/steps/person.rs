//! Connecting as a person does: the link from the Secret, the pages of the app, and the page of the operator at the end.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::person::visit;
use crate::shell::output;
use crate::stage::{Stage, condition, until};
use crate::voice::say;

/// The app.
const TYPE: &str = "login";

/// Connects a project of `tenant`, asked for by annotation, in Chromium.
pub(crate) async fn connect(stage: &Stage, tenant: &str, project: &str) -> Result<()> {
    stage.namespace(tenant, true).await?;
    stage.integration(tenant, project, TYPE).await?;
    let name = format!("{project}.{TYPE}");
    let asked = format!("integrations.tms.dev/connect-requested-at={}", jiff::Timestamp::now());
    output(stage.cluster.kubectl().args(["annotate", "integration", &name, "-n", tenant, &asked])).await?;
    let link = until("the link is there", async || link(stage, tenant, &name).await).await?;
    let picture = stage.directory.join(format!("connected-{tenant}.png"));
    let visit = visit(&link, "ada", &stage.plan, &picture).await?;
    for page in &visit.trail {
        say(format_args!("  {page}"));
    }
    say(format_args!("the last page, “{}”: {} {}", visit.title, visit.heading, visit.text.replace('\n', " ")));
    ensure!(visit.status == Some(200) && visit.url.ends_with("/callback"), "the browser ended on {visit:?}");
    let found = until("the integration is ready", async || {
        let found = stage.integrations(tenant).get(&name).await?;
        Ok((condition(&found, "Ready").0 == "True").then_some(found))
    })
    .await?;
    let metadata = found.status.map(|status| status.metadata).unwrap_or_default();
    ensure!(metadata.get("subject").is_some_and(|subject| subject == "ada"), "the account is {metadata:?}");
    say(output(stage.cluster.kubectl().args(["get", "integration", "-n", tenant])).await?.trim_end());
    Ok(())
}

/// The link, from the Secret that the status names.
async fn link(stage: &Stage, tenant: &str, name: &str) -> Result<Option<String>> {
    let found = stage.integrations(tenant).get(name).await?;
    let Some(authorization) = found.status.and_then(|status| status.authorization) else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), tenant);
    let secret = secrets.get(&authorization.secret_name).await?;
    // As kubectl prints it, and a person decodes it.
    let value = serde_json::to_value(secret.data.unwrap_or_default())?;
    let encoded = value["url"].as_str().context("the Secret has no url")?;
    Ok(Some(String::from_utf8(STANDARD.decode(encoded)?)?))
}
