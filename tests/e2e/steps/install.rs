//! Installing, and what can be seen of it at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::chart::{self, RELEASE};
use crate::edge::{Edge, HOST};
use crate::shell::output;
use crate::stage::{OPERATOR, Stage, until};
use crate::voice::say;

/// How long CPU time is looked at.
const LOOK: Duration = Duration::from_secs(20);

/// Installs the chart into a namespace that admits restricted Pods only.
pub(crate) async fn install(stage: &Stage) -> Result<()> {
    prepare(stage).await?;
    let began = Instant::now();
    let values = stage.values(&stage.images.operator);
    let notes =
        chart::apply(&stage.cluster, "install", OPERATOR, &chart::of_source(), &values, &stage.directory).await?;
    say(format_args!("helm install --wait: ready after {:.1} s", began.elapsed().as_secs_f64()));
    let callback = format!("https://{HOST}:{}/api/public/integrations/login/callback", stage.plan.port);
    ensure!(notes.contains(&callback), "the notes do not name the callback {callback}:\n{notes}");
    say("the notes name the callbacks to register");
    let pods = stage.pods().await?;
    ensure!(pods.len() == 3, "there are {} Pods", pods.len());
    say(output(stage.cluster.kubectl().args(["get", "pods", "-n", OPERATOR, "-o", "wide"])).await?.trim_end());
    say("all were admitted under Pod Security `restricted`");
    let arguments = ["test", RELEASE, "--namespace", OPERATOR, "--timeout", "3m"];
    output(stage.cluster.helm().args(arguments)).await?;
    say("helm test: passed");
    for namespace in [OPERATOR, "default"] {
        say_rights(stage, namespace).await?;
    }
    Ok(())
}

/// The operator's account, as kubectl takes it.
pub(crate) fn as_operator() -> String {
    format!("--as=system:serviceaccount:{OPERATOR}:{RELEASE}")
}

/// What the operator may do in a namespace, but for what everybody may.
pub(crate) async fn say_rights(stage: &Stage, namespace: &str) -> Result<()> {
    let list = ["auth", "can-i", "--list", &as_operator(), "-n", namespace];
    let rights = output(stage.cluster.kubectl().args(list)).await?;
    let ours = rights.lines().filter(|line| !line.contains("selfsubject") && !line.starts_with(' '));
    say(format_args!("kubectl auth can-i --list, in {namespace}:\n{}", ours.collect::<Vec<_>>().join("\n")));
    Ok(())
}

/// The operator's namespace, and the Secrets of the OAuth clients that the values name.
async fn prepare(stage: &Stage) -> Result<()> {
    let secret = |name: &str, id: &str, secret: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": OPERATOR },
            "stringData": { "client_id": id, "client_secret": secret },
        })
    };
    let restricted = "pod-security.kubernetes.io/enforce";
    stage
        .apply(&[
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": OPERATOR, "labels": { restricted: "restricted" } },
            }),
            secret("login-client", "test-client", "test-client-secret-7f3a"),
            secret("crowd-client", "sandbox-client", "sandbox-secret"),
        ])
        .await
}

/// Starts the edge, and looks that it lets through what is public and nothing else.
pub(crate) async fn edge(stage: &mut Stage) -> Result<()> {
    let folder = stage.directory.join("edge");
    let edge = Edge::start(&stage.client, OPERATOR, stage.cluster.node, &stage.plan, &folder).await?;
    say(format_args!("paths: {}", edge.paths.join(", ")));
    stage.edge = Some(edge);
    let (client, base) = (stage.plan.client()?, stage.plan.public_url());
    let ask = async |path: &str| -> Result<(u16, String)> {
        let answer = client.get(format!("{base}{path}")).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    until("the operator answers through the edge", async || {
        let (status, text) = ask("/api/public/integrations/login/start").await?;
        Ok((status < 500 && !text.contains("at the edge")).then_some(()))
    })
    .await?;
    for path in ["/v1/providers", "/v1/tenants/acme/projects/web/integrations", "/metrics", "/readyz", "/"] {
        let (status, text) = ask(path).await?;
        ensure!(status == 404 && text.contains("at the edge"), "{path} answers {status} from outside: {text}");
    }
    say("/v1, probes and metrics are not reachable from outside");
    Ok(())
}

/// Memory and CPU of each of the operator's Pods, by kubelet's own figures.
pub(crate) async fn figures(stage: &Stage) -> Result<()> {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let node = nodes.list(&ListParams::default()).await?.items.first().map(ResourceExt::name_any).unwrap_or_default();
    let summary = async || -> Result<Vec<(String, f64, f64)>> {
        let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/stats/summary")).body(vec![])?;
        let summary: Value = stage.client.request(request).await?;
        let pods = summary["pods"].as_array().into_iter().flatten();
        let ours = pods.filter(|pod| pod["podRef"]["namespace"] == OPERATOR);
        Ok(ours
            .flat_map(|pod| {
                pod["containers"].as_array().cloned().unwrap_or_default().into_iter().map(move |c| (pod, c))
            })
            .map(|(pod, container)| {
                let name = pod["podRef"]["name"].as_str().unwrap_or_default().to_owned();
                let cpu = container["cpu"]["usageCoreNanoSeconds"].as_f64().unwrap_or_default();
                (name, cpu, container["memory"]["workingSetBytes"].as_f64().unwrap_or_default())
            })
            .collect())
    };
    let before = summary().await?;
    let began = Instant::now();
    tokio::time::sleep(LOOK).await;
    let after = summary().await?;
    for (name, cpu, memory) in after {
        let Some((_, earlier, _)) = before.iter().find(|(other, ..)| *other == name) else { continue };
        let share = (cpu - earlier) / 1e9 / began.elapsed().as_secs_f64();
        say(format_args!("{name}: {:.1} MiB, {:.1} % of a core", memory / f64::from(1 << 20), share * 100.0));
    }
    Ok(())
}
