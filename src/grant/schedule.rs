//! When to refresh: pure arithmetic over the times of a chain of tokens.

use jiff::{SignedDuration, Timestamp};

use super::chain::ChainSummary;
use super::record::Summary;

/// The shortest time between refreshes that keep a refresh token alive.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// The longest: beyond it, arithmetic with times would leave the calendar.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// What the spec and the provider say about when to refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Nothing is refreshed, whatever is held. A refresh that was begun is still brought to its end.
    pub never: bool,
    /// How long before expiry; after two thirds of the lifetime when `None`.
    pub before: Option<SignedDuration>,
    /// At least this often, so that an unused refresh token does not lapse.
    pub every: Option<SignedDuration>,
}

/// The planned moment of the next refresh of a chain; `None` when none is needed or possible.
///
/// It is the first of: the access token's expiry less its margin; the longest time that a refresh token may lie unused;
/// two thirds of the refresh token's own life, unless a refresh since then has shown that this does not prolong it.
///
/// The moment is moved towards the past by up to a twentieth of the lifetime, by a fraction that depends on the chain
/// and its generation only: thousands of grants made at once spread out, and every replica plans the same moment.
pub fn refresh_at(summary: &Summary, set: Option<&str>, timing: Timing) -> Option<Timestamp> {
    let chain = summary.chain(set).filter(|chain| chain.refreshable && chain.ended.is_none() && !timing.never)?;
    let spread = spread(summary, set, chain.generation);
    [by_expiry(&chain, timing, spread), by_idleness(&chain, timing, spread), by_refresh_token(&chain, spread)]
        .into_iter()
        .flatten()
        .min()
}

fn by_expiry(chain: &ChainSummary, timing: Timing, spread: f64) -> Option<Timestamp> {
    let expires_at = chain.expires_at?;
    let lifetime = expires_at.duration_since(chain.obtained_at).max(SignedDuration::ZERO);
    // A margin longer than half the life would have us refresh without end.
    let before = timing.before.map_or(lifetime / 3, |before| before.min(lifetime / 2));
    let jitter = lifetime.mul_f64(spread / 20.0).min(SignedDuration::from_mins(10));
    // Never before the token was there.
    Some((expires_at - before - jitter).max(chain.obtained_at))
}

fn by_idleness(chain: &ChainSummary, timing: Timing, spread: f64) -> Option<Timestamp> {
    let every = timing.every?.clamp(SHORTEST, LONGEST);
    let jitter = every.mul_f64(spread / 20.0);
    Some(chain.obtained_at.saturating_add(every - jitter).unwrap_or(Timestamp::MAX))
}

fn by_refresh_token(chain: &ChainSummary, spread: f64) -> Option<Timestamp> {
    let (began, ends) = (chain.refresh_obtained_at?, chain.refresh_expires_at?);
    let life = ends.duration_since(began).max(SignedDuration::ZERO);
    let latest = began + two_thirds(life);
    // A refresh at or after the first moment that could have been planned has not prolonged it: another would not either,
    // and would come sooner each time.
    let tried = chain.obtained_at >= latest - life / 20 && chain.obtained_at > began;
    (!tried).then(|| (latest - life.mul_f64(spread / 20.0)).max(chain.obtained_at))
}

/// Two thirds of a length of time: the part of a life after which it is prolonged.
pub fn two_thirds(length: SignedDuration) -> SignedDuration {
    length - length / 3
}

