//! Which namespace belongs to which tenant: the boundary that everything else relies on.
//!
//! A namespace belongs to the tenant that its label names, and only a cluster administrator sets that label. Where two
//! namespaces carry the same tenant, only the older one is served. Takes a cache of namespaces; asks no server.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::TENANT_LABEL;
use crate::watching::Place;

/// A namespace without spec and status.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// The tenants of this cluster.
#[derive(Clone)]
pub struct Tenants {
    namespaces: Store<NamespaceMeta>,
    own_namespace: String,
    places: Vec<Place>,
}

/// Why an integration is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantMismatch {
    /// The namespace has no tenant.
    #[error("namespace {namespace} has no label {TENANT_LABEL}; a cluster administrator sets it")]
    Unlabelled {
        /// The namespace.
        namespace: String,
    },
    /// The spec names another tenant than the namespace.
    #[error("spec.tenantId is {claimed}, but namespace {namespace} belongs to tenant {owner}")]
    Other {
        /// The namespace.
        namespace: String,
        /// What the spec says.
        claimed: String,
        /// What the label says.
        owner: String,
    },
    /// An older namespace carries the same tenant.
    #[error("tenant {tenant} is served in an older namespace; the label on namespace {namespace} is ignored")]
    Duplicate {
        /// The namespace.
        namespace: String,
        /// The tenant.
        tenant: String,
    },
    /// The operator's own namespace is never a tenant's.
    #[error("namespace {namespace} is the operator's own and never a tenant's")]
    Operator {
        /// The namespace.
        namespace: String,
    },
}

impl Tenants {
    /// Reads tenants from a cache of namespaces.
    pub fn new(namespaces: Store<NamespaceMeta>, own_namespace: impl Into<String>) -> Self {
        Self { namespaces, own_namespace: own_namespace.into(), places: vec![Place::Cluster] }
    }

    /// Serves the tenants of these places alone. Elsewhere this operator may have no rights, and whoever asks is told what
    /// is told of a tenant that nobody knows.
    #[must_use]
    pub fn in_places(self, places: Vec<Place>) -> Self {
        Self { places, ..self }
    }

    /// The namespace in which a tenant is served.
    pub fn namespace_of(&self, tenant: &str) -> Option<String> {
        self.namespaces
            .state()
            .iter()
            .filter(|namespace| label(namespace) == Some(tenant) && name(namespace) != self.own_namespace)
            .min_by_key(|namespace| age(namespace))
            .map(|namespace| name(namespace).to_owned())
            .filter(|namespace| self.places.iter().any(|place| place.holds(namespace)))
    }

    /// The tenant that is served in a namespace.
    pub fn tenant_of(&self, namespace: &str) -> Option<String> {
        let found = self.get(namespace)?;
        let tenant = label(&found)?.to_owned();
        (self.namespace_of(&tenant).as_deref() == Some(namespace)).then_some(tenant)
    }

    /// Whether an integration of `tenant` is served in `namespace`.
    pub fn check(&self, namespace: &str, tenant: &str) -> Result<(), TenantMismatch> {
        let namespace = namespace.to_owned();
        if namespace == self.own_namespace {
            return Err(TenantMismatch::Operator { namespace });
        }
        let found = self.get(&namespace);
        let Some(owner) = found.as_deref().and_then(label) else {
            return Err(TenantMismatch::Unlabelled { namespace });
        };
        if owner != tenant {
            return Err(TenantMismatch::Other { namespace, claimed: tenant.to_owned(), owner: owner.to_owned() });
        }
        if self.namespace_of(tenant).as_deref() != Some(namespace.as_str()) {
            return Err(TenantMismatch::Duplicate { namespace, tenant: tenant.to_owned() });
        }
        Ok(())
    }

    /// The labels of a namespace, for a provider's `allowedNamespaces`.
    pub fn labels_of(&self, namespace: &str) -> std::collections::BTreeMap<String, String> {
        self.get(namespace).and_then(|found| found.metadata.labels.clone()).unwrap_or_default()
    }

    /// What holds of each namespace: a digest of its labels and of whether its tenant is served there.
    pub fn standings(&self) -> HashMap<String, u64> {
        let namespaces = self.namespaces.state();
        let mut served: HashMap<&str, &NamespaceMeta> = HashMap::new();
        for namespace in namespaces.iter().filter(|namespace| name(namespace) != self.own_namespace) {
            let Some(tenant) = label(namespace) else { continue };
            let eldest = served.entry(tenant).or_insert(namespace);
            if age(namespace) < age(eldest) {
                *eldest = namespace;
            }
        }
        let standing = |namespace: &NamespaceMeta| {
            let eldest = label(namespace).and_then(|tenant| served.get(tenant)).map(|eldest| name(eldest));
            let mut hasher = DefaultHasher::new();
            (&namespace.metadata.labels, eldest == Some(name(namespace))).hash(&mut hasher);
            hasher.finish()
        };
        namespaces.iter().map(|namespace| (name(namespace).to_owned(), standing(namespace))).collect()
    }

