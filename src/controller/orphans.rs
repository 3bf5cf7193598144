//! Grants whose integration is gone: reported, and removed after thirty days. Never revoked: after a restored backup the
//! very same grant may be in use by an integration with another uid.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::watched::Watched;
use crate::api::ProjectIntegration;
use crate::causes::chain;
use crate::grant::GrantView;
use crate::grant::store::Marks;
use crate::watching::Place;

/// When it is first looked for them, after this replica has begun to reconcile.
const FIRST_LOOK: Duration = Duration::from_secs(15);
/// How often after that.
const EVERY: Duration = Duration::from_hours(1);
/// How long they are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is done about a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Leave,
    Report,
    Reclaimed,
    Remove,
}

/// Looks for orphans until `stop`.
pub async fn run(context: &Context, places: &[Place], integrations: &[Store<Watched>], stop: &CancellationToken) {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY;
        let mut orphans = 0;
        for grant in context.grant_cache.state() {
            let Ok(view) = grant.view() else { continue };
            let namespace = &view.summary.integration.namespace;
            if !places.iter().any(|place| place.holds(namespace)) {
                continue;
            }
            // Who is there is no orphan. Whoever seems to be missing is asked for.
            let owner = &view.summary.integration;
            let reference = ObjectRef::new(&owner.name).within(&owner.namespace);
            let known = integrations.iter().find_map(|store| store.get(&reference));
            if known.is_some_and(|known| known.uid().as_ref() == Some(&owner.uid)) && view.orphaned.is_none() {
                continue;
            }
            match look(context, &view).await {
                Ok(orphaned) => orphans += i64::from(orphaned),
                Err(error) => tracing::warn!(grant = view.name, error, "looking for orphaned grants"),
            }
        }
        context.metrics.orphans(orphans);
    }
}

/// Looks at one grant; returns whether it is an orphan.
async fn look(context: &Context, view: &GrantView) -> Result<bool, String> {
    let owner = &view.summary.integration;
    let api: Api<ProjectIntegration> = Api::namespaced(context.client.clone(), &owner.namespace);
    // Not the cache: nothing is removed on hearsay.
    let found = api.get_metadata_opt(&owner.name).await.map_err(|error| chain(&error))?;
    let lives = found.is_some_and(|found| found.metadata.uid.as_deref() == Some(owner.uid.as_str()));
    let now = Timestamp::now();
    let verdict = judge(lives, view.orphaned, now);
    let mark = |orphaned| Marks { orphaned: Some(orphaned), ..Marks::default() };
    let (namespace, name) = (&owner.namespace, &owner.name);
    match verdict {
        Verdict::Leave => {}
        Verdict::Report => {
            tracing::warn!(grant = view.name, namespace, name, "this grant's integration is gone; kept for 30 days");
            context.grants.annotate(view, &mark(Some(now))).await.map_err(|error| chain(&error))?;
        }
        Verdict::Reclaimed => {
            context.grants.annotate(view, &mark(None)).await.map_err(|error| chain(&error))?;
        }
        Verdict::Remove => {
            tracing::warn!(
                grant = view.name,
                namespace,
                name,
                "removing a grant whose integration is gone for 30 days"
            );
            context.grants.delete(view).await.map_err(|error| chain(&error))?;
        }
    }
    Ok(!lives && verdict != Verdict::Remove)
}

fn judge(lives: bool, orphaned: Option<Timestamp>, now: Timestamp) -> Verdict {
    match (lives, orphaned) {
        (true, Some(_)) => Verdict::Reclaimed,
        (false, None) => Verdict::Report,
        (false, Some(since)) if now.duration_since(since) >= KEPT => Verdict::Remove,
        (true, None) | (false, Some(_)) => Verdict::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days() {
        let since = Timestamp::from_second(0).unwrap();
        let day = |days: i64| Timestamp::from_second(days * 86_400).unwrap();
        assert_eq!(judge(false, None, day(0)), Verdict::Report);
        assert_eq!(judge(false, Some(since), day(29)), Verdict::Leave);
        assert_eq!(judge(false, Some(since), day(30)), Verdict::Remove);
        assert_eq!(judge(true, Some(since), day(40)), Verdict::Reclaimed);
        assert_eq!(judge(true, None, day(40)), Verdict::Leave);
    }
}
