//! What the operator itself would refuse.
//!
//! It stops at the first mistake. Here each is noted and put right, and the description is tried again, so that all are
//! found; nothing that the operator checks has to be checked twice.

use serde_json::{Value, json};
use url::Url;

use super::path::Path;
use super::{Note, habits};
use crate::api::ProviderKind;
use crate::api::provider::ProviderSpec;
use crate::causes::chain;
use crate::grant::binding::ProviderRef;
use crate::provider::catalogue::{self, CatalogueError, Kind};
use crate::provider::discovery::ServerMetadata;
use crate::provider::expression::ExpressionError;
use crate::provider::form::FormError;
use crate::provider::resolved::{Provider, ProviderError, Surroundings};
use crate::provider::template::{RuleError, TemplateError};

/// More mistakes than a description has fields are a mistake of ours.
const MOST: usize = 256;

/// What stands in for an address that is missing or wrong.
const ADDRESS: &str = "https://example.com/";

/// Everything that the operator refuses, and the description with its preset underneath as far as it could be read.
pub(super) fn check(kind: ProviderKind, document: &Value) -> (Vec<Note>, Value) {
    let mut notes = Vec::new();
    let at = Path::spec();
    let spec: ProviderSpec = match serde_json::from_value(document.get("spec").cloned().unwrap_or_else(|| json!({}))) {
        Ok(spec) => spec,
        Err(error) => return (vec![Note::error(at, format!("cannot be read: {error}"))], Value::Null),
    };
    // Without its preset nobody knows what is missing.
    let mut whole = true;
    let effective = catalogue::with_preset(&spec).unwrap_or_else(|error| {
        whole = false;
        let field = if matches!(error, CatalogueError::UnknownPreset { .. }) { at.child("preset") } else { at.clone() };
        notes.push(Note::error(field, chain(&error)));
        spec
    });
    let Ok(merged) = serde_json::to_value(&effective) else { return (notes, Value::Null) };
    if whole && Kind::of(&effective) == Kind::Neither {
        let message = "says no way to connect; write oauth2 or apiKey, or a preset that has one";
        notes.push(Note::error(at.clone(), message).at_key());
    }
    let mut tried = merged.clone();
    if Kind::of(&effective) == Kind::Neither {
        tried["apiKey"] = json!({});
    }
    for (path, note) in habits::undeclared(&merged) {
        path.put(&mut tried, json!({}));
        notes.push(note);
    }
    let name = document["metadata"]["name"].as_str().unwrap_or("app");
    for _ in 0..MOST {
        let Ok(spec) = serde_json::from_value::<ProviderSpec>(tried.clone()) else { break };
        let Some(error) = resolve(kind, name, &spec) else { break };
        let path = place(&error, &tried);
        if whole || !matches!(error, ProviderError::Missing { .. }) {
            notes.push(note(&error, &path, &tried));
        }
        if !mend(&error, &path, &mut tried) {
            break;
        }
    }
    (notes, merged)
}

/// Whether a document is an entry of a catalogue, which others complete.
pub(super) fn is_entry(document: &Value) -> bool {
    document["metadata"]["annotations"].get(catalogue::GRADE_ANNOTATION).is_some()
}

/// The operator's first objection.
fn resolve(kind: ProviderKind, name: &str, spec: &ProviderSpec) -> Option<ProviderError> {
    let public_url = Url::parse(ADDRESS).ok()?;
    let namespace = (kind == ProviderKind::IntegrationProvider).then(|| "tenant".to_owned());
    let tenant = namespace.clone();
    let reference = ProviderRef { kind, namespace, name: name.to_owned(), uid: String::new() };
    // What an issuer's metadata would say is not known here, and taken to be well.
    let issuer = spec.oauth2.as_ref().and_then(|client| client.issuer.as_deref());
    let discovered: Option<ServerMetadata> = issuer.and_then(|issuer| {
        let endpoints = json!({"issuer": issuer, "authorization_endpoint": ADDRESS, "token_endpoint": ADDRESS});
        serde_json::from_value(endpoints).ok()
    });
    let tenant = tenant.as_deref();
    let around = Surroundings { reference, discovered: discovered.as_ref(), public_url: &public_url, tenant };
    Provider::resolve(spec, &around).err()
}

