//! A grant of another life of this integration, or of its provider, is taken over where somebody asks for that who may write
//! to it in the operator's namespace.
//!
//! The provider is asked first whether what is held is still good, and nothing that could end it is sent: introspection
//! where there is some, else the access token is tried. Where neither tells, the next refresh does. Refreshes that were
//! unfinished when the backup was made stay as ambiguous as they were, unless introspection says that the refresh token was
//! not used. Then one write moves the grant.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;

use super::{LOOK_AGAIN, ReconcileError, Run};
use crate::api::{ProjectIntegration, Reason, request};
use crate::causes::chain;
use crate::controller::situation::Situation;
use crate::finalizer;
use crate::grant::store::{Found, Held, Marks};
use crate::grant::{Binding, GrantView, Handled, Owner, Published, Refusal};
use crate::lanes::Lane;
use crate::oauth::identity;
use crate::provider::connection::Connection;
use crate::publish;
use crate::sensitive::Sensitive;

/// What the provider says of what is held.
enum Word {
    /// The refresh token was not used, and works.
    Unused,
    /// The access token works.
    Accepted,
    /// It is dead, beyond doubt.
    Dead(String),
    /// A refresh has to tell.
    Unknown,
}

impl Run<'_> {
    /// Takes over the grant of another life, where that is asked for. Gives whether a refresh has to tell if it is still
    /// good; `None` where nothing was taken over.
    pub(super) async fn adopt(&mut self, situation: &Situation<'_>) -> Result<Option<bool>, ReconcileError> {
        let Some(view) = situation.adoptable().cloned() else { return Ok(None) };
        let (namespace, name) = (&situation.namespace, &situation.name);
        let Some((settings, connection)) = situation.served() else {
            // What stands in the way is told by the conditions anyway.
            return Ok(None);
        };
        if settings.suspend {
            self.adopting = Some("it is suspended".to_owned());
            return Ok(None);
        }
        let Some(found) = self.context.grants.find(&view.name).await? else { return Ok(None) };
        if found.view.adopt.as_deref() != Some(situation.uid.as_str()) {
            return Ok(None);
        }
        let held = match found {
            Found { grant: Err(error), .. } => {
                self.adopting = Some(chain(&error));
                self.look_again(Timestamp::now() + LOOK_AGAIN);
                return Ok(None);
            }
            found => found.held()?,
        };
        if let Some(obstacle) = differs(&held.grant.binding, connection) {
            self.adopting = Some(obstacle);
            return Ok(None);
        }
        let word = match self.ask_provider(connection, &held).await {
            Ok(word) => word,
            Err(cause) => {
                tracing::info!(namespace, name, cause, "a grant is not adopted yet");
                self.adopting = Some(format!("the provider cannot be asked yet ({cause}); it is tried again"));
                self.look_again(Timestamp::now() + LOOK_AGAIN);
                return Ok(None);
            }
        };
        finalizer::put_on(&self.context.client, situation.integration).await?;
        let published = match &settings.secret_name {
            // What this very integration has published is its own.
            _ if !situation.foreign => held.view.published.clone(),
            Some(name) => left_behind(&self.context.client, namespace, name).await?,
            None => None,
        };
        let moved = self.take_over(situation, connection, held, &word, published).await?;
        tracing::info!(namespace, name, grant = moved.view.name, "a grant of another life was adopted");
        self.context.memories.forget(&situation.uid);
        self.context.wrote(&situation.uid, &moved.view);
        self.tell_adopted(situation.integration, &word).await;
        Ok(Some(matches!(word, Word::Unknown)))
    }

    /// One write, and only if nobody has written in between.
    async fn take_over(
        &self,
        situation: &Situation<'_>,
        connection: &Connection,
        held: Held,
        word: &Word,
        published: Option<Published>,
    ) -> Result<Held, ReconcileError> {
        let Held { mut grant, view } = held;
        grant.integration =
            Owner { namespace: situation.namespace.clone(), name: situation.name.clone(), uid: situation.uid.clone() };
        grant.binding.provider = connection.binding().provider;
        let refused = match word {
            Word::Dead(cause) => Some(Some(Refusal {
                epoch: grant.epoch,
                at: Timestamp::now(),
                message: format!("{cause}; connect again"),
                replaced: false,
            })),
            _ => None,
        };
        let marks = Marks {
            // Introspection is about the main chain; unfinished refreshes of others stay what they are.
            intents: matches!(word, Word::Unused).then(|| view.intents_but(None)),
            published: Some(published),
            handled: Some(past(situation.integration, &view)),
            refused,
            orphaned: Some(None),
            leaving: Some(None),
            adopted: true,
            ..Marks::default()
        };
        let view = self.context.grants.replace(&view, &grant, &marks).await?;
        Ok(Held { grant, view })
    }

    /// Asks without using anything up.
    async fn ask_provider(&self, connection: &Connection, held: &Held) -> Result<Word, String> {
        let tokens = &held.grant.tokens;
        if held.view.refused.as_ref().is_some_and(|refusal| refusal.epoch == held.grant.epoch) {
            return Ok(Word::Unknown);
        }
        let _pass = self.context.lanes.enter(Lane::Request, tokens.expires_at).await;
        if let (Connection::OAuth(usable), Some(refresh_token)) = (connection, &tokens.refresh_token)
            && let Some(asked) = self.is_active(usable, refresh_token).await
        {
            return match asked {
                Ok(true) => Ok(Word::Unused),
                Ok(false) => Ok(Word::Dead("the provider says that the refresh token is not active any more".into())),
                Err(error) => Err(chain(&error)),
            };
        }
        let expired = tokens.expires_at.is_some_and(|at| at <= Timestamp::now());
        if expired && tokens.refresh_token.is_some() {
            return Ok(Word::Unknown);
        }
        self.try_access(connection, &tokens.access_token, tokens.refresh_token.is_some()).await
    }

    async fn try_access(&self, connection: &Connection, token: &Sensitive, refreshable: bool) -> Result<Word, String> {
        let Some(endpoint) = connection.identity() else { return Ok(Word::Unknown) };
        match identity::verify(&self.context.outbound, endpoint, token).await {
            identity::Verdict::Accepted(_) => Ok(Word::Accepted),
            // A key that is refused is told by the health check, as ever.
            identity::Verdict::Rejected { .. } if refreshable || matches!(connection, Connection::ApiKey(_)) => {
                Ok(Word::Unknown)
            }
            identity::Verdict::Rejected { status } => {
                Ok(Word::Dead(format!("the provider refuses the access token (HTTP {status})")))
            }
            identity::Verdict::Limited { .. } => Err("it asks for fewer requests".to_owned()),
            identity::Verdict::Unavailable { status: Some(status), .. } => Err(format!("it answered HTTP {status}")),
            identity::Verdict::Unavailable { source, .. } => {
                Err(source.map_or_else(|| "it gave no answer".to_owned(), |error| chain(&error)))
            }
        }
    }

    async fn tell_adopted(&self, integration: &ProjectIntegration, word: &Word) {
        let note = match word {
            Word::Unused => "the provider says that its refresh token is good",
            Word::Accepted => "the provider accepts its access token",
            Word::Unknown => "the next refresh tells whether it is still good",
            Word::Dead(_) => "it is dead: connect again",
        };
        let note = format!("The grant of another life of this integration was adopted; {note}.");
        if matches!(word, Word::Dead(_)) {
            self.context.events.warning(integration, Reason::Adopted, "Adopt", &note).await;
        } else {
            self.context.events.normal(integration, Reason::Adopted, "Adopt", &note).await;
        }
    }
}

