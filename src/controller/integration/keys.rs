//! API keys: the one that `spec.apiKey` names is read, proved, and takes the place of the one before.
//!
//! The Secret is read when the spec changes, after a start, when the app rejects what is held, when somebody asks, and
//! once an hour. It is not watched: the operator may read single Secrets of tenants, and list none.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{LOOK_AGAIN, ReconcileError, Run};
use crate::api::project_integration::{DisconnectedKey, SecretKeyRef};
use crate::api::request::{self, REQUESTED_BY};
use crate::api::{ProjectIntegration, Reason};
use crate::causes::chain;
use crate::controller::finalize::{self, Progress};
use crate::controller::key_secret::{self, KeySecretError};
use crate::controller::memory::{self, Health, KeyLook, KeyTrouble, Verdict};
use crate::controller::refresh;
use crate::controller::requests::Requests;
use crate::controller::situation::Situation;
use crate::digest::equal;
use crate::flow::api_key::{Proved, keep, prove};
use crate::grant::KeySource;
use crate::lanes::Lane;
use crate::oauth::identity;
use crate::provider::connection::Keyed;
use crate::sensitive::Sensitive;

/// How often the Secret is read while all is well; the actual time varies by a tenth.
const READ_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// Looks at a key that cannot be used, before they become as rare as the others: some ten minutes.
const QUICK_LOOKS: u32 = 12;

