//! The chains of tokens of a grant: the main one, and further sets such as a user's tokens beside a bot's.
//!
//! Each chain has its own refresh token, expiry and generation, and is refreshed by itself. A chain is named by the name
//! of its set; `None` is the main one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::Summary;
use super::{Grant, Tokens};

/// A further set of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenSet {
    /// Counts token answers within the epoch.
    pub generation: u64,
    /// The attempt whose answer these tokens are; `None` for those that came with the authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// The tokens.
    pub tokens: Tokens,
    /// Scopes that the provider granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Why it can no longer be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// Why a set can no longer be used, while the rest of the grant can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// When it was found out.
    pub at: Timestamp,
    /// For people: cause and remedy.
    pub message: String,
}

/// A chain without its secrets: enough to plan its refresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainSummary {
    /// Counts token answers within the epoch.
    pub generation: u64,
    /// When the tokens were received.
    pub obtained_at: Timestamp,
    /// When the access token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// When the life of the refresh token began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_obtained_at: Option<Timestamp>,
    /// When the refresh token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_expires_at: Option<Timestamp>,
    /// Why it can no longer be used; always `None` for the main chain, whose end is the grant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

impl Tokens {
    /// These tokens, which answered a refresh, in the place of those before.
    ///
    /// A refresh token that the answer does not replace stays (RFC 6749 §6). Its life counts from the first of a row of
    /// refresh tokens with the same end: a new token that ends when the old one would have was not prolonged.
    #[must_use]
    pub fn in_place_of(mut self, before: &Self) -> Self {
        if self.refresh_token.is_none() {
            self.refresh_token.clone_from(&before.refresh_token);
            self.refresh_expires_at = self.refresh_expires_at.or(before.refresh_expires_at);
        }
        self.refresh_obtained_at = self.refresh_expires_at.map(|_| self.obtained_at);
        if let (Some(end), Some(end_before)) = (self.refresh_expires_at, before.refresh_expires_at) {
            let passed = self.obtained_at.duration_since(before.obtained_at).max(SignedDuration::ZERO);
            // What is prolonged at each use is prolonged by the time that has passed; answers are in whole seconds.
            if end.duration_since(end_before) <= passed / 2 {
                self.refresh_obtained_at = before.refresh_obtained_at;
            }
        }
        self
    }

    fn summary(&self, generation: u64, ended: Option<Ended>) -> ChainSummary {
        ChainSummary {
            generation,
            obtained_at: self.obtained_at,
            expires_at: self.expires_at,
            refreshable: self.refresh_token.is_some(),
            refresh_obtained_at: self.refresh_obtained_at,
            refresh_expires_at: self.refresh_expires_at,
            ended,
        }
    }
}

impl TokenSet {
    /// The part of it that may be seen by those who can read the grant's metadata.
    pub fn summary(&self) -> ChainSummary {
        self.tokens.summary(self.generation, self.ended.clone())
    }
}

impl Grant {
    /// The tokens of a chain; `None` where there is no such set.
    pub fn tokens_of(&self, set: Option<&str>) -> Option<&Tokens> {
        match set {
            None => Some(&self.tokens),
            Some(name) => self.sets.get(name).map(|set| &set.tokens),
        }
    }

    /// How many answers a chain has had within the epoch.
    pub fn generation_of(&self, set: Option<&str>) -> Option<u64> {
        match set {
            None => Some(self.generation),
            Some(name) => self.sets.get(name).map(|set| set.generation),
        }
    }

    /// The attempt whose answer a chain holds.
    pub fn attempt_of(&self, set: Option<&str>) -> Option<&str> {
        match set {
            None => self.attempt.as_deref(),
            Some(name) => self.sets.get(name)?.attempt.as_deref(),
        }
    }

    /// This grant after `attempt` refreshed a chain: `tokens` in the place of those before. Scopes stay where the answer
    /// names none.
    #[must_use]
    pub fn renewed(&self, set: Option<&str>, attempt: &str, tokens: Tokens, scopes: Option<Vec<String>>) -> Self {
        let mut grant = self.clone();
        let attempt = Some(attempt.to_owned());
        match set {
            None => {
                grant.generation += 1;
                grant.attempt = attempt;
                grant.tokens = tokens.in_place_of(&self.tokens);
                grant.scopes = scopes.unwrap_or(grant.scopes);
            }
            Some(name) => {
                if let Some(held) = grant.sets.get_mut(name) {
                    *held = TokenSet {
                        generation: held.generation + 1,
                        attempt,
                        tokens: tokens.in_place_of(&held.tokens),
                        scopes: scopes.unwrap_or_else(|| std::mem::take(&mut held.scopes)),
                        ended: None,
                    };
                }
            }
        }
        grant
    }

    /// Takes over further tokens that came along with a refresh of the main chain: those of sets that cannot be refreshed
    /// by themselves.
    pub fn take_along(&mut self, received: BTreeMap<String, TokenSet>) {
        for (name, set) in received {
            if let Some(held) = self.sets.get_mut(&name).filter(|held| held.tokens.refresh_token.is_none()) {
                *held = TokenSet { generation: held.generation + 1, scopes: std::mem::take(&mut held.scopes), ..set };
            }
        }
    }
}

