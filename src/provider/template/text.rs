//! Texts with places for a tenant's values, such as the `audience` of `https://{site}.example.com`.
//!
//! Takes a template and the values, gives a text, or none where a value is missing. Whoever sends it encodes it. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::is_name;

/// A text with named places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Parameter(String),
}

impl TextTemplate {
    /// Reads a template. A brace that encloses no name, as in JSON, is text.
    pub fn parse(source: &str) -> Self {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            match after.split_once('}') {
                Some((name, behind)) if is_name(name) => {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Parameter(name.to_owned()));
                    rest = behind;
                }
                _ => {
                    text.push('{');
                    rest = after;
                }
            }
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Self { pieces }
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> BTreeSet<&str> {
        self.pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Parameter(name) => Some(name.as_str()),
                Piece::Text(_) => None,
            })
            .collect()
    }

    /// The text with these values; none where one is missing.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Option<String> {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Parameter(name) => values.get(name).map(String::as_str),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places() {
        let values: BTreeMap<_, _> = [("site".to_owned(), "acme&x={site}".to_owned())].into();
        for (source, expected) in [
            ("plain", Some("plain")),
            ("https://{site}/{site}", Some("https://acme&x={site}/acme&x={site}")),
            (r#"{"claims":{"{site}":null}}"#, Some(r#"{"claims":{"acme&x={site}":null}}"#)),
            ("{} { } {site", Some("{} { } {site")),
            ("{other}", None),
            ("", Some("")),
        ] {
            assert_eq!(TextTemplate::parse(source).render(&values).as_deref(), expected, "{source}");
        }
        assert_eq!(TextTemplate::parse("{a}{b}{a}").parameters().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