impl Run<'_> {
    /// Reads, proves and keeps the key that the spec names, where it is time to.
    pub(super) async fn take_key(
        &mut self,
        situation: &mut Situation<'_>,
        asked: &Requests,
    ) -> Result<(), ReconcileError> {
        let Some((settings, keyed)) = situation.served_by_key() else { return Ok(()) };
        if settings.suspend {
            return Ok(());
        }
        let keyed = keyed.clone();
        let Some(reference) = situation.integration.spec.api_key.as_ref().map(|named| named.secret_ref.clone()) else {
            return self.without_reference(situation, asked).await;
        };
        if situation.foreign && asked.connect.is_none() {
            return Ok(());
        }
        let now = Timestamp::now();
        let look = self.context.memories.get(&situation.uid).key.unwrap_or_default();
        let generation = situation.integration.metadata.generation;
        let wished = asked.check.is_some() || asked.connect.is_some() || look.generation != generation;
        if let Some(at) = look.next.filter(|at| !wished && now < *at) {
            self.look_again(at);
            return Ok(());
        }
        let looked = self.look(situation, &keyed, &reference, asked, wished, &look).await?;
        let misses = if looked.trouble.is_some() { look.misses.saturating_add(1) } else { 0 };
        let next = now + looked.pause.unwrap_or_else(|| pause(misses));
        self.look_again(next);
        self.context.memories.update(&situation.uid, |memory| {
            let (refused, trouble) = (looked.refused, looked.trouble);
            memory.key = Some(Box::new(KeyLook { generation, next: Some(next), misses, refused, trouble }));
        });
        for (annotation, value) in [(request::CONNECT, &asked.connect), (request::CHECK, &asked.check)] {
            self.handled.extend(value.clone().map(|value| (annotation, value)));
        }
        Ok(())
    }

    /// Nothing names a key: one that came from a Secret is given up, and one that was given over HTTP stays.
    async fn without_reference(
        &mut self,
        situation: &mut Situation<'_>,
        asked: &Requests,
    ) -> Result<(), ReconcileError> {
        self.forgone = None;
        let followed = situation.grant.as_ref().is_some_and(|grant| grant.summary.api_key == Some(KeySource::Spec));
        if followed {
            if let Progress::Wait(pause) = finalize::forget(self.context, situation.integration).await? {
                self.look_again(Timestamp::now() + SignedDuration::try_from(pause).unwrap_or(LOOK_AGAIN));
                return Ok(());
            }
            situation.grant = None;
            let note = "The API key was forgotten, since spec.apiKey is gone.";
            self.context.events.normal(situation.integration, Reason::Disconnected, "Disconnect", note).await;
        }
        self.context.memories.update(&situation.uid, |memory| memory.key = None);
        // There is nobody to send to a consent page; what to do instead is what the condition says.
        let instead = asked.connect.clone().filter(|_| !situation.can_authorize());
        self.handled.extend(instead.map(|value| (request::CONNECT, value)));
        if situation.grant.is_none() {
            self.handled.extend(asked.check.clone().map(|value| (request::CHECK, value)));
        }
        Ok(())
    }

    /// One look at the Secret, with what follows from it.
    async fn look(
        &mut self,
        situation: &mut Situation<'_>,
        keyed: &Keyed,
        reference: &SecretKeyRef,
        asked: &Requests,
        wished: bool,
        before: &KeyLook,
    ) -> Result<Looked, ReconcileError> {
        let key = match key_secret::read(&self.context.client, &situation.namespace, reference).await {
            Ok(key) => key,
            // What is held does not depend on the Secret; a moment's trouble of the API server is no news.
            Err(error) if error.is_transient() && situation.grant.is_some() => {
                return Ok(Looked { pause: Some(LOOK_AGAIN), trouble: before.trouble.clone(), refused: None });
            }
            Err(error) => return Ok(Looked::missing(&chain(&error))),
        };
        let fingerprint = self.fingerprint(situation, &key);
        if asked.connect.is_none() && self.is_forgone(situation, &fingerprint) {
            return Ok(Looked::forgone(&situation.name, reference));
        }
        self.forgone = None;
        if let Err(error) = keyed.form.read(key.expose()) {
            let SecretKeyRef { name, key } = reference;
            return Ok(Looked::missing(&format!("what Secret {name} has under {key} is no key of this app: {error}")));
        }
        if let Some(grant) = &situation.grant
            && asked.connect.is_none()
            && grant.summary.api_key == Some(KeySource::Spec)
            && let Some(held) = refresh::access_token(self.context, &situation.uid, grant).await?
            && equal(held.expose(), key.expose())
        {
            // Held already. Where the provider has changed since, it is sent nowhere until somebody asks for that.
            return Ok(Looked { pause: Some(spread()), ..Looked::default() });
        }
        let told = before.refused.as_deref() == Some(fingerprint.as_str()) && before.misses < QUICK_LOOKS;
        if told && !wished {
            // The app has said what it thinks of this one.
            return Ok(Looked { trouble: before.trouble.clone(), refused: before.refused.clone(), pause: None });
        }
        self.try_key(situation, keyed, reference, asked, key, fingerprint, before).await
    }

    /// Asks the app, and keeps the key where it accepts it.
    #[expect(clippy::too_many_arguments, reason = "one step of a look, with all that the look has found")]
    async fn try_key(
        &mut self,
        situation: &mut Situation<'_>,
        keyed: &Keyed,
        reference: &SecretKeyRef,
        asked: &Requests,
        key: Sensitive,
        fingerprint: String,
        before: &KeyLook,
    ) -> Result<Looked, ReconcileError> {
        let verdict = {
            let _pass = self.context.lanes.enter(Lane::Request, None).await;
            prove(&self.context.flow, keyed, &key).await
        };
        let app = &keyed.provider.display_name;
        let source = format!("Secret {}", reference.name);
        let stays = if situation.grant.is_some() { "; the earlier key stays in use" } else { "" };
        let unproved = |reason, cause: String, pause| Looked {
            trouble: Some(KeyTrouble {
                reason,
                message: format!("{cause}, so the key in {source} is not proved yet{stays}. It is tried again."),
            }),
            refused: None,
            pause,
        };
        Ok(match verdict {
            identity::Verdict::Accepted(identity) => {
                let integration = situation.integration;
                let by = asked.connect.as_ref().and_then(|_| integration.annotations().get(REQUESTED_BY).cloned());
                let source = KeySource::Spec;
                let proved = Proved { integration, keyed, key, source, by, agent_id: None, identity };
                let held = keep(&self.context.flow, &proved).await?;
                refresh::remember_token(self.context, &situation.uid, &held.grant);
                self.context.wrote(&situation.uid, &held.view);
                self.proved(situation, keyed, &held.view);
                situation.foreign = false;
                situation.unreadable = None;
                situation.grant = Some(held.view);
                self.held = Some(held.grant);
                Looked { pause: Some(spread()), ..Looked::default() }
            }
            identity::Verdict::Rejected { status } => {
                let message = format!(
                    "{app} refuses the key in {source} (HTTP {status}){stays}. Put another one there; it is looked at within \
                     minutes, or at once: kubectl integration check {} -n {}",
                    situation.name, situation.namespace
                );
                let trouble = KeyTrouble { reason: Reason::Rejected, message };
                Looked { trouble: Some(trouble), refused: Some(fingerprint), pause: None }
            }
            identity::Verdict::Limited { retry_after } => {
                let wish = retry_after.and_then(|pause| SignedDuration::try_from(pause).ok());
                let pause = wish.unwrap_or(LOOK_AGAIN).max(SignedDuration::from_secs(1));
                unproved(Reason::RateLimited, format!("{app} asks for fewer requests"), Some(pause))
            }
            identity::Verdict::Unavailable { status, source } => {
                let cause = match (status, source) {
                    (Some(status), _) => format!("{app} answered HTTP {status}"),
                    (None, Some(error)) => format!("{app} could not be reached ({})", chain(&error)),
                    (None, None) => format!("{app} could not be reached"),
                };
                let pause = memory::pause(before.misses + 1, memory::chance());
                unproved(Reason::ProviderUnavailable, cause, Some(pause))
            }
        })
    }

    /// The key has just been proved: the health check need not do so again.
    fn proved(&mut self, situation: &Situation<'_>, keyed: &Keyed, grant: &crate::grant::GrantView) {
        if keyed.identity.is_none() {
            return;
        }
        self.proved = true;
        let message = format!("{} accepts the key.", keyed.provider.display_name);
        let verdict = Verdict { healthy: Some(true), reason: Reason::Verified, message };
        let health = Health {
            token: Some((grant.summary.epoch, grant.summary.generation)),
            checked_at: Some(Timestamp::now()),
            verdict: Some(verdict),
            ..Health::default()
        };
        self.context.memories.update(&situation.uid, |memory| memory.health = health);
    }

    /// What is disconnected while the spec still names its key: that key is not taken up again by itself.
    pub(super) async fn forgo(&mut self, situation: &Situation<'_>) -> Result<(), KeySecretError> {
        self.forgone = None;
        let Some(named) = &situation.integration.spec.api_key else { return Ok(()) };
        let fingerprint = match key_secret::read(&self.context.client, &situation.namespace, &named.secret_ref).await {
            Ok(key) => self.fingerprint(situation, &key),
            Err(error) if error.is_transient() => return Err(error),
            // Whatever comes there later is another key.
            Err(_) => String::new(),
        };
        let generation = situation.integration.metadata.generation.unwrap_or_default();
        self.forgone = Some(DisconnectedKey { generation, fingerprint });
        Ok(())
    }

    fn is_forgone(&self, situation: &Situation<'_>, fingerprint: &str) -> bool {
        self.forgone.as_ref().is_some_and(|forgone| {
            Some(forgone.generation) == situation.integration.metadata.generation && forgone.fingerprint == fingerprint
        })
    }

    fn fingerprint(&self, situation: &Situation<'_>, key: &Sensitive) -> String {
        self.context.flow.key.fingerprint(&situation.uid, key)
    }

    /// The app rejects what is held: somebody may have put another key into the Secret already.
    pub(super) fn read_key_soon(&mut self, integration: &ProjectIntegration, uid: &str) {
        if integration.spec.api_key.is_none() {
            return;
        }
        self.context.memories.update(uid, |memory| memory.key.as_mut().map(|look| look.next = None));
        self.look_again(Timestamp::now());
    }
}