impl Summary {
    /// A chain by the name of its set; `None` where there is no such set.
    pub fn chain(&self, set: Option<&str>) -> Option<ChainSummary> {
        match set {
            None => Some(self.main()),
            Some(name) => self.sets.get(name).cloned(),
        }
    }

    /// All chains, the main one first.
    pub fn chains(&self) -> impl Iterator<Item = (Option<&str>, ChainSummary)> {
        let sets = self.sets.iter().map(|(name, chain)| (Some(name.as_str()), chain.clone()));
        std::iter::once((None, self.main())).chain(sets)
    }

    /// The chains that can be refreshed, but for those that were.
    pub fn refreshable_but(&self, renewed: &BTreeSet<Option<String>>) -> BTreeSet<Option<String>> {
        self.chains()
            .filter(|(_, chain)| chain.refreshable && chain.ended.is_none())
            .map(|(set, _)| set.map(str::to_owned))
            .filter(|set| !renewed.contains(set))
            .collect()
    }

    /// The next moment after `now` at which an access token expires.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let living = self.chains().filter(|(_, chain)| chain.ended.is_none());
        living.filter_map(|(_, chain)| chain.expires_at).filter(|at| *at > now).min()
    }

    fn main(&self) -> ChainSummary {
        ChainSummary {
            generation: self.generation,
            obtained_at: self.obtained_at,
            expires_at: self.expires_at,
            refreshable: self.refreshable,
            refresh_obtained_at: self.refresh_obtained_at,
            refresh_expires_at: self.refresh_expires_at,
            ended: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitive::Sensitive;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tokens(obtained: i64, refresh_token: Option<&str>, refresh_expires: Option<i64>) -> Tokens {
        Tokens {
            access_token: Sensitive::new("access"),
            token_type: "Bearer".into(),
            refresh_token: refresh_token.map(Sensitive::new),
            obtained_at: at(obtained),
            expires_at: None,
            refresh_obtained_at: refresh_expires.map(|_| at(obtained)),
            refresh_expires_at: refresh_expires.map(at),
        }
    }

    #[test]
    fn a_refresh_token_that_is_not_replaced_stays_with_its_life() {
        let before = tokens(0, Some("r1"), Some(1_000));
        let after = tokens(100, None, None).in_place_of(&before);
        assert_eq!(after.refresh_token, before.refresh_token);
        assert_eq!((after.refresh_obtained_at, after.refresh_expires_at), (Some(at(0)), Some(at(1_000))));
    }

    #[test]
    fn a_life_that_is_prolonged_begins_anew_and_one_that_is_not_goes_on() {
        let before = tokens(0, Some("r1"), Some(1_000));
        let rolling = tokens(100, Some("r2"), Some(1_099)).in_place_of(&before);
        assert_eq!(rolling.refresh_obtained_at, Some(at(100)));
        let absolute = tokens(100, Some("r2"), Some(1_001)).in_place_of(&before);
        assert_eq!(absolute.refresh_obtained_at, Some(at(0)));
        let unsaid = tokens(100, Some("r2"), None).in_place_of(&before);
        assert_eq!((unsaid.refresh_obtained_at, unsaid.refresh_expires_at), (None, None));
    }

    #[test]
    fn along_with_the_main_chain_come_only_tokens_that_cannot_be_refreshed() {
        let set = |tokens| TokenSet { generation: 1, attempt: None, tokens, scopes: vec!["s".into()], ended: None };
        let mut grant: Grant = serde_json::from_value(serde_json::json!({
            "integration": { "namespace": "acme", "name": "web.app", "uid": "1" }, "epoch": 1, "generation": 1,
            "tokens": tokens(0, Some("r"), None), "installed": { "at": at(0) },
            "binding": {
                "provider": { "kind": "ClusterIntegrationProvider", "name": "app", "uid": "2" }, "clientId": "id",
                "tokenUrl": "https://app.example/token", "clientAuthentication": "None", "requestFormat": "Form",
                "revocationEffect": "Grant",
            },
        }))
        .unwrap();
        grant.sets.insert("own".into(), set(tokens(0, Some("r-own"), None)));
        grant.sets.insert("plain".into(), set(tokens(0, None, None)));
        let received = ["own", "plain", "new"].map(|name| (name.to_owned(), set(tokens(50, None, None))));
        grant.take_along(received.into());
        assert_eq!(grant.sets.keys().collect::<Vec<_>>(), ["own", "plain"]);
        assert_eq!((grant.sets["own"].generation, grant.sets["own"].tokens.obtained_at), (1, at(0)));
        assert_eq!((grant.sets["plain"].generation, grant.sets["plain"].tokens.obtained_at), (2, at(50)));
        // And a refresh of one chain leaves the others as they are.
        let after = grant.renewed(Some("own"), "attempt", tokens(60, Some("r-2"), None), None);
        assert_eq!(
            (after.generation, after.tokens.clone(), &after.sets["plain"]),
            (1, grant.tokens, &grant.sets["plain"])
        );
        assert_eq!((after.attempt_of(Some("own")), after.attempt_of(None)), (Some("attempt"), None));
        assert_eq!((after.sets["own"].generation, after.sets["own"].scopes.join("")), (2, "s".to_owned()));
    }
}
