//! The start page: a link that was handed out is opened, and the browser goes on to the provider.
//!
//! Opening it by GET only reads, so previews and second tabs do no harm. A browser that did not ask for the link itself
//! is shown who asks for what first, and goes on by a click that is tied to its own cookie. Where connections are
//! confirmed at their end, the click lets the browser on and no more.

use std::time::SystemTime;

use url::Url;

use super::attempts::Stored;
use super::{Flow, Place};
use crate::config::InitiatorCheck;
use crate::digest::equal;
use crate::oauth::attempt::{Attempt, attempt_name};
use crate::oauth::authorize::authorization_url;
use crate::provider::registry::Usable;
use crate::sensitive::Sensitive;
use crate::trace::{Kind, Span};

/// What a browser that opens the link gets.
#[derive(Debug)]
pub enum Opened {
    /// On to the provider.
    Redirect(Url),
    /// A page that says who asks for what, with the token of its button.
    Ask(Box<Question>),
}

/// Which connection it is about, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The app's name.
    pub app: String,
    /// The tenant.
    pub tenant: String,
    /// The project.
    pub project: String,
}

impl From<&Attempt> for About {
    fn from(attempt: &Attempt) -> Self {
        let Attempt { display_name, tenant, project, .. } = attempt;
        Self { app: display_name.clone(), tenant: tenant.clone(), project: project.clone() }
    }
}

/// Who asks for what.
#[derive(Debug)]
pub struct Question {
    /// What is asked for.
    pub about: About,
    /// The Kubernetes user that asked, where known.
    pub caller: Option<String>,
    /// The person of the product on whose behalf it was asked.
    pub agent_id: Option<String>,
    /// Where the connection has to be confirmed at the end, if it has to.
    pub confirmed_at: Option<Url>,
    /// Where the provider's page lies, for the page's form policy.
    pub provider_origin: String,
    /// Token of the button: proof that the page was shown to this browser.
    pub token: Sensitive,
}

/// The link leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Unknown, used, expired, of another path or for a provider that changed: all alike to the outside.
    #[error("the link is not valid any more; ask for a new one")]
    Invalid,
    /// The click does not come from the page that this browser was shown.
    #[error("the click does not come from this page; open the link again")]
    Forged,
    /// Connections have to be confirmed, and nobody could: there is no frontend, and no `return_to`.
    #[error("the link leads back to nobody who could confirm the connection; ask for one with return_to")]
    Unconfirmable,
    /// Storage failed.
    #[error("the link could not be looked up; try again")]
    Storage(#[source] super::attempts::AttemptError),
}

impl Flow {
    /// Opens a link. `browser` is the visitor's cookie; a new one is minted by the caller where there is none.
    pub async fn open(&self, place: &Place, ticket: &str, browser: &str) -> Result<Opened, OpenError> {
        let since = SystemTime::now();
        let (stored, usable) = self.look_up(place, ticket).await?;
        let attempt = &stored.attempt;
        let passes = self.initiator_check == InitiatorCheck::None || attempt.knows_browser(Some(browser));
        let span = Span::continuing(attempt.traceparent.as_deref(), "start", Kind::Server, since);
        span.set("integration.asks", !passes);
        if passes {
            return Ok(Opened::Redirect(self.to_provider(attempt, &usable, ticket)));
        }
        let confirmed_at = match self.initiator_check {
            // Told before the person gives the app their consent, not after it.
            InitiatorCheck::Confirm => Some(self.return_address(attempt).ok_or(OpenError::Unconfirmable)?),
            InitiatorCheck::Click | InitiatorCheck::None => None,
        };
        Ok(Opened::Ask(Box::new(Question {
            about: About::from(attempt),
            caller: attempt.caller.clone(),
            agent_id: attempt.agent_id.clone(),
            confirmed_at,
            provider_origin: usable.endpoints.authorization.origin().ascii_serialization(),
            token: self.key.click(ticket, browser),
        })))
    }

    /// The click: from now on this browser may finish the flow, unless that takes a confirmation.
    pub async fn click(&self, place: &Place, ticket: &str, browser: &str, token: &str) -> Result<Url, OpenError> {
        if !equal(self.key.click(ticket, browser).expose(), token) {
            return Err(OpenError::Forged);
        }
        let since = SystemTime::now();
        // A click changes the attempt by compare-and-swap; two at once are no reason to fail either.
        for _ in 0..5 {
            let (stored, usable) = self.look_up(place, ticket).await?;
            let mut attempt = stored.attempt.clone();
            // A browser that the attempt knows needs no confirmation, so a click must not make it known.
            if self.initiator_check == InitiatorCheck::Click && !attempt.knows_browser(Some(browser)) {
                attempt.add_browser(browser);
                if !self.attempts.replace(&stored, &attempt).await.map_err(OpenError::Storage)? {
                    continue;
                }
            }
            Span::continuing(attempt.traceparent.as_deref(), "click", Kind::Server, since);
            return Ok(self.to_provider(&attempt, &usable, ticket));
        }
        Err(OpenError::Invalid)
    }

    async fn look_up(&self, place: &Place, ticket: &str) -> Result<(Stored, Usable), OpenError> {
        let name = attempt_name(self.key.state(ticket).expose());
        let stored = self.attempts.get(&name).await.map_err(OpenError::Storage)?.ok_or(OpenError::Invalid)?;
        if !stored.attempt.is_open(Self::now()) || !Self::belongs(&stored.attempt, place) {
            return Err(OpenError::Invalid);
        }
        let usable = self.pinned(&stored.attempt).await.ok_or(OpenError::Invalid)?;
        Ok((stored, usable))
    }

    fn to_provider(&self, attempt: &Attempt, usable: &Usable, ticket: &str) -> Url {
        let state = self.key.state(ticket);
        authorization_url(&usable.endpoints, &usable.client, &usable.credentials, attempt, state.expose())
    }

    /// Where the browser returns to in the end; `None`: to a page of the operator.
    pub(super) fn return_address(&self, attempt: &Attempt) -> Option<Url> {
        attempt.return_to.clone().or_else(|| self.frontends.first().cloned())
    }

    /// Whether an attempt belongs to the path on which it is presented.
    pub(super) fn belongs(attempt: &Attempt, place: &Place) -> bool {
        let tenant = attempt.provider.namespace.is_some().then_some(attempt.tenant.as_str());
        attempt.type_ == place.type_ && tenant == place.tenant.as_deref()
    }

    /// The provider as it was when the flow began; `None` when it has changed or gone.
    pub(super) async fn pinned(&self, attempt: &Attempt) -> Option<Usable> {
        let kind = attempt.provider.kind;
        let namespace = &attempt.integration.namespace;
        let provider = self.registry.find(kind, namespace, &attempt.provider.name).await.ok()?;
        let usable = self.registry.usable_with(provider, namespace, &attempt.parameters).await.ok()?;
        (usable.pin() == attempt.pin).then_some(usable)
    }
}
