//! Every mistake of a description, with its place in the file.
//!
//! Takes the text of a file, gives [`Finding`]s. A document is looked at four times: as YAML (`places`), by the
//! schema that the API server would hold it to (`schema`), by what the operator itself would make of it (`meaning`),
//! and for what is no mistake to the operator and hardly meant so (`habits`). What one of them refuses is put aside
//! for the next, so that one mistake hides no other. No I/O.

mod habits;
mod meaning;
mod path;
mod places;
mod schema;

use std::fmt;

use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::api::{GROUP, ProviderKind};
use path::Path;
use places::{Document, Place};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not work so.
    Error,
    /// It works, and is hardly meant so.
    Warning,
}

/// Something that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// The field, such as `spec.oauth2.tokenURL`; empty where it is the file itself.
    pub field: String,
    /// What is wrong, and what to write.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: ", self.line, self.column)?;
        if self.severity == Severity::Warning {
            formatter.write_str("warning: ")?;
        }
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        formatter.write_str(&self.message)
    }
}

/// Something that is wrong, before its place is looked up.
#[derive(Debug)]
struct Note {
    path: Path,
    severity: Severity,
    message: String,
    /// Where exactly within a text: its line and column, from 0, in characters.
    within: Option<(usize, usize)>,
    /// Whether the key is meant, and not what stands under it.
    key: bool,
    /// Its line and column, where they are known already.
    place: Option<Place>,
}

impl Note {
    fn error(path: Path, message: impl Into<String>) -> Self {
        Self { path, severity: Severity::Error, message: message.into(), within: None, key: false, place: None }
    }

    fn warning(path: Path, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    fn at_key(self) -> Self {
        Self { key: true, ..self }
    }

    fn within(self, within: Option<(usize, usize)>) -> Self {
        Self { within, ..self }
    }
}

/// Everything that is wrong in the descriptions of a file, in the order in which it stands there. Documents of other
/// kinds are skipped.
pub fn lint(text: &str) -> Vec<Finding> {
    let documents = match places::read(text) {
        Ok(documents) => documents,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    let mut described = 0_usize;
    for (document, values) in documents.iter().zip(serde_yaml::Deserializer::from_str(text)) {
        match Value::deserialize(values) {
            Ok(value) => {
                let notes = one(document, &value, &mut described);
                findings.extend(notes.into_iter().map(|note| placed(note, document, text)));
            }
            Err(error) => {
                let place = error.location().map_or((1, 1), |location| (location.line(), location.column()));
                findings.push(of_file(place, &format!("cannot be read: {error}")));
                described += 1;
            }
        }
    }
    if described == 0 {
        let message = "there is no ClusterIntegrationProvider and no IntegrationProvider in this file";
        findings.push(of_file((1, 1), message));
    }
    findings.sort_by_key(|finding| (finding.line, finding.column));
    findings.dedup();
    findings
}

/// What is wrong in one document.
fn one(document: &Document, value: &Value, described: &mut usize) -> Vec<Note> {
    let mut notes = document.duplicates();
    let kind = match value["kind"].as_str() {
        Some("ClusterIntegrationProvider") => ProviderKind::ClusterIntegrationProvider,
        Some("IntegrationProvider") => ProviderKind::IntegrationProvider,
        Some(_) => return Vec::new(),
        // An empty document, as after a last `---`.
        None if value.is_null() => return Vec::new(),
        None => {
            *described += 1;
            let message = "is missing; write ClusterIntegrationProvider or IntegrationProvider";
            return vec![Note::error(Path::default().child("kind"), message)];
        }
    };
    *described += 1;
    let version = format!("{GROUP}/v1alpha1");
    if value["apiVersion"] != version.as_str() {
        notes.push(Note::error(Path::default().child("apiVersion"), format!("must be {version}")));
    }
    notes.extend(name(value));
    let refused = schema::check(kind, value, document);
    let mut left = value.clone();
    for note in refused.iter().filter(|note| note.severity == Severity::Error) {
        // What lacks a field cannot be read without it.
        if !note.path.remove_from(&mut left) {
            note.path.parent().remove_from(&mut left);
        }
    }
    let (mut more, merged) = meaning::check(kind, &left);
    more.extend(habits::check(kind, &left, &merged));
    // A field that was refused is not said to be missing as well.
    more.retain(|note| !refused.iter().any(|known| known.severity == Severity::Error && known.path == note.path));
    notes.extend(refused);
    notes.extend(more);
    notes
}

/// The name becomes a part of the redirect URI and of the names of integrations.
fn name(value: &Value) -> Option<Note> {
    let path = Path::default().child("metadata").child("name");
    let Some(name) = value["metadata"]["name"].as_str() else {
        return Some(Note::error(path, "is missing; write the name by which integrations call the app, such as slack"));
    };
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let fits = letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-');
    let message = format!("{name} is no DNS label; write lower-case letters, digits and hyphens, 63 at most");
    (!fits).then(|| Note::error(path, message))
}

fn placed(note: Note, document: &Document, text: &str) -> Finding {
    let (line, column) = match (note.place, note.within) {
        (Some(place), _) => place,
        (None, Some(within)) => document.within(&note.path, within, text),
        (None, None) if note.key => document.key(&note.path),
        (None, None) => document.value(&note.path),
    };
    Finding { line, column, severity: note.severity, field: note.path.to_string(), message: note.message }
}

fn of_file((line, column): (usize, usize), message: &str) -> Finding {
    Finding { line, column, severity: Severity::Error, field: String::new(), message: message.to_owned() }
}

#[cfg(test)]
mod tests;
