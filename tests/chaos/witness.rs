//! Watches the grants beside the operator: which refreshes are unfinished, and which process carried what out when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use integration_operator::grant::{GrantView, Intent};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::world::{OPERATOR, World, eventually_within};

/// Sees every change of a grant; stops when dropped.
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    news: broadcast::Sender<Intent>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    grants: BTreeMap<String, GrantView>,
    /// The run of the process by the attempt.
    boots: HashMap<String, String>,
    /// When the first answer to a run of the process was seen to be held.
    first_held: HashMap<String, Instant>,
    /// Every intent there was, by the name of its grant, with the moment of its being seen.
    intents: Vec<(String, Intent, Timestamp)>,
}

impl Witness {
    pub fn start(world: &World) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let api: kube::Api<PartialObjectMeta<Secret>> = kube::Api::namespaced(world.client.clone(), OPERATOR);
        let (writer, (news, _)) = (Arc::clone(&seen), broadcast::channel(1_000));
        let teller = news.clone();
        let task = tokio::spawn(async move {
            let config = watcher::Config::default();
            let mut events = watcher(api, config).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let mut seen = writer.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(watcher::Event::Apply(grant) | watcher::Event::InitApply(grant)) => {
                        if let Ok(view) = GrantView::from_metadata(&grant.metadata) {
                            seen.take(view).into_iter().for_each(|intent| drop(teller.send(intent)));
                        }
                    }
                    Ok(watcher::Event::Delete(grant)) => {
                        seen.grants.remove(&grant.metadata.name.unwrap_or_default());
                    }
                    Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { seen, news, task }
    }

    /// Tells of each intent, a moment after it was written.
    pub fn intents(&self) -> broadcast::Receiver<Intent> {
        self.news.subscribe()
    }

    /// The intents that a grant has had up to a moment, and when they were seen.
    pub fn intents_of(&self, grant: &str, until: Timestamp) -> Vec<(Intent, Timestamp)> {
        let seen = self.seen();
        let own = seen.intents.iter().filter(|(name, _, at)| name == grant && *at <= until);
        own.map(|(_, intent, at)| (intent.clone(), *at)).collect()
    }

    /// The runs of the process that have made themselves known so far.
    pub fn boots(&self) -> BTreeSet<String> {
        self.seen().boots.values().cloned().collect()
    }

    /// When a run that is none of these has first kept what a provider gave it.
    pub fn first_held_by_another(&self, than: &BTreeSet<String>) -> Option<Instant> {
        let seen = self.seen();
        seen.first_held.iter().filter(|(boot, _)| !than.contains(*boot)).map(|(_, at)| *at).min()
    }

    /// The grants with an unfinished refresh that is not given up.
    pub fn unfinished(&self) -> BTreeSet<String> {
        let seen = self.seen();
        seen.grants.values().filter(|view| is_unfinished(view)).map(|view| view.name.clone()).collect()
    }

    /// Waits until every refresh that is unfinished now is decided. The load goes on meanwhile: new ones do not count, and a
    /// process that is stopped brings its own to their end.
    pub async fn settled(&self, patience: Duration) {
        let open = self.attempts();
        eventually_within(patience, "everything is decided", async || open.is_disjoint(&self.attempts())).await;
    }

    /// The attempts that are unfinished.
    fn attempts(&self) -> BTreeSet<String> {
        let seen = self.seen();
        let open = seen.grants.values().filter(|view| is_unfinished(view)).flat_map(|view| &view.intents);
        open.map(|intent| intent.attempt.clone()).collect()
    }

    /// The integrations whose grants have ended: namespace and name.
    pub fn ended(&self) -> Vec<(String, String)> {
        let seen = self.seen();
        let ended = seen
            .grants
            .values()
            .filter(|view| view.refused.as_ref().is_some_and(|refusal| refusal.epoch == view.summary.epoch));
        ended.map(|view| (view.summary.integration.namespace.clone(), view.summary.integration.name.clone())).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Takes a change in, and returns the intents that it brought.
    fn take(&mut self, view: GrantView) -> Vec<Intent> {
        let mut new = vec![];
        for intent in &view.intents {
            if self.boots.insert(intent.attempt.clone(), intent.boot.clone()).is_none() {
                self.intents.push((view.name.clone(), intent.clone(), Timestamp::now()));
                new.push(intent.clone());
            }
        }
        if let Some(boot) = view.summary.attempt.as_ref().and_then(|attempt| self.boots.get(attempt)) {
            self.first_held.entry(boot.clone()).or_insert_with(Instant::now);
        }
        self.grants.insert(view.name.clone(), view);
        new
    }
}

/// Whether the end of a refresh is not known.
fn is_unfinished(view: &GrantView) -> bool {
    let refused = view.refused.as_ref().is_some_and(|refusal| refusal.epoch == view.summary.epoch);
    !refused && view.intent(None).is_some()
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
