//! The operator as it is installed: its Deployment and Pods, its version, and the settings that can be seen there.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::check::Check;
use super::look::Look;
use crate::cluster::Cluster;

const LABEL: &str = "app.kubernetes.io/name";
/// What Deployment, Pods and service account are called when nothing else is said.
pub(crate) const NAME: &str = "integration-operator";

/// What could be seen of the operator.
pub(crate) struct Operator {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its Deployment.
    pub(crate) deployment: Look<Deployment>,
    /// Its Pods.
    pub(crate) pods: Look<Vec<Pod>>,
}

impl Operator {
    /// Looks for it in a namespace.
    pub(crate) async fn find(cluster: &Cluster, namespace: &str) -> Self {
        let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
        let deployment = match Look::of(deployments.list(&ListParams::default()).await) {
            Look::Found(list) => list.items.into_iter().find(is_ours).map_or(Look::Absent, Look::Found),
            Look::Absent => Look::Absent,
            Look::Denied(why) => Look::Denied(why),
            Look::Failed(why) => Look::Failed(why),
        };
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let found = pods.list(&ListParams::default().labels(&format!("{LABEL}={NAME}"))).await;
        let pods = Look::of(found.map(|list| list.items));
        Self { namespace: namespace.to_owned(), deployment, pods }
    }

    /// The container that runs it.
    fn container(&self) -> Option<&Container> {
        let pod = self.deployment.found()?.spec.as_ref()?.template.spec.as_ref()?;
        let runs = |container: &&Container| container.name == "operator" || container.name == NAME;
        pod.containers.iter().find(runs).or_else(|| pod.containers.first())
    }

    /// A setting, by its flag or its variable; none where it is not set, or not written there.
    pub(crate) fn setting(&self, flag: &str, variable: &str) -> Option<String> {
        let container = self.container()?;
        let words: Vec<&String> = container.command.iter().chain(&container.args).flatten().collect();
        for (index, word) in words.iter().enumerate() {
            match word.strip_prefix(flag) {
                Some("") => return words.get(index + 1).map(|next| (*next).clone()),
                Some(rest) if rest.starts_with('=') => return Some(rest[1..].to_owned()),
                _ => {}
            }
        }
        let set = container.env.iter().flatten().find(|set| set.name == variable)?;
        set.value.clone().filter(|value| !value.is_empty())
    }

    /// Whether the settings can be seen at all.
    pub(crate) fn is_seen(&self) -> bool {
        self.container().is_some()
    }

    /// The name of its service account.
    pub(crate) fn service_account(&self) -> String {
        let template = self.deployment.found().and_then(|found| found.spec.as_ref());
        let named = template.and_then(|spec| spec.template.spec.as_ref()?.service_account_name.clone());
        named.unwrap_or_else(|| NAME.to_owned())
    }

    /// Its image, and the version by label or tag.
    pub(crate) fn image(&self) -> Option<(String, Option<String>)> {
        let image = self.container()?.image.clone()?;
        let labels = self.deployment.found().map(|found| found.labels().clone()).unwrap_or_default();
        let tag = image.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/') && !image.contains('@'));
        let version = labels.get("app.kubernetes.io/version").map(String::as_str).or(tag);
        let version = version.map(|version| version.trim_start_matches('v').to_owned());
        Some((image, version))
    }

    /// The Pod whose uid is a Lease's holder.
    pub(crate) fn pod_of(&self, holder: &str) -> Option<String> {
        self.pods.found()?.iter().find(|pod| pod.uid().as_deref() == Some(holder)).map(ResourceExt::name_any)
    }

    /// Deployment, Pods and version.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.is_up()];
        checks.extend(self.pods.found().into_iter().flatten().filter_map(trouble));
        checks.extend(self.image().map(|(image, version)| same_version(&image, version.as_deref())));
        checks
    }

    fn is_up(&self) -> Check {
        let (name, namespace) = ("operator", &self.namespace);
        match &self.deployment {
            Look::Absent => {
                Check::skipped(name, format!("no Deployment of the operator was found in namespace {namespace}"))
                    .advised("is it elsewhere? name its namespace with --operator-namespace")
            }
            Look::Denied(why) => Check::skipped(name, format!("its Deployment cannot be seen: {why}")),
            Look::Failed(why) => Check::skipped(name, format!("its Deployment could not be read: {why}")),
            Look::Found(deployment) => replicas(deployment),
        }
    }
}

/// Whether its Pods are labelled, or it is called, as the operator's.
fn is_ours(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let label = template.and_then(|template| template.labels.as_ref()?.get(LABEL));
    label.is_some_and(|label| label == NAME) || deployment.name_any() == NAME
}

fn replicas(deployment: &Deployment) -> Check {
    let (name, namespace) = (deployment.name_any(), deployment.namespace().unwrap_or_default());
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    let says = format!("Deployment {name} in namespace {namespace} has {ready} of {wanted} replicas ready");
    let look = format!("kubectl get pods -n {namespace}; kubectl describe deployment {name} -n {namespace}");
    if wanted == 0 {
        return Check::failed("operator", says, format!("kubectl scale deployment {name} -n {namespace} --replicas=2"));
    }
    match ready {
        0 => Check::failed("operator", says, look),
        ready if ready < wanted => Check::warning("operator", says, look),
        _ => Check::ok("operator", says),
    }
}

