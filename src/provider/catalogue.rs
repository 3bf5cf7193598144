//! Descriptions of apps that are built in.
//!
//! Takes a name, gives an [`Entry`]; or takes an object's spec and gives it with its preset underneath. Each description
//! is a manifest of its own beside this file, with the address of the page its facts are from; `build.rs` lists them. A
//! document is parsed when it is asked for and not kept. No I/O: the files are part of the program.

use std::fmt;

use kube::ResourceExt as _;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::api::ClusterIntegrationProvider;
use crate::api::provider::ProviderSpec;
use crate::nearest::did_you_mean;

include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// Annotation of an entry that says how well its facts are known: a [`Grade`].
pub const GRADE_ANNOTATION: &str = "integrations.tms.dev/catalogue";

/// Annotation of an entry with the address of the page that its facts are from.
pub const SOURCE_ANNOTATION: &str = "integrations.tms.dev/source";

/// How well the facts of an entry are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grade {
    /// Compared with the vendor's own documentation, which is its source.
    Verified,
    /// Taken from openly licensed collections, and not, or not in every point, compared with the vendor's documentation.
    Community,
}

impl Grade {
    /// As the annotation has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Community => "community",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What a person needs to connect to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A consent, by OAuth 2.0.
    OAuth2,
    /// An API key.
    ApiKey,
    /// Either.
    Both,
    /// The description names neither, so that nobody can connect.
    Neither,
}

impl Kind {
    /// That of a description which has its preset underneath.
    pub const fn of(spec: &ProviderSpec) -> Self {
        match (spec.oauth2.is_some(), spec.api_key.is_some()) {
            (true, true) => Self::Both,
            (true, false) => Self::OAuth2,
            (false, true) => Self::ApiKey,
            (false, false) => Self::Neither,
        }
    }

    /// As tables show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OAuth2 => "oauth2",
            Self::ApiKey => "api-key",
            Self::Both => "both",
            Self::Neither => "none",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A description that is built in.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The preset's name.
    pub name: String,
    /// How well its facts are known.
    pub grade: Grade,
    /// The page that they are from.
    pub source: String,
    /// The description.
    pub spec: ProviderSpec,
}

impl Entry {
    /// The app's name as people know it.
    pub fn display_name(&self) -> &str {
        self.spec.display_name.as_deref().unwrap_or(&self.name)
    }
}

/// Why a spec has no effective description.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// No such preset.
    #[error("there is no preset `{name}` (`integration-operator providers` lists all){}", did_you_mean(name, names()))]
    UnknownPreset {
        /// The name that was given.
        name: String,
    },
    /// The spec and its preset do not fit together.
    #[error("cannot merge the preset `{name}` with the fields of the object")]
    Merge {
        /// The preset's name.
        name: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

/// The names of all presets, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    DOCUMENTS.iter().map(|(name, _)| *name)
}

/// All entries, in alphabetical order; each is parsed when its turn comes.
pub fn entries() -> impl Iterator<Item = Entry> {
    DOCUMENTS.iter().filter_map(|(name, document)| parse(name, document))
}

/// One entry; none where there is none of that name.
pub fn entry(name: &str) -> Option<Entry> {
    parse(name, document(name)?)
}

/// The manifest of an entry as it was written, with its comments.
pub fn document(name: &str) -> Option<&'static str> {
    let index = DOCUMENTS.binary_search_by_key(&name, |(known, _)| *known).ok()?;
    DOCUMENTS.get(index).map(|(_, document)| *document)
}

/// A built-in description; none where there is none of that name.
pub fn preset(name: &str) -> Option<ProviderSpec> {
    Some(entry(name)?.spec)
}

/// Reads a manifest. A test reads every one, so that this cannot fail in a released program.
fn parse(name: &str, document: &str) -> Option<Entry> {
    let manifest: ClusterIntegrationProvider = serde_yaml::from_str(document).ok()?;
    let annotation = |key: &str| manifest.annotations().get(key).map(String::as_str);
    let grade = match annotation(GRADE_ANNOTATION)? {
        "verified" => Grade::Verified,
        "community" => Grade::Community,
        _ => return None,
    };
    let source = annotation(SOURCE_ANNOTATION)?.to_owned();
    Some(Entry { name: name.to_owned(), grade, source, spec: manifest.spec.description })
}

/// The spec with its preset underneath: objects merge, lists and scalars of the spec replace those of the preset.
/// Without a preset, the spec itself.
pub fn with_preset(spec: &ProviderSpec) -> Result<ProviderSpec, CatalogueError> {
    let Some(name) = &spec.preset else { return Ok(spec.clone()) };
    let base = preset(name).ok_or_else(|| CatalogueError::UnknownPreset { name: name.clone() })?;
    merged(&base, spec).map_err(|source| CatalogueError::Merge { name: name.clone(), source })
}

/// One spec over another, as JSON.
fn merged(base: &ProviderSpec, over: &ProviderSpec) -> Result<ProviderSpec, serde_json::Error> {
    let mut value = serde_json::to_value(base)?;
    merge(&mut value, serde_json::to_value(over)?);
    serde_json::from_value(value)
}

/// Puts one value over another.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(place(base, key), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// The place of a key, made where it is missing.
fn place(map: &mut Map<String, Value>, key: String) -> &mut Value {
    map.entry(key).or_insert(Value::Null)
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
