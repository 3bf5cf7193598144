//! Another image and a changed definition, and back again, while two hundred projects are refreshed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;

use crate::chart;
use crate::crowd;
use crate::images::Image;
use crate::sandbox::{Effect, Fault};
use crate::stage::{OPERATOR, Stage, until};
use crate::voice::say;

/// Refreshes that the app takes its time for, so that some are on their way whenever a Pod stops.
const SLOW: u32 = 12;

/// Upgrades, and looks that nothing was lost and nobody turned away.
pub(crate) async fn upgrade(stage: &Stage) -> Result<()> {
    let chart = chart::next(&stage.directory)?;
    let values = stage.values(&stage.images.next);
    let doorbell = Doorbell::ring(stage)?;
    stage.sandbox.fault(Fault::new(Effect::Delay { millis: 4_000 }).on_refresh().times(SLOW));
    let (since, began) = (Timestamp::now(), Instant::now());
    chart::apply(&stage.cluster, "upgrade", OPERATOR, &chart, &values, &stage.directory).await?;
    told(stage, since, began, doorbell, &stage.images.next, true).await
}

/// Goes back to the first revision.
pub(crate) async fn roll_back(stage: &Stage) -> Result<()> {
    let doorbell = Doorbell::ring(stage)?;
    stage.sandbox.fault(Fault::new(Effect::Delay { millis: 4_000 }).on_refresh().times(SLOW));
    let (since, began) = (Timestamp::now(), Instant::now());
    chart::rollback(&stage.cluster, OPERATOR, 1).await?;
    told(stage, since, began, doorbell, &stage.images.operator, false).await
}

async fn told(
    stage: &Stage,
    since: Timestamp,
    began: Instant,
    doorbell: Doorbell,
    image: &Image,
    has_column: bool,
) -> Result<()> {
    let took = began.elapsed().as_secs_f64();
    say(format_args!("rolled out to {} after {took:.1} s", image.reference));
    // Old Pods may still wait for what is on its way.
    until("all Pods run that image", async || {
        let pods = stage.pods().await?;
        let containers = pods.iter().flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers));
        let right = containers.filter(|container| container.image.as_ref() == Some(&image.reference)).count();
        Ok((pods.len() == 3 && right == 3).then_some(()))
    })
    .await?;
    let account = crowd::audit(stage, since).await?;
    let worst = account.late[2];
    ensure!(worst <= took.max(30.0), "a refresh was late by {worst:.1} s, the rollout took {took:.1} s");
    let (calls, missed) = doorbell.stop();
    say(format_args!("{calls} visits through the edge meanwhile, {missed} of them not answered by the operator"));
    ensure!(missed == 0, "people were turned away during the rollout");
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    let definition = definitions.get("projectintegrations.integrations.tms.dev").await?;
    let columns =
        definition.spec.versions.iter().flat_map(|version| version.additional_printer_columns.iter().flatten());
    let found = columns.into_iter().any(|column| column.name == "Suspended");
    ensure!(found == has_column, "the definition's new column: {found}, should be {has_column}");
    say(if has_column { "the definition has the new column" } else { "the definition is as it was" });
    Ok(())
}

/// Visits the operator through the edge, ten times a second.
struct Doorbell {
    counts: Arc<(AtomicUsize, AtomicUsize, AtomicBool)>,
}

impl Doorbell {
    fn ring(stage: &Stage) -> Result<Self> {
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false)));
        let (mine, client) = (Arc::clone(&counts), stage.plan.client()?);
        let url = format!("{}/api/public/integrations/login/start", stage.plan.public_url());
        tokio::spawn(async move {
            while !mine.2.load(Ordering::Relaxed) {
                let answered = client.get(&url).send().await.is_ok_and(|answer| answer.status().as_u16() < 500);
                mine.0.fetch_add(1, Ordering::Relaxed);
                mine.1.fetch_add(usize::from(!answered), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Ok(Self { counts })
    }

    fn stop(self) -> (usize, usize) {
        self.counts.2.store(true, Ordering::Relaxed);
        (self.counts.0.load(Ordering::Relaxed), self.counts.1.load(Ordering::Relaxed))
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.counts.2.store(true, Ordering::Relaxed);
    }
}
