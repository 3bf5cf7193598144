//! Refreshing, where providers differ most: whether the refresh token changes, how long the old one is forgiven, and what
//! its reuse costs.

use jiff::Timestamp;

use super::super::{answer::Refusal, ledger::Why, options::Rotation};
use super::{Authority, GrantId, Issued, after, lapsed};

impl Authority {
    /// Uses a refresh token. The word says what kind of success it was: `refreshed`, or `replayed` inside a grace window.
    pub fn refresh(
        &mut self,
        client: &str,
        token: &str,
        scope: Option<&str>,
    ) -> Result<(GrantId, &'static str, Issued), Refusal> {
        let now = self.now();
        let held = self.refresh_tokens.get(token).ok_or_else(|| Refusal::invalid_grant("this token is unknown"))?;
        if !self.is_of(token, client) {
            return Err(Refusal::invalid_grant("this token was given to another client"));
        }
        let (id, expires_at, rotated_at) = (held.grant, held.expires_at, held.rotated_at);
        if self.grants[id.0].ended.is_some() {
            return Err(Refusal::invalid_grant("the grant has ended").of(id));
        }
        if let Some(rotated_at) = rotated_at {
            self.forgive(id, rotated_at, now)?;
        } else if lapsed(expires_at, now) {
            self.end(id, Why::Expired);
            return Err(Refusal::invalid_grant("this token was not used in time").of(id));
        }
        let scope = narrowed(&self.grants[id.0].scope, scope).map_err(|refusal| refusal.of(id))?;

        let rotates = self.options.rotation != Rotation::None;
        if let Some(held) = self.refresh_tokens.get_mut(token) {
            if rotates {
                held.rotated_at.get_or_insert(now);
            } else {
                held.expires_at = self.options.refresh_token_lifetime.map(|seconds| after(now, seconds));
            }
        }
        let outcome = if rotated_at.is_some() { "replayed" } else { "refreshed" };
        Ok((id, outcome, self.next_generation(id, scope, rotates)))
    }

    /// Decides on the reuse of a rotated token. The window of grace begins with its first use.
    fn forgive(&mut self, id: GrantId, rotated_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        match self.options.rotation {
            Rotation::Grace { seconds } if now < after(rotated_at, seconds) => Ok(()),
            Rotation::None | Rotation::Lenient => Err(Refusal::invalid_grant("this token was used before").of(id)),
            Rotation::Grace { .. } | Rotation::Strict => {
                self.end(id, Why::Reuse);
                Err(Refusal::invalid_grant("this token was used before; the grant is revoked").of(id))
            }
        }
    }
}

/// A refresh may ask for less than was granted, never for more (RFC 6749 §6).
fn narrowed(granted: &str, asked: Option<&str>) -> Result<String, Refusal> {
    let Some(asked) = asked else {
        return Ok(granted.to_owned());
    };
    if asked.split(' ').all(|scope| granted.split(' ').any(|held| held == scope)) {
        Ok(asked.to_owned())
    } else {
        Err(Refusal::new("invalid_scope", "more scopes than were granted"))
    }
}