/// What keeps credentials that were made for one binding from being used with another. A provider object that was made
/// again is no obstacle: the client and all places that anything is sent to are the same.
fn differs(before: &Binding, connection: &Connection) -> Option<String> {
    let now = connection.binding();
    let same_place = (before.provider.kind, &before.provider.namespace, &before.provider.name)
        == (now.provider.kind, &now.provider.namespace, &now.provider.name);
    if !same_place {
        return Some("it was made for another provider; connect again".to_owned());
    }
    let rebound = Binding { provider: now.provider.clone(), ..before.clone() };
    if rebound.digest() == now.digest() {
        return None;
    }
    let changes = rebound.parts().changes(&now.parts());
    Some(format!("the provider is not what it was ({}); connect again", changes.join(", ")))
}

/// Requests that are not to be carried out again: those that were handled, and those that stood there before this
/// integration was made, that is restored.
fn past(integration: &ProjectIntegration, view: &GrantView) -> Handled {
    let created = integration.creation_timestamp().map(|time| time.0.as_second());
    let mut handled: BTreeMap<_, _> = view.handled.0.clone();
    for annotation in [request::CONNECT, request::REFRESH, request::DISCONNECT, request::CHECK] {
        let Some(value) = integration.annotations().get(annotation) else { continue };
        let asked = value.parse::<Timestamp>().ok().map(Timestamp::as_second);
        if asked.zip(created).is_some_and(|(asked, created)| asked <= created) {
            handled.insert(annotation.to_owned(), value.clone());
        }
    }
    handled.retain(|annotation, _| integration.annotations().contains_key(annotation));
    Handled(handled)
}

/// A Secret of the wanted name that was published in another life and has no owner any more: backup tools take owners off.
/// One of somebody else's is left alone, and then told as a conflict.
async fn left_behind(client: &kube::Client, namespace: &str, name: &str) -> Result<Option<Published>, ReconcileError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(|source| publish::PublishError::Api { name: name.to_owned(), source: Box::new(source) })?;
    let ours = found.filter(|secret| {
        secret.type_.as_deref() == Some(publish::TYPE)
            && secret.metadata.owner_references.iter().flatten().next().is_none()
            && secret.metadata.deletion_timestamp.is_none()
    });
    Ok(ours.map(|secret| Published { name: name.to_owned(), uid: secret.metadata.uid.unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests_support::view;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn what_was_asked_in_another_life_is_not_done_again() {
        let mut integration = ProjectIntegration::new("web.app", crate::api::ProjectIntegrationSpec::default());
        integration.metadata.creation_timestamp = Some(Time(Timestamp::from_second(1_000).unwrap()));
        let at = |second| Timestamp::from_second(second).unwrap().to_string();
        integration.annotations_mut().insert(request::DISCONNECT.into(), at(900));
        integration.annotations_mut().insert(request::REFRESH.into(), at(1_000));
        integration.annotations_mut().insert(request::CHECK.into(), at(1_001));
        let mut view = view(0, None);
        view.handled.0.insert(request::CONNECT.into(), at(10));
        let handled = past(&integration, &view);
        assert!(handled.is(request::DISCONNECT, &at(900)) && handled.is(request::REFRESH, &at(1_000)));
        assert!(!handled.is(request::CHECK, &at(1_001)), "asked after it was restored");
        assert!(!handled.0.contains_key(request::CONNECT), "nobody asks for it any more");
    }
}
