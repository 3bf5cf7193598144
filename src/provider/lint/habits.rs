//! What the operator takes, and nobody means: values that are never used, expressions that never see anything.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use url::{Host, Url};

use super::Note;
use super::meaning::{is_entry, position_of};
use super::path::{Path, Step};
use crate::api::ProviderKind;
use crate::nearest::did_you_mean;
use crate::provider::expression::without_tokens;
use crate::provider::resolved::CLIENT_ID;

/// What a text of a description is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// An address.
    Url,
    /// A text in which `{name}` stands for a value of the form.
    Template,
    /// A text in which it may.
    Header,
    /// CEL.
    Expression,
}

/// A name with the fields that are asked of it, as in `response.team.id`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The names, first to last.
    pub(super) names: Vec<String>,
    /// Where it begins, in bytes.
    pub(super) position: usize,
}

/// Everything in a description that is hardly meant so. `document` is what was written, `spec` has its preset
/// underneath.
pub(super) fn check(kind: ProviderKind, document: &Value, spec: &Value) -> Vec<Note> {
    let at = Path::spec();
    let texts = texts(spec);
    let mut notes = Vec::new();
    for (path, use_, text) in &texts {
        match use_ {
            Use::Url => notes.extend(https(path, text)),
            Use::Expression => notes.extend(expression(path, text, spec)),
            Use::Template | Use::Header => {}
        }
    }
    notes.extend(parameters(&texts, spec));
    let oauth2 = &spec["oauth2"];
    let client = at.child("oauth2");
    let refresh = &oauth2["refresh"];
    let grace = refresh["rotation"] == "Grace";
    if !refresh["graceSeconds"].is_null() && !grace {
        let message = "counts with rotation: Grace only; write that too, or leave it out";
        notes.push(Note::error(client.child("refresh").child("graceSeconds"), message).at_key());
    }
    if grace && refresh["graceSeconds"].as_u64().unwrap_or_default() == 0 {
        let message = "Grace without graceSeconds is no grace; write for how long a used refresh token works";
        notes.push(Note::warning(client.child("refresh").child("rotation"), message));
    }
    if oauth2.is_object() && oauth2["scopes"].is_null() {
        let message = "names no scopes; write those to ask for, or [] for an app that has none";
        notes.push(Note::warning(client.child("scopes"), message));
    }
    if oauth2.is_object() && spec["clientCredentialsRef"].is_null() && !is_entry(document) {
        let message = "is missing; name the Secret with client_id and client_secret, without which nobody can connect";
        notes.push(Note::warning(at.child("clientCredentialsRef"), message));
    }
    if !oauth2["assertion"].is_null() && oauth2["clientAuthentication"] != "PrivateKeyJwt" {
        let message = "counts with clientAuthentication: PrivateKeyJwt only";
        notes.push(Note::warning(client.child("assertion"), message).at_key());
    }
    for (used, unused, path) in [
        (&oauth2["revocation"], &oauth2["revocationURL"], client.child("revocationURL")),
        (&spec["identity"], &oauth2["userinfoURL"], client.child("userinfoURL")),
    ] {
        if !used.is_null() && !unused.is_null() {
            let message = "is not used: there is a request of its own for it; leave one of them out";
            notes.push(Note::warning(path, message).at_key());
        }
    }
    if kind == ProviderKind::IntegrationProvider && document["metadata"]["namespace"].is_null() {
        let message = "is not said; the file is applied to the namespace of the context";
        notes.push(Note::warning(Path::default().child("metadata").child("namespace"), message));
    }
    notes
}

