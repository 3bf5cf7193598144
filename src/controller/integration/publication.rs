//! Publishing: when the Secret for workloads is written, and when it is looked at.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};

use super::{LOOK_AGAIN, ReconcileError, Run};
use crate::controller::memory;
use crate::controller::refresh;
use crate::controller::requests::Requests;
use crate::controller::situation::Situation;
use crate::controller::status;
use crate::grant::store::{Marks, grant_name};
use crate::grant::{Grant, GrantView, Published};
use crate::publish::{self, PublishError};

/// How often a published Secret is looked at; the actual time varies by a tenth.
const VERIFY_EVERY: SignedDuration = SignedDuration::from_hours(1);

impl Run<'_> {
    /// The Secret for workloads follows the grant; once an hour, or when asked, it is looked at.
    pub(super) async fn publish(
        &mut self,
        situation: &mut Situation<'_>,
        asked: &Requests,
    ) -> Result<(), ReconcileError> {
        let Some((settings, _)) = situation.served() else { return Ok(()) };
        let wanted = settings.secret_name.clone();
        let Some(view) = situation.grant.clone() else { return Ok(()) };
        let now = Timestamp::now();
        let memory = self.context.memories.get(&situation.uid);
        let told = situation.integration.status.as_ref().and_then(|status| status.token.as_ref());
        let changed_at = situation.integration.status.as_ref().and_then(|status| status.installation.as_ref());
        let is_told = told.is_some_and(|token| status::is_told(&view.summary, token))
            && changed_at.is_some_and(|told| told.last_updated_at == view.summary.updated_at().to_string());
        // The status may wait for more urgent work; what this process has published it knows.
        let fresh = is_told || memory.published_of == Some(tokens_of(&view));
        let named = view.published.as_ref().map(|published| &published.name) == wanted.as_ref();
        // After a start, what the status tells is believed at first, and looked at some time within the hour.
        let verified_at = memory.verified_at.unwrap_or_else(|| now - VERIFY_EVERY.mul_f64(memory::chance()));
        let verify_at = verified_at + VERIFY_EVERY;
        let due = verify_at <= now || asked.check.is_some();
        if fresh && named && !due && memory.conflict.is_none() && self.held.is_none() {
            self.context.memories.update(&situation.uid, |memory| memory.verified_at = Some(verified_at));
            self.look_again(verify_at);
            return Ok(());
        }
        let grant = match self.held.take() {
            Some(grant) => grant,
            None => match self.context.grants.get(&view.name).await? {
                Some(held) if held.grant.integration == view.summary.integration => held.grant,
                _ => return Ok(()),
            },
        };
        refresh::remember_token(self.context, &situation.uid, &grant);
        let writing = self.trace.part("publish");
        let result = writing.run(self.write_secret(situation, &view, &grant, wanted, fresh && named)).await;
        self.held = Some(grant);
        let spread = VERIFY_EVERY.mul_f64(memory::chance() / 10.0);
        let (conflict, verified_at) = match result {
            Ok(()) => (None, Some(now - spread)),
            Err(ReconcileError::Publish(error @ PublishError::Conflict { .. })) => {
                self.look_again(now + LOOK_AGAIN);
                (Some(error.to_string()), memory.verified_at)
            }
            Err(error) => return Err(error),
        };
        self.context.memories.update(&situation.uid, |memory| {
            memory.published_of = conflict.is_none().then_some(tokens_of(&view));
            memory.conflict = conflict;
            memory.verified_at = verified_at;
        });
        self.look_again(now + VERIFY_EVERY);
        Ok(())
    }

    /// Without a grant nothing is published. What was written just before the grant was given back, or before a crash, no
    /// grant knows of: it is looked for once after a start, and whenever something was published since.
    pub(super) async fn clear(&self, situation: &Situation<'_>) -> Result<(), ReconcileError> {
        if self.context.memories.get(&situation.uid).cleared {
            return Ok(());
        }
        let Ok(settings) = &situation.settings else { return Ok(()) };
        let Some(name) = &settings.secret_name else { return Ok(()) };
        let client = &self.context.client;
        if let Some(published) = publish::find_own(client, situation.integration, name).await? {
            // Not the cache: one that lags behind must not take a Secret away from a workload.
            let grant = grant_name(&situation.namespace, &situation.name);
            if self.context.grants.find(&grant).await?.is_some() {
                return Ok(());
            }
            publish::withdraw(client, &situation.namespace, &published).await?;
        }
        self.context.memories.update(&situation.uid, |memory| memory.cleared = true);
        Ok(())
    }

    async fn write_secret(
        &self,
        situation: &mut Situation<'_>,
        view: &GrantView,
        grant: &Grant,
        wanted: Option<String>,
        looks_right: bool,
    ) -> Result<(), ReconcileError> {
        let client = &self.context.client;
        let integration = situation.integration;
        let standing = view.published.as_ref();
        if let Some(published) = standing.filter(|published| wanted.as_ref() != Some(&published.name)) {
            publish::withdraw(client, &situation.namespace, published).await?;
        }
        if looks_right
            && let Some(published) = standing
            && publish::is_intact(client, integration, grant, published).await?
        {
            return Ok(());
        }
        self.context.memories.update(&situation.uid, |memory| memory.cleared = false);
        let published = match wanted {
            Some(name) => Some(self.write_newest(situation, grant, standing, &name).await?),
            None => None,
        };
        if published.as_ref() != standing || view.trace.is_some() {
            // Here ends the trace of the authorization.
            let trace = view.trace.is_some().then_some(None);
            let marks = Marks { published: Some(published), trace, ..Marks::default() };
            // Where the grant is given back meanwhile, nothing knows of this Secret any more: see `clear`.
            let held = self.context.grants.mark(view, &marks).await?;
            self.context.wrote(&situation.uid, &held.view);
            situation.grant = Some(held.view);
        }
        Ok(())
    }

    /// Where somebody else has written to the Secret, what is held may have been overtaken.
    async fn write_newest(
        &self,
        situation: &Situation<'_>,
        grant: &Grant,
        standing: Option<&Published>,
        name: &str,
    ) -> Result<Published, ReconcileError> {
        let (client, integration) = (&self.context.client, situation.integration);
        let write = |grant, version| publish::publish(client, integration, grant, standing, name, version);
        let known = self.context.memories.look(&situation.uid, |memory| memory.published).flatten();
        let written = match write(grant, known.map(|version| version.to_string())).await {
            Err(PublishError::Changed { .. }) => {
                let stored = self.context.grants.get(&grant_name(&situation.namespace, &situation.name)).await?;
                let newest = stored.map(|held| held.grant).filter(|held| held.integration == grant.integration);
                write(newest.as_ref().unwrap_or(grant), None).await?
            }
            written => written?,
        };
        let version = written.version.and_then(|version| version.parse().ok());
        self.context.memories.update(&situation.uid, |memory| memory.published = version);
        Ok(written.published)
    }
}

/// What tells the tokens of a grant, and all that is published with them, from those before, within this process.
fn tokens_of(view: &GrantView) -> u64 {
    let summary = &view.summary;
    let mut hasher = DefaultHasher::new();
    (summary.epoch, summary.generation, summary.obtained_at, summary.updated_at()).hash(&mut hasher);
    for (name, set) in &summary.sets {
        (name, set.generation, set.obtained_at, set.ended.is_some()).hash(&mut hasher);
    }
    hasher.finish()
}
