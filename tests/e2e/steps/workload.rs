//! A Pod of the tenant's that mounts the token and calls the app with it, again and again, while it is refreshed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use serde_json::json;

use crate::shell::output;
use crate::stage::{Stage, until};
use crate::voice::say;

const TENANT: &str = "acme";
const POD: &str = "notifier";
const INTEGRATION: &str = "web.login";
/// Refreshes that are asked for.
const REFRESHES: usize = 2;

/// Starts the workload, refreshes its token under it, and looks that no call was refused.
pub(crate) async fn use_token(stage: &Stage) -> Result<()> {
    let app = stage.oidc.issuer.strip_prefix("http://").context("the app is plain http")?;
    let restricted = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    });
    stage
        .apply(&[json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": POD, "namespace": TENANT },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": POD, "image": stage.images.pod.reference, "imagePullPolicy": "IfNotPresent",
                    "args": ["workload", "/token/access_token", app, "/me"],
                    "securityContext": restricted,
                    "volumeMounts": [{ "name": "token", "mountPath": "/token", "readOnly": true }],
                }],
                "volumes": [{ "name": "token", "secret": { "secretName": INTEGRATION } }],
            },
        })])
        .await?;
    let tokens = async || -> Result<Vec<String>> { Ok(calls(stage).await?.1) };
    until("the workload calls the app", async || Ok(tokens().await?.first().cloned())).await?;
    for _ in 0..REFRESHES {
        let before = tokens().await?.len();
        let asked = format!("integrations.tms.dev/refresh-requested-at={}", jiff::Timestamp::now());
        let annotate = ["annotate", "--overwrite", "integration", INTEGRATION, "-n", TENANT, &asked];
        output(stage.cluster.kubectl().args(annotate)).await?;
        let more = until("the workload has the new token", async || {
            Ok(Some(tokens().await?.len()).filter(|count| *count > before))
        })
        .await?;
        say(format_args!("the workload has used {more} tokens so far"));
    }
    let (answers, tokens) = calls(stage).await?;
    say(format_args!("answers by status: {answers:?}; tokens used, by their marks: {}", tokens.join(", ")));
    ensure!(answers.keys().all(|status| status == "200"), "a call of the workload was refused: {answers:?}");
    Ok(())
}

/// How often each status came, and the tokens in the order of their first use.
async fn calls(stage: &Stage) -> Result<(BTreeMap<String, usize>, Vec<String>)> {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), TENANT);
    let log = pods.logs(POD, &LogParams::default()).await?;
    let (mut answers, mut tokens) = (BTreeMap::new(), vec![]);
    for (status, token) in log.lines().filter_map(|line| line.split_once(' ')) {
        *answers.entry(status.to_owned()).or_default() += 1;
        if !tokens.iter().any(|known| known == token) {
            tokens.push(token.to_owned());
        }
    }
    Ok((answers, tokens))
}
