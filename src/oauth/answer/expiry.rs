//! Lifetimes as servers write them.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::provider::ExpiryForm;

/// Longest lifetime that is believed.
pub(super) const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How long something lives from `now`. Numbers may be strings of digits; what is not in the future is nonsense and
/// none. At least a second and no more than ten years.
pub(super) fn lifetime(value: &Value, form: ExpiryForm, now: Timestamp) -> Option<SignedDuration> {
    let seconds = match form {
        ExpiryForm::Seconds => number(value)?,
        ExpiryForm::Milliseconds => number(value)? / 1000.0,
        ExpiryForm::UnixSeconds => number(value)? - seconds_of(now),
        ExpiryForm::UnixMilliseconds => number(value)? / 1000.0 - seconds_of(now),
        ExpiryForm::DateTime => seconds_of(value.as_str()?.trim().parse().ok()?) - seconds_of(now),
    };
    if !seconds.is_finite() || seconds <= 0.0 {
        return None;
    }
    // A fraction of a second would have us refresh as fast as we can.
    let seconds = seconds.clamp(1.0, MAX_LIFETIME.as_secs_f64());
    Some(SignedDuration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFETIME))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn seconds_of(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Now is 2026-01-01T00:00:00Z, 1767225600 in seconds since 1970.
    fn of(form: ExpiryForm, value: &Value) -> Option<i64> {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        lifetime(value, form, now).map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn every_form() {
        use ExpiryForm::{DateTime, Milliseconds, Seconds, UnixMilliseconds, UnixSeconds};
        for (form, value, seconds) in [
            (Seconds, json!(3600), 3600),
            (Seconds, json!("3600"), 3600),
            (Seconds, json!(0.001), 1),
            (Seconds, json!(1e99), MAX_LIFETIME.as_secs()),
            (Milliseconds, json!(3_600_000), 3600),
            (Milliseconds, json!("3600000"), 3600),
            (UnixSeconds, json!(1_767_229_200), 3600),
            (UnixSeconds, json!("1767229200"), 3600),
            (UnixMilliseconds, json!(1_767_229_200_000_u64), 3600),
            (UnixMilliseconds, json!("1767229200000"), 3600),
            (DateTime, json!("2026-01-01T01:00:00Z"), 3600),
            (DateTime, json!("2026-01-01T03:00:00.000+02:00"), 3600),
        ] {
            assert_eq!(of(form, &value), Some(seconds), "{form:?} {value}");
        }
        for value in [json!(0), json!(-1), json!(null), json!("soon"), json!("NaN"), json!([]), json!(true)] {
            for form in [Seconds, Milliseconds, UnixSeconds, UnixMilliseconds, DateTime] {
                assert_eq!(of(form, &value), None, "{form:?} {value}");
            }
        }
        assert_eq!(of(UnixSeconds, &json!(3600)), None, "an expiry in the past is nonsense");
        assert_eq!(of(DateTime, &json!("2025-01-01T00:00:00Z")), None);
    }
}
