//! What was learnt of the account: kept in the grant, so that all that is derived from it can be derived again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// Largest token answer that is kept, in bytes as JSON.
const LARGEST_ANSWER: usize = 16 * 1024;
/// Largest answers of identity and look-ups that are kept, all together, in bytes as JSON.
const LARGEST_TOLD: usize = 16 * 1024;

/// What was learnt of the account, and from what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Digest of the description and the values that all below was derived with; `None` until it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<String>,
    /// When it was derived last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The first token answer without its tokens; `None` where it was too large to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Parameters of the callback.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The identity answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Told>,
    /// Answers of look-ups, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lookups: BTreeMap<String, Told>,
    /// Hashes of the metadata by which webhooks of the app find this connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Where the app's API lies for this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_base: Option<Url>,
    /// What the person has to choose from before the connection is of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
}

/// What a call was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// A digest of the request: another request needs another answer.
    pub call: String,
    /// The answer's body, without tokens.
    pub body: Value,
}

/// What there is to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The value of the form that names an element.
    pub parameter: String,
    /// The elements, bounded in number and length; none where the account has none.
    pub options: Vec<ChoiceOption>,
}

/// One element of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceOption {
    /// What the form's value must be.
    pub value: String,
    /// What people know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Account {
    /// An account of which nothing is known but the token answer and the callback's parameters.
    pub fn new(answer: &Value, query: &BTreeMap<String, String>) -> Self {
        Self { answer: Some(answer.clone()), query: query.clone(), ..Self::default() }
    }

    /// Gives up a token answer that is too large to keep. What it told was derived before.
    pub fn trim(&mut self) {
        self.answer.take_if(|answer| size(answer) > LARGEST_ANSWER);
    }

    /// Keeps answers as far as there is room; one that is not kept is asked for again when it is needed.
    pub fn keep(&mut self, identity: Option<Told>, lookups: impl IntoIterator<Item = (String, Told)>) {
        let mut left = LARGEST_TOLD;
        let mut fits = |told: &Told| {
            let size = size(&told.body);
            let fits = size <= left;
            if fits {
                left -= size;
            }
            fits
        };
        self.identity = identity.filter(|told| fits(told));
        self.lookups = lookups.into_iter().filter(|(_, told)| fits(told)).collect();
    }

    /// Gives up what is not needed to use the tokens.
    pub(super) fn forget_answers(&mut self) {
        (self.answer, self.identity) = (None, None);
        self.lookups.clear();
    }
}

fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(bytes: usize) -> Told {
        Told { call: "c".into(), body: json!("x".repeat(bytes)) }
    }

    #[test]
    fn answers_are_kept_as_far_as_there_is_room() {
        for (answer, kept) in [(json!({ "team": { "id": 1 } }), true), (json!("x".repeat(LARGEST_ANSWER)), false)] {
            let mut account = Account::new(&answer, &BTreeMap::new());
            account.trim();
            assert_eq!(account.answer.is_some(), kept);
        }
        let mut account = Account::default();
        account.keep(Some(told(10_000)), [("a".to_owned(), told(10_000)), ("b".to_owned(), told(5_000))]);
        assert!(account.identity.is_some());
        assert_eq!(account.lookups.keys().collect::<Vec<_>>(), ["b"]);
    }
}
