//! What one process remembers of each integration between two reconciles. Losing it costs a request, never a grant.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::clock::monotonic;
use crate::api::Reason;
use crate::grant::{GrantView, Intent};
use crate::sensitive::Sensitive;

/// The first pause after a failure.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The longest pause between two tries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// What is remembered of one integration. There are as many as integrations, so what few have is in a box.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The grant as we last wrote it, until the watch has caught up.
    pub recent: Option<Box<GrantView>>,
    /// The version that the watch shows, empty where it shows none, while it is known that `recent` is what is stored:
    /// the watch may have been given an old list, or hang at a version that a restored backup has not reached yet.
    pub shown_wrongly: Option<String>,
    /// The resourceVersions of our last writes to the grant: what the watch delivers with one of them is no news.
    pub written: [u64; 4],
    /// Whether a refresh is on its way from this very process.
    pub in_flight: Option<String>,
    /// When each intent of another process was first seen, by [`monotonic`].
    pub sighted: BTreeMap<String, SignedDuration>,
    /// Attempts of this process that spent nothing, whatever still lies on the grant: nothing was sent, or the app said
    /// that it did not take it up.
    pub unspent: BTreeSet<String>,
    /// The last refresh that failed, and when to try again: by chain, `None` for the main one.
    pub troubles: BTreeMap<Option<String>, Trouble>,
    /// The request for a refresh that is being carried out, and the chains that were refreshed for it.
    pub asked: Option<(String, BTreeSet<Option<String>>)>,
    /// The newest tokens of the main chain that this very process got or has asked about: epoch and generation.
    pub sure: Option<(u64, u64)>,
    /// The same of the chains that have a name.
    pub sure_of: BTreeMap<String, (u64, u64)>,
    /// The account that is not known yet, or not as the description has it now.
    pub account: Option<Box<AccountTrouble>>,
    /// What the health checks found.
    pub health: Health,
    /// The access token, so that a check needs no request to the API server: epoch, generation, token.
    pub access_token: Option<(u64, u64, Sensitive)>,
    /// What came of the last look at the Secret that `spec.apiKey` names; `None` before the first.
    pub key: Option<Box<KeyLook>>,
    /// The resourceVersion of the published Secret as we wrote it last.
    pub published: Option<u64>,
    /// A hash of what this process has published last.
    pub published_of: Option<u64>,
    /// When the published Secret was last looked at.
    pub verified_at: Option<Timestamp>,
    /// Whether it is certain that, without a grant, nothing is published either.
    pub cleared: bool,
    /// Since when, by [`monotonic`], a status waits for more urgent work.
    pub untold: Option<SignedDuration>,
    /// The resourceVersion of the status that we wrote last, and when.
    pub told: Option<(u64, Timestamp)>,
    /// A Secret that is not ours has the name we want.
    pub conflict: Option<String>,
    /// Why the grant's data could not be read, and when that was tried last.
    pub unreadable: Option<Box<(String, Timestamp)>>,
    /// The later authorization of the same installation in spite of which a refresh succeeded.
    pub outlived: Option<Box<Later>>,
}

/// A refresh that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The tokens that were to be refreshed: epoch and generation.
    pub about: Option<(u64, u64)>,
    /// Failures in a row.
    pub failures: u32,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words for people.
    pub cause: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
}

impl Memory {
    /// Keeps a resourceVersion of the grant that we wrote.
    pub fn note(&mut self, version: u64) {
        self.written.rotate_right(1);
        self.written[0] = version;
    }

    /// The tokens of a chain that are known to be the newest: epoch and generation.
    pub fn newest(&self, set: Option<&str>) -> Option<(u64, u64)> {
        set.map_or(self.sure, |set| self.sure_of.get(set).copied())
    }

    /// Keeps that these are the newest tokens of a chain.
    pub fn be_sure(&mut self, set: Option<&str>, version: (u64, u64)) {
        match set {
            None => self.sure = Some(version),
            Some(set) => _ = self.sure_of.insert(set.to_owned(), version),
        }
    }

    /// Before which moments no chain's refresh is tried again.
    pub fn not_before(&self) -> BTreeMap<Option<String>, Timestamp> {
        self.troubles.iter().map(|(set, trouble)| (set.clone(), trouble.retry_at)).collect()
    }
}

/// What came of the last look at the Secret that `spec.apiKey` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLook {
    /// The generation of the spec that it was made for; `None` before the first.
    pub generation: Option<i64>,
    /// When the next is made; at once when `None`.
    pub next: Option<Timestamp>,
    /// Looks in a row that found no key that can be used.
    pub misses: u32,
    /// Fingerprint of the key that the app refused.
    pub refused: Option<String>,
    /// Why the key that the spec names is not the one in use.
    pub trouble: Option<KeyTrouble>,
}

