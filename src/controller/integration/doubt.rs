//! Before the first refresh of a grant by this process: are the tokens that are held still the newest?
//!
//! What lies in the cluster may be of the past, as after etcd was restored from a backup, here or as a copy elsewhere. A strict
//! provider takes a refresh token of the past for a stolen one, and ends the grant of whoever holds the newest. So it is
//! asked (RFC 7662), where that uses nothing up. Tokens that this very process got, or has asked about, are not of the past,
//! and cost no question.

use jiff::Timestamp;

use super::Run;
use super::freshness::planned;
use crate::api::provider::Rotation;
use crate::controller::refresh::{self, Outcome};
use crate::controller::situation::Situation;
use crate::grant::GrantView;
use crate::grant::plan::GRACE_MARGIN;
use crate::provider::registry::Usable;

const PAST: &str = "the provider says that the refresh token was used or revoked, and nothing newer is stored here, as after a \
                    backup was restored";

/// What is known of the refresh token that is held.
pub(super) enum Doubt {
    /// Nothing speaks against it, or nobody can be asked.
    Unknown,
    /// The provider says that it is good.
    Good,
    /// It is of the past; nothing may be sent.
    Past(Outcome),
}

impl Run<'_> {
    /// Asks where there is doubt. A provider that cannot tell is not waited for: refreshing is what keeps a grant.
    pub(super) async fn doubt(&self, situation: &Situation<'_>, usable: &Usable, set: Option<&str>) -> Doubt {
        let Some(view) = situation.grant.as_ref().filter(|_| usable.endpoints.introspection.is_some()) else {
            return Doubt::Unknown;
        };
        if !self.is_doubtful(situation, usable, view, set) {
            return Doubt::Unknown;
        }
        let Ok(Some(held)) = self.context.grants.get(&view.name).await else { return Doubt::Unknown };
        let Some(token) = held.grant.tokens_of(set).and_then(|tokens| tokens.refresh_token.as_ref()) else {
            return Doubt::Unknown;
        };
        let Some(asked) = self.is_active(usable, token).await else { return Doubt::Unknown };
        match asked {
            Ok(true) => {
                self.be_sure(situation, &held.view, set);
                Doubt::Good
            }
            // Somebody may have refreshed since.
            Ok(false) if held.grant.askable && held.view.resource_version == view.resource_version => {
                match refresh::mark_ended(self.context, held, set, PAST).await {
                    Ok(held) => Doubt::Past(Outcome::Ended(Box::new(held))),
                    Err(_) => Doubt::Past(Outcome::Superseded),
                }
            }
            Ok(false) if held.grant.askable => Doubt::Past(Outcome::Superseded),
            Ok(false) | Err(_) => Doubt::Unknown,
        }
    }

    fn is_doubtful(&self, situation: &Situation<'_>, usable: &Usable, view: &GrantView, set: Option<&str>) -> bool {
        let profile = usable.client.profile();
        let costly = match profile.rotation {
            Rotation::None | Rotation::Lenient => false,
            Rotation::Strict => true,
            // Used since, it was at the planned moment at the earliest; inside the window it gives a good one once more.
            Rotation::Grace => planned(situation, set)
                .is_some_and(|planned| Timestamp::now() > planned + (profile.grace - GRACE_MARGIN)),
        };
        let newest = self.context.memories.look(&situation.uid, |memory| memory.newest(set)).flatten();
        costly && newest != view.version_of(set)
    }

    /// These tokens are the newest: this process got them, or has asked.
    pub(super) fn be_sure(&self, situation: &Situation<'_>, view: &GrantView, set: Option<&str>) {
        let askable = |(_, usable): &(_, &Usable)| usable.endpoints.introspection.is_some();
        let (Some(_), Some(version)) = (situation.served_by_oauth().filter(askable), view.version_of(set)) else {
            return;
        };
        self.context.memories.update(&situation.uid, |memory| memory.be_sure(set, version));
    }
}
