//! From a question to a person, through a code, to a grant.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::super::{answer::Refusal, ledger::Why, options::Account};
use super::{Authority, Grant, GrantId, Kind, after, lapsed, sha256, tokens::Issued};

/// Seconds a consent page may be left open.
const ASK_LIFETIME: u32 = 600;

/// An authorization request in good order, waiting for a person.
#[derive(Clone, Debug)]
pub struct Ask {
    pub client: String,
    pub redirect_uri: String,
    pub scope: String,
    pub user_scope: String,
    pub state: Option<String>,
    /// The S256 challenge.
    pub challenge: Option<String>,
    pub asked_at: Timestamp,
}

/// An authorization code, kept after use so that a second use is recognised.
pub struct Code {
    ask: Ask,
    account: Account,
    expires_at: Timestamp,
    spent: Option<Spent>,
}

/// What the first use of a code led to.
enum Spent {
    Refused,
    Granted(GrantId),
}

impl Authority {
    /// Puts a question aside until it is answered, and returns its number.
    pub fn ask(&mut self, ask: Ask) -> String {
        let id = self.random("");
        self.asks.insert(id.clone(), ask);
        id
    }

    /// Takes a question up again: once, and not too late.
    pub fn answered(&mut self, id: &str) -> Option<Ask> {
        let ask = self.asks.remove(id)?;
        (after(ask.asked_at, ASK_LIFETIME) > self.now()).then_some(ask)
    }

    /// A code for what the person allowed.
    pub fn allow(&mut self, ask: Ask, account: Account) -> String {
        let code = self.random("sandbox-code-");
        let expires_at = after(self.now(), self.options.code_lifetime);
        self.codes.insert(code.clone(), Code { ask, account, expires_at, spent: None });
        code
    }

    /// Turns a code into a grant. A code is good for one attempt, and a second one takes back what the first was given.
    pub fn redeem(
        &mut self,
        client: &str,
        code: &str,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
    ) -> Result<(GrantId, Issued), Refusal> {
        let now = self.now();
        let held = self.codes.get_mut(code).ok_or_else(|| Refusal::invalid_grant("this code was never given"))?;
        // Whoever finds a code must not be able to spend it, or to end what it gave.
        if held.ask.client != client {
            return Err(Refusal::invalid_grant("this code was given to another client"));
        }
        match held.spent {
            Some(Spent::Granted(grant)) => {
                self.end(grant, Why::CodeReuse);
                return Err(Refusal::invalid_grant("this code was used before; its tokens are revoked").of(grant));
            }
            Some(Spent::Refused) => {
                return Err(Refusal::invalid_grant("this code was used before"));
            }
            None => held.spent = Some(Spent::Refused),
        }
        if lapsed(Some(held.expires_at), now) {
            return Err(Refusal::invalid_grant("this code has expired"));
        }
        if redirect_uri != Some(held.ask.redirect_uri.as_str()) {
            return Err(Refusal::invalid_grant("redirect_uri is not the one the code was sent to"));
        }
        verify(held.ask.challenge.as_deref(), verifier)?;

        let (account, ask) = (held.account.clone(), held.ask.clone());
        let grant = self.grant(&ask.client, account.clone(), ask.scope);
        if let Some(held) = self.codes.get_mut(code) {
            held.spent = Some(Spent::Granted(grant));
        }
        let scope = self.grants[grant.0].scope.clone();
        let mut issued = self.issue(grant, scope);
        if self.options.user_token_lifetime.is_some() && !ask.user_scope.is_empty() {
            let user = self.new_grant(&ask.client, account, ask.user_scope.clone(), Kind::User);
            issued.user = Some(Box::new(self.issue(user, ask.user_scope)));
        }
        Ok((grant, issued))
    }

    /// A new grant, still without tokens; or the one that the workspace has, where tokens are given again.
    pub fn grant(&mut self, client: &str, account: Account, scope: String) -> GrantId {
        let earlier = self.by_workspace.get(&account.id).and_then(|grants| grants.last().copied());
        if let Some(earlier) = earlier.filter(|id| self.options.same_token && self.grants[id.0].ended.is_none()) {
            return earlier;
        }
        if self.options.replaces_earlier {
            for earlier in self.by_workspace.remove(&account.id).unwrap_or_default() {
                self.end(earlier, Why::Replaced);
            }
        }
        self.new_grant(client, account, scope, Kind::Main)
    }

    fn new_grant(&mut self, client: &str, account: Account, scope: String, kind: Kind) -> GrantId {
        let id = GrantId(self.grants.len());
        self.by_workspace.entry(account.id.clone()).or_default().push(id);
        self.grants.push(Grant {
            client: client.to_owned(),
            account,
            kind,
            scope,
            created_at: self.now(),
            generation: 0,
            refresh_token: None,
            access_tokens: VecDeque::new(),
            ended: None,
            max_in_flight: 0,
        });
        id
    }
}

/// PKCE, in both directions: a verifier without a challenge is a downgrade (RFC 9700 §2.1.1).
fn verify(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), Refusal> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(challenge), Some(verifier)) if well_formed(verifier) && sha256(verifier.as_bytes()) == challenge => {
            Ok(())
        }
        (Some(_), Some(_)) => Err(Refusal::invalid_grant("code_verifier does not fit the challenge")),
        (Some(_), None) => Err(Refusal::invalid_grant("code_verifier is missing")),
        (None, Some(_)) => Err(Refusal::invalid_grant("code_verifier was given, but no challenge before it")),
    }
}

/// 43 to 128 unreserved characters (RFC 7636 §4.1).
fn well_formed(verifier: &str) -> bool {
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}
