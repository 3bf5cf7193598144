//! Condition types and the closed list of their reasons, and how a new condition meets the one that stands.
//!
//! A reason is an identifier that alerts and scripts match on, so it is never made up at the place where it is used:
//! conditions, Events and metric labels all take it from [`Reason`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Types of conditions on a `ProjectIntegration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The summary of the others.
    Ready,
    /// Only a person or a change of spec helps.
    Stalled,
    /// A credential is held.
    Authorized,
    /// The access token is fresh.
    TokenFresh,
    /// The provider accepts the credential.
    Healthy,
}

impl ConditionType {
    /// The name as it stands in `status.conditions[].type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Stalled => "Stalled",
            Self::Authorized => "Authorized",
            Self::TokenFresh => "TokenFresh",
            Self::Healthy => "Healthy",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Every reason a condition, an Event or a metric label can carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason with its documentation, for the generated reference.
            pub const ALL: &'static [(Reason, &'static str)] = &[$((Reason::$name, concat!($($doc),+)),)+];

            /// The identifier, in `PascalCase`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    /// Everything that was asked for is in place.
    Connected,
    /// A provider's description is complete and usable.
    Accepted,
    /// Nothing waits for a person.
    NotStalled,
    /// The provider has granted access and the grant is held.
    Granted,
    /// Nobody has authorized this integration yet, or it was disconnected.
    AuthorizationRequired,
    /// The person, or the provider, said no at the consent page.
    AuthorizationDenied,
    /// The grant was refused, revoked or lost; a person must authorize again.
    ReauthorizationRequired,
    /// The provider granted fewer scopes than were asked for, or more are wanted by now; what was granted is used.
    ScopesInsufficient,
    /// The account has several sites or accounts, or none, and the person must say which one this connection is about.
    ChoiceRequired,
    /// The provider has not said yet which site or account this connection is about; it is asked again.
    AccountUnknown,
    /// No API key was given, or the Secret with it is missing, unreadable, empty or holds no key of this app.
    ApiKeyMissing,
    /// The provider, its client or its endpoints are no longer those the grant was made for; nothing is sent.
    ProviderChanged,
    /// Somebody authorized with another account of the provider; the earlier grant is kept.
    AccountMismatch,
    /// A Secret from another life of this integration lies in the operator's namespace and is not adopted silently.
    ForeignGrant,
    /// A Secret from another life of this integration was taken over, since somebody with rights to it asked for that.
    Adopted,
    /// The access token was obtained or refreshed as planned.
    Refreshed,
    /// The access token has no expiry.
    NeverExpires,
    /// The last refresh failed; it is retried.
    RefreshFailing,
    /// It is not known whether the provider carried out the last refresh.
    RefreshAmbiguous,
    /// The access token has expired.
    Expired,
    /// The provider refuses the client's own credentials.
    ClientCredentialsInvalid,
    /// The integration is suspended by its spec.
    Suspended,
    /// The provider accepted the credential.
    Verified,
    /// The provider refused the credential.
    Rejected,
    /// The provider could not be reached or answered with a failure of its own.
    ProviderUnavailable,
    /// The provider asked for fewer requests.
    RateLimited,
    /// The provider's description has no call that could prove the credential.
    NotChecked,
    /// The tenant of the spec is not the tenant of the namespace.
    TenantMismatch,
    /// The spec has a mistake that the schema could not catch.
    InvalidSpec,
    /// The provider named by the spec does not exist.
    ProviderNotFound,
    /// The provider does not serve this namespace.
    ProviderNotAllowed,
    /// The provider's description is not usable; its own condition says why.
    ProviderNotReady,
    /// A Secret that this integration does not own has the name it wants.
    SecretConflict,
    /// The integration is being deleted.
    Deleting,
    /// The provider could not be asked to revoke within the time given; it was forgotten instead.
    RevocationFailed,
    /// The credential was revoked at the provider.
    Revoked,
    /// Other integrations hold the same installation, so it was forgotten and not revoked.
    RevocationSkippedShared,
    /// What was held was revoked, or forgotten, on request.
    Disconnected,
    /// The Secret with the client's credentials is missing, unreadable or incomplete.
    ClientCredentialsMissing,
    /// The issuer's metadata (RFC 8414) could not be read.
    DiscoveryFailed,
    /// An object in the operator's namespace could not be read or written.
    StorageFailed,
}

/// A condition yet to be stamped with time and generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Which condition.
    pub kind: ConditionType,
    /// `Some(true)`, `Some(false)`, or `None` for `Unknown`.
    pub status: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// Step, cause, remedy and, where something is retried, when.
    pub message: String,
}

impl Observed {
    /// A condition that is `True`.
    pub fn yes(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: Some(true), reason, message: message.into() }
    }

    /// A condition that is `False`.
    pub fn no(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: Some(false), reason, message: message.into() }
    }

    /// A condition that is `Unknown`.
    pub fn unknown(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: None, reason, message: message.into() }
    }
}

/// Stamps `observed`, keeping the transition time of every condition whose status has not changed.
pub fn merge(standing: &[Condition], observed: &[Observed], generation: i64, now: Timestamp) -> Vec<Condition> {
    observed
        .iter()
        .map(|new| {
            let status = match new.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = standing
                .iter()
                .find(|old| old.type_ == new.kind.as_str() && old.status == status)
                .map_or_else(|| Time(now), |old| old.last_transition_time.clone());
            Condition {
                type_: new.kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: new.reason.as_str().to_owned(),
                message: new.message.clone(),
                observed_generation: Some(generation),
                last_transition_time: since,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_status_keeps_its_time() {
        let early = Timestamp::from_second(1_000).unwrap();
        let late = Timestamp::from_second(2_000).unwrap();
        let first = merge(&[], &[Observed::yes(ConditionType::Ready, Reason::Connected, "a")], 1, early);
        let second = merge(&first, &[Observed::yes(ConditionType::Ready, Reason::Connected, "b")], 2, late);
        assert_eq!(second[0].last_transition_time, Time(early));
        assert_eq!(second[0].message, "b");
        let third = merge(&second, &[Observed::no(ConditionType::Ready, Reason::Expired, "c")], 2, late);
        assert_eq!(third[0].last_transition_time, Time(late));
    }

    #[test]
    fn reasons_are_unique_pascal_case() {
        let mut seen = std::collections::BTreeSet::new();
        for (reason, doc) in Reason::ALL {
            assert!(seen.insert(reason.as_str()), "{reason:?} twice");
            assert!(reason.as_str().starts_with(|first: char| first.is_ascii_uppercase()));
            assert!(doc.trim().ends_with('.'), "{reason:?} wants a sentence");
        }
    }
}
