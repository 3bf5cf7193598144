//! Grants that are sealed with an old key, or with none, are written again with the first key of the file: slowly, and one
//! after the other, so that a key can be taken out of use without waiting for every grant to be refreshed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::watched::WatchedGrant;
use crate::causes::chain;
use crate::grant::store::Marks;
use crate::grant::{GrantView, StoreError};
use crate::seal::SEALED_WITH;

/// How often the grants are counted.
const EVERY: Duration = Duration::from_secs(5);
/// The pause after each write.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts and rewrites until `stop`.
pub async fn run(context: &Context, stop: &CancellationToken) {
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let grants = context.grant_cache.state();
        let writing = context.grants.writing();
        context.metrics.grants(&count(&grants));
        let stale: Vec<_> = grants
            .iter()
            .filter(|grant| grant.sealed_with.as_deref() != writing.as_deref())
            .filter_map(|grant| grant.view().ok())
            .collect();
        let attempts = context.attempt_cache.state().into_iter();
        let attempts = attempts.filter(|attempt| attempt.annotations().get(SEALED_WITH) != writing.as_ref()).count();
        tell(&mut told, writing.as_ref(), stale.len() + attempts);
        if writing.is_none() {
            continue;
        }
        let now = Timestamp::now();
        for view in stale.iter().filter(|view| rests(view, now) && context.grants.can_open(view).is_ok()) {
            match reseal(context, view).await {
                Ok(()) => {}
                // Whoever wrote in between has sealed it anew.
                Err(error) if error.is_conflict() || error.is_missing() => {}
                Err(error) => tracing::warn!(grant = view.name, error = chain(&error), "sealing a grant anew"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// Grants by the key that they are sealed with; under the empty name those that are not.
fn count(grants: &[Arc<WatchedGrant>]) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for grant in grants {
        *counts.entry(grant.sealed_with.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

/// Whether no refresh of this grant is on its way.
fn rests(view: &GrantView, now: Timestamp) -> bool {
    view.intents.iter().all(|intent| intent.deadline < now)
}

async fn reseal(context: &Context, view: &GrantView) -> Result<(), StoreError> {
    let Some(held) = context.grants.get(&view.name).await? else { return Ok(()) };
    let written = context.grants.replace(&held.view, &held.grant, &Marks::default()).await?;
    context.wrote(&held.grant.integration.uid, &written);
    Ok(())
}

/// Says how many are left, when that has changed.
fn tell(told: &mut Option<(Option<String>, usize)>, writing: Option<&String>, left: usize) {
    let now = Some((writing.cloned(), left));
    if *told == now {
        return;
    }
    match (writing, left) {
        (None, 0) => {}
        (None, _) => tracing::warn!(left, "grants are sealed, and this operator has no --grant-key-file to open them"),
        (Some(key), 0) => tracing::info!(key, "everything is sealed with this key; others may leave the file"),
        (Some(key), _) => tracing::info!(key, left, "grants and attempts are yet to be sealed with this key"),
    }
    *told = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::context::SecretMeta;
    use crate::grant::Intent;
    use crate::grant::tests_support::view;
    use kube::core::ObjectMeta;

    #[test]
    fn counted_by_key() {
        let grant = |key: Option<&str>| {
            let annotations = key.map(|key| [(SEALED_WITH.to_owned(), key.to_owned())].into());
            let metadata = ObjectMeta { annotations, ..ObjectMeta::default() };
            Arc::new(WatchedGrant::new(SecretMeta { metadata, ..SecretMeta::default() }))
        };
        let counts = count(&[grant(Some("a")), grant(None), grant(Some("a"))]);
        assert_eq!(counts, BTreeMap::from([("a".to_owned(), 2), (String::new(), 1)]));
    }

    #[test]
    fn a_refresh_on_its_way_is_not_disturbed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut view = view(0, None);
        view.intents = vec![Intent {
            attempt: "a".into(),
            set: None,
            epoch: 1,
            boot: "b".into(),
            holder: "h".into(),
            first_sent: at(0),
            deadline: at(40),
        }];
        assert!(!rests(&view, at(40)) && rests(&view, at(41)));
    }
}
