//! How Secrets lie in etcd: encrypted by the API server, by the operator, or not at all.
//!
//! The API has no word for it. What can be known: the flags of API servers that run as Pods, where they may be read,
//! and whether the operator was given a key for grants.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

const NAME: &str = "encryption at rest";
const FLAG: &str = "--encryption-provider-config";
const TO_DO: &str = "whoever reads etcd or its backups otherwise has every grant and token, see docs/security.md:\n\
                     give the API server an --encryption-provider-config for secrets (managed clusters have a setting),\n\
                     and the operator a --grant-key-file, where its release has one";

/// What the API server's own Pods say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApiServer {
    /// With the flag.
    Encrypts,
    /// Without it.
    Plain,
    /// Not to be seen.
    Unseen,
}

/// Looks at what can be known.
pub(crate) async fn check(cluster: &Cluster, operator: &Operator) -> Check {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), "kube-system");
    let pods = Look::of(api.list(&ListParams::default().labels("component=kube-apiserver")).await);
    let server = pods.found().map_or(ApiServer::Unseen, |list| flags(&list.items));
    let key = operator.is_seen().then(|| operator.setting("--grant-key-file", "GRANT_KEY_FILE").is_some());
    judge(server, key)
}

fn flags(pods: &[Pod]) -> ApiServer {
    let encrypts = |pod: &Pod| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut words = containers.flat_map(|one| one.command.iter().chain(&one.args).flatten());
        words.any(|word| word.starts_with(FLAG))
    };
    match pods {
        [] => ApiServer::Unseen,
        pods if pods.iter().all(encrypts) => ApiServer::Encrypts,
        _ => ApiServer::Plain,
    }
}

fn judge(server: ApiServer, key: Option<bool>) -> Check {
    let grants = match key {
        Some(true) => "the operator encrypts grants itself (--grant-key-file)",
        Some(false) => "the operator runs without --grant-key-file",
        None => "whether the operator has a --grant-key-file cannot be seen",
    };
    match server {
        ApiServer::Encrypts => Check::ok(
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
            format!("whether the API server encrypts Secrets cannot be asked from outside; {grants}"),
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
        assert_eq!(flags(std::slice::from_ref(&with)), ApiServer::Encrypts);
        assert_eq!(flags(&[with, without]), ApiServer::Plain);
        assert_eq!(flags(&[]), ApiServer::Unseen);
    }

    #[test]
    fn what_is_not_known_is_a_warning() {
        assert_eq!(judge(ApiServer::Encrypts, Some(false)).verdict, Verdict::Ok);
        for check in [judge(ApiServer::Plain, Some(true)), judge(ApiServer::Unseen, None)] {
            assert_eq!(check.verdict, Verdict::Warning);
            assert!(check.to_do.unwrap().contains("docs/security.md"));
        }
        assert!(judge(ApiServer::Unseen, Some(false)).says.contains("runs without --grant-key-file"));
    }
}
