//! A client's credentials at its provider, two secrets at a time while one takes the other's place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::sensitive::Sensitive;

/// The client's credentials at the provider (RFC 6749 §2.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCredentials {
    /// The client identifier; not a secret.
    pub client_id: String,
    /// The client secret; `None` for a client without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Sensitive>,
    /// The secret that takes its place, while both may be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_next: Option<Sensitive>,
    /// The key that signs client assertions (RFC 7523), PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Sensitive>,
    /// What the provider calls that key; over the description's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Which of two secrets worked last.
    #[serde(skip)]
    pub preference: Preference,
}

/// One of the two secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `client_secret`.
    Current,
    /// `client_secret_next`.
    Next,
}

impl Which {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Current => Self::Next,
            Self::Next => Self::Current,
        }
    }
}

/// Which of two secrets worked last: shared by all who hold the same credentials, and kept in memory only.
#[derive(Clone, Debug, Default)]
pub struct Preference(Arc<AtomicBool>);

/// What worked says nothing of what the credentials are.
impl PartialEq for Preference {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl ClientCredentials {
    /// A client with one secret, or with none.
    pub fn new(client_id: impl Into<String>, client_secret: Option<Sensitive>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret,
            client_secret_next: None,
            private_key: None,
            key_id: None,
            preference: Preference::default(),
        }
    }

    /// The secret to try first: the one that worked last.
    pub fn first(&self) -> Which {
        let next = self.preference.0.load(Ordering::Relaxed) && self.client_secret_next.is_some();
        if next { Which::Next } else { Which::Current }
    }

    /// From now on this one is tried first.
    pub fn prefer(&self, which: Which) {
        self.preference.0.store(which == Which::Next, Ordering::Relaxed);
    }

    /// One of the secrets.
    pub const fn secret(&self, which: Which) -> Option<&Sensitive> {
        match which {
            Which::Current => self.client_secret.as_ref(),
            Which::Next => self.client_secret_next.as_ref(),
        }
    }

    /// Everything in it that must never be told.
    pub fn secrets(&self) -> impl Iterator<Item = &Sensitive> {
        [&self.client_secret, &self.client_secret_next, &self.private_key].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_earlier_versions_are_read() {
        let stored = r#"{"clientId":"id","clientSecret":"secret"}"#;
        let read: ClientCredentials = serde_json::from_str(stored).unwrap();
        assert_eq!(read, ClientCredentials::new("id", Some(Sensitive::new("secret"))));
        assert_eq!(serde_json::to_string(&read).unwrap(), stored, "and written as they were");
    }

    #[test]
    fn what_worked_is_known_to_all_who_hold_it() {
        let mut credentials = ClientCredentials::new("id", Some(Sensitive::new("a")));
        credentials.client_secret_next = Some(Sensitive::new("b"));
        let copy = credentials.clone();
        copy.prefer(Which::Next);
        assert_eq!(credentials.first(), Which::Next);
        credentials.client_secret_next = None;
        assert_eq!(credentials.first(), Which::Current, "there is no other any more");
    }
}
