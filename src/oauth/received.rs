//! From a token answer to the tokens that a grant holds. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::answer::{SetTokens, TokenAnswer};
use crate::grant::{TokenSet, Tokens};
use crate::provider::resolved::OAuthClient;
use crate::sensitive::Sensitive;

/// The main tokens of an answer received at `now`.
pub fn tokens(answer: &TokenAnswer, client: &OAuthClient, now: Timestamp) -> Tokens {
    let ends = |lifetime: Option<SignedDuration>| lifetime.map(|lifetime| after(now, lifetime));
    Tokens {
        access_token: answer.access_token.clone(),
        token_type: answer.token_type.clone(),
        refresh_token: answer.refresh_token.clone(),
        obtained_at: now,
        expires_at: ends(answer.lifetime.or(client.default_lifetime)),
        refresh_obtained_at: answer.refresh_token_lifetime.map(|_| now),
        refresh_expires_at: ends(answer.refresh_token_lifetime),
    }
}

/// The further sets of tokens of the answer to a code, received at `now`.
///
/// A refresh token belongs to one chain: one that stands in several places is the main chain's, or the first set's. Two
/// chains with the same would send it twice.
pub fn sets(answer: &TokenAnswer, client: &OAuthClient, now: Timestamp) -> BTreeMap<String, TokenSet> {
    let mut seen: Vec<&Sensitive> = answer.refresh_token.iter().collect();
    let mut sets = BTreeMap::new();
    for (name, received) in &answer.sets {
        let own = received.refresh_token.as_ref().filter(|token| !seen.contains(token));
        seen.extend(own);
        let asked = client.token_sets.get(name).map(|set| set.scopes.clone()).unwrap_or_default();
        let set = TokenSet {
            generation: 1,
            attempt: None,
            tokens: set_tokens(received, own, client, now),
            scopes: received.scopes.clone().unwrap_or(asked),
            ended: None,
        };
        sets.insert(name.clone(), set);
    }
    sets
}

fn set_tokens(received: &SetTokens, own: Option<&Sensitive>, client: &OAuthClient, now: Timestamp) -> Tokens {
    let refresh_lifetime = received.refresh_token_lifetime.filter(|_| own.is_some());
    Tokens {
        access_token: received.access_token.clone(),
        token_type: received.token_type.clone(),
        refresh_token: own.cloned(),
        obtained_at: now,
        expires_at: received.lifetime.or(client.default_lifetime).map(|lifetime| after(now, lifetime)),
        refresh_obtained_at: refresh_lifetime.map(|_| now),
        refresh_expires_at: refresh_lifetime.map(|lifetime| after(now, lifetime)),
    }
}

fn after(now: Timestamp, lifetime: SignedDuration) -> Timestamp {
    now.checked_add(lifetime).unwrap_or(Timestamp::MAX)
}