    fn get(&self, namespace: &str) -> Option<std::sync::Arc<NamespaceMeta>> {
        self.namespaces.get(&ObjectRef::new(namespace))
    }
}

fn name(namespace: &NamespaceMeta) -> &str {
    namespace.metadata.name.as_deref().unwrap_or_default()
}

fn label(namespace: &NamespaceMeta) -> Option<&str> {
    namespace.metadata.labels.as_ref()?.get(TENANT_LABEL).map(String::as_str).filter(|tenant| !tenant.is_empty())
}

/// Older first, then by name.
fn age(namespace: &NamespaceMeta) -> (Option<jiff::Timestamp>, String) {
    (namespace.metadata.creation_timestamp.as_ref().map(|time| time.0), name(namespace).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
    use kube::runtime::{reflector, watcher};

    fn tenants(namespaces: &[(&str, Option<&str>, i64)]) -> Tenants {
        let (store, mut writer) = reflector::store();
        for (name, tenant, created) in namespaces {
            let metadata = ObjectMeta {
                name: Some((*name).to_owned()),
                labels: tenant.map(|tenant| [(TENANT_LABEL.to_owned(), tenant.to_owned())].into()),
                creation_timestamp: Some(Time(jiff::Timestamp::from_second(*created).unwrap())),
                ..ObjectMeta::default()
            };
            let namespace: NamespaceMeta =
                PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData };
            writer.apply_watcher_event(&watcher::Event::Apply(namespace));
        }
        Tenants::new(store, "operator")
    }

    #[test]
    fn the_label_decides() {
        let tenants = tenants(&[("acme", Some("acme"), 1), ("bare", None, 1), ("operator", Some("evil"), 1)]);
        assert_eq!(tenants.check("acme", "acme"), Ok(()));
        assert!(matches!(tenants.check("acme", "globex"), Err(TenantMismatch::Other { .. })));
        assert!(matches!(tenants.check("bare", "acme"), Err(TenantMismatch::Unlabelled { .. })));
        assert!(matches!(tenants.check("gone", "acme"), Err(TenantMismatch::Unlabelled { .. })));
        assert!(matches!(tenants.check("operator", "evil"), Err(TenantMismatch::Operator { .. })));
        assert_eq!(tenants.namespace_of("evil"), None);
    }

    #[test]
    fn the_older_namespace_is_served() {
        let tenants = tenants(&[("b-old", Some("acme"), 1), ("a-new", Some("acme"), 2)]);
        assert_eq!(tenants.namespace_of("acme").as_deref(), Some("b-old"));
        assert!(matches!(tenants.check("a-new", "acme"), Err(TenantMismatch::Duplicate { .. })));
        assert_eq!(tenants.tenant_of("a-new"), None);
        assert_eq!(tenants.tenant_of("b-old").as_deref(), Some("acme"));
    }

    #[test]
    fn tenants_of_other_places_are_not_served() {
        let both = || tenants(&[("acme", Some("acme"), 1), ("old", Some("b"), 1), ("new", Some("b"), 2)]);
        let watched = ["acme", "new"].map(|name| Place::Namespace(name.to_owned())).to_vec();
        let here = both().in_places(watched);
        assert_eq!(here.namespace_of("acme").as_deref(), Some("acme"));
        assert_eq!(both().namespace_of("b").as_deref(), Some("old"));
        // The older one is the tenant's, whoever serves it.
        assert_eq!(here.namespace_of("b"), None);
        assert!(matches!(here.check("new", "b"), Err(TenantMismatch::Duplicate { .. })));
    }

    #[test]
    fn a_namespace_stands_otherwise_when_the_older_one_is_gone() {
        let both = tenants(&[("old", Some("acme"), 1), ("new", Some("acme"), 2), ("other", Some("b"), 1)]).standings();
        let moved = tenants(&[("old", Some("c"), 1), ("new", Some("acme"), 2), ("other", Some("b"), 1)]).standings();
        let gone = tenants(&[("new", Some("acme"), 2), ("other", Some("b"), 1)]).standings();
        assert!(both["old"] != moved["old"] && both["new"] != moved["new"]);
        assert_eq!(moved["new"], gone["new"]);
        assert_eq!(both["other"], gone["other"]);
    }
}
