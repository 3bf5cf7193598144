//! Whether the namespace is served: its tenant's label, by the operator's own rule, and the operator's list of
//! namespaces, where it has one.

use std::marker::PhantomData;

use integration_operator::api::TENANT_LABEL;
use integration_operator::tenancy::{NamespaceMeta, TenantMismatch, Tenants};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{reflector, watcher};

use super::check::Check;
use super::look::Look;
use super::operator::Operator;
use crate::cluster::Cluster;

const NAME: &str = "tenant";

/// `used`: whether there are integrations in the namespace.
pub(crate) async fn check(cluster: &Cluster, operator: &Operator, used: bool) -> Vec<Check> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let here = match Look::of(api.get(&cluster.namespace).await) {
        Look::Found(here) => here,
        Look::Absent => {
            let says = format!("namespace {} does not exist", cluster.namespace);
            return vec![Check::failed(NAME, says, "name another with -n")];
        }
        Look::Denied(why) | Look::Failed(why) => {
            let says = format!("the label of namespace {} could not be read: {why}", cluster.namespace);
            return vec![Check::skipped(NAME, says)];
        }
    };
    // Others with the same tenant count only where they can be seen.
    let same = here.labels().get(TENANT_LABEL).map(|tenant| format!("{TENANT_LABEL}={tenant}"));
    let others = match &same {
        Some(same) => Look::of(api.list_metadata(&ListParams::default().labels(same)).await),
        None => Look::Absent,
    };
    let others = others.found().map(|list| list.items.clone());
    let mut checks = vec![judge(&here, others.as_deref(), &operator.namespace, used)];
    let served = operator.setting("--watch-namespaces", "WATCH_NAMESPACES");
    checks.extend(served.and_then(|served| among(&served, &cluster.namespace)));
    checks
}

fn judge(here: &Namespace, others: Option<&[NamespaceMeta]>, operator: &str, used: bool) -> Check {
    let name = here.name_any();
    let tenant = here.labels().get(TENANT_LABEL).cloned().unwrap_or_default();
    match tenants(here, others, operator).check(&name, &tenant) {
        Ok(()) => {
            let unseen = if others.is_none() { "; whether an older namespace has it too, you may not see" } else { "" };
            Check::ok(NAME, format!("namespace {name} belongs to tenant {tenant}{unseen}"))
        }
        Err(TenantMismatch::Unlabelled { .. }) if !used => {
            let says = format!("namespace {name} belongs to no tenant and has no integrations; name another with -n");
            Check::skipped(NAME, says)
        }
        Err(TenantMismatch::Operator { .. }) if !used => {
            Check::skipped(NAME, format!("namespace {name} is the operator's own; name a tenant's with -n"))
        }
        Err(mismatch) => Check::failed(NAME, mismatch.to_string(), to_do(&mismatch)),
    }
}

fn tenants(here: &Namespace, others: Option<&[NamespaceMeta]>, operator: &str) -> Tenants {
    let (store, mut writer) = reflector::store();
    let own = PartialObjectMeta { types: None, metadata: here.metadata.clone(), _phantom: PhantomData };
    for namespace in others.into_iter().flatten().chain([&own]) {
        writer.apply_watcher_event(&watcher::Event::Apply(namespace.clone()));
    }
    Tenants::new(store, operator)
}

fn to_do(mismatch: &TenantMismatch) -> String {
    match mismatch {
        TenantMismatch::Unlabelled { namespace } => {
            format!("as a cluster administrator: kubectl label namespace {namespace} {TENANT_LABEL}=TENANT")
        }
        TenantMismatch::Duplicate { tenant, .. } => {
            format!(
                "see which: kubectl get namespaces -l {TENANT_LABEL}={tenant}; take the label off the one that is wrong"
            )
        }
        TenantMismatch::Operator { .. } => "put integrations into a namespace of their tenant".to_owned(),
        TenantMismatch::Other { namespace, .. } => {
            format!("compare with the label: kubectl get namespace {namespace} -L {TENANT_LABEL}")
        }
    }
}

/// Whether a namespace is among those that the operator watches.
fn among(served: &str, namespace: &str) -> Option<Check> {
    let is_there = served.split(',').any(|one| one.trim() == namespace);
    (!is_there).then(|| {
        let says = format!("the operator watches {served} only, and not namespace {namespace}");
        Check::failed(NAME, says, "add it to --watch-namespaces, with a Role there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use serde_json::json;

    fn namespace(name: &str, tenant: Option<&str>, created: &str) -> Namespace {
        let labels = tenant.map(|tenant| json!({ TENANT_LABEL: tenant }));
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels, "creationTimestamp": created } }))
            .unwrap()
    }

    fn meta(namespace: &Namespace) -> NamespaceMeta {
        PartialObjectMeta { types: None, metadata: namespace.metadata.clone(), _phantom: PhantomData }
    }

    #[test]
    fn the_label_counts_as_the_operator_counts_it() {
        let acme = namespace("acme", Some("acme"), "2026-05-02T00:00:00Z");
        let older = namespace("older", Some("acme"), "2026-05-01T00:00:00Z");
        let bare = namespace("bare", None, "2026-05-01T00:00:00Z");
        assert_eq!(judge(&acme, Some(&[]), "ops", true).verdict, Verdict::Ok);
        assert!(judge(&acme, None, "ops", true).says.contains("you may not see"));
        let duplicate = judge(&acme, Some(&[meta(&older)]), "ops", true);
        assert_eq!(duplicate.verdict, Verdict::Failed);
        assert!(duplicate.says.contains("older namespace"), "{duplicate:?}");
        let unlabelled = judge(&bare, None, "ops", true);
        assert_eq!(unlabelled.verdict, Verdict::Failed);
        assert!(unlabelled.to_do.unwrap().contains("kubectl label namespace bare integrations.tms.dev/tenant="));
        assert_eq!(judge(&bare, None, "ops", false).verdict, Verdict::Skipped);
        assert_eq!(judge(&acme, None, "acme", true).verdict, Verdict::Failed);
    }

    #[test]
    fn namespaces_that_are_not_watched() {
        assert!(among("acme, globex", "globex").is_none());
        assert_eq!(among("acme", "globex").unwrap().verdict, Verdict::Failed);
    }
}
