//! Grants of the same upstream installation (its siblings): which of them count, and what a revocation does to them.
//!
//! Two projects may hold the same installation, and at many apps what is revoked for one is gone for all. So one asks
//! first who else is there. Whoever asks has said on its own grant that it is leaving, before: of several that leave at
//! the same time, the last to say so sees all the others go, and revokes. None of them can count on another that does
//! not.

use jiff::Timestamp;

use super::binding::Binding;
use super::record::GrantView;
use crate::api::provider::{Reauthorization, RevocationEffect};

/// Who else holds an installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Company {
    /// Somebody does, and it may still work.
    pub living: bool,
    /// One of them holds the very same access token.
    pub same_token: bool,
}

impl Company {
    /// What is assumed when nobody can be asked: nothing of others is put at risk.
    pub const UNKNOWN: Self = Self { living: true, same_token: true };

    /// With one more.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { living: self.living || other.living, same_token: self.same_token || other.same_token }
    }
}

/// Whether a grant may still be of use to its integration. One that was refused is dead, one that leaves is gone in a
/// moment, and one whose access token has expired has nothing left without a refresh token. A suspended integration
/// keeps what it holds, and an orphan may be in use elsewhere (see `controller::orphans`): both count.
pub fn lives(view: &GrantView, now: Timestamp) -> bool {
    let refused = view.refused.as_ref().is_some_and(|refusal| refusal.epoch == view.summary.epoch);
    let expired = !view.summary.refreshable && view.summary.expires_at.is_some_and(|at| at <= now);
    !refused && !expired && view.leaving.is_none()
}

/// Whether `view` was authorized after `other`, for the same installation.
pub fn is_later(view: &GrantView, other: &GrantView) -> bool {
    view.name != other.name
        && view.summary.installation.is_some()
        && view.summary.installation == other.summary.installation
        && view.summary.installed_at > other.summary.installed_at
}

impl Binding {
    /// Whether revoking a grant of this kind could end what others hold.
    pub fn revocation_harms(&self, company: Company) -> bool {
        let alone = self.revocation_effect == RevocationEffect::Token
            && self.reauthorization != Reauthorization::SameToken
            && !company.same_token;
        company.living && !alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::provider::Reauthorization::{Independent, ReplacesEarlier, SameToken};
    use crate::api::provider::RevocationEffect::{Grant, Installation, Token};
    use crate::grant::Refusal;
    use crate::grant::tests_support::{binding, view};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn who_counts() {
        let mut grant = view(0, Some(3_600));
        assert!(lives(&grant, at(9_999)), "it can be refreshed");
        grant.summary.refreshable = false;
        assert!(lives(&grant, at(3_599)));
        assert!(!lives(&grant, at(3_600)));
        grant.orphaned = Some(at(1));
        assert!(lives(&grant, at(1)));
        grant.leaving = Some(at(1));
        assert!(!lives(&grant, at(1)));
        grant.leaving = None;
        grant.refused = Some(Refusal { epoch: 1, at: at(2), message: String::new(), replaced: false });
        assert!(!lives(&grant, at(1)));
        grant.summary.epoch = 2;
        assert!(lives(&grant, at(1)), "connected again since");
    }

    #[test]
    fn what_a_revocation_ends() {
        let with = |effect, reauthorization| {
            let mut binding = binding();
            (binding.revocation_effect, binding.reauthorization) = (effect, reauthorization);
            binding
        };
        let company = Company { living: true, same_token: false };
        for (effect, reauthorization, harms) in [
            (Token, Independent, false),
            (Token, ReplacesEarlier, false),
            (Token, SameToken, true),
            (Grant, Independent, true),
            (Installation, Independent, true),
        ] {
            let binding = with(effect, reauthorization);
            assert_eq!(binding.revocation_harms(company), harms, "{effect:?} {reauthorization:?}");
            assert!(!binding.revocation_harms(Company::default()), "nobody else is there");
            assert!(binding.revocation_harms(Company::UNKNOWN));
        }
        let same = Company { living: true, same_token: true };
        assert!(with(Token, Independent).revocation_harms(same), "whatever the description says");
    }

    #[test]
    fn later_is_of_the_same_installation_only() {
        let (mut first, mut second) = (view(0, None), view(10, None));
        second.name = "grant-2".into();
        assert!(!is_later(&second, &first), "installations that cannot be told apart are nobody's siblings");
        first.summary.installation = Some("one".into());
        second.summary.installation = Some("two".into());
        assert!(!is_later(&second, &first));
        second.summary.installation = Some("one".into());
        assert!(is_later(&second, &first) && !is_later(&first, &second));
    }
}
