//! How Secrets lie in etcd: encrypted by the API server, by the operator, or not at all.
//!
//! The API has no word for it. What can be known: the API server counts what it encrypts, and its flags can be read where
//! it runs as a Pod; both only by who may. Of the operator, whether it was given a key for grants.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

const NAME: &str = "encryption at rest";
const FLAG: &str = "--encryption-provider-config";
/// How what a provider encrypts begins, in the label.
const ENCRYPTED: &str = "transformer_prefix=\"k8s:enc:";
const TO_DO: &str = "whoever reads etcd or its backups otherwise has every grant and token, see docs/security.md:\n\
                     give the API server an --encryption-provider-config for secrets (managed clusters have a setting),\n\
                     and the operator a --grant-key-file, where its release has one";

/// What there is to see of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ApiServer {
    /// It has counted Secrets that it encrypted, by this provider.
    Counts(String),
    /// With the flag.
    Configured,
    /// Without it.
    Plain,
    /// Not to be seen.
    Unseen,
}

/// Looks at what can be known.
pub(crate) async fn check(cluster: &Cluster, operator: &Operator) -> Check {
    let key = operator.is_seen().then(|| operator.setting("--grant-key-file", "GRANT_KEY_FILE").is_some());
    if let Ok(request) = http::Request::get("/metrics").body(Vec::new())
        && let Ok(metrics) = cluster.client.request_text(request).await
        && let Some(provider) = counted(&metrics)
    {
        return judge(&ApiServer::Counts(provider), key);
    }
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), "kube-system");
    let pods = Look::of(api.list(&ListParams::default().labels("component=kube-apiserver")).await);
    let server = pods.found().map_or(ApiServer::Unseen, |list| flags(&list.items));
    judge(&server, key)
}

/// The provider by which Secrets are encrypted on their way to storage: the prefix of what it writes.
fn counted(metrics: &str) -> Option<String> {
    let is_it = |line: &&str| {
        line.starts_with("apiserver_storage_transformation_operations_total{")
            && line.contains("resource=\"secrets\"")
            && line.contains("transformation_type=\"to_storage\"")
    };
    let line = metrics.lines().filter(is_it).find(|line| line.contains(ENCRYPTED))?;
    let (_, prefix) = line.split_once(ENCRYPTED)?;
    let provider = prefix.split_once('"')?.0.split(':').next()?;
    Some(provider.to_owned())
}

fn flags(pods: &[Pod]) -> ApiServer {
    let encrypts = |pod: &Pod| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut words = containers.flat_map(|one| one.command.iter().chain(&one.args).flatten());
        words.any(|word| word.starts_with(FLAG))
    };
    match pods {
        [] => ApiServer::Unseen,
        pods if pods.iter().all(encrypts) => ApiServer::Configured,
        _ => ApiServer::Plain,
    }
}

fn judge(server: &ApiServer, key: Option<bool>) -> Check {
    let grants = match key {
        Some(true) => "the operator encrypts grants itself (--grant-key-file)",
        Some(false) => "the operator runs without --grant-key-file",
        None => "whether the operator has a --grant-key-file cannot be seen",
    };
    match server {
        ApiServer::Counts(provider) => {
            Check::ok(NAME, format!("the API server encrypts Secrets as it stores them, by {provider}; {grants}"))
        }
        ApiServer::Configured => Check::ok(
            NAME,
            format!("the API server runs with {FLAG}; whether it names secrets stands in that file; {grants}"),
        ),
        ApiServer::Plain => Check::warning(
            NAME,
            format!("the API server runs without {FLAG}: published tokens lie in etcd as they are; {grants}"),
            TO_DO,
        ),
        ApiServer::Unseen => Check::warning(
            NAME,
            format!("whether the API server encrypts Secrets cannot be seen from here; {grants}"),
            format!("look for {FLAG} in the command line of kube-apiserver;\n{TO_DO}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use serde_json::json;

    #[test]
    fn the_flags_of_the_api_server_are_read() {
        let pod = |flag: &str| -> Pod {
            let container = json!({ "name": "kube-apiserver", "command": ["kube-apiserver", flag] });
            serde_json::from_value(json!({ "spec": { "containers": [container] } })).unwrap()
        };
        let (with, without) = (pod("--encryption-provider-config=/etc/enc.yaml"), pod("--secure-port=6443"));
        assert_eq!(flags(std::slice::from_ref(&with)), ApiServer::Configured);
        assert_eq!(flags(&[with, without]), ApiServer::Plain);
        assert_eq!(flags(&[]), ApiServer::Unseen);
    }

    #[test]
    fn what_the_api_server_counts_is_read() {
        let line = |resource: &str, way: &str, prefix: &str| {
            format!(
                "apiserver_storage_transformation_operations_total{{resource=\"{resource}\",status=\"OK\",\
                 transformation_type=\"{way}\",transformer_prefix=\"{prefix}\"}} 3\n"
            )
        };
        let good = line("secrets", "to_storage", "k8s:enc:aesgcm:v1:");
        assert_eq!(counted(&good).as_deref(), Some("aesgcm"));
        for other in [
            line("configmaps", "to_storage", "k8s:enc:aesgcm:v1:"),
            line("secrets", "from_storage", "k8s:enc:aesgcm:v1:"),
            line("secrets", "to_storage", ""),
            String::new(),
        ] {
            assert_eq!(counted(&other), None, "{other}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_warning() {
        assert_eq!(judge(&ApiServer::Configured, Some(false)).verdict, Verdict::Ok);
        for check in [judge(&ApiServer::Plain, Some(true)), judge(&ApiServer::Unseen, None)] {
            assert_eq!(check.verdict, Verdict::Warning);
            assert!(check.to_do.unwrap().contains("docs/security.md"));
        }
        assert!(judge(&ApiServer::Unseen, Some(false)).says.contains("runs without --grant-key-file"));
    }
}