/// A fraction of one that is the same for the same chain and generation.
fn spread(summary: &Summary, set: Option<&str>, generation: u64) -> f64 {
    let generation = generation.to_string();
    let parts = [summary.integration.uid.as_str(), &generation, set.unwrap_or_default()];
    let hash = crate::digest::short_hash(if set.is_some() { &parts } else { &parts[..2] });
    let bits = u32::from_str_radix(&hash[..8], 16).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

/// Reads a length of time such as `90s` or `1h30m`.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let amount: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match &rest[..letters] {
            "h" => amount.checked_mul(3_600_000)?,
            "m" => amount.checked_mul(60_000)?,
            "s" => amount.checked_mul(1_000)?,
            "ms" => amount,
            _ => return None,
        };
        total = total.checked_add(SignedDuration::from_millis(millis))?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Ended;
    use crate::grant::tests_support::{set, summary};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn after_two_thirds_and_a_little_earlier() {
        let due = refresh_at(&summary(0, Some(3_600)), None, Timing::default()).unwrap();
        assert!(due <= at(2_400) && due >= at(2_220), "{due}");
        assert_eq!(
            Some(due),
            refresh_at(&summary(0, Some(3_600)), None, Timing::default()),
            "the same on every replica"
        );
    }

    #[test]
    fn a_margin_longer_than_the_life_is_halved() {
        let timing = Timing { before: Some(SignedDuration::from_hours(2)), ..Timing::default() };
        let due = refresh_at(&summary(0, Some(3_600)), None, timing).unwrap();
        assert!(due <= at(1_800) && due >= at(1_620), "{due}");
    }

    #[test]
    fn without_expiry_only_idleness_counts() {
        assert_eq!(refresh_at(&summary(0, None), None, Timing::default()), None);
        let timing = Timing { every: Some(SignedDuration::from_secs(1_000)), ..Timing::default() };
        let due = refresh_at(&summary(0, None), None, timing).unwrap();
        assert!(due <= at(1_000) && due >= at(950), "{due}");
    }

    #[test]
    fn absurd_idleness_is_bounded() {
        let due =
            |every| refresh_at(&summary(0, None), None, Timing { every: Some(every), ..Timing::default() }).unwrap();
        assert!(due(SignedDuration::MAX) > at(90 * 365 * 86_400));
        assert!(due(SignedDuration::ZERO) > at(0));
    }

    #[test]
    fn without_a_refresh_token_never() {
        let mut summary = summary(0, Some(3_600));
        summary.refreshable = false;
        assert_eq!(refresh_at(&summary, None, Timing::default()), None);
    }

    #[test]
    fn a_life_of_no_length_is_due_at_once() {
        assert_eq!(refresh_at(&summary(100, Some(100)), None, Timing::default()), Some(at(100)));
        assert_eq!(refresh_at(&summary(100, Some(50)), None, Timing::default()), Some(at(100)));
    }

    #[test]
    fn never_means_never() {
        let timing = Timing { never: true, before: None, every: Some(SignedDuration::from_secs(10)) };
        assert_eq!(refresh_at(&summary(0, Some(3_600)), None, timing), None);
    }

    #[test]
    fn each_chain_has_its_own_moment() {
        let mut summary = summary(0, Some(3_600));
        summary.sets.insert("user".into(), set(0, Some(900)));
        let user = refresh_at(&summary, Some("user"), Timing::default()).unwrap();
        assert!(user <= at(600) && user >= at(555), "{user}");
        assert!(refresh_at(&summary, None, Timing::default()).unwrap() > at(2_000));
        assert_eq!(refresh_at(&summary, Some("other"), Timing::default()), None);
        summary.sets.get_mut("user").unwrap().ended = Some(Ended { at: at(1), message: String::new() });
        assert_eq!(refresh_at(&summary, Some("user"), Timing::default()), None);
    }

    #[test]
    fn a_refresh_token_is_used_before_it_lapses() {
        let mut summary = summary(0, None);
        summary.refresh_obtained_at = Some(at(0));
        summary.refresh_expires_at = Some(at(9_000));
        let due = refresh_at(&summary, None, Timing::default()).unwrap();
        assert!(due <= at(6_000) && due >= at(5_550), "{due}");
        // The access token's own expiry comes first where it is first.
        summary.expires_at = Some(at(3_000));
        assert!(refresh_at(&summary, None, Timing::default()).unwrap() <= at(2_000));
    }

    #[test]
    fn a_refresh_token_that_is_not_prolonged_does_not_hurry_refreshes() {
        let mut summary = summary(5_600, Some(9_200));
        summary.refresh_obtained_at = Some(at(0));
        summary.refresh_expires_at = Some(at(9_000));
        let due = refresh_at(&summary, None, Timing::default()).unwrap();
        assert!(due > at(7_800), "by the access token alone: {due}");
    }

    #[test]
    fn a_refresh_token_that_lives_no_time_is_used_at_once() {
        let mut summary = summary(100, None);
        summary.refresh_obtained_at = Some(at(100));
        summary.refresh_expires_at = Some(at(100));
        assert_eq!(refresh_at(&summary, None, Timing::default()), Some(at(100)));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Some(SignedDuration::from_secs(5_400)));
        assert_eq!(parse_duration("250ms"), Some(SignedDuration::from_millis(250)));
        for bad in ["", "10", "m", "1d", "1h-2m", "99999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