/// Why a key is not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTrouble {
    /// In one word.
    pub reason: Reason,
    /// In words for people.
    pub message: String,
}

/// The provider could not say whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTrouble {
    /// Epoch of the grant, and digest of the description and values it was asked with.
    pub about: (u64, String),
    /// Failures in a row.
    pub failures: u32,
    /// Why, in words for people.
    pub cause: String,
    /// When it is asked again.
    pub retry_at: Timestamp,
}

/// What the health checks found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The token that was checked last: epoch and generation of the grant.
    pub token: Option<(u64, u64)>,
    /// When the last check was made.
    pub checked_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// When a check last failed.
    pub last_failed_at: Option<Timestamp>,
    /// What the last checks amount to; `None` before the first.
    pub verdict: Option<Verdict>,
    /// Not before this moment.
    pub not_before: Option<Timestamp>,
    /// The later authorization of the same installation that was known when the last check was made.
    pub later: Option<Later>,
    /// Whether the last check left no doubt that the token is dead: 401, or a no by the description's own word.
    pub dead: bool,
}

/// An authorization of the same installation that is later than one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// The uid of its grant.
    pub grant: String,
    /// Its epoch.
    pub epoch: u64,
}

/// What the last checks amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the credential works; `None`: not known.
    pub healthy: Option<bool>,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words for people.
    pub message: String,
}

/// The memories of all integrations, by uid.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<String, Box<Memory>>>);

impl Memories {
    /// A copy of what is remembered of one integration.
    pub fn get(&self, uid: &str) -> Memory {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .map_or_else(Memory::default, |memory| Memory::clone(memory))
    }

    /// What `look` tells of what is remembered, without a copy of all of it; `None` where nothing is.
    pub fn look<T>(&self, uid: &str, look: impl FnOnce(&Memory) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).map(|memory| look(memory))
    }

    /// Changes what is remembered.
    pub fn update<T>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(memories.entry(uid.to_owned()).or_default())
    }

    /// Notes which intents lie on a grant; returns how long this process has seen each.
    pub fn sight(&self, uid: &str, intents: &[Intent]) -> BTreeMap<String, SignedDuration> {
        if intents.is_empty() {
            return BTreeMap::new();
        }
        let now = monotonic();
        self.update(uid, |memory| {
            let since = |intent: &Intent| memory.sighted.get(&intent.attempt).copied().unwrap_or(now);
            memory.sighted = intents.iter().map(|intent| (intent.attempt.clone(), since(intent))).collect();
            memory.sighted.iter().map(|(attempt, since)| (attempt.clone(), now - *since)).collect()
        })
    }

    /// Notes that an attempt of this process spent nothing, until its intent is seen to be gone.
    pub fn spent_nothing(&self, uid: &str, attempt: &str) {
        self.update(uid, |memory| memory.unspent.insert(attempt.to_owned()));
    }

    /// A grant without the intents of attempts that spent nothing.
    pub fn without_unspent(&self, uid: &str, view: &GrantView) -> GrantView {
        let mut view = view.clone();
        self.update(uid, |memory| {
            memory.unspent.retain(|attempt| view.intents.iter().any(|intent| intent.attempt == *attempt));
            view.intents.retain(|intent| !memory.unspent.contains(&intent.attempt));
        });
        view
    }

    /// Forgets an integration that another process looks after now, but for what this one still has on its way.
    pub fn leave(&self, uid: &str) {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(memory) = memories.remove(uid) else { return };
        if memory.in_flight.is_some() || !memory.unspent.is_empty() {
            let Memory { in_flight, sighted, unspent, .. } = *memory;
            let left = Memory { in_flight, sighted, unspent, ..Memory::default() };
            memories.insert(uid.to_owned(), Box::new(left));
        }
    }

    /// Forgets an integration that is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The pause after `failures` in a row: exponential, with the upper half left to chance (`chance` in 0..=1).
pub fn pause(failures: u32, chance: f64) -> SignedDuration {
    let full = FIRST_PAUSE.saturating_mul(1_i32.checked_shl(failures.saturating_sub(1).min(12)).unwrap_or(i32::MAX));
    let full = full.min(LONGEST_PAUSE);
    full / 2 + (full / 2).mul_f64(chance.clamp(0.0, 1.0))
}

/// A number between 0 and 1 that nobody can foresee.
pub fn chance() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() & u128::from(u32::MAX);
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1, 1.0), SignedDuration::from_secs(1));
        assert_eq!(pause(3, 1.0), SignedDuration::from_secs(4));
        assert_eq!(pause(3, 0.0), SignedDuration::from_secs(2));
        assert_eq!(pause(40, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn chance_is_a_fraction() {
        assert!((0..100).map(|_| chance()).all(|chance| (0.0..=1.0).contains(&chance)));
    }
}
