//! What breaks by itself: a Pod is killed, the API server is killed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::Api;

use crate::chart::RELEASE;
use crate::crowd;
use crate::shell::output;
use crate::stage::{OPERATOR, Stage, until};
use crate::voice::say;

/// The uid of the Pod that reconciles.
async fn leader(stage: &Stage) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), OPERATOR);
    let lease = leases.get(RELEASE).await?;
    lease.spec.and_then(|spec| spec.holder_identity).context("nobody holds the Lease")
}

/// Kills the Pod that reconciles, at once; another has to go on.
pub(crate) async fn kill_leader(stage: &Stage) -> Result<()> {
    let holder = leader(stage).await?;
    let pods = stage.pods().await?;
    let pod = pods.iter().find(|pod| pod.uid().as_deref() == Some(holder.as_str()));
    let name = pod.context("the holder of the Lease is none of the Pods")?.name_any();
    let (since, began) = (Timestamp::now(), Instant::now());
    output(stage.cluster.kubectl().args(["delete", "pod", &name, "-n", OPERATOR, "--grace-period=0", "--force"]))
        .await?;
    until("another Pod reconciles", async || {
        Ok(Some(leader(stage).await?).filter(|now| *now != holder && !now.is_empty()))
    })
    .await?;
    say(format_args!("{name} was killed; another reconciles after {:.1} s", began.elapsed().as_secs_f64()));
    crowd::audit(stage, since).await?;
    until("there are three Pods again", async || Ok(Some(ready_pods(stage).await?).filter(|count| *count == 3)))
        .await?;
    Ok(())
}

pub(crate) async fn ready_pods(stage: &Stage) -> Result<usize> {
    let is_ready = |pod: &k8s_openapi::api::core::v1::Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    Ok(stage.pods().await?.iter().filter(|pod| is_ready(pod)).count())
}

/// Kills the API server, which comes back by itself.
pub(crate) async fn kill_api_server(stage: &Stage) -> Result<()> {
    let (since, began) = (Timestamp::now(), Instant::now());
    if !stage.cluster.kill_api_server().await? {
        say("skipped: the API server of this cluster is not ours to kill");
        return Ok(());
    }
    // It has to be gone before it can be back.
    tokio::time::sleep(Duration::from_millis(500)).await;
    until("the API server answers", async || Ok(Some(stage.client.apiserver_version().await?.git_version))).await?;
    say(format_args!("the API server answers again after {:.1} s", began.elapsed().as_secs_f64()));
    crowd::audit(stage, since).await?;
    let restarts: i32 = stage
        .pods()
        .await?
        .iter()
        .flat_map(|pod| pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()))
        .map(|container| container.restart_count)
        .sum();
    ensure!(restarts == 0, "Pods of the operator were restarted {restarts} times");
    say("no Pod of the operator was restarted");
    Ok(())
}
