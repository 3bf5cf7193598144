//! The provider: what it does with a refresh token, by its kind. The same rules as the ledger of `tests/sandbox`.

use integration_operator::api::provider::{OldAccessToken, Rotation};

use super::Kind;
use super::state::{Book, Ended, GRACE, Second};

/// What a provider says to a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// New tokens; the number of the refresh token.
    Tokens(u8),
    /// `invalid_grant`.
    Refused,
}

impl Book {
    /// Uses a refresh token.
    pub fn refresh(&mut self, kind: Kind, serial: u8, now: Second) -> Reply {
        if self.ended.is_some() {
            return Reply::Refused;
        }
        if kind.rotation == Rotation::None {
            return Reply::Tokens(0);
        }
        match (self.used[usize::from(serial)], kind.rotation) {
            (None, _) => self.used[usize::from(serial)] = Some(now),
            (Some(first), Rotation::Grace) if now < first + GRACE => {}
            (Some(_), Rotation::Lenient) => return Reply::Refused,
            (Some(_), _) => {
                self.ended = Some(Ended::Reuse);
                return Reply::Refused;
            }
        }
        self.used.push(None);
        Reply::Tokens(self.newest())
    }

    /// Whether a refresh token can still be used: what introspection tells.
    pub fn is_good(&self, kind: Kind, serial: u8, now: Second) -> bool {
        let used = self.used[usize::from(serial)];
        let fresh = used.is_none_or(|first| kind.rotation == Rotation::Grace && now < first + GRACE);
        self.ended.is_none() && fresh
    }

    /// Whether an access token is accepted that was given together with a refresh token, and when.
    pub fn accepts(&self, kind: Kind, serial: u8, expires: Second, now: Second) -> bool {
        let replaced = kind.old_access_token == OldAccessToken::Dies && serial != self.newest();
        self.ended.is_none() && !replaced && now < expires
    }

    fn newest(&self) -> u8 {
        u8::try_from(self.used.len() - 1).unwrap()
    }
}
