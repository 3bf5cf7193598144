//! Descriptions of apps that are built in.
//!
//! Takes a name, gives a [`ProviderSpec`]; or takes an object's spec and gives it with its preset underneath. Each
//! description is a YAML file of its own beside this one, with the address of the page its facts are from. No I/O: the
//! files are part of the program.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::api::provider::ProviderSpec;

/// The descriptions, by name, in order.
const DOCUMENTS: [(&str, &str); 3] = [
    ("discord", include_str!("catalogue/discord.yaml")),
    ("github", include_str!("catalogue/github.yaml")),
    ("slack", include_str!("catalogue/slack.yaml")),
];

/// Why a spec has no effective description.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// No such preset.
    #[error("there is no preset `{name}`; there are {}", names().collect::<Vec<_>>().join(", "))]
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
    DOCUMENTS.into_iter().map(|(name, _)| name)
}

/// A built-in description; none where there is none of that name.
pub fn preset(name: &str) -> Option<ProviderSpec> {
    let (_, document) = DOCUMENTS.into_iter().find(|(known, _)| *known == name)?;
    // A test reads every document, so that this cannot fail in a released program.
    serde_yaml::from_str(document).ok()
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
                merge(entry(base, key), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// The place of a key, made where it is missing.
fn entry(map: &mut Map<String, Value>, key: String) -> &mut Value {
    map.entry(key).or_insert(Value::Null)
}

#[cfg(test)]
mod tests;
