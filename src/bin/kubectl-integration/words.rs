//! Times, lengths of time and lists, in words.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// A length of time with its two largest units at most: `42m`, `1h 5m`, `3d 2h`.
pub(crate) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// A moment as seen from now: `in 42m`, `5m ago`. Text that is no RFC 3339 time is passed on as it is.
pub(crate) fn moment(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return time.to_owned() };
    let distance = Duration::try_from(time.duration_since(now).abs()).unwrap_or_default();
    if time > now { format!("in {}", span(distance)) } else { format!("{} ago", span(distance)) }
}

/// How old something is, for a column: the largest unit alone, as kubectl has it.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    let whole = span(Duration::try_from(now.duration_since(since)).unwrap_or_default());
    whole.split(' ').next().unwrap_or(&whole).to_owned()
}

/// When a token expires, for a column: `42m`, `expired`, or `never`.
pub(crate) fn expiry(time: Option<&str>, now: Timestamp) -> String {
    let Some(time) = time else { return "never".to_owned() };
    match time.parse::<Timestamp>() {
        Ok(at) if at <= now => "expired".to_owned(),
        Ok(at) => age(now, at),
        Err(_) => time.to_owned(),
    }
}

/// An error and everything beneath it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors print their source already.
        if !line.contains(&cause_text) {
            line = format!("{line}: {cause_text}");
        }
        source = cause.source();
    }
    line
}

/// A message as a sentence: with one full stop at its end.
pub(crate) fn sentence(message: &str) -> String {
    let message = printable(message.trim());
    if message.is_empty() || message.ends_with(['.', '!', '?']) { message } else { format!("{message}.") }
}

/// A value of the account, without the quotes of JSON.
pub(crate) fn value(value: &Value) -> String {
    printable(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Text without what a terminal would obey: apps choose the names of their accounts, and whoever writes there could
/// otherwise move the cursor here.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-05-01T12:00:00Z";

    fn noon() -> Timestamp {
        NOON.parse().unwrap()
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [(5, "5s"), (60, "1m"), (119, "1m"), (3_600, "1h"), (3_900, "1h 5m"), (90_061, "1d 1h"), (0, "0s")];
        for (seconds, words) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn moments_are_seen_from_now() {
        assert_eq!(moment("2026-05-01T12:42:10Z", noon()), "in 42m");
        assert_eq!(moment("2026-05-01T11:55:00Z", noon()), "5m ago");
        assert_eq!(moment("whenever", noon()), "whenever");
    }

    #[test]
    fn columns_are_short() {
        assert_eq!(age("2026-04-28T09:00:00Z".parse().unwrap(), noon()), "3d");
        assert_eq!(expiry(Some("2026-05-01T13:30:00Z"), noon()), "1h");
        assert_eq!(expiry(Some(NOON), noon()), "expired");
        assert_eq!(expiry(None, noon()), "never");
    }

    #[test]
    fn apps_do_not_steer_the_terminal() {
        assert_eq!(value(&Value::from("Acme\x1b[2J\nInc")), "Acme [2J Inc");
    }

    #[test]
    fn sentences_end_once() {
        assert_eq!([sentence("Wait"), sentence("Wait."), sentence("")], ["Wait.", "Wait.", ""]);
    }
}
