//! The server's memory and its rules, with no HTTP and no clock of its own: grants, the codes and tokens made from them, and
//! what becomes of all these when a token is used, rotated, replayed or revoked.
//!
//! Every request costs a few look-ups, however many grants there are: a token knows its grant, a grant knows its state, and
//! the end of a grant is one mark on it rather than a walk through its tokens.

mod codes;
mod refresh;
mod tokens;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    str::FromStr,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use codes::{Ask, Code};
pub use tokens::Issued;

use super::{
    fault::Faults,
    ledger::{Book, Ending, GrantRecord, Ledger, Why},
    options::{Account, OldAccessToken, RevocationEffect, SandboxOptions},
};

/// The name of a grant: `grant-0`, `grant-1`, … in the order they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GrantId(usize);

impl fmt::Display for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "grant-{}", self.0)
    }
}

impl From<GrantId> for String {
    fn from(grant: GrantId) -> Self {
        grant.to_string()
    }
}

impl FromStr for GrantId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("grant-").and_then(|number| number.parse().ok()).map(Self).ok_or("not the name of a grant")
    }
}

impl TryFrom<String> for GrantId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// All that the server remembers.
pub struct Authority {
    pub options: SandboxOptions,
    pub issuer: String,
    pub faults: Faults,
    pub book: Book,
    /// Messages posted with a token, the newest last.
    pub messages: VecDeque<Value>,
    pub posted: u64,
    ahead: SignedDuration,
    random: SystemRandom,
    asks: HashMap<String, Ask>,
    codes: HashMap<String, Code>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, RefreshToken>,
    grants: Vec<Grant>,
    by_workspace: HashMap<String, Vec<GrantId>>,
}

/// One consent of one person to one client.
struct Grant {
    client: String,
    account: Account,
    kind: Kind,
    scope: String,
    created_at: Timestamp,
    generation: u32,
    /// The newest of them, where the client was given one.
    refresh_token: Option<String>,
    /// Those that may still be alive, the oldest first.
    access_tokens: VecDeque<String>,
    ended: Option<Ending>,
    max_in_flight: u32,
}

/// Whose tokens a grant gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The app's, or the only ones there are.
    Main,
    /// A person's, beside the app's.
    User,
}

struct AccessToken {
    grant: GrantId,
    generation: u32,
    scope: String,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked: bool,
}

struct RefreshToken {
    grant: GrantId,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    rotated_at: Option<Timestamp>,
    in_flight: u32,
}

impl Authority {
    pub fn new(options: SandboxOptions, issuer: String) -> Self {
        assert!(!options.accounts.is_empty(), "a sandbox needs an account to connect");
        Self {
            options,
            issuer,
            faults: Faults::default(),
            book: Book::default(),
            messages: VecDeque::new(),
            posted: 0,
            ahead: SignedDuration::ZERO,
            random: SystemRandom::new(),
            asks: HashMap::new(),
            codes: HashMap::new(),
            access_tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            grants: Vec::new(),
            by_workspace: HashMap::new(),
        }
    }

