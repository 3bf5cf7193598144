//! One thing that was looked at, how it is, and what to do about it; and a list of them, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::paint::Paint;
use crate::words::{printable, sentence};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or may; somebody should look at it.
    Warning,
    /// It does not work, or will not for long.
    Failed,
    /// It could not be looked at.
    Skipped,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Failed, Self::Skipped];

    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: String,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) says: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_do: Option<String>,
}

impl Check {
    fn new(verdict: Verdict, name: impl Into<String>, says: impl Into<String>, to_do: Option<String>) -> Self {
        Self { name: name.into(), verdict, says: says.into(), to_do }
    }

    /// As it should be.
    pub(crate) fn ok(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, name, says, None)
    }

    /// Somebody should look at it.
    pub(crate) fn warning(name: impl Into<String>, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, name, says, Some(to_do.into()))
    }

    /// Somebody has to do something.
    pub(crate) fn failed(name: impl Into<String>, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::new(Verdict::Failed, name, says, Some(to_do.into()))
    }

    /// It could not be looked at.
    pub(crate) fn skipped(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, name, says, None)
    }

    /// The same, with what to do all the same.
    pub(crate) fn advised(mut self, to_do: impl Into<String>) -> Self {
        self.to_do = Some(to_do.into());
        self
    }
}

/// Whether something failed.
pub(crate) fn any_failed(checks: &[Check]) -> bool {
    count(checks, Verdict::Failed) > 0
}

fn count(checks: &[Check], verdict: Verdict) -> usize {
    checks.iter().filter(|check| check.verdict == verdict).count()
}

/// For people: a line for each, what to do below it, and the sum.
pub(crate) fn text(checks: &[Check], paint: Paint) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let indent = " ".repeat(9 + width + 2);
    let mut text = String::new();
    for check in checks {
        let word = format!("{:<9}", check.verdict.word());
        let word = match check.verdict {
            Verdict::Ok => paint.good(&word),
            Verdict::Failed => paint.bad(&word),
            Verdict::Warning | Verdict::Skipped => paint.unsure(&word),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}{:<width$}  {}", printable(&check.name), sentence(&check.says));
        for (index, line) in check.to_do.as_deref().unwrap_or_default().lines().enumerate() {
            let heading = if index == 0 { "to do: " } else { "       " };
            let _ = writeln!(text, "{indent}{heading}{}", printable(line));
        }
    }
    let sums = Verdict::ALL.map(|verdict| match (count(checks, verdict), verdict) {
        (0, _) => String::new(),
        (count, Verdict::Warning) if count > 1 => format!("{count} warnings"),
        (count, verdict) => format!("{count} {}", verdict.word().to_lowercase()),
    });
    let sums: Vec<String> = sums.into_iter().filter(|sum| !sum.is_empty()).collect();
    let _ = writeln!(text, "\n{}", paint.strong(&sums.join(", ")));
    text
}

/// For programs.
pub(crate) fn json(checks: &[Check]) -> Value {
    json!({ "failed": any_failed(checks), "checks": checks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_line_and_what_to_do_below_it() {
        let checks = [
            Check::ok("lease", "renewed by a"),
            Check::failed("tenant", "namespace acme has no label", "label it:\n  kubectl label …"),
            Check::skipped("clocks", "nobody told the time."),
        ];
        let expected = "\
ok       lease   renewed by a.
FAILED   tenant  namespace acme has no label.
                 to do: label it:
                          kubectl label …
skipped  clocks  nobody told the time.

1 ok, 1 failed, 1 skipped
";
        assert_eq!(text(&checks, Paint::Plain), expected);
        assert!(any_failed(&checks) && !any_failed(&checks[..1]));
    }

    #[test]
    fn programs_read_it() {
        let value = json(&[Check::warning("a", "b", "c"), Check::ok("d", "e")]);
        let expected = json!({
            "failed": false,
            "checks": [
                { "name": "a", "verdict": "warning", "says": "b", "toDo": "c" },
                { "name": "d", "verdict": "ok", "says": "e" },
            ],
        });
        assert_eq!(value, expected);
    }
}
