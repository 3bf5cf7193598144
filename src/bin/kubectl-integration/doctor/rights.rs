//! Rights: those of the operator's service account, and those of whoever runs this.
//!
//! What the operator needs is read from `deploy/rbac.yaml`, which it is installed and tested with, so that there is one
//! list. Each rule is asked of the API server by a `SubjectAccessReview`; nothing is worked out from Roles.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, PostParams};
use serde::Deserialize;

use integration_operator::api::GROUP;

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

const INSTALLED: &str = include_str!("../../../../deploy/rbac.yaml");
/// Reviews at a time.
const CONCURRENCY: usize = 8;
/// Resources that lie in no namespace.
const CLUSTER_SCOPED: [&str; 4] = ["namespaces", "clusterintegrationproviders", "tokenreviews", "subjectaccessreviews"];

/// A document of `deploy/rbac.yaml`, as far as rights go.
#[derive(Deserialize)]
struct Document {
    kind: String,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    /// Where; everywhere when none.
    namespace: Option<String>,
    group: String,
    resource: String,
    subresource: Option<String>,
    verb: String,
}

impl Right {
    fn attributes(&self) -> ResourceAttributes {
        ResourceAttributes {
            namespace: self.namespace.clone(),
            group: Some(self.group.clone()),
            resource: Some(self.resource.clone()),
            subresource: self.subresource.clone(),
            verb: Some(self.verb.clone()),
            ..ResourceAttributes::default()
        }
    }

    fn is_namespaced(&self) -> bool {
        !CLUSTER_SCOPED.contains(&self.resource.as_str())
    }

    fn object(&self) -> String {
        let resource = match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        };
        match &self.namespace {
            Some(namespace) => format!("{resource} in namespace {namespace}"),
            None => resource,
        }
    }
}

/// The rights that the operator is installed with.
fn needed(operator_namespace: &str) -> Result<Vec<Right>, serde_yaml::Error> {
    let mut rights = Vec::new();
    for document in serde_yaml::Deserializer::from_str(INSTALLED) {
        let document = Document::deserialize(document)?;
        let namespace = match document.kind.as_str() {
            "ClusterRole" => None,
            "Role" => Some(operator_namespace.to_owned()),
            _ => continue,
        };
        rights.extend(document.rules.iter().flat_map(|rule| expanded(rule, namespace.as_deref())));
    }
    Ok(rights)
}

fn expanded(rule: &PolicyRule, namespace: Option<&str>) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for named in rule.resources.iter().flatten() {
            let (resource, subresource) = match named.split_once('/') {
                Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
                None => (named.as_str(), None),
            };
            rights.extend(rule.verbs.iter().map(|verb| Right {
                namespace: namespace.map(str::to_owned),
                group: group.clone(),
                resource: resource.to_owned(),
                subresource: subresource.clone(),
                verb: verb.clone(),
            }));
        }
    }
    rights
}

/// Rights by object: `list, watch secrets in namespace x`.
fn folded(rights: &[Right]) -> String {
    let mut objects: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in rights {
        objects.entry(right.object()).or_default().push(&right.verb);
    }
    let lines: Vec<String> =
        objects.into_iter().map(|(object, verbs)| format!("{} {object}", verbs.join(", "))).collect();
    lines.join("; ")
}

