//! What a parameter's value must look like.
//!
//! Takes a pattern from a description, gives a rule that values are checked against. No I/O.

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// The longest pattern, in bytes.
pub const LONGEST_PATTERN: usize = 256;

/// The longest value of a parameter, in bytes.
pub const LONGEST_VALUE: usize = 256;

/// The largest compiled pattern, in bytes; a short one such as `(\w{99}){99}` can be huge.
const LARGEST_PROGRAM: usize = 256 * 1024;

/// Why there is no rule, or why a value breaks it.
#[derive(Debug, Error)]
pub enum RuleError {
    /// Longer than [`LONGEST_PATTERN`].
    #[error("the pattern is longer than {LONGEST_PATTERN} bytes")]
    PatternTooLong,
    /// Not a regular expression, or too large a one.
    #[error("the pattern cannot be compiled")]
    CompilePattern(#[source] regex::Error),
    /// Longer than [`LONGEST_VALUE`], or empty.
    #[error("the value must have 1 to {LONGEST_VALUE} bytes")]
    ValueLength,
    /// A control character.
    #[error("the value has a control character")]
    ValueControl,
    /// Not what the rule says.
    #[error("the value does not match {}", expected.as_deref().unwrap_or("one DNS label"))]
    ValueMismatch {
        /// The pattern; none for one DNS label.
        expected: Option<String>,
    },
}

/// What a parameter's value must match, from its first to its last character.
#[derive(Clone, Debug)]
pub struct ParameterRule {
    pattern: Option<(String, Regex)>,
}

impl ParameterRule {
    /// A rule by a regular expression (syntax of the crate `regex`: linear time, no look-around); one DNS label (RFC
    /// 1123 §2.1) where there is none.
    pub fn new(pattern: Option<&str>) -> Result<Self, RuleError> {
        let pattern = pattern.map(|source| Ok((source.to_owned(), whole_match(source)?))).transpose()?;
        Ok(Self { pattern })
    }

    /// Whether a value will do.
    pub fn check(&self, value: &str) -> Result<(), RuleError> {
        if value.is_empty() || value.len() > LONGEST_VALUE {
            return Err(RuleError::ValueLength);
        }
        if value.chars().any(char::is_control) {
            return Err(RuleError::ValueControl);
        }
        let matches = match &self.pattern {
            Some((_, regex)) => regex.is_match(value),
            None => is_dns_label(value),
        };
        let expected = || self.pattern.as_ref().map(|(source, _)| source.clone());
        if matches { Ok(()) } else { Err(RuleError::ValueMismatch { expected: expected() }) }
    }
}

/// Anchors a pattern. It is compiled by itself first, so that one such as `a)|(b` cannot close the group around it.
pub(crate) fn whole_match(source: &str) -> Result<Regex, RuleError> {
    if source.len() > LONGEST_PATTERN {
        return Err(RuleError::PatternTooLong);
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(LARGEST_PROGRAM)
            .dfa_size_limit(LARGEST_PROGRAM)
            .nest_limit(16)
            .build()
            .map_err(RuleError::CompilePattern)
    };
    build(source)?;
    // The line break ends a comment that the pattern may end with in verbose mode, and is skipped there.
    build(&format!(r"\A(?:{source})\z")).or_else(|_| build(&format!("\\A(?:{source}\n)\\z")))
}

/// One DNS label: 1 to 63 letters, digits and hyphens, none of these at an end (RFC 1123 §2.1). Upper case is fine; DNS
/// does not care.
pub(super) fn is_dns_label(value: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    (1..=63).contains(&value.len())
        && value.bytes().all(|byte| letter(byte) || byte == b'-')
        && value.bytes().next().is_some_and(letter)
        && value.bytes().next_back().is_some_and(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(pattern: Option<&str>, value: &str) -> Option<bool> {
        ParameterRule::new(pattern).ok().map(|rule| rule.check(value).is_ok())
    }

    #[test]
    fn a_dns_label_unless_told_otherwise() {
        for value in ["acme", "a", "a-b", "ACME", "0x7f"] {
            assert_eq!(accepts(None, value), Some(true), "{value}");
        }
        for value in ["", "-a", "a-", "a.b", "a/b", "a_b", "ä", "a\n", "evil.com/#", &"a".repeat(64)] {
            assert_eq!(accepts(None, value), Some(false), "{value}");
        }
    }

    #[test]
    fn patterns_match_the_whole_value() {
        for pattern in ["[a-z]+", "^[a-z]+$", "(?x) [a-z]+ # letters"] {
            assert_eq!(accepts(Some(pattern), "acme"), Some(true), "{pattern}");
            for value in ["acme1", "1acme", "acme\n", "acme\nx"] {
                assert_eq!(accepts(Some(pattern), value), Some(false), "{pattern} {value:?}");
            }
        }
        assert_eq!(accepts(Some("a|bc"), "bcd"), Some(false));
        assert_eq!(accepts(Some("(?m)^a$"), "a\nb"), Some(false));
    }

    #[test]
    fn unfit_patterns_are_refused() {
        assert!(matches!(ParameterRule::new(Some(&"a".repeat(257))), Err(RuleError::PatternTooLong)));
        for pattern in ["(", "a)|(b", r"(\w{99}){99}", &"(".repeat(100)] {
            assert!(matches!(ParameterRule::new(Some(pattern)), Err(RuleError::CompilePattern(_))), "{pattern}");
        }
    }

    #[test]
    fn loose_patterns_still_bound_the_value() {
        assert_eq!(accepts(Some("(?s).*"), "a\0b"), Some(false));
        assert_eq!(accepts(Some(".*"), &"a".repeat(257)), Some(false));
        assert_eq!(accepts(Some(".*"), ""), Some(false));
    }
}