/// Values that are named and that the form does not ask for: each with the place where it would be declared.
pub(super) fn undeclared(spec: &Value) -> Vec<(Path, Note)> {
    let form = Path::spec().child("parameters");
    let lookups: Vec<&str> =
        spec["lookups"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    let mut found = Vec::new();
    for (path, use_, text) in texts(spec) {
        if !matches!(use_, Use::Url | Use::Template) {
            continue;
        }
        for (name, position) in placeholders(&text) {
            let known = spec["parameters"].get(name).is_some() || name == CLIENT_ID || lookups.contains(&name);
            if !known {
                let near = did_you_mean(name, names(&spec["parameters"]));
                let message = format!("uses {{{name}}}, and spec.parameters has no {name}; add it there{near}");
                let note = Note::error(path.clone(), message).within(position_of(&text, position));
                found.push((form.below_spec().child(name), note));
            }
        }
    }
    found
}

fn https(path: &Path, text: &str) -> Option<Note> {
    if text.starts_with("https://") {
        return None;
    }
    let near = |url: &Url| crate::config::is_loopback(url) || is_private(url);
    if Url::parse(text).is_ok_and(|url| url.scheme() == "http" && near(&url)) {
        let message = "is http, which works with --allow-insecure-provider-hosts only";
        return Some(Note::warning(path.clone(), message));
    }
    text.starts_with("http://").then(|| Note::error(path.clone(), "is http; write https"))
}

/// An address of a private network, for which nobody gives out certificates.
fn is_private(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(address)) if address.is_private())
}

/// What an expression asks for and never gets.
fn expression(path: &Path, source: &str, spec: &Value) -> Vec<Note> {
    let mut notes = Vec::new();
    for Chain { names: asked, position } in chains(source) {
        let mut say = |severity: fn(Path, String) -> Note, message: String| {
            notes.push(severity(path.clone(), message).within(position_of(source, position)));
        };
        let second = asked.get(1).map(String::as_str);
        match (asked[0].as_str(), second) {
            ("response" | "identity" | "lookup", _)
                if let Some(key) = asked.iter().skip(1).find(|key| is_secret(key)) =>
            {
                say(
                    Note::error,
                    format!("asks for {key}, which is always empty: expressions never see tokens; leave it out"),
                );
            }
            ("identity", _) if has_no_identity(spec) => {
                say(Note::warning, "is always empty: there is no identity call; write identity.url".to_owned());
            }
            ("lookup", Some(name)) if !path.to_string().contains(".choose.") => {
                let lookups =
                    || spec["lookups"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
                if !lookups().any(|known| known == name) {
                    let near = did_you_mean(name, lookups());
                    say(
                        Note::error,
                        format!("asks for the look-up {name}, and spec.lookups has none of that name{near}"),
                    );
                }
            }
            ("parameters", Some(name)) if spec["parameters"].get(name).is_none() => {
                let near = did_you_mean(name, self::names(&spec["parameters"]));
                say(
                    Note::error,
                    format!("asks for the value {name}, and spec.parameters has no {name}; add it there{near}"),
                );
            }
            ("request", Some("query")) => {
                let kept = &spec["oauth2"]["callbackParams"];
                let name = asked.get(2).map(String::as_str).unwrap_or_default();
                if !kept.as_array().is_some_and(|kept| kept.iter().any(|known| known == name)) {
                    say(
                        Note::error,
                        format!(
                            "asks for the callback's parameter {name}, which is not kept; add it to oauth2.callbackParams"
                        ),
                    );
                }
            }
            _ => {}
        }
    }
    notes
}

fn has_no_identity(spec: &Value) -> bool {
    spec["identity"].is_null() && spec["oauth2"]["userinfoURL"].is_null() && spec["oauth2"]["issuer"].is_null()
}

/// Whether expressions never see what stands under this key.
fn is_secret(key: &str) -> bool {
    without_tokens(&json!({ key: true })).as_object().is_some_and(serde_json::Map::is_empty)
}

/// Questions of the form whose answers nothing needs.
fn parameters(texts: &[(Path, Use, String)], spec: &Value) -> Vec<Note> {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (_, use_, text) in texts {
        if *use_ == Use::Expression {
            let asked = chains(text).into_iter().filter(|chain| chain.names[0] == "parameters");
            used.extend(asked.filter_map(|chain| chain.names.into_iter().nth(1)));
        } else {
            used.extend(placeholders(text).into_iter().map(|(name, _)| name.to_owned()));
        }
    }
    let lookups = spec["lookups"].as_array().into_iter().flatten();
    used.extend(lookups.filter_map(|lookup| lookup["choose"]["parameter"].as_str().map(str::to_owned)));
    let at = Path::spec().child("parameters");
    let mut notes = Vec::new();
    for name in names(&spec["parameters"]) {
        let path = at.child(name);
        if !used.contains(name) {
            let message = format!("is asked for and never used; use it as {{{name}}}, or leave it out");
            notes.push(Note::warning(path.clone(), message).at_key());
        }
    }
    notes
}

/// Every text of a description that means something, with what it is.
fn texts(spec: &Value) -> Vec<(Path, Use, String)> {
    let mut found = Vec::new();
    let mut left = vec![(Path::spec(), spec)];
    while let Some((path, value)) = left.pop() {
        match value {
            Value::String(text) => found.extend(use_of(&path).map(|use_| (path, use_, text.clone()))),
            Value::Array(items) => left.extend(items.iter().enumerate().map(|(index, item)| (path.item(index), item))),
            Value::Object(fields) => left.extend(fields.iter().map(|(key, value)| (path.child(key), value))),
            _ => {}
        }
    }
    found.reverse();
    found
}

/// What the text at a place is.
fn use_of(path: &Path) -> Option<Use> {
    let keys: Vec<&str> = path
        .steps()
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Item(_) => None,
        })
        .collect();
    let [_, first, rest @ ..] = keys.as_slice() else { return None };
    let parent = rest.iter().rev().nth(1).copied().unwrap_or(first);
    let last = *rest.last()?;
    match (*first, parent, last) {
        ("metadata" | "secretMetadata", ..) => Some(Use::Expression),
        ("parameters", ..) => None,
        (_, "body", _) if *first != "oauth2" => None,
        (_, "authorizationParams" | "tokenParams" | "refreshParams", _) | (_, "basic", "username" | "password") => {
            Some(Use::Template)
        }
        (_, "headers" | "tokenHeaders", _) | (_, "assertion", "audience") => Some(Use::Header),
        (
            _,
            _,
            "success" | "grantIdentity" | "baseURLFrom" | "permanentWhen" | "transientWhen" | "configurationWhen",
        )
        | (_, "choose", "from") => Some(Use::Expression),
        (_, _, "url" | "issuer" | "redirectURI") => Some(Use::Url),
        (_, _, last) if last.ends_with("URL") => Some(Use::Url),
        _ => None,
    }
}

