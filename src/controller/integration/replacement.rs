//! Where a second authorization of the same installation ends the first (`ReplacesEarlier`): the first is looked at as
//! soon as the second is there, and not when its turn comes.
//!
//! What counts as ended: the provider refuses the access token, and then the refresh token too, for good. Without a
//! refresh token it is the answer 401, or a no by the description's own word. Anything else is `Healthy=False`, at once.
//! The refresh is one like any other, with an intent, and is made once for each later authorization.

use std::collections::BTreeSet;

use super::{ReconcileError, Run};
use crate::api::Reason;
use crate::controller::refresh::{self, Outcome};
use crate::controller::requests::Requests;
use crate::controller::situation::Situation;
use crate::grant::plan::Step;
use crate::grant::store::Marks;

impl Run<'_> {
    /// Looks whether a later authorization has ended this one.
    pub(super) async fn face_replacement(
        &mut self,
        situation: &mut Situation<'_>,
        asked: &Requests,
    ) -> Result<(), ReconcileError> {
        let (Some(later), Some(view), Some((settings, usable))) =
            (situation.later.clone(), situation.grant.clone(), situation.served_by_oauth())
        else {
            return Ok(());
        };
        let memory = self.context.memories.get(&situation.uid);
        let settled = memory.outlived.as_deref() == Some(&later);
        if settled || settings.suspend || !situation.is_bound() || view.refused.is_some() {
            return Ok(());
        }
        let health = &memory.health;
        let tried = health.token == Some((view.summary.epoch, view.summary.generation))
            && health.later.as_ref() == Some(&later);
        let rejected = tried && health.verdict.as_ref().is_some_and(|verdict| verdict.reason == Reason::Rejected);
        let provable = usable.endpoints.identity.is_some();
        if provable && !rejected {
            return Ok(());
        }
        if !view.summary.refreshable {
            if rejected && health.dead {
                let ended = refresh::mark_replaced(self.context, &view).await?;
                self.context.wrote(&situation.uid, &ended.view);
                situation.grant = Some(ended.view);
            }
            return Ok(());
        }
        let usable = usable.clone();
        match self.plan(situation, &BTreeSet::from([None])) {
            Step::Refresh { set: None, replay: None } => {}
            // After a failure, with a pause that grows.
            Step::Wait(Some(at)) => {
                self.look_again(at);
                return Ok(());
            }
            // A refresh that is unfinished has its own way to an end.
            _ => return Ok(()),
        }
        let outcome = self.refresh(situation, &usable, None, None, None).await;
        let renewed = matches!(outcome, Outcome::Renewed(_));
        self.take(situation, None, outcome);
        if renewed {
            self.context.memories.update(&situation.uid, |memory| memory.outlived = Some(Box::new(later)));
            self.publish(situation, asked).await?;
        }
        self.step = self.plan(situation, &BTreeSet::new());
        if let Step::Wait(Some(at)) | Step::Ambiguous { next: at, .. } | Step::InFlight(at) = self.step {
            self.look_again(at);
        }
        Ok(())
    }

    /// Takes back that the grant is about to go, where a disconnect was begun and then withdrawn: it would not count for
    /// its siblings any more.
    pub(super) async fn stay(&self, situation: &mut Situation<'_>) -> Result<(), ReconcileError> {
        let Some(view) = situation.grant.as_ref().filter(|view| view.leaving.is_some()) else { return Ok(()) };
        let found = self.context.grants.annotate(view, &Marks { leaving: Some(None), ..Marks::default() }).await?;
        self.context.wrote(&situation.uid, &found.view);
        situation.grant = Some(found.view);
        Ok(())
    }
}
