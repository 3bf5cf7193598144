//! `Retry-After` in the forms that providers use.
//!
//! Takes headers and the time, gives how long to wait. No clock of its own.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};

/// The longest wait that is believed: 1 hour.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How long `Retry-After` asks to wait (RFC 9110 §10.2.3): seconds (also with a fraction), an HTTP date, or an ISO 8601
/// date-time.
///
/// Whatever is more than [`LONGEST_RETRY_AFTER`] counts as that, a moment in the past as zero; none where the header is
/// missing or unreadable.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds(text).or_else(|| date(text, now)).map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

/// Digits, with one point at most.
fn seconds(text: &str) -> Option<Duration> {
    let plain = text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !plain {
        return None;
    }
    let seconds: f64 = text.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A moment, as the time until then.
fn date(text: &str, now: Timestamp) -> Option<Duration> {
    let moment = match httpdate::parse_http_date(text) {
        Ok(date) => timestamp(date)?,
        Err(_) => text.parse().ok()?,
    };
    let wait = moment.duration_since(now).max(SignedDuration::ZERO);
    Duration::try_from(wait).ok()
}

/// The same moment as jiff has it; none beyond the year 9999.
fn timestamp(date: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(date).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wait(text: &str) -> Option<Duration> {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).ok()?);
        retry_after(&headers, now)
    }

    #[test]
    fn the_forms_there_are() {
        assert_eq!(wait("30"), Some(Duration::from_secs(30)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("0.65"), Some(Duration::from_millis(650)));
        assert_eq!(wait("Mon, 23 Nov 2026 12:01:00 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(wait("2026-11-23T12:02:00Z"), Some(Duration::from_mins(2)));
        assert_eq!(wait("2026-11-23T13:02:00+01:00"), Some(Duration::from_mins(2)));
    }

    #[test]
    fn absurd_values_are_capped() {
        for text in ["99999", "99999999999999999999999999", "2126-11-23T12:00:00Z", "Mon, 23 Nov 2099 12:01:00 GMT"] {
            assert_eq!(wait(text), Some(LONGEST_RETRY_AFTER), "{text}");
        }
        assert_eq!(wait("2001-11-23T12:00:00Z"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_none() {
        for text in ["", "-1", "soon", "1e99", "NaN", "inf", "1.2.3", ".5", "0x10"] {
            assert_eq!(wait(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }
}