    /// The provider's clock, which tests may put forward.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead
    }

    pub fn advance(&mut self, seconds: u32) {
        self.ahead += SignedDuration::from_secs(seconds.into());
    }

    pub fn account(&self, id: &str) -> Option<&Account> {
        self.options.accounts.iter().find(|account| account.id == id)
    }

    /// Ends a grant, and with it all its tokens. The first reason stays.
    pub fn end(&mut self, grant: GrantId, why: Why) {
        let at = self.now();
        if let Some(grant) = self.grants.get_mut(grant.0) {
            grant.ended.get_or_insert(Ending { why, at });
        }
    }

    /// Ends the grant of a revoked token, as far as a revocation reaches here.
    fn end_revoked(&mut self, grant: GrantId) {
        self.end(grant, Why::Revoked);
        if self.options.revocation_effect == RevocationEffect::Installation {
            let workspace = &self.grants[grant.0].account.id;
            for sibling in self.by_workspace.get(workspace).cloned().unwrap_or_default() {
                self.end(sibling, Why::Revoked);
            }
        }
    }

    /// The grant a token of either kind belongs to, alive or not.
    pub fn grant_of(&self, token: &str) -> Option<GrantId> {
        let refresh = self.refresh_tokens.get(token).map(|held| held.grant);
        refresh.or_else(|| self.access_tokens.get(token).map(|held| held.grant))
    }

    /// Whether a token was given to this client. One that nobody was given is nobody's.
    pub fn is_of(&self, token: &str, client: &str) -> bool {
        self.grant_of(token).is_some_and(|grant| self.grants[grant.0].client == client)
    }

    /// The newest refresh token of a grant, while it is good.
    pub fn current_refresh_token(&self, grant: GrantId) -> Option<&str> {
        let token = self.grants.get(grant.0)?.refresh_token.as_deref()?;
        self.refresh_token_is_good(token).then_some(token)
    }

    /// The newest access token of a grant, while it is good.
    pub fn current_access_token(&self, grant: GrantId) -> Option<&str> {
        let token = self.grants.get(grant.0)?.access_tokens.back()?;
        self.access_token_is_good(token).then_some(token)
    }

    pub fn revoke_access_tokens(&mut self, grant: GrantId) {
        for token in self.grants.get(grant.0).map(|grant| grant.access_tokens.clone()).unwrap_or_default() {
            if let Some(held) = self.access_tokens.get_mut(&token) {
                held.revoked = true;
            }
        }
    }

    pub fn workspace(&self, grant: GrantId) -> Option<&Account> {
        self.grants.get(grant.0).map(|grant| &grant.account)
    }

    /// Counts a request that carries this refresh token, and says how many there are now.
    pub fn enter(&mut self, token: &str) -> u32 {
        let Some(held) = self.refresh_tokens.get_mut(token) else {
            return 0;
        };
        held.in_flight += 1;
        let grant = &mut self.grants[held.grant.0];
        grant.max_in_flight = grant.max_in_flight.max(held.in_flight);
        held.in_flight
    }

    pub fn leave(&mut self, token: &str) {
        if let Some(held) = self.refresh_tokens.get_mut(token) {
            held.in_flight = held.in_flight.saturating_sub(1);
        }
    }

    pub fn record(&self, id: GrantId) -> Option<GrantRecord> {
        let grant = self.grants.get(id.0)?;
        let lapsed = grant.refresh_token.as_ref().and_then(|token| self.refresh_tokens[token].expires_at);
        let lapsed = lapsed.filter(|at| *at <= self.now()).map(|at| Ending { why: Why::Expired, at });
        Some(GrantRecord {
            grant: id,
            workspace: grant.account.id.clone(),
            scope: grant.scope.clone(),
            created_at: grant.created_at,
            generation: grant.generation,
            refresh_token_hash: self.current_refresh_token(id).map(|token| sha256(token.as_bytes())),
            ended: grant.ended.or(lapsed),
            max_in_flight: grant.max_in_flight,
        })
    }

    pub fn ledger(&self) -> Ledger {
        Ledger {
            entries: self.book.entries().cloned().collect(),
            dropped: self.book.dropped(),
            grants: (0..self.grants.len()).filter_map(|number| self.record(GrantId(number))).collect(),
        }
    }

    fn random(&self, prefix: &str) -> String {
        let bytes: [u8; 32] = ring::rand::generate(&self.random).expect("the system's random numbers").expose();
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    pub fn refresh_token_is_good(&self, token: &str) -> bool {
        self.refresh_tokens.get(token).is_some_and(|held| {
            held.rotated_at.is_none()
                && !lapsed(held.expires_at, self.now())
                && self.grants[held.grant.0].ended.is_none()
        })
    }

    fn access_token_is_good(&self, token: &str) -> bool {
        self.access_tokens.get(token).is_some_and(|held| {
            let grant = &self.grants[held.grant.0];
            let superseded =
                self.options.old_access_token == OldAccessToken::Dies && held.generation < grant.generation;
            !held.revoked && !superseded && grant.ended.is_none() && !lapsed(held.expires_at, self.now())
        })
    }
}

fn lapsed(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

fn after(now: Timestamp, seconds: u32) -> Timestamp {
    now + SignedDuration::from_secs(seconds.into())
}

/// SHA-256 as base64url without padding, the way PKCE writes it.
pub fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}
