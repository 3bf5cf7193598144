//! The way to a field: `spec.oauth2.scopes[0]`.

use std::fmt;

use serde_json::Value;

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Item(usize),
}

/// The way from a document to a field of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

impl Path {
    /// That of the whole description.
    pub(super) fn spec() -> Self {
        Self::default().child("spec")
    }

    /// One step further, into an object.
    pub(super) fn child(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// One step further, into a list.
    pub(super) fn item(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Item(index));
        Self(steps)
    }

    /// All steps.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The same way, from the description on.
    pub(super) fn below_spec(&self) -> Self {
        Self(self.0.iter().skip(1).cloned().collect())
    }

    /// One step less.
    pub(super) fn parent(&self) -> Self {
        Self(self.0.split_last().map(|(_, way)| way.to_vec()).unwrap_or_default())
    }

    /// Reads `oauth2.refresh.every` below this way. Keys with dots in them are those that `value`, which stands here,
    /// has.
    pub(super) fn read(&self, text: &str, value: &Value) -> Self {
        let mut path = self.clone();
        let (mut rest, mut here) = (text, Some(value));
        while !rest.is_empty() {
            let known = here.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
            let begins = |key: &&String| {
                rest.strip_prefix(key.as_str()).is_some_and(|after| after.is_empty() || after.starts_with('.'))
            };
            let key = known.filter(begins).max_by_key(|key| key.len()).cloned();
            let key = key.unwrap_or_else(|| rest.split('.').next().unwrap_or(rest).to_owned());
            rest = rest[key.len()..].trim_start_matches('.');
            // An element of a list is spoken of by its name.
            let items = here.and_then(Value::as_array);
            let index = items.and_then(|items| items.iter().position(|item| item["name"] == key.as_str()));
            (path, here) = match index {
                Some(index) => (path.item(index), here.and_then(|value| value.get(index))),
                None => (path.child(&key), here.and_then(|value| value.get(&key))),
            };
        }
        path
    }

    /// What stands there.
    pub(super) fn get<'value>(&self, root: &'value Value) -> Option<&'value Value> {
        self.0.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Item(index) => value.get(index),
        })
    }

    /// Puts something there; objects on the way are made.
    pub(super) fn put(&self, root: &mut Value, value: Value) {
        let mut here = root;
        for step in &self.0 {
            here = match step {
                Step::Key(key) => {
                    if !here.is_object() {
                        *here = Value::Object(serde_json::Map::new());
                    }
                    match here.as_object_mut() {
                        Some(fields) => fields.entry(key).or_insert(Value::Null),
                        None => return,
                    }
                }
                Step::Item(index) => match here.get_mut(index) {
                    Some(item) => item,
                    None => return,
                },
            };
        }
        *here = value;
    }

    /// Takes away what stands there, and says whether there was something. An item of a list takes its list along:
    /// others would get its number.
    pub(super) fn remove_from(&self, root: &mut Value) -> bool {
        let Some(last) = self.0.last() else { return false };
        let way = self.parent();
        match last {
            Step::Item(_) => way.remove_from(root),
            Step::Key(key) => {
                let mut here = root;
                for step in &way.0 {
                    let next = match step {
                        Step::Key(key) => here.get_mut(key),
                        Step::Item(index) => here.get_mut(index),
                    };
                    let Some(next) = next else { return false };
                    here = next;
                }
                here.as_object_mut().is_some_and(|fields| fields.remove(key).is_some())
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => write!(formatter, "{key}")?,
                Step::Key(key) if key.contains(['.', ' ', '/', '[']) => write!(formatter, "[{key:?}]")?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Item(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ways_are_read_and_written() {
        let spec = json!({"metadata": {"a.b": "x"}, "oauth2": {"scopes": ["a"]}, "lookups": [{"name": "sites"}]});
        let spec_path = Path::spec();
        assert_eq!(spec_path.read("metadata.a.b", &spec).to_string(), "spec.metadata[\"a.b\"]");
        assert_eq!(spec_path.read("oauth2.tokenURL", &spec).to_string(), "spec.oauth2.tokenURL");
        assert_eq!(spec_path.read("lookups.sites.url", &spec).to_string(), "spec.lookups[0].url");
        assert_eq!(spec_path.child("scopes").item(1).to_string(), "spec.scopes[1]");
    }

    #[test]
    fn what_stands_there_is_replaced_and_removed() {
        let mut root = json!({"spec": {"oauth2": {"scopes": [1, 2]}}});
        Path::spec().child("oauth2").child("tokenURL").put(&mut root, json!("x"));
        assert_eq!(root, json!({"spec": {"oauth2": {"scopes": [1, 2], "tokenURL": "x"}}}));
        assert!(Path::spec().child("oauth2").child("scopes").item(1).remove_from(&mut root));
        assert_eq!(root, json!({"spec": {"oauth2": {"tokenURL": "x"}}}));
        assert!(!Path::spec().child("api").child("hosts").remove_from(&mut root));
    }
}