/// Whether the operator's service account may do what the operator does.
pub(crate) async fn of_operator(cluster: &Cluster, operator: &Operator) -> Check {
    let name = "operator's rights";
    let (account, namespace) = (operator.service_account(), &operator.namespace);
    let needed = match needed(namespace) {
        Ok(needed) => needed,
        Err(error) => return Check::skipped(name, format!("the list of rights cannot be read: {error}")),
    };
    let count = needed.len();
    let asked: Result<Vec<(Right, Held)>, Look<()>> = futures::stream::iter(needed)
        .map(|right| async move {
            let held = held(cluster, &account_of(operator), &right).await?;
            Ok((right, held))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await;
    match asked {
        Err(Look::Denied(why)) => Check::skipped(name, format!("you may not ask what others may do: {why}")).advised(
            format!("a cluster administrator can: kubectl auth can-i --list --as=system:serviceaccount:{namespace}:{account}"),
        ),
        Err(Look::Failed(why)) => Check::skipped(name, format!("they could not be asked for: {why}")),
        Err(Look::Found(()) | Look::Absent) => Check::skipped(name, "the API server takes no access reviews"),
        Ok(rights) => judge(&format!("{namespace}/{account}"), &cluster.namespace, count, &rights),
    }
}

/// Where a right is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    AsInstalled,
    /// Not everywhere, but in the namespace at hand.
    Here,
    No,
}

fn judge(account: &str, here: &str, count: usize, rights: &[(Right, Held)]) -> Check {
    let name = "operator's rights";
    let missing: Vec<Right> =
        rights.iter().filter(|(_, held)| *held == Held::No).map(|(right, _)| right.clone()).collect();
    if !missing.is_empty() {
        let says = format!("service account {account} may not {}", folded(&missing));
        let to_do = "install the rights of this release: kubectl apply -f deploy/rbac.yaml, or upgrade the chart";
        return Check::failed(name, says, to_do);
    }
    let narrowed = rights.iter().any(|(_, held)| *held == Held::Here);
    let place = if narrowed { format!(", some of them in namespace {here} only") } else { String::new() };
    Check::ok(name, format!("service account {account} has all {count} rights that it needs{place}"))
}

fn account_of(operator: &Operator) -> String {
    format!("system:serviceaccount:{}:{}", operator.namespace, operator.service_account())
}

/// Whether a user has a right; where not everywhere, then whether in the namespace at hand.
async fn held(cluster: &Cluster, user: &str, right: &Right) -> Result<Held, Look<()>> {
    if allowed(cluster, user, right).await? {
        return Ok(Held::AsInstalled);
    }
    if right.namespace.is_some() || !right.is_namespaced() {
        return Ok(Held::No);
    }
    let here = Right { namespace: Some(cluster.namespace.clone()), ..right.clone() };
    Ok(if allowed(cluster, user, &here).await? { Held::Here } else { Held::No })
}

async fn allowed(cluster: &Cluster, user: &str, right: &Right) -> Result<bool, Look<()>> {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    let groups =
        ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), AUTHENTICATED.to_owned()];
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups.to_vec()),
            resource_attributes: Some(right.attributes()),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    match Look::of(reviews.create(&PostParams::default(), &review).await) {
        Look::Found(review) => Ok(review.status.is_some_and(|status| status.allowed)),
        Look::Absent => Err(Look::Absent),
        Look::Denied(why) => Err(Look::Denied(why)),
        Look::Failed(why) => Err(Look::Failed(why)),
    }
}

const AUTHENTICATED: &str = "system:authenticated";

/// What this tool does, and the right that it takes: group, resource, subresource and verb.
const OWN: [(&str, [&str; 4]); 9] = [
    ("see an integration (status NAME)", [GROUP, "projectintegrations", "", "get"]),
    ("list integrations (status)", [GROUP, "projectintegrations", "", "list"]),
    ("follow changes (status --watch)", [GROUP, "projectintegrations", "", "watch"]),
    ("create one (connect --create)", [GROUP, "projectintegrations", "", "create"]),
    ("ask for something (connect, refresh, check, disconnect)", [GROUP, "projectintegrations", "", "patch"]),
    ("read the link that connect asks for", ["", "secrets", "", "get"]),
    ("connect over HTTP (connect --server)", [GROUP, "projectintegrations", "install", "create"]),
    ("give API keys over HTTP", [GROUP, "projectintegrations", "credentials", "create"]),
    ("see the tenant's own providers (providers)", [GROUP, "integrationproviders", "", "list"]),
];

