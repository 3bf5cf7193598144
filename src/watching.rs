//! What all watches have in common: where they look, and what they drop of each object.

use kube::Resource;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;

/// One place in which integrations and tenants' providers are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole cluster.
    Cluster,
    /// One namespace.
    Namespace(String),
}

impl Place {
    /// The places that `--watch-namespaces` names; the whole cluster when it names none.
    pub fn all(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() {
            return vec![Self::Cluster];
        }
        namespaces.iter().cloned().map(Self::Namespace).collect()
    }

    /// Whether a namespace belongs to this place.
    pub fn holds(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespace(name) => name == namespace,
        }
    }

    /// A handle for this place.
    pub fn api<K>(&self, client: &kube::Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// An event of a watch with what is kept of its object.
pub fn keeping<K, T>(event: watcher::Event<K>, keep: impl FnOnce(K) -> T) -> watcher::Event<T> {
    match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(keep(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(keep(object)),
        watcher::Event::InitApply(object) => watcher::Event::InitApply(keep(object)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
}

/// Drops what nobody here reads of a Secret of the operator's own, of which only the metadata is watched: labels by which
/// it was selected, and what kind of object it is.
pub fn strip_to_annotations<K>(object: &mut PartialObjectMeta<K>, but: &str) {
    object.types = None;
    if let Some(labels) = &mut object.metadata.labels {
        labels.retain(|label, _| label == but);
    }
    object.metadata.labels = object.metadata.labels.take().filter(|labels| !labels.is_empty());
    object.metadata.managed_fields = None;
}

/// Drops what nobody here reads: it is most of an object's size.
pub fn strip<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}