/// What is wrong with a Pod: it waits for something, or was started again and again.
fn trouble(pod: &Pod) -> Option<Check> {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    for container in pod.status.as_ref()?.container_statuses.iter().flatten() {
        let waits = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        if let Some(waits) = waits {
            let why = [waits.reason.as_deref(), waits.message.as_deref()];
            let why = why.into_iter().flatten().collect::<Vec<_>>().join(": ");
            let to_do = format!("kubectl describe pod {name} -n {namespace}");
            return Some(Check::failed("pod", format!("{name} waits: {why}"), to_do));
        }
        if container.restart_count > 0 {
            let says = format!("{name} was started again {} times", container.restart_count);
            let to_do = format!("see why: kubectl logs {name} -n {namespace} --previous");
            return Some(Check::warning("pod", says, to_do));
        }
    }
    None
}

fn same_version(image: &str, version: Option<&str>) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    match version {
        None => Check::skipped("version", format!("image {image} does not say which version it is; this is {own}")),
        Some(version) if version == own => Check::ok("version", format!("operator and plugin are {own}")),
        Some(version) => Check::warning(
            "version",
            format!("the operator is {version}, this plugin {own}"),
            "use the plugin of the operator's release",
        ),
    }
}

/// Whether its service account is there.
pub(crate) async fn account(cluster: &Cluster, operator: &Operator) -> Option<Check> {
    let (name, namespace) = (operator.service_account(), &operator.namespace);
    let api: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
    matches!(Look::of(api.get(&name).await), Look::Absent).then(|| {
        Check::failed(
            "service account",
            format!("service account {name} is not in namespace {namespace}"),
            "apply deploy/rbac.yaml, or install the chart again; or name the operator's namespace with \
             --operator-namespace",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use serde_json::{Value, json};

    fn operator(container: &Value, ready: i32) -> Operator {
        let deployment = serde_json::from_value(json!({
            "metadata": { "name": "op", "namespace": "ops" },
            "spec": {
                "replicas": 2,
                "selector": {},
                "template": {
                    "metadata": { "labels": { LABEL: NAME } },
                    "spec": { "containers": [container] },
                },
            },
            "status": { "readyReplicas": ready },
        }))
        .unwrap();
        Operator { namespace: "ops".to_owned(), deployment: Look::Found(deployment), pods: Look::Found(vec![]) }
    }

    #[test]
    fn settings_are_read_from_flags_and_variables() {
        let found = operator(
            &json!({
                "name": "operator", "image": "registry.example.com:5000/op:v9.9.9",
                "args": ["run", "--grant-key-file", "/keys/grants", "--watch-namespaces=acme,globex"],
                "env": [{ "name": "PUBLIC_URL", "value": "https://connect.example.com" }],
            }),
            2,
        );
        assert_eq!(found.setting("--grant-key-file", "GRANT_KEY_FILE").as_deref(), Some("/keys/grants"));
        assert_eq!(found.setting("--watch-namespaces", "WATCH_NAMESPACES").as_deref(), Some("acme,globex"));
        assert_eq!(found.setting("--public-url", "PUBLIC_URL").as_deref(), Some("https://connect.example.com"));
        assert_eq!(found.setting("--log", "LOG"), None);
        let verdicts: Vec<Verdict> = found.checks().iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Warning]);
    }

    #[test]
    fn replicas_that_are_missing_are_told() {
        let container = json!({ "name": "operator", "image": "op" });
        for (ready, verdict) in [(0, Verdict::Failed), (1, Verdict::Warning), (2, Verdict::Ok)] {
            assert_eq!(operator(&container, ready).checks()[0].verdict, verdict);
        }
        let nowhere = Operator { namespace: "ops".to_owned(), deployment: Look::Absent, pods: Look::Found(vec![]) };
        let check = &nowhere.checks()[0];
        assert_eq!(check.verdict, Verdict::Skipped);
        assert!(check.to_do.as_deref().unwrap().contains("--operator-namespace"));
    }

    #[test]
    fn a_pod_that_waits_says_for_what() {
        let mut found = operator(&json!({ "name": "operator" }), 2);
        let pod = serde_json::from_value(json!({
            "metadata": { "name": "op-1", "namespace": "ops" },
            "status": { "containerStatuses": [{
                "name": "operator", "image": "op", "imageID": "", "ready": false, "restartCount": 3,
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
            }] },
        }))
        .unwrap();
        found.pods = Look::Found(vec![pod]);
        let check = &found.checks()[1];
        assert_eq!(
            (check.verdict, check.says.as_str()),
            (Verdict::Failed, "op-1 waits: CrashLoopBackOff: back-off 40s")
        );
    }
}
