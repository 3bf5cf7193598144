//! The story: what is done one after the other, and what has to be so after each.

mod disturb;
mod install;
mod namespaced;
mod person;
mod uninstall;
mod upgrade;
mod workload;

use anyhow::Result;

use crate::crowd;
use crate::stage::Stage;
use crate::voice::{say, step};

/// All of it; `crowd` is how many projects are refreshed while things break.
pub(crate) async fn all(stage: &mut Stage, size: usize) -> Result<()> {
    step("The chart is installed");
    install::install(stage).await?;

    step("The edge, with the paths of the Ingress");
    install::edge(stage).await?;

    step("A person connects, in Chromium");
    person::connect(stage, "acme", "web").await?;

    step("A workload uses the token from its mounted Secret, while it is refreshed");
    workload::use_token(stage).await?;

    step("What an idle Pod takes");
    install::figures(stage).await?;

    step(&format!("{size} projects connect; each is refreshed every {} s", crowd::LIFETIME * 2 / 3));
    crowd::connect(stage, size).await?;
    let connected = jiff::Timestamp::now();
    say("all are connected");
    crowd::audit(stage, connected).await?;
    install::figures(stage).await?;

    step("The Pod that reconciles is killed");
    disturb::kill_leader(stage).await?;

    step("The API server is killed");
    disturb::kill_api_server(stage).await?;

    step("Helm upgrades to another image and a changed definition, while refreshes are on their way");
    upgrade::upgrade(stage).await?;

    step("Helm goes back");
    upgrade::roll_back(stage).await?;

    step("The release is uninstalled");
    uninstall::uninstall(stage).await?;

    step("Installed for named namespaces only");
    namespaced::install(stage).await
}
