//! Look-ups after connecting: which element of an answer a connection is about.
//!
//! Takes the body of an answer and the value that the person gave, gives the element, or what there is to choose from.
//! Pure: `crate::flow::account` makes the calls.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::CallTemplate;
use super::expression::{EvaluateError, Expression, Variables};

/// Most options that are told.
pub const MOST_OPTIONS: usize = 50;
/// Longest value of an option, in bytes; a longer one cannot be chosen.
const LONGEST_VALUE: usize = super::template::LONGEST_VALUE;
/// Longest title of an option, in characters.
const LONGEST_TITLE: usize = 128;
/// Largest list that is chosen from, in bytes as JSON.
const LARGEST_LIST: usize = 512 * 1024;

/// A call after connecting, ready for use.
#[derive(Clone, Debug)]
pub struct LookupRules {
    /// Its name.
    pub name: String,
    /// The request.
    pub call: CallTemplate,
    /// When a 2xx answer is a yes.
    pub success: Option<Arc<Expression>>,
    /// For an answer that is a list: which element it is about.
    pub choose: Option<ChooseRules>,
}

/// Which element of a list a connection is about.
#[derive(Clone, Debug)]
pub struct ChooseRules {
    /// The list; the whole body where there is none.
    pub from: Option<Arc<Expression>>,
    /// The field that tells an element from the others.
    pub value: String,
    /// The field that people know it by.
    pub title: Option<String>,
    /// The value of the form that names it.
    pub parameter: String,
}

/// What there is to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The value of the form that names an element.
    pub parameter: String,
    /// The elements, at most [`MOST_OPTIONS`]; none where the account has none.
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

/// What came of choosing.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen {
    /// This one.
    One {
        /// Its value.
        value: String,
        /// The whole element.
        element: Value,
    },
    /// The person must say which.
    Open(Choice),
}

/// Why nothing can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// `from` has no result.
    #[error("lookups.{name}.choose.from: {source}")]
    From {
        /// The look-up.
        name: String,
        /// Why.
        source: EvaluateError,
    },
    /// There is no list.
    #[error("the answer to look-up {name} has no list to choose from; see lookups.{name}.choose.from")]
    NoList {
        /// The look-up.
        name: String,
    },
}

impl ChooseRules {
    /// The element that `wanted` names; the only one where nothing is wanted. A wish that names none is not passed over:
    /// the person may have meant another account.
    pub fn choose(&self, name: &str, variables: &Variables, wanted: Option<&str>) -> Result<Chosen, ChooseError> {
        let list = match &self.from {
            None => variables.lookup.get(name).cloned().unwrap_or_default(),
            Some(from) => from
                .evaluate_within(variables, LARGEST_LIST)
                .map_err(|source| ChooseError::From { name: name.to_owned(), source })?,
        };
        let Value::Array(elements) = list else { return Err(ChooseError::NoList { name: name.to_owned() }) };
        let mut known: Vec<(String, Value)> =
            elements.into_iter().filter_map(|element| Some((self.value_of(&element)?, element))).collect();
        let found = match wanted {
            Some(wanted) => known.iter().position(|(value, _)| value == wanted),
            None if known.len() == 1 => Some(0),
            None => None,
        };
        if let Some(position) = found {
            let (value, element) = known.swap_remove(position);
            return Ok(Chosen::One { value, element });
        }
        let option = |(value, element): (String, Value)| ChoiceOption { title: self.title_of(&element), value };
        let options = known.into_iter().take(MOST_OPTIONS).map(option).collect();
        Ok(Chosen::Open(Choice { parameter: self.parameter.clone(), options }))
    }

    /// The value of an element: a text, or a whole number, that fits into a form.
    fn value_of(&self, element: &Value) -> Option<String> {
        let value = match element.get(&self.value)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let fits = (1..=LONGEST_VALUE).contains(&value.len()) && !value.chars().any(char::is_control);
        fits.then_some(value)
    }

    fn title_of(&self, element: &Value) -> Option<String> {
        let title = element.get(self.title.as_deref()?)?.as_str()?;
        let told: String = title.chars().filter(|letter| !letter.is_control()).take(LONGEST_TITLE).collect();
        (!told.is_empty()).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "bodies are written where they are used")]
    fn choose(from: Option<&str>, body: Value, wanted: Option<&str>) -> Result<Chosen, ChooseError> {
        let rules = ChooseRules {
            from: from.map(|source| Arc::new(Expression::compile(source).unwrap())),
            value: "id".into(),
            title: Some("name".into()),
            parameter: "site".into(),
        };
        let variables = Variables { lookup: json!({ "site": body }), ..Variables::default() };
        rules.choose("site", &variables, wanted)
    }

    fn options(chosen: Chosen) -> Vec<(String, Option<String>)> {
        match chosen {
            Chosen::Open(choice) => choice.options.into_iter().map(|option| (option.value, option.title)).collect(),
            Chosen::One { value, .. } => panic!("chose {value}"),
        }
    }

    fn value(chosen: Chosen) -> String {
        match chosen {
            Chosen::One { value, .. } => value,
            Chosen::Open(choice) => panic!("{choice:?}"),
        }
    }

    #[test]
    fn the_only_one_or_the_one_that_is_named() {
        let two = json!([{ "id": "a", "name": "Acme" }, { "id": 7, "name": "Seven" }]);
        assert_eq!(value(choose(None, json!([{ "id": "a" }]), None).unwrap()), "a");
        assert_eq!(value(choose(None, two.clone(), Some("7")).unwrap()), "7");
        let all = vec![("a".to_owned(), Some("Acme".to_owned())), ("7".to_owned(), Some("Seven".to_owned()))];
        assert_eq!(options(choose(None, two.clone(), None).unwrap()), all);
        assert_eq!(options(choose(None, two, Some("b")).unwrap()), all);
        assert_eq!(options(choose(None, json!([{ "id": "a" }]), Some("b")).unwrap()), [("a".to_owned(), None)]);
        assert_eq!(options(choose(None, json!([]), None).unwrap()), []);
    }

    #[test]
    fn lists_that_lie_deeper_or_are_filtered() {
        let body = json!({ "data": { "teams": [{ "id": "a", "jira": true }, { "id": "b", "jira": false }] } });
        assert_eq!(value(choose(Some("lookup.site.data.teams"), body.clone(), Some("b")).unwrap()), "b");
        assert_eq!(value(choose(Some("lookup.site.data.teams.filter(t, t.jira)"), body.clone(), None).unwrap()), "a");
        assert!(matches!(choose(None, body.clone(), None), Err(ChooseError::NoList { .. })));
        assert!(matches!(choose(Some("lookup.site.nothing"), body, None), Err(ChooseError::NoList { .. })));
    }

    #[test]
    fn what_cannot_be_chosen_is_not_offered() {
        let body =
            json!([{ "name": "x" }, { "id": null }, { "id": "a\nb" }, { "id": "x".repeat(257) }, { "id": "" }, 7]);
        assert_eq!(options(choose(None, body, None).unwrap()), []);
        let many: Vec<Value> = (0..80).map(|number| json!({ "id": number, "name": "n\n".repeat(200) })).collect();
        let told = options(choose(None, many.into(), None).unwrap());
        assert_eq!(told.len(), MOST_OPTIONS);
        assert_eq!(told[0].1.as_ref().unwrap(), &"n".repeat(128));
    }
}
