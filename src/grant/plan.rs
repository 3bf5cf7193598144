//! What to do next with a grant: one pure function from what is known to one step.
//!
//! The refresh protocol lives here. A request with a refresh token is preceded by an [`Intent`] on the grant; an intent
//! that is found later means that a request may have been sent and its answer lost. What may then be done depends on
//! how the provider treats a refresh token that is used twice.
//!
//! A grant may hold several chains of tokens. Each is planned by itself, and one request is on its way at a time. An
//! unfinished refresh comes before a new one; but while it has to wait, as at a strict provider, the other chains go on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::chain::ChainSummary;
use super::record::{GrantView, Intent};
use super::schedule::{Timing, refresh_at};
use crate::api::provider::{OldAccessToken, Rotation};

/// How long a token request may take, from intent to answer.
pub const REQUEST_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// How long after the intent was written its request may still be started.
pub const SEND_WINDOW: SignedDuration = SignedDuration::from_secs(10);
/// How long after another process's intent was first seen its request may be on its way: [`SEND_WINDOW`],
/// [`REQUEST_TIMEOUT`], and a little. Counted by the clock of who looks: those of two machines are never compared.
pub const IN_FLIGHT: SignedDuration = SignedDuration::from_secs(45);
/// How long after an unfinished refresh was first sent, or first seen by this process, the provider may still be at work on
/// it, though its client has hung up or died. Asked within this time it may say that nothing was done, and do it a moment
/// later.
pub const AT_WORK: SignedDuration = SignedDuration::from_secs(8);
/// How long before the end of a replay window we stop replaying.
pub const GRACE_MARGIN: SignedDuration = SignedDuration::from_secs(30);
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
    /// The attempt that is being carried out by this very process.
    pub in_flight: Option<&'a str>,
    /// How long this process has seen the intent of each attempt, by a clock that nobody sets.
    pub seen_for: &'a BTreeMap<String, SignedDuration>,
}

/// The moment and what it asks for. Chains go by the names of their sets; `None` is the main one.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now.
    pub now: Timestamp,
    /// A person asked for a refresh of these chains.
    pub requested: &'a BTreeSet<Option<String>>,
    /// Not before these moments: backoff, `Retry-After`, or a closed gate.
    pub not_before: &'a BTreeMap<Option<String>, Timestamp>,
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
        /// The further set whose chain it is; `None` for the main one.
        set: Option<String>,
        /// When a request with this refresh token was first sent.
        replay: Option<Timestamp>,
    },
    /// Ask the provider whether the refresh token is still good (RFC 7662), then go on.
    Introspect(Intent),
    /// Try the old access token, then go on.
    Probe(Intent),
    /// Earlier refreshes are ambiguous, and nothing can be done now for any chain.
    Ambiguous {
        /// The chains that are, and when the next attempt is made for each.
        chains: BTreeMap<Option<String>, Timestamp>,
        /// When there is something to do again, for whatever chain.
        next: Timestamp,
    },
}

/// What is to be done for one chain, and when.
struct Plan {
    set: Option<String>,
    at: Timestamp,
    unfinished: bool,
    act: Step,
}

/// Decides the next step for a grant that is bound to its provider as it is now.
pub fn next(view: &GrantView, timing: Timing, profile: Profile, asker: Asker<'_>, moment: Moment<'_>) -> Step {
    if view.refused.as_ref().is_some_and(|refusal| refusal.epoch == view.summary.epoch) {
        return Step::Wait(None);
    }
    if let Some(free) = view.intents.iter().filter_map(|intent| in_flight_until(view, intent, asker, moment.now)).max()
    {
        return Step::InFlight(free);
    }
    let living = view.summary.chains().filter(|(_, chain)| chain.ended.is_none());
    let plans = living.filter_map(|(set, chain)| {
        let (at, act) = match view.intent(set) {
            Some(intent) => recover(&chain, intent, profile, seen_for(asker, intent), moment.now),
            None => fresh(view, set, &chain, timing, moment)?,
        };
        let set = set.map(str::to_owned);
        let at = moment.not_before.get(&set).map_or(at, |earliest| at.max(*earliest));
        Some(Plan { unfinished: view.intent(set.as_deref()).is_some(), set, at, act })
    });
    first(plans.collect(), moment.now)
}