/// The field that an error speaks of: its message begins with it.
fn place(error: &ProviderError, spec: &Value) -> Path {
    let at = Path::spec();
    match error {
        ProviderError::ProtocolParameter { field, name } => at.read(field, spec).child(name),
        ProviderError::Form(FormError::Pattern { name, .. }) => at.child("parameters").child(name).child("pattern"),
        ProviderError::OptionalParameter { name, .. } => at.child("parameters").child(name).child("optional"),
        ProviderError::NoCredential => at,
        ProviderError::Network { text } => {
            let networks = spec["allowedPrivateCIDRs"].as_array().into_iter().flatten();
            let index = networks.take_while(|network| *network != text.as_str()).count();
            at.child("allowedPrivateCIDRs").item(index)
        }
        error => {
            let message = error.to_string();
            let field = message.split([':', ' ']).next().unwrap_or_default();
            at.read(field, spec)
        }
    }
}

fn note(error: &ProviderError, path: &Path, spec: &Value) -> Note {
    let message = chain(error);
    let field = path.to_string();
    let field = field.trim_start_matches("spec.");
    // The place has the field already.
    let said = message.strip_prefix(field).map_or(message.as_str(), |rest| rest.trim_start_matches(':').trim_start());
    let text = in_spec(path, spec).and_then(Value::as_str).unwrap_or_default();
    match error {
        ProviderError::Url { source, .. } => {
            let within = match source {
                TemplateError::Brace { position } => position_of(text, *position),
                _ => None,
            };
            Note::error(path.clone(), format!("{said}; {}", remedy(source))).within(within)
        }
        ProviderError::Expression { source, .. } => Note::error(path.clone(), said).within(in_expression(source, text)),
        ProviderError::Form(FormError::Pattern { source: RuleError::CompilePattern(reason), .. })
        | ProviderError::KeyPattern(RuleError::CompilePattern(reason)) => {
            // The regular expression's own message draws a picture; its last line says what is wrong.
            let reason = reason.to_string();
            let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Note::error(path.clone(), format!("is no regular expression: {last}"))
        }
        ProviderError::ProtocolParameter { .. } => {
            Note::error(path.clone(), "is a parameter of the protocol, which the operator sets; leave it out").at_key()
        }
        ProviderError::Network { text } => {
            Note::error(path.clone(), format!("{text} is no network; write one such as 10.1.0.0/16"))
        }
        ProviderError::Form(FormError::Default { source, .. }) => {
            Note::error(path.clone(), format!("{text} would be refused: {source}"))
        }
        ProviderError::OptionalParameter { field, .. } => {
            let message = format!("{field} needs it in its host or path, so it cannot be left out; give it a default");
            Note::error(path.clone(), message).at_key()
        }
        ProviderError::ClusterOnly { .. } => {
            Note::error(path.clone(), "is for ClusterIntegrationProvider only; leave it out").at_key()
        }
        _ => Note::error(path.clone(), said),
    }
}

fn remedy(error: &TemplateError) -> &'static str {
    match error {
        TemplateError::OpenHost => "let the host end in a fixed domain, as in https://{name}.example.com",
        TemplateError::Brace { .. } => "a value of the form is written {name}",
        TemplateError::Misplaced => "values of the form may stand in host, path and query",
        _ => "write an address such as https://api.example.com/path",
    }
}

/// Line and column within an expression, from 0.
fn in_expression(error: &ExpressionError, source: &str) -> Option<(usize, usize)> {
    match error {
        ExpressionError::Parse { line, column, .. } if *line > 0 => Some((line - 1, column.saturating_sub(1))),
        ExpressionError::TooDeep { position } => position_of(source, *position),
        ExpressionError::UnknownVariable { name } => {
            let found = habits::chains(source).into_iter().find(|chain| chain.names.first() == Some(name))?;
            position_of(source, found.position)
        }
        _ => None,
    }
}

/// Line and column of a byte, from 0, in characters.
pub(super) fn position_of(text: &str, byte: usize) -> Option<(usize, usize)> {
    let before = text.get(..byte)?;
    let line = before.matches('\n').count();
    let last = before.rsplit('\n').next().unwrap_or_default();
    Some((line, last.chars().count()))
}

/// Puts one mistake right, so that the next is found. Says whether it could.
fn mend(error: &ProviderError, path: &Path, spec: &mut Value) -> bool {
    let mut document = json!({ "spec": spec.take() });
    let mended = match error {
        ProviderError::Missing { .. } => {
            let missing = path.get(&document).is_none();
            path.put(&mut document, json!(ADDRESS));
            missing
        }
        // Without any address it would be said to be missing.
        ProviderError::Url { .. } => {
            path.put(&mut document, json!(ADDRESS));
            true
        }
        ProviderError::UnknownParameter { name, .. } => {
            Path::spec().child("parameters").child(name).put(&mut document, json!({}));
            true
        }
        _ => path.remove_from(&mut document),
    };
    *spec = document["spec"].take();
    mended
}

/// What stands at a place of the description.
fn in_spec<'value>(path: &Path, spec: &'value Value) -> Option<&'value Value> {
    path.below_spec().get(spec)
}
