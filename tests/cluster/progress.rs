//! Lines for the person who waits. They go to the real stderr: the test harness would hold back
//! what `eprintln!` prints until the test is over.

use std::fmt::Display;
use std::io::Write;

/// Says one line.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "cluster: {line}");
}
