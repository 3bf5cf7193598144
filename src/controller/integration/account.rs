//! Whose a connection is: asked again where what is told of it was derived by another description, by other values, or
//! not at all, as when the process ended between the grant and the identity call.

use jiff::{SignedDuration, Timestamp};

use super::{ReconcileError, Run};
use crate::causes::chain;
use crate::controller::memory::{self, AccountTrouble};
use crate::controller::requests::Requests;
use crate::controller::situation::Situation;
use crate::flow::account::{AskError, Haste, ask};
use crate::grant::GrantView;
use crate::grant::store::Marks;
use crate::lanes::Lane;

/// How long the exchange that made a grant is left to complete it.
const EXCHANGE_TIME: SignedDuration = SignedDuration::from_secs(5);
/// How much more rarely something is asked again that is not likely to pass by itself: at last once an hour.
const RARELY: i32 = 12;

impl Run<'_> {
    /// Metadata, the installation and the API's address follow the description and the values of the form. One write of
    /// the grant, and none where nothing has changed.
    pub(super) async fn know_account(
        &mut self,
        situation: &mut Situation<'_>,
        asked: &Requests,
    ) -> Result<(), ReconcileError> {
        let suspended = situation.settings.as_ref().is_ok_and(|settings| settings.suspend);
        let Some(view) = situation.grant.clone() else { return Ok(()) };
        if suspended || !situation.is_bound() || view.refused.is_some() || !view.intents.is_empty() {
            return Ok(());
        }
        let Some(subject) = situation.subject() else { return Ok(()) };
        let wanted = subject.described();
        // Somebody may have made at the app what was not there to choose.
        let again = asked.check.is_some() && view.summary.choice.is_some();
        if view.summary.described.as_ref() == Some(&wanted) && !again {
            self.context.memories.update(&situation.uid, |memory| memory.account = None);
            return Ok(());
        }
        let now = Timestamp::now();
        let about = (view.summary.epoch, wanted);
        let before = self.context.memories.get(&situation.uid).account.filter(|trouble| trouble.about == about);
        let by_exchange = view.summary.described.is_none() && view.summary.api_key.is_none();
        let in_exchange = by_exchange.then(|| view.summary.installed_at + EXCHANGE_TIME);
        let not_before = before.as_ref().map(|trouble| trouble.retry_at).or(in_exchange);
        if let Some(at) = not_before.filter(|at| now < *at && asked.check.is_none()) {
            self.look_again(at);
            return Ok(());
        }
        let Some(held) = self.context.grants.get(&view.name).await? else { return Ok(()) };
        if held.view.summary != view.summary || !held.view.intents.is_empty() {
            self.look_again(now + SignedDuration::from_secs(1));
            return Ok(());
        }
        let said = {
            let _pass = self.context.lanes.enter(Lane::Health, view.summary.expires_at).await;
            ask((&self.context.flow).into(), &subject, &held.grant, Haste::Later).await
        };
        let answers = match said {
            Ok(answers) => answers,
            Err(error) => {
                let failures = before.map_or(0, |trouble| trouble.failures) + 1;
                let retry_at = self.account_unknown(situation, &view, about, failures, &error);
                self.look_again(retry_at);
                return Ok(());
            }
        };
        let grant = subject.conclude(&held.grant, Some(&answers), Timestamp::now());
        match self.context.grants.replace(&held.view, &grant, &Marks::default()).await {
            Ok(view) => {
                self.context.wrote(&situation.uid, &view);
                self.context.memories.update(&situation.uid, |memory| memory.account = None);
                situation.grant = Some(view);
                self.held = Some(grant);
            }
            Err(error) if error.is_conflict() || error.is_missing() => {
                self.look_again(now + SignedDuration::from_secs(1));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Remembers that the provider has not said it; returns when to ask again.
    fn account_unknown(
        &self,
        situation: &Situation<'_>,
        view: &GrantView,
        about: (u64, String),
        failures: u32,
        error: &AskError,
    ) -> Timestamp {
        let (namespace, name) = (&situation.namespace, &situation.name);
        tracing::info!(namespace, name, epoch = view.summary.epoch, error = chain(error), "the account is not known");
        let own = memory::pause(failures, memory::chance());
        let wished = error.retry_after().and_then(|pause| SignedDuration::try_from(pause).ok());
        let pause = if error.passes() { own } else { own * RARELY };
        let retry_at = Timestamp::now() + wished.map_or(pause, |wished| pause.max(wished));
        let trouble = AccountTrouble { about, failures, cause: chain(error), retry_at };
        self.context.memories.update(&situation.uid, |memory| memory.account = Some(Box::new(trouble)));
        retry_at
    }
}
