//! Connecting by annotation: needs no way to the operator itself, only to the API server.

use std::time::Duration;

use integration_operator::api::{ProjectIntegration, request};
use integration_operator::sensitive::Sensitive;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::browser;
use super::outcome::{Baseline, Stand, stand};
use crate::args::Connect;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::request::{PACE, Request};
use crate::words::span;

/// How long the operator may take to make a link.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long an outcome may take once the link was used: the exchange of the code has half a minute.
const SETTLING: Duration = Duration::from_secs(45);
/// The key of the Secret that holds the link.
const URL: &str = "url";

/// Asks, opens the link, and waits for what comes of it.
pub(crate) async fn run(cluster: &Cluster, args: &Connect) -> Result<(), Failure> {
    let request = Request::make(cluster, &args.name, request::CONNECT).await?;
    let started = Instant::now();
    let mut before = Baseline::of(&request.before);
    let mut opened = false;
    let mut settling: Option<Instant> = None;
    loop {
        let integration = cluster.integration(&args.name).await?;
        match stand(&integration, &before, opened, request.is_handled(&integration), Timestamp::now()) {
            Stand::Connected(words) => {
                println!("{words}");
                return Ok(());
            }
            Stand::Failed(words) => return Err(Failure::Refused(words)),
            Stand::Asked if started.elapsed() >= PATIENCE.min(args.timeout) => {
                let waited = PATIENCE.min(args.timeout);
                return Err(Failure::NotAnswering {
                    what: cluster.called(&args.name),
                    annotation: request.annotation,
                    waited,
                });
            }
            Stand::Settling if settling.get_or_insert_with(Instant::now).elapsed() >= SETTLING => {
                return Err(settled_without_word(&integration));
            }
            Stand::Asked | Stand::Settling => {}
            Stand::Open { secret } => {
                if !opened {
                    let url = link(cluster, &secret).await?;
                    browser::open(url.expose(), args.no_browser).await;
                    opened = true;
                }
                before = Baseline::of(&integration);
            }
        }
        if started.elapsed() >= args.timeout {
            return Err(Failure::refused(format!(
                "nobody finished within {}; the link may still be used, and `kubectl integration status {}` tells what came of it",
                span(args.timeout),
                args.name
            )));
        }
        sleep(PACE).await;
    }
}

/// The link, a capability, which is why it lies in a Secret.
async fn link(cluster: &Cluster, name: &str) -> Result<Sensitive, Failure> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let what = format!("secret {name} in namespace {}, which holds the link", cluster.namespace);
    let secret = secrets.get(name).await.map_err(|error| Failure::api("get", what, error))?;
    let url = secret.data.and_then(|mut data| data.remove(URL)).and_then(|url| String::from_utf8(url.0).ok());
    url.map(Sensitive::new).ok_or_else(|| Failure::refused(format!("secret {name} has no key {URL}; connect again")))
}

fn settled_without_word(integration: &ProjectIntegration) -> Failure {
    let name = integration.metadata.name.as_deref().unwrap_or_default();
    Failure::refused(format!(
        "not connected: the link was used or withdrawn, and no connection came of it; \
         `kubectl integration status {name}` and the operator's log say more"
    ))
}
