//! What the reader sees. A closed pipe is no reason to stop: whoever reads no further may still want the demo.

use std::fmt::Display;
use std::io::Write as _;

use jiff::Timestamp;

/// A heading with the step's number.
pub(crate) fn step(number: usize, title: &str) {
    line(format_args!("\n{number}. {title}"));
}

/// A line below a heading.
pub(crate) fn say(text: impl Display) {
    line(format_args!("   {text}"));
}

/// A line as it is.
pub(crate) fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A line for whoever has to mend something.
pub(crate) fn error(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A token as it may be shown: by four digits of its hash.
pub(crate) fn fingerprint(token: &str) -> String {
    integration_operator::digest::short_hash(&[token])[..4].to_owned()
}

/// A moment as a clock shows it.
pub(crate) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// The same of a time that is written down, and how far away it is.
pub(crate) fn moment(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| "unknown".to_owned(),
        |at| {
            let seconds = at.duration_since(Timestamp::now()).as_millis().max(0).div_euclid(1000);
            format!("{} (in {seconds} s)", clock(at))
        },
    )
}
