//! Paths below an API's address, with places for values: `/channels/{input.channel}/messages`.
//!
//! A value is one segment, whatever it holds: it is percent-encoded, and is never empty or a dot segment (RFC 3986 §5.2.4),
//! so that no input leads elsewhere than the description says.

use serde_json::Value;
use thiserror::Error;
use url::Url;

use crate::provider::expression::Variables;
use crate::provider::template::percent_encode;

/// The longest value, in bytes.
const LONGEST_VALUE: usize = 512;

/// A path that cannot be read or filled.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PathError {
    /// Not a path below the address of the API.
    #[error("must begin with one / and have no empty or dot segments, no query and no fragment")]
    Unfit,
    /// A brace without its partner, or something else than a place between braces.
    #[error("has a misplaced brace; a place is {{input.name}}, {{metadata.name}} or {{parameters.name}}")]
    Brace,
    /// No value, or one that is no segment.
    #[error("{scope}.{name} must be text or a whole number that can stand in a path; it is missing, empty or too long")]
    Value {
        /// `input` or `metadata`.
        scope: String,
        /// The name.
        name: String,
    },
}

/// A path with named places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place { scope: String, name: String },
}

impl PathTemplate {
    /// Reads a template.
    pub fn parse(source: &str) -> Result<Self, PathError> {
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (text, from) = rest.split_at(at);
            let (place, behind) =
                from.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(PathError::Brace)?;
            let (scope, name) = place.split_once('.').ok_or(PathError::Brace)?;
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !["input", "metadata", "parameters"].contains(&scope) || !is_name {
                return Err(PathError::Brace);
            }
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(Piece::Place { scope: scope.to_owned(), name: name.to_owned() });
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let whole: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Place { .. } => "x",
            })
            .collect();
        let fits = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"%\\?#\"<>".contains(&byte))
        };
        match whole.strip_prefix('/') {
            Some(path) if path.is_empty() || path.split('/').all(fits) => Ok(Self { pieces }),
            _ => Err(PathError::Unfit),
        }
    }

    /// Whether there is something for each of its places, be it fit or not.
    pub fn is_complete(&self, variables: &Variables) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Place { scope, name } => !from(scope, variables)[name].is_null(),
            Piece::Text(_) => true,
        })
    }

    /// The address below `base`, whose query it keeps.
    pub fn below(&self, base: &Url, variables: &Variables) -> Result<Url, PathError> {
        let mut path = base.path().trim_end_matches('/').to_owned();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Place { scope, name } => {
                    let unfit = || PathError::Value { scope: scope.clone(), name: name.clone() };
                    path.push_str(&segment(&from(scope, variables)[name]).ok_or_else(unfit)?);
                }
            }
        }
        let mut url = base.clone();
        url.set_path(&path);
        Ok(url)
    }
}

/// Whose values a place is filled with.
fn from<'a>(scope: &str, variables: &'a Variables) -> &'a Value {
    match scope {
        "input" => &variables.input,
        "metadata" => &variables.metadata,
        _ => &variables.parameters,
    }
}

/// A value as one segment.
fn segment(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let fits = !text.is_empty() && text.len() <= LONGEST_VALUE && !text.bytes().all(|byte| byte == b'.');
    fits.then(|| percent_encode(&text))
}
