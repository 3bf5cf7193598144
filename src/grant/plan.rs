//! What to do next with a grant: one pure function from what is known to one step.
//!
//! The refresh protocol lives here. A request with a refresh token is preceded by an [`Intent`] on the grant; an intent
//! that is found later means that a request may have been sent and its answer lost. What may then be done depends on
//! how the provider treats a refresh token that is used twice.

use jiff::{SignedDuration, Timestamp};

use super::record::{GrantView, Intent};
use super::schedule::{Timing, refresh_at};
use crate::api::provider::{OldAccessToken, Rotation};

/// How long a token request may take, from intent to answer.
pub const REQUEST_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// How long after the intent was written its request may still be started.
pub const SEND_WINDOW: SignedDuration = SignedDuration::from_secs(10);
/// How far the clocks of two replicas may differ.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// How long before the end of a replay window we stop replaying.
const GRACE_MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// How long before expiry the last replay is made, at most; a tenth of the lifetime where that is shorter.
const LAST_REPLAY: SignedDuration = SignedDuration::from_secs(60);

/// How the provider treats refresh tokens, and how it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What using a refresh token does to it.
    pub rotation: Rotation,
    /// With [`Rotation::Grace`]: how long it may be sent again.
    pub grace: SignedDuration,
    /// What a refresh does to the access token before it.
    pub old_access_token: OldAccessToken,
    /// Whether the provider can be asked about a token (RFC 7662).
    pub introspection: bool,
    /// Whether the access token can be tried.
    pub probe: bool,
}

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// This replica.
    pub holder: &'a str,
    /// This run of the process.
    pub boot: &'a str,
    /// Whether the attempt of the intent is being carried out by this very process.
    pub in_flight: bool,
}

/// The moment and what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// A person asked for a refresh.
    pub requested: bool,
    /// Not before this moment: backoff, `Retry-After`, or a closed gate.
    pub not_before: Option<Timestamp>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then; `None`: nothing at all.
    Wait(Option<Timestamp>),
    /// Another process may be at it; look again then.
    InFlight(Timestamp),
    /// Send a refresh. `replay` carries the moment of the first send when the outcome of an earlier one is unknown.
    Refresh {
        /// When a request with this refresh token was first sent.
        replay: Option<Timestamp>,
    },
    /// Ask the provider whether the refresh token is still good (RFC 7662), then go on.
    Introspect(Intent),
    /// Try the old access token, then go on.
    Probe(Intent),
    /// An earlier refresh is ambiguous and nothing can be done before then.
    Ambiguous {
        /// When the next attempt is made.
        until: Timestamp,
    },
}

/// Decides the next step for a grant that is bound to its provider as it is now.
pub fn next(view: &GrantView, timing: Timing, profile: Profile, asker: Asker<'_>, moment: Moment) -> Step {
    if view.refused.as_ref().is_some_and(|refusal| refusal.epoch == view.summary.epoch) {
        return Step::Wait(None);
    }
    match view.intent.as_ref().filter(|intent| intent.epoch == view.summary.epoch) {
        Some(intent) => recover(view, intent, profile, asker, moment),
        None => fresh(view, timing, moment),
    }
}

/// No refresh is unfinished.
fn fresh(view: &GrantView, timing: Timing, moment: Moment) -> Step {
    let planned = refresh_at(&view.summary, timing);
    let due = if moment.requested && view.summary.refreshable { Some(moment.now) } else { planned };
    match due {
        None => Step::Wait(None),
        Some(due) => {
            let due = moment.not_before.map_or(due, |earliest| due.max(earliest));
            if due <= moment.now { Step::Refresh { replay: None } } else { Step::Wait(Some(due)) }
        }
    }
}

/// A refresh was begun and its end is not known.
fn recover(view: &GrantView, intent: &Intent, profile: Profile, asker: Asker<'_>, moment: Moment) -> Step {
    let alive = if intent.boot == asker.boot { asker.in_flight } else { intent.holder != asker.holder };
    let free = intent.deadline + CLOCK_SKEW;
    if alive && moment.now < free {
        return Step::InFlight(free);
    }
    if let Some(earliest) = moment.not_before.filter(|earliest| *earliest > moment.now) {
        return Step::Ambiguous { until: earliest };
    }
    let replay = Step::Refresh { replay: Some(intent.first_sent) };
    match profile.rotation {
        Rotation::None | Rotation::Lenient => replay,
        Rotation::Grace if moment.now <= intent.first_sent + profile.grace - GRACE_MARGIN => replay,
        Rotation::Grace | Rotation::Strict if profile.introspection => Step::Introspect(intent.clone()),
        Rotation::Grace | Rotation::Strict if profile.old_access_token == OldAccessToken::Dies && profile.probe => {
            Step::Probe(intent.clone())
        }
        Rotation::Grace | Rotation::Strict => match last_replay(view) {
            Some(last) if moment.now < last => Step::Ambiguous { until: last },
            _ => replay,
        },
    }
}

