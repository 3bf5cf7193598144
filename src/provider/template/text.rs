//! Text with places for values, such as `{email}/token`.

use std::collections::BTreeMap;

use super::{LONGEST_TEMPLATE, Piece, Place, TemplateError, join, split_with};

/// A text with named places. Values go in as they are: whoever uses the text encodes it for its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate(Vec<Piece>);

impl TextTemplate {
    /// Reads a template.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > LONGEST_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        split_with(source, |_| Ok(Place::Text)).map(Self)
    }

    /// A text without places, braces or not.
    pub fn plain(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Parameter { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// What stands between the places.
    pub fn fixed(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Parameter { .. } => None,
        })
    }

    /// The text with these values.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
        join(&self.0, |name, _| {
            values.get(name).cloned().ok_or_else(|| TemplateError::Missing { name: name.to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_they_are() {
        let template = TextTemplate::parse("{email}/token?{b}").unwrap();
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["email", "b"]);
        let values = BTreeMap::from([("email".to_owned(), "a@b".to_owned()), ("b".to_owned(), "{x}".to_owned())]);
        assert_eq!(template.render(&values).unwrap(), "a@b/token?{x}");
        assert!(matches!(template.render(&BTreeMap::new()), Err(TemplateError::Missing { .. })));
        assert!(matches!(TextTemplate::parse("a}b"), Err(TemplateError::Brace { position: 1 })));
        assert_eq!(TextTemplate::plain("{a}").render(&BTreeMap::new()).unwrap(), "{a}");
    }
}