/// What whoever runs this may do in the namespace.
pub(crate) async fn own(cluster: &Cluster) -> Check {
    let name = "your rights";
    let mut may = Vec::new();
    for (what, [group, resource, subresource, verb]) in OWN {
        let right = Right {
            namespace: Some(cluster.namespace.clone()),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
            verb: verb.to_owned(),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(right.attributes()),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
        match Look::of(reviews.create(&PostParams::default(), &review).await) {
            Look::Found(review) => may.push((what, right, review.status.is_some_and(|status| status.allowed))),
            Look::Absent => return Check::skipped(name, "the API server takes no access reviews"),
            Look::Denied(why) | Look::Failed(why) => {
                return Check::skipped(name, format!("they could not be asked for: {why}"));
            }
        }
    }
    told(&cluster.namespace, &may)
}

fn told(namespace: &str, may: &[(&str, Right, bool)]) -> Check {
    let name = "your rights";
    let missing: Vec<&(&str, Right, bool)> = may.iter().filter(|(_, _, may)| !may).collect();
    if missing.is_empty() {
        return Check::ok(name, format!("you may do everything with integrations in namespace {namespace}"));
    }
    let what: Vec<&str> = missing.iter().map(|(what, _, _)| *what).collect();
    let says = format!("in namespace {namespace} you may not {}", what.join("; "));
    let rights: Vec<Right> = missing.iter().map(|(_, right, _)| Right { namespace: None, ..right.clone() }).collect();
    let to_do = format!("if you should, ask for a Role with: {}", folded(&rights));
    // Without these two nothing can be seen here at all.
    let blind = may.iter().any(|(_, right, may)| {
        !may && right.resource == "projectintegrations" && right.subresource.is_none() && right.verb == "list"
    });
    if blind { Check::failed(name, says, to_do) } else { Check::warning(name, says, to_do) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn right(namespace: Option<&str>, resource: &str, verb: &str) -> Right {
        Right {
            namespace: namespace.map(str::to_owned),
            group: String::new(),
            resource: resource.to_owned(),
            subresource: None,
            verb: verb.to_owned(),
        }
    }

    #[test]
    fn the_list_is_that_of_the_installation() {
        let needed = needed("ops").unwrap();
        assert!(needed.contains(&right(None, "secrets", "get")));
        assert!(needed.contains(&right(Some("ops"), "secrets", "watch")));
        assert!(!needed.contains(&right(None, "secrets", "watch")));
        let status = Right {
            group: GROUP.to_owned(),
            subresource: Some("status".to_owned()),
            ..right(None, "projectintegrations", "patch")
        };
        assert!(needed.contains(&status));
    }

    #[test]
    fn what_is_missing_is_named() {
        let rights = [
            (right(None, "secrets", "get"), Held::AsInstalled),
            (right(Some("ops"), "secrets", "list"), Held::No),
            (right(Some("ops"), "secrets", "watch"), Held::No),
        ];
        let check = judge("ops/op", "acme", 3, &rights);
        assert_eq!(check.verdict, Verdict::Failed);
        assert_eq!(check.says, "service account ops/op may not list, watch secrets in namespace ops");
        let check = judge("ops/op", "acme", 1, &[(right(None, "secrets", "get"), Held::Here)]);
        assert_eq!(check.verdict, Verdict::Ok);
        assert!(check.says.ends_with("in namespace acme only"), "{check:?}");
    }

    #[test]
    fn who_sees_nothing_is_told_so() {
        let list = right(Some("acme"), "projectintegrations", "list");
        let patch = right(Some("acme"), "projectintegrations", "patch");
        let viewer = told("acme", &[("see", list.clone(), true), ("ask", patch.clone(), false)]);
        assert_eq!(viewer.verdict, Verdict::Warning);
        assert_eq!(viewer.to_do.as_deref(), Some("if you should, ask for a Role with: patch projectintegrations"));
        assert_eq!(told("acme", &[("see", list, false), ("ask", patch, false)]).verdict, Verdict::Failed);
    }
}