/// Until when a request of this intent may be on its way.
fn in_flight_until(view: &GrantView, intent: &Intent, asker: Asker<'_>, now: Timestamp) -> Option<Timestamp> {
    let alive = if intent.boot == asker.boot {
        asker.in_flight == Some(intent.attempt.as_str())
    } else {
        intent.holder != asker.holder
    };
    let left = IN_FLIGHT - seen_for(asker, intent);
    (alive && intent.epoch == view.summary.epoch && left > SignedDuration::ZERO).then(|| now + left)
}

/// For how long this process has seen an intent.
fn seen_for(asker: Asker<'_>, intent: &Intent) -> SignedDuration {
    asker.seen_for.get(&intent.attempt).copied().unwrap_or_default()
}

/// Of what can be done now: what is unfinished, then what was due first.
fn first(plans: Vec<Plan>, now: Timestamp) -> Step {
    let next = plans.iter().map(|plan| plan.at).min();
    let ambiguous = plans.iter().filter(|plan| plan.unfinished).map(|plan| (plan.set.clone(), plan.at)).collect();
    if let Some(due) = plans.into_iter().filter(|plan| plan.at <= now).min_by_key(|plan| (!plan.unfinished, plan.at)) {
        return due.act;
    }
    match next {
        Some(next) if !BTreeMap::is_empty(&ambiguous) => Step::Ambiguous { chains: ambiguous, next },
        next => Step::Wait(next),
    }
}

/// No refresh of this chain is unfinished.
fn fresh(
    view: &GrantView,
    set: Option<&str>,
    chain: &ChainSummary,
    timing: Timing,
    moment: Moment<'_>,
) -> Option<(Timestamp, Step)> {
    let set_name = set.map(str::to_owned);
    let asked = moment.requested.contains(&set_name);
    let at =
        if asked && chain.refreshable && !timing.never { moment.now } else { refresh_at(&view.summary, set, timing)? };
    Some((at, Step::Refresh { set: set_name, replay: None }))
}

/// A refresh of this chain was begun and its end is not known.
fn recover(
    chain: &ChainSummary,
    intent: &Intent,
    profile: Profile,
    seen_for: SignedDuration,
    now: Timestamp,
) -> (Timestamp, Step) {
    let settled = (intent.first_sent + AT_WORK).min(now + (AT_WORK - seen_for)).max(now);
    let replay = Step::Refresh { set: intent.set.clone(), replay: Some(intent.first_sent) };
    match profile.rotation {
        Rotation::None | Rotation::Lenient => (now, replay),
        Rotation::Grace if now <= intent.first_sent + profile.grace - GRACE_MARGIN => (now, replay),
        Rotation::Grace | Rotation::Strict if profile.introspection => (settled, Step::Introspect(intent.clone())),
        // A token that has expired is refused whatever became of the refresh.
        Rotation::Grace | Rotation::Strict
            if profile.old_access_token == OldAccessToken::Dies
                && profile.probe
                && now < last_replay(chain, intent) =>
        {
            (settled, Step::Probe(intent.clone()))
        }
        Rotation::Grace | Rotation::Strict => (last_replay(chain, intent), replay),
    }
}