/// The names in braces of a text, each with the place of its brace in bytes.
fn placeholders(text: &str) -> Vec<(&str, usize)> {
    text.match_indices('{')
        .filter_map(|(open, _)| {
            let name = text[open + 1..].split_once('}')?.0;
            let fits =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            fits.then_some((name, open))
        })
        .collect()
}

/// Every name in an expression with the fields that are asked of it; texts in quotes are left out.
pub(super) fn chains(source: &str) -> Vec<Chain> {
    let bytes = source.as_bytes();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let end_of_name = |from: usize| (from..bytes.len()).find(|at| !is_name(bytes[*at])).unwrap_or(bytes.len());
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b'"' | b'\'') {
            at = end_of_text(source, at);
        } else if bytes[at].is_ascii_alphabetic() || bytes[at] == b'_' {
            let mut end = end_of_name(at);
            let mut names = vec![source[at..end].to_owned()];
            loop {
                if source[end..].starts_with('.') && bytes.get(end + 1).is_some_and(|byte| is_name(*byte)) {
                    let next = end_of_name(end + 1);
                    names.push(source[end + 1..next].to_owned());
                    end = next;
                } else if source[end..].starts_with("[\"") || source[end..].starts_with("['") {
                    let close = end_of_text(source, end + 1);
                    if !source[close..].starts_with(']') {
                        break;
                    }
                    names.push(source[end + 2..close - 1].to_owned());
                    end = close + 1;
                } else {
                    break;
                }
            }
            found.push(Chain { names, position: at });
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// The end of the text in quotes that begins at `start`: behind its closing quote.
fn end_of_text(source: &str, start: usize) -> usize {
    let bytes = source.as_bytes();
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == bytes[start] => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn names(value: &Value) -> impl Iterator<Item = &str> {
    value.as_object().into_iter().flat_map(serde_json::Map::keys).map(String::as_str)
}
