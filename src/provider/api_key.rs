//! API keys as a description has them: what a key looks like, before it is sent anywhere.
//!
//! Takes the `apiKey` section, gives a form that keys are checked against. No I/O.

use regex::Regex;
use thiserror::Error;

use super::template::{RuleError, whole_match};
use crate::api::provider::ApiKey;

/// The longest key, in bytes.
pub const LONGEST_KEY: usize = 4096;

/// What is asked of a person.
#[derive(Clone, Debug)]
pub struct KeyForm {
    /// What the app calls it.
    pub title: String,
    /// What it looks like, as the description says.
    pattern: Option<(String, Regex)>,
}

/// A key that cannot be one. The key is never repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nothing, or only white space.
    #[error("the key is empty")]
    Empty,
    /// Longer than [`LONGEST_KEY`].
    #[error("the key is longer than {LONGEST_KEY} bytes")]
    TooLong,
    /// Something that no header can carry.
    #[error("the key has characters other than printable ASCII")]
    Characters,
    /// Not what the description says.
    #[error("a {title} looks like {pattern}, from its first to its last character, and this does not")]
    Mismatch {
        /// What the app calls it.
        title: String,
        /// The pattern.
        pattern: String,
    },
}

impl KeyForm {
    /// Reads the section; the pattern is compiled here, once.
    pub fn new(section: &ApiKey) -> Result<Self, RuleError> {
        let pattern = section.pattern.as_deref().map(|source| Ok((source.to_owned(), whole_match(source)?)));
        Ok(Self { title: section.title.clone().unwrap_or_else(|| "key".to_owned()), pattern: pattern.transpose()? })
    }

    /// The key as it is sent: without the white space around it, such as the line break at the end of a file.
    pub fn read<'key>(&self, text: &'key str) -> Result<&'key str, KeyError> {
        let key = text.trim();
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if key.len() > LONGEST_KEY {
            return Err(KeyError::TooLong);
        }
        if !key.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(KeyError::Characters);
        }
        match &self.pattern {
            Some((pattern, regex)) if !regex.is_match(key) => {
                Err(KeyError::Mismatch { title: self.title.clone(), pattern: pattern.clone() })
            }
            _ => Ok(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pattern: Option<&str>) -> KeyForm {
        let pattern = pattern.map(str::to_owned);
        KeyForm::new(&ApiKey { title: Some("Restricted key".into()), pattern, ..ApiKey::default() }).unwrap()
    }

    #[test]
    fn any_printable_key_without_a_pattern() {
        let form = form(None);
        assert_eq!(form.read(" SG.abc-_/+=\n"), Ok("SG.abc-_/+="));
        assert_eq!(form.read(&"k".repeat(LONGEST_KEY)).map(str::len), Ok(LONGEST_KEY));
        for (bad, why) in [
            ("", KeyError::Empty),
            (" \n", KeyError::Empty),
            ("a\nb", KeyError::Characters),
            ("a\0", KeyError::Characters),
            ("ä", KeyError::Characters),
            (&"k".repeat(LONGEST_KEY + 1), KeyError::TooLong),
        ] {
            assert_eq!(form.read(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_holds_for_the_whole_key_and_no_key_is_repeated() {
        let form = form(Some("rk_(live|test)_[A-Za-z0-9]+|sk"));
        assert!(form.read("rk_live_1").is_ok() && form.read("sk").is_ok());
        for bad in ["hunter2", "rk_live_1 hunter2", "xrk_live_1", "skx"] {
            let said = form.read(bad).unwrap_err().to_string();
            assert!(said.starts_with("a Restricted key looks like rk_(live|test)"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn unfit_patterns_are_refused() {
        let section = ApiKey { pattern: Some("a)|(b".into()), ..ApiKey::default() };
        assert!(matches!(KeyForm::new(&section), Err(RuleError::CompilePattern(_))));
    }
}
