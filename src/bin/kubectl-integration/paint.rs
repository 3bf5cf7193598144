//! Colour: only where a person looks at it, and has not said no (<https://no-color.org>).

use std::io::IsTerminal as _;

/// Whether words are painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// With escape sequences.
    Colour,
    /// As they are.
    Plain,
}

impl Paint {
    /// What standard output can show.
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !refused && !dumb { Self::Colour } else { Self::Plain }
    }

    /// All is well.
    pub(crate) fn good(self, words: &str) -> String {
        self.code("32", words)
    }

    /// Somebody has to act.
    pub(crate) fn bad(self, words: &str) -> String {
        self.code("31", words)
    }

    /// Not known yet, or waiting.
    pub(crate) fn unsure(self, words: &str) -> String {
        self.code("33", words)
    }

    /// A heading.
    pub(crate) fn strong(self, words: &str) -> String {
        self.code("1", words)
    }

    fn code(self, code: &str, words: &str) -> String {
        match self {
            Self::Colour => format!("\x1b[{code}m{words}\x1b[0m"),
            Self::Plain => words.to_owned(),
        }
    }
}
