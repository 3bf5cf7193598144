//! Which connections have metadata of some value: from a watch of all grants by their metadata, on every replica.
//!
//! Begins with the first webhook that is asked about, so that it costs nothing where there are none. What it tells are
//! candidates: grants are read before anything is done.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;

use crate::grant::GrantView;
use crate::grant::store::{GRANT, KIND_LABEL};
use crate::watching::keeping;

type Metadata = PartialObjectMeta<Secret>;

/// The index; the watch ends with it.
pub struct Index {
    entries: Arc<Mutex<Entries>>,
    ready: watch::Receiver<bool>,
    watching: tokio::task::JoinHandle<()>,
}

/// Names of grants by hashes, and hashes by names.
#[derive(Debug, Default)]
struct Entries {
    grants: HashMap<Box<str>, BTreeSet<Box<str>>>,
    routes: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Index {
    /// Begins to watch the grants of the operator's namespace.
    pub fn watch(client: kube::Client, namespace: &str) -> Self {
        let entries = Arc::<Mutex<Entries>>::default();
        let (filled, ready) = watch::channel(false);
        let api: Api<Metadata> = Api::namespaced(client, namespace);
        let config = watcher::Config::default().labels(&format!("{KIND_LABEL}={GRANT}"));
        let shared = Arc::clone(&entries);
        let watching = tokio::spawn(async move {
            let mut events = watcher(api, config).default_backoff().map_ok(|event| keeping(event, entry)).boxed();
            let mut listing = Entries::default();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let filled_now = matches!(event, watcher::Event::InitDone);
                        take(&mut lock(&shared), &mut listing, event);
                        if filled_now {
                            filled.send_replace(true);
                        }
                    }
                    Err(error) => tracing::warn!(error = crate::causes::chain(&error), "watching grants"),
                }
            }
        });
        Self { entries, ready, watching }
    }

    /// Waits until all grants have been seen once; `false` where that takes longer than `patience`.
    pub async fn ready(&self, patience: Duration) -> bool {
        let mut ready = self.ready.clone();
        tokio::time::timeout(patience, ready.wait_for(|ready| *ready)).await.is_ok_and(|waited| waited.is_ok())
    }

    /// Names of the grants that have one of these hashes, each once.
    pub fn find<'a>(&self, hashes: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let entries = lock(&self.entries);
        hashes.filter_map(|hash| entries.grants.get(hash)).flatten().map(ToString::to_string).collect()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// The name of a grant and its hashes.
type Entry = (Box<str>, Vec<Box<str>>);

#[expect(clippy::needless_pass_by_value, reason = "a watch hands its objects on")]
fn entry(grant: Metadata) -> Entry {
    let name = grant.metadata.name.as_deref().unwrap_or_default().into();
    let routes = GrantView::from_metadata(&grant.metadata).map(|view| view.summary.routes).unwrap_or_default();
    (name, routes.into_iter().map(String::into_boxed_str).collect())
}

/// A new list takes the place of what is known when it is complete.
fn take(known: &mut Entries, listing: &mut Entries, event: watcher::Event<Entry>) {
    match event {
        watcher::Event::Init => *listing = Entries::default(),
        watcher::Event::InitApply((name, routes)) => listing.put(name, routes),
        watcher::Event::InitDone => *known = std::mem::take(listing),
        watcher::Event::Apply((name, routes)) => known.put(name, routes),
        watcher::Event::Delete((name, _)) => known.put(name, vec![]),
    }
}

impl Entries {
    /// The hashes of a grant are these from now on.
    fn put(&mut self, name: Box<str>, routes: Vec<Box<str>>) {
        if self.routes.get(&name).map(Vec::as_slice).unwrap_or_default() == routes.as_slice() {
            return;
        }
        for hash in self.routes.remove(&name).unwrap_or_default() {
            if let Some(names) = self.grants.get_mut(&hash) {
                names.remove(&name);
                if names.is_empty() {
                    self.grants.remove(&hash);
                }
            }
        }
        if routes.is_empty() {
            return;
        }
        for hash in &routes {
            self.grants.entry(hash.clone()).or_default().insert(name.clone());
        }
        self.routes.insert(name, routes);
    }
}

fn lock(entries: &Mutex<Entries>) -> std::sync::MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str, routes: &[&str]) -> Entry {
        (name.into(), routes.iter().map(|&route| route.into()).collect())
    }

    #[test]
    fn what_a_grant_is_found_by_follows_the_watch() {
        let (mut known, mut listing) = (Entries::default(), Entries::default());
        let found = |known: &Entries, hash: &str| -> Vec<String> {
            known.grants.get(hash).into_iter().flatten().map(ToString::to_string).collect()
        };
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(put("a", &["1", "2"])),
            watcher::Event::InitApply(put("b", &["2"])),
            watcher::Event::InitDone,
        ] {
            assert!(found(&known, "2").is_empty());
            take(&mut known, &mut listing, event);
        }
        assert_eq!((found(&known, "1"), found(&known, "2")), (vec!["a".into()], vec!["a".into(), "b".into()]));
        take(&mut known, &mut listing, watcher::Event::Apply(put("a", &["3"])));
        assert_eq!(
            (found(&known, "1"), found(&known, "2"), found(&known, "3")),
            (vec![], vec!["b".into()], vec!["a".into()])
        );
        take(&mut known, &mut listing, watcher::Event::Delete(put("b", &["2"])));
        assert!(found(&known, "2").is_empty() && known.routes.len() == 1 && known.grants.len() == 1);
        // A later list without it is the end of it.
        take(&mut known, &mut listing, watcher::Event::Init);
        take(&mut known, &mut listing, watcher::Event::InitDone);
        assert!(known.routes.is_empty() && known.grants.is_empty());
    }
}
