//! What happened: every request in the order it came, and for every grant what the provider holds to be true.
//!
//! Tokens appear as SHA-256 hashes only, so that a ledger may be printed. Entries are kept up to a bound, the newest of them;
//! what is known of grants is kept for good.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::authority::GrantId;

const CAPACITY: usize = 100_000;

/// A copy of the sandbox's books.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// Requests in the order they arrived.
    pub entries: Vec<Entry>,
    /// How many older entries were dropped.
    pub dropped: u64,
    pub grants: Vec<GrantRecord>,
}

impl Ledger {
    /// The entries of one endpoint.
    pub fn of(&self, endpoint: Endpoint) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.endpoint == endpoint)
    }

    /// How many token requests of this grant type arrived.
    pub fn token_requests(&self, grant_type: &str) -> usize {
        self.of(Endpoint::Token).filter(|entry| entry.grant_type.as_deref() == Some(grant_type)).count()
    }
}

/// Where a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Authorize,
    #[default]
    Token,
    Revoke,
    Introspect,
    Userinfo,
    Messages,
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When it arrived.
    pub at: Timestamp,
    pub endpoint: Endpoint,
    pub grant_type: Option<String>,
    pub grant: Option<GrantId>,
    /// The fault that met it.
    pub fault: Option<&'static str>,
    /// Whether it was carried out, whatever the client was told.
    pub processed: bool,
    /// `pending` until carried out; then what was done (`issued`, `refreshed`, `replayed`, …) or the error code.
    pub outcome: &'static str,
    /// Requests with this refresh token in flight when it arrived, itself included.
    pub in_flight: u32,
}

/// What the provider knows of one grant.
#[derive(Clone, Debug, Serialize)]
pub struct GrantRecord {
    pub grant: GrantId,
    pub workspace: String,
    pub scope: String,
    pub created_at: Timestamp,
    /// 1 after the code exchange, and one more with each refresh.
    pub generation: u32,
    /// Hash (SHA-256, base64url) of the newest refresh token, while it is good.
    pub refresh_token_hash: Option<String>,
    pub ended: Option<Ending>,
    /// The most requests ever in flight at once with one refresh token of this grant.
    pub max_in_flight: u32,
}

/// The end of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    pub why: Why,
    pub at: Timestamp,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A rotated refresh token was used again.
    Reuse,
    /// Its authorization code was used again.
    CodeReuse,
    /// The client revoked it, or an administrator at the provider did.
    Revoked,
    /// Its refresh token was not used in time.
    Expired,
    /// The same workspace was authorized anew.
    Replaced,
}

/// The running list of entries. Each is opened on arrival, as its client may be gone before it is answered.
#[derive(Debug, Default)]
pub struct Book {
    entries: VecDeque<Entry>,
    dropped: u64,
}

impl Book {
    /// Writes an entry down and returns its number.
    pub fn open(&mut self, entry: Entry) -> u64 {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry);
        self.dropped + self.entries.len() as u64 - 1
    }

    /// Completes the entry with this number, unless it was dropped meanwhile.
    pub fn close(&mut self, number: u64, outcome: &'static str, grant: Option<GrantId>) {
        let index = number.checked_sub(self.dropped).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.processed = true;
            entry.outcome = outcome;
            entry.grant = grant.or(entry.grant);
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn clear(&mut self) {
        self.dropped += self.entries.len() as u64;
        self.entries.clear();
    }
}
