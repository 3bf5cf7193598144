//! When to refresh: pure arithmetic over the times of a grant.

use jiff::{SignedDuration, Timestamp};

use super::record::Summary;

/// The shortest time between refreshes that keep a refresh token alive.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// The longest: beyond it, arithmetic with times would leave the calendar.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// What the spec and the provider say about when to refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// How long before expiry; after two thirds of the lifetime when `None`.
    pub before: Option<SignedDuration>,
    /// At least this often, so that an unused refresh token does not lapse.
    pub every: Option<SignedDuration>,
}

/// The planned moment of the next refresh; `None` when none is needed or possible.
///
/// The moment is moved towards the past by up to a twentieth of the lifetime, by a fraction that depends on the grant
/// and its generation only: thousands of grants made at once spread out, and every replica plans the same moment.
pub fn refresh_at(summary: &Summary, timing: Timing) -> Option<Timestamp> {
    if !summary.refreshable {
        return None;
    }
    let by_expiry = summary.expires_at.map(|expires_at| {
        let lifetime = expires_at.duration_since(summary.obtained_at).max(SignedDuration::ZERO);
        // A margin longer than half the life would have us refresh without end.
        let before = timing.before.map_or(lifetime / 3, |before| before.min(lifetime / 2));
        let jitter = lifetime.mul_f64(spread(summary) / 20.0).min(SignedDuration::from_mins(10));
        // Never before the token was there.
        (expires_at - before - jitter).max(summary.obtained_at)
    });
    let by_idleness = timing.every.map(|every| {
        let every = every.clamp(SHORTEST, LONGEST);
        let jitter = every.mul_f64(spread(summary) / 20.0);
        summary.obtained_at.saturating_add(every - jitter).unwrap_or(Timestamp::MAX)
    });
    match (by_expiry, by_idleness) {
        (Some(expiry), Some(idleness)) => Some(expiry.min(idleness)),
        (expiry, idleness) => expiry.or(idleness),
    }
}

/// A fraction of one that is the same for the same grant and generation.
fn spread(summary: &Summary) -> f64 {
    let hash = crate::digest::short_hash(&[&summary.integration.uid, &summary.generation.to_string()]);
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
    use crate::grant::tests_support::summary;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn after_two_thirds_and_a_little_earlier() {
        let due = refresh_at(&summary(0, Some(3_600)), Timing::default()).unwrap();
        assert!(due <= at(2_400) && due >= at(2_220), "{due}");
        assert_eq!(Some(due), refresh_at(&summary(0, Some(3_600)), Timing::default()), "the same on every replica");
    }

    #[test]
    fn a_margin_longer_than_the_life_is_halved() {
        let timing = Timing { before: Some(SignedDuration::from_hours(2)), every: None };
        let due = refresh_at(&summary(0, Some(3_600)), timing).unwrap();
        assert!(due <= at(1_800) && due >= at(1_620), "{due}");
    }

    #[test]
    fn without_expiry_only_idleness_counts() {
        assert_eq!(refresh_at(&summary(0, None), Timing::default()), None);
        let timing = Timing { before: None, every: Some(SignedDuration::from_secs(1_000)) };
        let due = refresh_at(&summary(0, None), timing).unwrap();
        assert!(due <= at(1_000) && due >= at(950), "{due}");
    }

    #[test]
    fn absurd_idleness_is_bounded() {
        let due = |every| refresh_at(&summary(0, None), Timing { before: None, every: Some(every) }).unwrap();
        assert!(due(SignedDuration::MAX) > at(90 * 365 * 86_400));
        assert!(due(SignedDuration::ZERO) > at(0));
    }

    #[test]
    fn without_a_refresh_token_never() {
        let mut summary = summary(0, Some(3_600));
        summary.refreshable = false;
        assert_eq!(refresh_at(&summary, Timing::default()), None);
    }

    #[test]
    fn a_life_of_no_length_is_due_at_once() {
        assert_eq!(refresh_at(&summary(100, Some(100)), Timing::default()), Some(at(100)));
        assert_eq!(refresh_at(&summary(100, Some(50)), Timing::default()), Some(at(100)));
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