/// What a look came to.
#[derive(Default)]
struct Looked {
    /// Why the key that the spec names is not the one in use; `None` where it is.
    trouble: Option<KeyTrouble>,
    /// Fingerprint of a key that the app refused.
    refused: Option<String>,
    /// When to look again; by the number of looks in vain where `None`.
    pause: Option<SignedDuration>,
}

impl Looked {
    fn missing(cause: &str) -> Self {
        let message = format!("No API key: {cause}.");
        Self { trouble: Some(KeyTrouble { reason: Reason::ApiKeyMissing, message }), ..Self::default() }
    }

    fn forgone(name: &str, reference: &SecretKeyRef) -> Self {
        let message = format!(
            "Disconnected on request. spec.apiKey still names Secret {}; its key is not used again until it or the spec \
             changes, or somebody asks: kubectl integration connect {name}",
            reference.name
        );
        let trouble = KeyTrouble { reason: Reason::Disconnected, message };
        Self { trouble: Some(trouble), refused: None, pause: Some(spread()) }
    }
}

/// The pause after so many looks in vain.
fn pause(misses: u32) -> SignedDuration {
    match misses {
        0 | QUICK_LOOKS.. => spread(),
        1 => LOOK_AGAIN,
        2 => LOOK_AGAIN * 2,
        _ => LOOK_AGAIN * 4,
    }
}

/// An hour, less up to a tenth.
fn spread() -> SignedDuration {
    READ_EVERY - READ_EVERY.mul_f64(memory::chance() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_become_rare() {
        let seconds: Vec<i64> = (1..QUICK_LOOKS).map(|misses| pause(misses).as_secs()).collect();
        assert_eq!(seconds[..4], [15, 30, 60, 60]);
        assert!(seconds.iter().all(|pause| (15..=60).contains(pause)), "{seconds:?}");
        for rare in [0, QUICK_LOOKS, u32::MAX] {
            assert!((3240..=3600).contains(&pause(rare).as_secs()), "{rare}");
        }
    }
}
