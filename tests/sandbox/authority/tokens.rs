//! Tokens: made, looked at, and revoked.

use serde_json::{Value, json};

use super::super::{
    answer::Refusal,
    options::{Account, RevocationEffect},
};
use super::{AccessToken, Authority, GrantId, Kind, RefreshToken, after, lapsed};

/// What one answer of the token endpoint gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub access_token: String,
    pub refresh_token: Option<String>,
    pub expires_in: Option<u32>,
    pub scope: String,
    pub account: Account,
    pub kind: Kind,
    /// A person's tokens, given with the app's.
    pub user: Option<Box<Issued>>,
}

impl Issued {
    /// The token answer, with an app's usual extras around the tokens.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "access_token": self.access_token,
            "token_type": match self.kind {
                Kind::Main => "Bearer",
                Kind::User => "user",
            },
            "scope": self.scope,
            "workspace": {"id": self.account.id, "name": self.account.name},
            "installed_by": self.account.user,
        });
        if let Some(seconds) = self.expires_in {
            body["expires_in"] = seconds.into();
        }
        if let Some(token) = &self.refresh_token {
            body["refresh_token"] = token.as_str().into();
        }
        if let Some(user) = &self.user {
            body["authed_user"] = user.to_json();
        }
        body
    }
}

impl Authority {
    /// The first tokens of a grant; or once more the newest, where the grant was there before.
    pub fn issue(&mut self, grant: GrantId, scope: String) -> Issued {
        if let Some(access_token) = self.current_access_token(grant).map(str::to_owned) {
            let left = self.access_tokens[&access_token].expires_at.map(|at| at.duration_since(self.now()).as_secs());
            return Issued {
                access_token,
                refresh_token: self.current_refresh_token(grant).map(str::to_owned),
                expires_in: left.and_then(|seconds| u32::try_from(seconds).ok()),
                scope,
                kind: Kind::Main,
                user: None,
                account: self.grants[grant.0].account.clone(),
            };
        }
        let refreshable = self.lifetime(grant).is_some();
        self.next_generation(grant, scope, refreshable)
    }

    /// Seconds that an access token of this grant lives.
    fn lifetime(&self, grant: GrantId) -> Option<u32> {
        match self.grants[grant.0].kind {
            Kind::Main => self.options.access_token_lifetime,
            Kind::User => self.options.user_token_lifetime,
        }
    }

    /// The next access token of a grant, and where wanted the next refresh token.
    pub(super) fn next_generation(&mut self, id: GrantId, scope: String, with_refresh_token: bool) -> Issued {
        let now = self.now();
        let expires_in = self.lifetime(id);
        let access_token = self.random("sandbox-at-");
        let refresh_token = with_refresh_token.then(|| self.random("sandbox-rt-"));

        let grant = &mut self.grants[id.0];
        grant.generation += 1;
        let held = AccessToken {
            grant: id,
            generation: grant.generation,
            scope: scope.clone(),
            issued_at: now,
            expires_at: expires_in.map(|seconds| after(now, seconds)),
            revoked: false,
        };
        if let Some(token) = &refresh_token {
            grant.refresh_token = Some(token.clone());
            let expires_at = self.options.refresh_token_lifetime.map(|seconds| after(now, seconds));
            let held = RefreshToken { grant: id, issued_at: now, expires_at, rotated_at: None, in_flight: 0 };
            self.refresh_tokens.insert(token.clone(), held);
        }
        let (account, kind) = (grant.account.clone(), grant.kind);
        grant.access_tokens.push_back(access_token.clone());
        self.access_tokens.insert(access_token.clone(), held);
        self.forget_dead_access_tokens(id);
        Issued { access_token, refresh_token, expires_in, scope, account, kind, user: None }
    }

    /// Keeps a grant that is refreshed for days from gathering tokens.
    fn forget_dead_access_tokens(&mut self, id: GrantId) {
        while let Some(oldest) = self.grants[id.0].access_tokens.front() {
            if self.access_token_is_good(oldest) {
                break;
            }
            self.access_tokens.remove(oldest);
            self.grants[id.0].access_tokens.pop_front();
        }
    }

    /// The grant that an access token opens.
    pub fn authenticate(&self, token: &str) -> Result<GrantId, Refusal> {
        let held = self.access_tokens.get(token).ok_or_else(|| Refusal::invalid_token("this token is unknown"))?;
        if self.access_token_is_good(token) {
            Ok(held.grant)
        } else {
            Err(Refusal::invalid_token("this token has expired or was revoked").of(held.grant))
        }
    }

    /// Revokes a token of either kind (RFC 7009); one that nobody knows is revoked already, and another client's stays.
    pub fn revoke(&mut self, client: &str, token: &str) -> Result<Option<GrantId>, Refusal> {
        let Some(grant) = self.grant_of(token) else { return Ok(None) };
        if self.grants[grant.0].client != client {
            return Err(Refusal::invalid_grant("this token was given to another client"));
        }
        if self.refresh_tokens.contains_key(token) {
            self.end_revoked(grant);
            return Ok(Some(grant));
        }
        if let Some(held) = self.access_tokens.get_mut(token) {
            held.revoked = true;
        }
        if self.options.revocation_effect != RevocationEffect::Token {
            self.end_revoked(grant);
        }
        Ok(Some(grant))
    }

    /// What is to be said of a token (RFC 7662): of one that is dead or another client's, nothing. To look at a token is
    /// not to use it.
    pub fn introspect(&self, client: &str, token: &str) -> Value {
        if !self.is_of(token, client) {
            return json!({"active": false});
        }
        let (grant, scope, kind, issued_at, expires_at) = if self.refresh_token_is_good(token) {
            let held = &self.refresh_tokens[token];
            let scope = &self.grants[held.grant.0].scope;
            (held.grant, scope, "refresh_token", held.issued_at, held.expires_at)
        } else if self.access_token_is_good(token) {
            let held = &self.access_tokens[token];
            (held.grant, &held.scope, "Bearer", held.issued_at, held.expires_at)
        } else {
            return json!({"active": false});
        };
        debug_assert!(!lapsed(expires_at, self.now()));
        let account = &self.grants[grant.0].account;
        let mut body = json!({
            "active": true,
            "scope": scope,
            "client_id": client,
            "token_type": kind,
            "iat": issued_at.as_second(),
            "sub": account.user,
            "iss": self.issuer,
            "workspace": {"id": account.id, "name": account.name},
        });
        if let Some(at) = expires_at {
            body["exp"] = at.as_second().into();
        }
        body
    }
}