/// The moment of the last replay: nothing is lost by it any more, since the old access token is about to expire.
/// Without an expiry the old access token keeps working, so there is no reason ever to risk the grant: the moment is
/// a day after the first send, when an operator has had time to see the condition.
fn last_replay(view: &GrantView) -> Option<Timestamp> {
    let summary = &view.summary;
    match summary.expires_at {
        Some(expires_at) => {
            let lifetime = expires_at.duration_since(summary.obtained_at).max(SignedDuration::ZERO);
            Some(expires_at - LAST_REPLAY.min(lifetime / 10))
        }
        None => view.intent.as_ref().map(|intent| intent.first_sent + SignedDuration::from_hours(24)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests_support::view;

    const ASKER: Asker<'static> = Asker { holder: "pod-a", boot: "boot-1", in_flight: false };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn profile(rotation: Rotation) -> Profile {
        Profile {
            rotation,
            grace: SignedDuration::from_secs(600),
            old_access_token: OldAccessToken::Lives,
            introspection: false,
            probe: false,
        }
    }

    fn moment(second: i64) -> Moment {
        Moment { now: at(second), requested: false, not_before: None }
    }

    fn unfinished(boot: &str, holder: &str) -> GrantView {
        let mut view = view(0, Some(3_600));
        view.intent = Some(Intent {
            attempt: "a".into(),
            epoch: 1,
            boot: boot.into(),
            holder: holder.into(),
            first_sent: at(2_400),
            deadline: at(2_440),
        });
        view
    }

    fn step(view: &GrantView, profile: Profile, asker: Asker<'_>, moment: Moment) -> Step {
        next(view, Timing::default(), profile, asker, moment)
    }

    #[test]
    fn waits_then_refreshes() {
        let view = view(0, Some(3_600));
        assert!(matches!(step(&view, profile(Rotation::Strict), ASKER, moment(10)), Step::Wait(Some(_))));
        assert_eq!(step(&view, profile(Rotation::Strict), ASKER, moment(2_400)), Step::Refresh { replay: None });
    }

    #[test]
    fn a_request_is_obeyed_at_once_but_not_against_backoff() {
        let view = view(0, Some(3_600));
        let asked = Moment { requested: true, ..moment(10) };
        assert_eq!(step(&view, profile(Rotation::Strict), ASKER, asked), Step::Refresh { replay: None });
        let held = Moment { not_before: Some(at(50)), ..asked };
        assert_eq!(step(&view, profile(Rotation::Strict), ASKER, held), Step::Wait(Some(at(50))));
    }

    #[test]
    fn another_replicas_intent_is_respected_until_its_deadline() {
        let view = unfinished("boot-9", "pod-b");
        assert_eq!(step(&view, profile(Rotation::None), ASKER, moment(2_441)), Step::InFlight(at(2_445)));
        assert!(matches!(step(&view, profile(Rotation::None), ASKER, moment(2_445)), Step::Refresh { .. }));
    }

    #[test]
    fn an_intent_of_our_own_earlier_boot_is_dead() {
        let view = unfinished("boot-0", "pod-a");
        assert!(matches!(step(&view, profile(Rotation::None), ASKER, moment(2_401)), Step::Refresh { .. }));
    }

    #[test]
    fn our_own_request_in_flight_is_left_alone() {
        let view = unfinished("boot-1", "pod-a");
        let busy = Asker { in_flight: true, ..ASKER };
        assert_eq!(step(&view, profile(Rotation::None), busy, moment(2_401)), Step::InFlight(at(2_445)));
    }

    #[test]
    fn by_profile() {
        let view = unfinished("boot-0", "pod-a");
        let replay = Step::Refresh { replay: Some(at(2_400)) };
        for rotation in [Rotation::None, Rotation::Lenient, Rotation::Grace] {
            assert_eq!(step(&view, profile(rotation), ASKER, moment(2_450)), replay, "{rotation:?}");
        }
        // The window of 600 s ends at 3000; 30 s before that we stop, and wait for the last moment.
        let late = step(&view, profile(Rotation::Grace), ASKER, moment(2_971));
        assert_eq!(late, Step::Ambiguous { until: at(3_540) });
        let strict = profile(Rotation::Strict);
        assert_eq!(step(&view, strict, ASKER, moment(2_450)), Step::Ambiguous { until: at(3_540) });
        assert_eq!(step(&view, strict, ASKER, moment(3_540)), replay);
        let asks = Profile { introspection: true, ..strict };
        assert!(matches!(step(&view, asks, ASKER, moment(2_450)), Step::Introspect(_)));
        let dies = Profile { old_access_token: OldAccessToken::Dies, probe: true, ..strict };
        assert!(matches!(step(&view, dies, ASKER, moment(2_450)), Step::Probe(_)));
    }

    #[test]
    fn a_refused_grant_rests() {
        let mut view = unfinished("boot-0", "pod-a");
        view.refused = Some(crate::grant::Refusal { epoch: 1, at: at(2_500), message: String::new(), replaced: false });
        assert_eq!(step(&view, profile(Rotation::None), ASKER, moment(9_999)), Step::Wait(None));
    }

    #[test]
    fn an_intent_of_an_older_epoch_means_nothing() {
        let mut view = unfinished("boot-9", "pod-b");
        view.summary.epoch = 2;
        assert!(matches!(step(&view, profile(Rotation::Strict), ASKER, moment(10)), Step::Wait(Some(_))));
    }
}
