//! One authorization attempt: from the moment somebody asks to connect until the provider sends the browser back.
//!
//! The attempt holds a nonce of 256 random bits. The *ticket* in the link that is handed out and the *state* that the
//! provider sees are authentication codes: the ticket of the nonce, the state of the ticket, under a key that only the
//! operator has. Who sees a state learns nothing of the ticket, and the name of the Secret tells neither.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::digest::{authenticate, short_hash};
use crate::grant::Owner;
use crate::grant::binding::ProviderRef;
use crate::sensitive::Sensitive;

/// How long an attempt may take.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// How long a code waits for its confirmation.
pub const CONFIRM_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// Browsers that one attempt can have.
const MAX_BROWSERS: usize = 8;

/// One authorization attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// 256 random bits, base64url.
    pub nonce: Sensitive,
    /// The PKCE verifier (RFC 7636 §4.1).
    pub verifier: Sensitive,
    /// Whose grant it would become.
    pub integration: Owner,
    /// The tenant.
    pub tenant: String,
    /// The project.
    pub project: String,
    /// The app.
    #[serde(rename = "type")]
    pub type_: String,
    /// The provider.
    pub provider: ProviderRef,
    /// The app's name as people know it.
    pub display_name: String,
    /// Digest of the provider's description and client when the flow began.
    pub pin: String,
    /// Where the provider sends the browser back.
    pub redirect_uri: Url,
    /// Scopes that are asked for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Values that the person gave.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Parameters of the callback that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callback_params: Vec<String>,
    /// Their values, once the browser is back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The Kubernetes user that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The person of the product on whose behalf it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The connect annotation's value, where that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The frontend to return to, out of the allowed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<Url>,
    /// Hashes of the browsers that may finish this flow.
    #[serde(default)]
    pub browsers: Vec<String>,
    /// The trace that it belongs to; not a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub deadline: Timestamp,
    /// With confirmation: the code, until it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
}

/// A code that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// The code.
    pub code: Sensitive,
    /// Hash of the confirmation that releases it.
    pub confirmation: String,
    /// When it is dropped.
    pub deadline: Timestamp,
}

/// The operator's key for tickets, states, clicks and confirmations.
#[derive(Clone)]
pub struct SigningKey(std::sync::Arc<[u8]>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SigningKey([redacted])")
    }
}

impl SigningKey {
    /// Wraps a key of at least 256 bits.
    pub fn new(key: &[u8]) -> Self {
        Self(key.into())
    }

    /// The ticket of an attempt: it stands in the link that is handed out.
    pub fn ticket(&self, attempt: &Attempt) -> Sensitive {
        Sensitive::new(authenticate(&self.0, "ticket", attempt.nonce.expose()))
    }

    /// The state that belongs to a ticket: it goes through the provider.
    pub fn state(&self, ticket: &str) -> Sensitive {
        Sensitive::new(authenticate(&self.0, "state", ticket))
    }

    /// The key under which access tokens are hashed, see [`GrantStore::fingerprinting`](crate::grant::GrantStore).
    pub fn fingerprints(&self) -> Sensitive {
        Sensitive::new(authenticate(&self.0, "fingerprints", ""))
    }

    /// What is kept of an API key to know it again: nobody without the signing key can tell anything from it.
    pub fn fingerprint(&self, uid: &str, key: &Sensitive) -> String {
        authenticate(&self.0, "api-key", &format!("{uid} {}", key.expose()))
    }

    /// Proof that a page was shown to a browser for a ticket.
    pub fn click(&self, ticket: &str, browser: &str) -> Sensitive {
        Sensitive::new(authenticate(&self.0, "click", &format!("{ticket} {browser}")))
    }
}

/// The name of the Secret that holds the attempt of a state.
pub fn attempt_name(state: &str) -> String {
    format!("authorization-{}", short_hash(&["state", state]))
}

/// What is kept of a browser's cookie.
pub fn browser_hash(cookie: &str) -> String {
    short_hash(&["browser", cookie])
}

impl Attempt {
    /// Whether this browser may finish the flow.
    pub fn knows_browser(&self, cookie: Option<&str>) -> bool {
        cookie.is_some_and(|cookie| self.browsers.contains(&browser_hash(cookie)))
    }

    /// From now on this browser may finish the flow; the one that has been known longest makes way where there are many.
    pub fn add_browser(&mut self, cookie: &str) {
        self.browsers.push(browser_hash(cookie));
        let surplus = self.browsers.len().saturating_sub(MAX_BROWSERS);
        self.browsers.drain(..surplus);
    }

    /// Whether the flow may still go on at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        now < self.deadline && self.parked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_ticket_and_name_do_not_tell_of_each_other() {
        let key = SigningKey::new(&[7; 32]);
        let state = key.state("ticket");
        assert_ne!(state.expose(), "ticket");
        assert!(!attempt_name(state.expose()).contains(state.expose()));
        assert_ne!(state.expose(), SigningKey::new(&[8; 32]).state("ticket").expose());
        assert!(state.expose().len() >= 43);
    }
}
