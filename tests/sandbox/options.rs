//! How a sandbox behaves: which client it knows, how long its tokens live, and what happens when one is used, rotated or
//! revoked. The defaults are those of a careful provider: PKCE is demanded, refresh tokens rotate, and reuse ends the grant.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Everything about a sandbox that may differ from one test to the next.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The URL by which others reach it, and so its issuer; by default the address it listens on.
    pub public_url: Option<String>,
    pub client_id: String,
    /// Empty for a public client, which then must not authenticate.
    pub client_secret: String,
    /// A second secret that is accepted as well, as while one is being replaced.
    pub next_client_secret: Option<String>,
    /// Further clients, each with its secret. What one client is given is of no use to another.
    pub other_clients: Vec<(String, String)>,
    /// The exact redirect URIs; with none, any `http` URI on loopback.
    pub redirect_uris: Vec<String>,
    /// The scopes that may be asked for; with none, any.
    pub scopes: Vec<String>,
    pub pkce_required: bool,
    pub consent: Consent,
    /// The accounts offered on the consent page; at least one.
    pub accounts: Vec<Account>,
    /// Seconds a code may wait for its exchange.
    pub code_lifetime: u32,
    /// Seconds; `None` means tokens that never expire and come without a refresh token.
    pub access_token_lifetime: Option<u32>,
    /// Seconds that a user's tokens live. With it, who is asked for `user_scope` gives a second grant beside the first, whose
    /// tokens lie under `authed_user` in the answer to the code; its own refreshes answer like any other.
    pub user_token_lifetime: Option<u32>,
    /// Seconds a refresh token may lie unused.
    pub refresh_token_lifetime: Option<u32>,
    pub rotation: Rotation,
    pub old_access_token: OldAccessToken,
    pub revocation_effect: RevocationEffect,
    /// A new authorization of the same workspace ends the earlier ones.
    pub replaces_earlier: bool,
    /// A new authorization of the same workspace gives the tokens of the earlier one again.
    pub same_token: bool,
    pub introspection: bool,
    /// Token requests may be JSON objects as well as forms.
    pub accept_json: bool,
    /// Milliseconds, at most, from the arrival of a token request to its being carried out, and again as many to the answer:
    /// how many it is, chance decides each time. A client that hangs up meanwhile changes nothing of what is done.
    pub latency: u32,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            public_url: None,
            client_id: "sandbox-client".to_owned(),
            client_secret: "sandbox-secret".to_owned(),
            next_client_secret: None,
            other_clients: Vec::new(),
            redirect_uris: Vec::new(),
            scopes: Vec::new(),
            pkce_required: true,
            consent: Consent::Ask,
            accounts: vec![
                Account::new("W-ACME", "Acme Workspace", "ada@acme.example"),
                Account::new("W-GLOBEX", "Globex Workspace", "grace@globex.example"),
                Account::new("W-INITECH", "Initech Workspace", "alan@initech.example"),
            ],
            code_lifetime: 60,
            access_token_lifetime: Some(3600),
            user_token_lifetime: None,
            refresh_token_lifetime: None,
            rotation: Rotation::Strict,
            old_access_token: OldAccessToken::Lives,
            revocation_effect: RevocationEffect::Grant,
            replaces_earlier: false,
            same_token: false,
            introspection: true,
            accept_json: false,
            latency: 0,
        }
    }
}

impl SandboxOptions {
    /// Whether a client is registered under this id.
    pub fn knows(&self, client: &str) -> bool {
        self.client_id == client || self.other_clients.iter().any(|(id, _)| id == client)
    }
}

/// A workspace that can be connected, and the person who answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    pub id: String,
    pub name: String,
    pub user: String,
}

impl Account {
    pub fn new(id: &str, name: &str, user: &str) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), user: user.to_owned() }
    }
}

/// What a visit to `/authorize` leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// A page asks the person.
    Ask,
    /// Granted at once for the account with this id; with none, for the first.
    Allow(Option<String>),
    /// Refused at once.
    Deny,
    /// The server itself fails, with this error code: `server_error`, `temporarily_unavailable`.
    Fail(&'static str),
}

/// What becomes of a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It stays, and answers carry none.
    None,
    /// A new one is given; for so many seconds the old one still gives a sibling, after that its use ends the grant.
    Grace { seconds: u32 },
    /// A new one is given, and the old one is merely dead.
    Lenient,
    /// A new one is given, and use of the old one ends the whole grant.
    Strict,
}

/// What becomes of the access tokens given before a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldAccessToken {
    /// They are good until they expire.
    Lives,
    /// They die at the refresh.
    Dies,
}

/// How far the revocation of a token reaches. Revoking a refresh token always ends its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationEffect {
    /// An access token dies alone.
    Token,
    /// The grant ends.
    Grant,
    /// Every grant of the same workspace ends.
    Installation,
}