/// The moment of the last replay: nothing is lost by it any more, since the old access token is about to expire.
/// Without an expiry the old access token keeps working, so there is no reason ever to risk the grant: the moment is
/// a day after the first send, when an operator has had time to see the condition.
fn last_replay(chain: &ChainSummary, intent: &Intent) -> Timestamp {
    match chain.expires_at {
        Some(expires_at) => {
            let lifetime = expires_at.duration_since(chain.obtained_at).max(SignedDuration::ZERO);
            expires_at - LAST_REPLAY.min(lifetime / 10)
        }
        None => intent.first_sent + SignedDuration::from_hours(24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests_support::{set, view};
    use crate::grant::{Ended, Refusal};

    static UNSEEN: BTreeMap<String, SignedDuration> = BTreeMap::new();
    const ASKER: Asker<'static> = Asker { holder: "pod-a", boot: "boot-1", in_flight: None, seen_for: &UNSEEN };
    static NOTHING: BTreeSet<Option<String>> = BTreeSet::new();
    static AT_ONCE: BTreeMap<Option<String>, Timestamp> = BTreeMap::new();

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

    fn moment(second: i64) -> Moment<'static> {
        Moment { now: at(second), requested: &NOTHING, not_before: &AT_ONCE }
    }

    fn intent(set: Option<&str>, boot: &str, holder: &str) -> Intent {
        Intent {
            attempt: "a".into(),
            set: set.map(str::to_owned),
            epoch: 1,
            boot: boot.into(),
            holder: holder.into(),
            first_sent: at(2_400),
            deadline: at(2_440),
        }
    }

    fn unfinished(boot: &str, holder: &str) -> GrantView {
        let mut view = view(0, Some(3_600));
        view.intents = vec![intent(None, boot, holder)];
        view
    }

    /// A main chain of an hour and a user's of `lifetime`.
    fn with_user(lifetime: i64) -> GrantView {
        let mut view = view(0, Some(3_600));
        view.summary.sets.insert("user".into(), set(0, Some(lifetime)));
        view
    }

    #[allow(clippy::unnecessary_wraps)]
    fn user() -> Option<String> {
        Some("user".to_owned())
    }

    fn refresh(set: Option<String>) -> Step {
        Step::Refresh { set, replay: None }
    }

    fn replay(set: Option<String>) -> Step {
        Step::Refresh { set, replay: Some(at(2_400)) }
    }

    fn ambiguous(set: Option<String>, until: i64, next: i64) -> Step {
        Step::Ambiguous { chains: BTreeMap::from([(set, at(until))]), next: at(next) }
    }

    fn step(view: &GrantView, profile: Profile, asker: Asker<'_>, moment: Moment<'_>) -> Step {
        next(view, Timing::default(), profile, asker, moment)
    }

    #[test]
    fn waits_then_refreshes() {
        let view = view(0, Some(3_600));
        assert!(matches!(step(&view, profile(Rotation::Strict), ASKER, moment(10)), Step::Wait(Some(_))));
        assert_eq!(step(&view, profile(Rotation::Strict), ASKER, moment(2_400)), refresh(None));
    }

    #[test]
    fn a_request_is_obeyed_at_once_but_not_against_backoff() {
        let view = view(0, Some(3_600));
        let asked = Moment { requested: &BTreeSet::from([None]), ..moment(10) };
        assert_eq!(step(&view, profile(Rotation::Strict), ASKER, asked), refresh(None));
        let backoff = BTreeMap::from([(None, at(50))]);
        let held = Moment { not_before: &backoff, ..asked };
        assert_eq!(step(&view, profile(Rotation::Strict), ASKER, held), Step::Wait(Some(at(50))));
    }

    #[test]
    fn a_request_reaches_each_chain() {
        let view = with_user(3_600);
        let step = |asked, timing| {
            let asked = Moment { requested: &BTreeSet::from_iter(asked), ..moment(10) };
            next(&view, timing, profile(Rotation::Strict), ASKER, asked)
        };
        assert_eq!(step(vec![None, user()], Timing::default()), refresh(None));
        assert_eq!(step(vec![user()], Timing::default()), refresh(user()));
        assert!(matches!(step(vec![], Timing::default()), Step::Wait(Some(_))));
        let never = Timing { never: true, ..Timing::default() };
        assert_eq!(step(vec![None, user()], never), Step::Wait(None));
    }

    #[test]
    fn the_chain_that_is_due_first_is_first() {
        let strict = profile(Rotation::Strict);
        let view = with_user(900);
        assert_eq!(step(&view, strict, ASKER, moment(600)), refresh(user()));
        assert_eq!(step(&view, strict, ASKER, moment(3_000)), refresh(user()), "both are due, this one for longer");
        assert_eq!(step(&with_user(36_000), strict, ASKER, moment(30_000)), refresh(None));
    }

    #[test]
    fn a_chain_that_fails_does_not_hold_up_the_other() {
        let backoff = BTreeMap::from([(user(), at(2_500))]);
        let moment = Moment { not_before: &backoff, ..moment(2_400) };
        let strict = profile(Rotation::Strict);
        assert_eq!(step(&with_user(900), strict, ASKER, moment), refresh(None));
    }

    #[test]
    fn a_set_that_has_ended_rests_and_the_main_chain_goes_on() {
        let strict = profile(Rotation::Strict);
        let mut view = with_user(900);
        view.summary.sets.get_mut("user").unwrap().ended = Some(Ended { at: at(650), message: String::new() });
        assert!(matches!(step(&view, strict, ASKER, moment(700)), Step::Wait(Some(at)) if at > self::at(2_000)));
        assert_eq!(step(&view, strict, ASKER, moment(2_400)), refresh(None));
        // Nor is anything of it recovered or refreshed on request.
        view.intents = vec![intent(Some("user"), "boot-0", "pod-a")];
        let asked = Moment { requested: &BTreeSet::from([None, user()]), ..moment(700) };
        assert_eq!(step(&view, profile(Rotation::None), ASKER, asked), refresh(None));
    }

    #[test]
    fn another_replicas_intent_is_respected_for_as_long_as_it_can_be_on_its_way() {
        assert!(IN_FLIGHT > SEND_WINDOW + REQUEST_TIMEOUT);
        let view = unfinished("boot-9", "pod-b");
        let step = |second, seconds| {
            let seen_for = BTreeMap::from([("a".to_owned(), SignedDuration::from_secs(seconds))]);
            step(&view, profile(Rotation::None), Asker { seen_for: &seen_for, ..ASKER }, moment(second))
        };
        assert_eq!(step(2_441, 40), Step::InFlight(at(2_446)));
        assert_eq!(step(2_441, 45), replay(None));
        // Whatever the time of day says: one of the two clocks may have been set.
        assert_eq!(step(99_999, 0), Step::InFlight(at(100_044)));
        assert_eq!(step(10, 45), replay(None));
    }

    #[test]
    fn one_request_at_a_time_whatever_its_chain() {
        let mut view = with_user(36_000);
        view.intents = vec![intent(Some("user"), "boot-9", "pod-b")];
        assert_eq!(step(&view, profile(Rotation::None), ASKER, moment(2_441)), Step::InFlight(at(2_486)));
    }

    #[test]
    fn an_intent_of_our_own_earlier_boot_is_dead() {
        let view = unfinished("boot-0", "pod-a");
        assert_eq!(step(&view, profile(Rotation::None), ASKER, moment(2_401)), replay(None));
    }

    #[test]
    fn our_own_request_in_flight_is_left_alone() {
        let view = unfinished("boot-1", "pod-a");
        let busy = Asker { in_flight: Some("a"), ..ASKER };
        assert_eq!(step(&view, profile(Rotation::None), busy, moment(2_401)), Step::InFlight(at(2_446)));
        let other = Asker { in_flight: Some("b"), ..ASKER };
        assert_eq!(step(&view, profile(Rotation::None), other, moment(2_401)), replay(None));
    }

    #[test]
    fn by_profile() {
        let view = unfinished("boot-0", "pod-a");
        for rotation in [Rotation::None, Rotation::Lenient, Rotation::Grace] {
            assert_eq!(step(&view, profile(rotation), ASKER, moment(2_450)), replay(None), "{rotation:?}");
        }
        // The window of 600 s ends at 3000; 30 s before that we stop, and wait for the last moment.
        let late = step(&view, profile(Rotation::Grace), ASKER, moment(2_971));
        assert_eq!(late, ambiguous(None, 3_540, 3_540));
        let strict = profile(Rotation::Strict);
        assert_eq!(step(&view, strict, ASKER, moment(2_450)), ambiguous(None, 3_540, 3_540));
        assert_eq!(step(&view, strict, ASKER, moment(3_540)), replay(None));
        let asks = Profile { introspection: true, ..strict };
        assert_eq!(step(&view, asks, ASKER, moment(2_402)), ambiguous(None, 2_408, 2_408), "it may be at work on it");
        assert!(matches!(step(&view, asks, ASKER, moment(2_408)), Step::Introspect(_)));
        // A clock that was put back does not make it wait.
        assert_eq!(step(&view, asks, ASKER, moment(2_300)), ambiguous(None, 2_308, 2_308));
        let seen_for = BTreeMap::from([("a".to_owned(), AT_WORK)]);
        let settled = Asker { seen_for: &seen_for, ..ASKER };
        assert!(matches!(step(&view, asks, settled, moment(2_300)), Step::Introspect(_)));
        let dies = Profile { old_access_token: OldAccessToken::Dies, probe: true, ..strict };
        assert_eq!(step(&view, dies, ASKER, moment(2_402)), ambiguous(None, 2_408, 2_408));
        assert!(matches!(step(&view, dies, ASKER, moment(2_450)), Step::Probe(_)));
        assert_eq!(
            step(&view, dies, ASKER, moment(3_540)),
            replay(None),
            "it is about to expire and would tell nothing"
        );
    }

    #[test]
    fn an_unfinished_refresh_comes_first_whichever_chain_it_belongs_to() {
        let mut view = with_user(36_000);
        view.intents = vec![intent(Some("user"), "boot-0", "pod-a")];
        // The main chain has been due for longer.
        let now = moment(2_960);
        assert_eq!(step(&view, profile(Rotation::None), ASKER, now), replay(user()));
        let asks = Profile { introspection: true, ..profile(Rotation::Strict) };
        let Step::Introspect(of) = step(&view, asks, ASKER, now) else { panic!("not asked") };
        assert_eq!(of.set, user());
        let dies = Profile { old_access_token: OldAccessToken::Dies, probe: true, ..profile(Rotation::Strict) };
        assert!(matches!(step(&view, dies, ASKER, now), Step::Probe(of) if of.set == user()));
    }

    #[test]
    fn while_one_chain_is_ambiguous_the_other_goes_on() {
        let strict = profile(Rotation::Strict);
        let mut view = with_user(36_000);
        view.intents = vec![intent(Some("user"), "boot-0", "pod-a")];
        assert_eq!(step(&view, strict, ASKER, moment(2_450)), refresh(None));
        // By its own expiry, not by that of the main chain.
        view.summary.obtained_at = at(2_450);
        view.summary.expires_at = Some(at(6_050));
        let Step::Ambiguous { chains, next } = step(&view, strict, ASKER, moment(2_460)) else { panic!("not told") };
        assert_eq!(chains, BTreeMap::from([(user(), at(35_940))]));
        assert!(next < at(6_050), "the main chain is looked after in time: {next}");
        // Both may be, and each is sent again as the last thing before its own expiry.
        view.intents.push(intent(None, "boot-0", "pod-a"));
        assert_eq!(step(&view, strict, ASKER, moment(5_990)), replay(None));
        assert_eq!(step(&view, strict, ASKER, moment(35_950)), replay(None));
    }

    #[test]
    fn a_refused_grant_rests_with_all_its_sets() {
        let mut view = with_user(900);
        view.intents = vec![intent(None, "boot-0", "pod-a")];
        view.refused = Some(Refusal { epoch: 1, at: at(2_500), message: String::new(), replaced: false });
        assert_eq!(step(&view, profile(Rotation::None), ASKER, moment(9_999)), Step::Wait(None));
    }

    #[test]
    fn an_intent_of_an_older_epoch_means_nothing() {
        let mut view = unfinished("boot-9", "pod-b");
        view.summary.epoch = 2;
        assert!(matches!(step(&view, profile(Rotation::Strict), ASKER, moment(10)), Step::Wait(Some(_))));
    }
}
