//! Which integrations this process reconciles: all, or those that carry its label.
//!
//! A grant carries the label of its integration, so that a process holds only its own. The label decides who does the work
//! and nothing else: two processes that both take an integration for theirs are kept apart as two replicas are.

use std::collections::BTreeMap;
use std::str::FromStr;

use kube::runtime::watcher;

use crate::leader;

/// Label of an integration, and of its grant, with the name of its shard.
pub const LABEL: &str = "integrations.tms.dev/shard";
/// The word for those without the label.
const DEFAULT: &str = "default";
/// The longest value of a label.
const LONGEST: usize = 63;

/// A share of the integrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shard {
    /// All of them, whatever their label.
    #[default]
    All,
    /// Those without the label.
    Default,
    /// Those whose label is this.
    Named(String),
}

impl Shard {
    /// Whether there may be integrations and grants that this process does not see.
    pub const fn is_part(&self) -> bool {
        !matches!(self, Self::All)
    }

    /// Whether this process does what is to be done once for all shards.
    pub const fn is_first(&self) -> bool {
        !matches!(self, Self::Named(_))
    }

    /// The label of what belongs to it; `None` where that has none.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::All | Self::Default => None,
            Self::Named(name) => Some(name),
        }
    }

    /// What selects it.
    pub fn selector(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Default => Some(format!("!{LABEL}")),
            Self::Named(name) => Some(format!("{LABEL}={name}")),
        }
    }

    /// How its integrations are watched.
    pub fn watched(&self) -> watcher::Config {
        let config = watcher::Config::default();
        match self.selector() {
            Some(selector) => config.labels(&selector),
            None => config,
        }
    }

    /// The Lease that its replicas are candidates for.
    pub fn lease(&self) -> String {
        match self {
            Self::All | Self::Default => leader::NAME.to_owned(),
            Self::Named(name) => format!("{}-{name}", leader::NAME),
        }
    }
}

/// The shard that labels tell.
pub fn label_of(labels: Option<&BTreeMap<String, String>>) -> Option<String> {
    labels?.get(LABEL).cloned()
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let inside = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        let bare = !name.starts_with('-') && !name.ends_with('-');
        match name {
            "" => Ok(Self::All),
            DEFAULT => Ok(Self::Default),
            // Part of the name of a Lease too.
            _ if name.len() <= LONGEST && bare && name.chars().all(inside) => Ok(Self::Named(name.to_owned())),
            _ => Err(format!("must be of at most {LONGEST} lower-case letters, digits and inner hyphens")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_integration_has_one_shard() {
        let shard = |name: &str| name.parse::<Shard>().unwrap();
        assert_eq!(shard("").selector(), None);
        assert_eq!(shard("default").selector().as_deref(), Some("!integrations.tms.dev/shard"));
        assert_eq!(shard("blue").selector().as_deref(), Some("integrations.tms.dev/shard=blue"));
        assert_eq!(shard("blue").lease(), "integration-operator-blue");
        assert_eq!((shard("").lease(), shard("default").lease()), (leader::NAME.to_owned(), leader::NAME.to_owned()));
        assert!(shard("default").is_first() && !shard("blue").is_first() && !shard("").is_part());
        for bad in ["Blue", "a_b", "-a", "a-", "a=b", "a,b", "a.b", &"a".repeat(64)] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
