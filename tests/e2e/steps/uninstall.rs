//! The uninstall: nothing is stuck afterwards, and nothing is left but what was said.

use std::time::Instant;

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::chart::{self, RELEASE};
use crate::crowd;
use crate::shell::output;
use crate::stage::{OPERATOR, Stage, until};
use crate::voice::say;

/// Takes the release away, and then the tenants.
pub(crate) async fn uninstall(stage: &Stage) -> Result<()> {
    let began = Instant::now();
    chart::uninstall(&stage.cluster, OPERATOR).await?;
    say(format_args!("helm uninstall --wait: done after {:.1} s", began.elapsed().as_secs_f64()));
    let all: Api<integration_operator::api::ProjectIntegration> = Api::all(stage.client.clone());
    let found = all.list(&ListParams::default()).await?;
    let held = found.iter().filter(|integration| !integration.finalizers().is_empty()).count();
    say(format_args!("{} integrations are still there; {held} of them hold a finalizer", found.items.len()));
    ensure!(held == 0, "integrations are stuck");
    let living = stage.sandbox.ledger().grants.iter().filter(|grant| grant.ended.is_none()).count();
    say(format_args!("{living} grants are alive at the app, since nobody asked to revoke them"));
    ensure!(living > 0, "an uninstall must not revoke by itself");

    let began = Instant::now();
    for tenant in ["acme", crowd::TENANT] {
        output(stage.cluster.kubectl().args(["delete", "namespace", tenant, "--timeout=120s"])).await?;
    }
    say(format_args!("the tenants' namespaces are gone after {:.1} s", began.elapsed().as_secs_f64()));
    left(stage).await
}

/// What is left of the release: the definitions, and what the operator held.
async fn left(stage: &Stage) -> Result<()> {
    let kinds = output(stage.cluster.kubectl().args(["api-resources", "--verbs=list", "-o", "name"])).await?;
    let kinds: Vec<&str> =
        kinds.lines().filter(|kind| !kind.starts_with("events") && !kind.contains("metrics")).collect();
    let label = format!("app.kubernetes.io/instance={RELEASE}");
    let select = ["get", &kinds.join(","), "-A", "-l", &label, "-o", "name"];
    let ours = until("what is going is gone", async || {
        let ours = output(stage.cluster.kubectl().args(select)).await?;
        let rest = ours.lines().filter(|name| !name.starts_with("customresourcedefinition")).count();
        Ok((rest == 0).then_some(ours))
    })
    .await?;
    say(format_args!("left of the release:\n{}", ours.trim_end()));
    let list = ["get", "secrets,leases,configmaps", "-n", OPERATOR, "-o", "name"];
    let others = output(stage.cluster.kubectl().args(list)).await?;
    let (grants, rest): (Vec<_>, Vec<_>) = others.lines().partition(|name| name.contains("/grant-"));
    say(format_args!("left in {OPERATOR}: {} grants, and {}", grants.len(), rest.join(", ")));
    Ok(())
}
