//! What the API server would refuse: a document against the schema of its CRD.

use kube::CustomResourceExt as _;
use regex::Regex;
use serde_json::{Map, Value};

use super::path::Path;
use super::places::Document;
use super::{Note, Severity};
use crate::api::{ClusterIntegrationProvider, IntegrationProvider, ProviderKind};
use crate::nearest::did_you_mean;

/// Words that YAML 1.1, which `kubectl` reads, takes for a truth value.
const TRUTHS: [&str; 4] = ["yes", "no", "on", "off"];

/// Everything in a document that its schema does not allow.
pub(super) fn check(kind: ProviderKind, value: &Value, document: &Document) -> Vec<Note> {
    let mut schema = of(kind);
    // The API server knows these without a schema.
    for (field, type_) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        schema["properties"][field] =
            serde_json::json!({ "type": type_, "x-kubernetes-preserve-unknown-fields": true });
    }
    let mut check = Check { document, notes: Vec::new() };
    check.value(&Path::default(), value, &schema);
    check.notes
}

/// The schema of a kind, as its CRD has it.
pub(super) fn of(kind: ProviderKind) -> Value {
    let crd = match kind {
        ProviderKind::ClusterIntegrationProvider => ClusterIntegrationProvider::crd(),
        ProviderKind::IntegrationProvider => IntegrationProvider::crd(),
    };
    let version = crd.spec.versions.into_iter().next();
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    serde_json::to_value(schema).unwrap_or_default()
}

struct Check<'a> {
    document: &'a Document,
    notes: Vec<Note>,
}

impl Check<'_> {
    fn error(&mut self, path: &Path, message: impl Into<String>) {
        self.notes.push(Note::error(path.clone(), message));
    }

    fn value(&mut self, path: &Path, value: &Value, schema: &Value) {
        if value.is_null() {
            if schema["nullable"] != true {
                self.error(path, "is empty; give it a value or leave it out");
            }
            return;
        }
        let wanted = schema["type"].as_str().unwrap_or_default();
        if !wanted.is_empty() && !is_a(value, wanted) {
            self.error(path, wrong_type(value, wanted));
            return;
        }
        if let Some(allowed) = schema["enum"].as_array() {
            self.one_of(path, value, allowed);
        }
        match value {
            Value::String(text) => self.text(path, text, schema),
            Value::Number(number) => self.number(path, number.as_f64().unwrap_or_default(), schema),
            Value::Array(items) => {
                self.most(path, items.len(), &schema["maxItems"], "items");
                for (index, item) in items.iter().enumerate() {
                    self.value(&path.item(index), item, &schema["items"]);
                }
            }
            Value::Object(fields) => self.object(path, fields, schema),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, path: &Path, fields: &Map<String, Value>, schema: &Value) {
        self.most(path, fields.len(), &schema["maxProperties"], "entries");
        let known = schema["properties"].as_object();
        for (key, value) in fields {
            let at = path.child(key);
            if let Some(schema) = known.and_then(|known| known.get(key)) {
                self.value(&at, value, schema);
            } else if schema["additionalProperties"].is_object() {
                self.value(&at, value, &schema["additionalProperties"]);
            } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
                let names = || known.into_iter().flat_map(Map::keys).map(String::as_str);
                let mut near = did_you_mean(key, names());
                if near.is_empty() {
                    near = format!("; there are {}", names().collect::<Vec<_>>().join(", "));
                }
                self.notes.push(Note::error(at, format!("there is no such field{near}")).at_key());
            }
        }
        for field in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(field) {
                let about = known.and_then(|known| known.get(field)?["description"].as_str()).unwrap_or_default();
                let about = about.lines().next().unwrap_or_default();
                self.error(&path.child(field), format!("is missing; write it: {about}"));
            }
        }
    }

    fn one_of(&mut self, path: &Path, value: &Value, allowed: &[Value]) {
        if allowed.contains(value) {
            return;
        }
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let near = did_you_mean(&said, words.iter().copied());
        self.error(path, format!("{said} is none of {}{near}", words.join(", ")));
    }

    fn text(&mut self, path: &Path, text: &str, schema: &Value) {
        let length = text.chars().count() as u64;
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.error(path, format!("has {length} characters; {most} are allowed"));
        }
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            self.error(path, format!("has {length} characters; write {least} at least"));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
        {
            let hint = hint(pattern).map_or_else(|| format!("write what matches {pattern}"), str::to_owned);
            self.error(path, format!("{text} does not fit; {hint}"));
        }
        if TRUTHS.contains(&text.to_ascii_lowercase().as_str()) && self.document.is_plain(path) {
            let message = format!("kubectl reads {text} as true or false; write \"{text}\" in quotes");
            self.notes.push(Note { severity: Severity::Warning, ..Note::error(path.clone(), message) });
        }
    }

    fn number(&mut self, path: &Path, number: f64, schema: &Value) {
        if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
            self.error(path, format!("is {number}; write {least} at least"));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
            self.error(path, format!("is {number}; write {most} at most"));
        }
    }

    fn most(&mut self, path: &Path, count: usize, most: &Value, what: &str) {
        if let Some(most) = most.as_u64().filter(|most| count as u64 > *most) {
            self.error(path, format!("has {count} {what}; {most} are allowed"));
        }
    }
}

fn is_a(value: &Value, type_: &str) -> bool {
    match type_ {
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn wrong_type(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let remedy = match (wanted, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => format!("a text; write \"{value}\" in quotes"),
        ("string", _) => "a text; write it in one line, or after `|`".to_owned(),
        ("array", Value::String(text)) => format!("a list; write [{text}]"),
        ("array", _) => "a list; write [a, b]".to_owned(),
        ("object", _) => "an object; write its fields below it".to_owned(),
        ("boolean", _) => "true or false; write it without quotes".to_owned(),
        ("integer", _) => "a whole number; write it without quotes".to_owned(),
        (other, _) => format!("of type {other}"),
    };
    format!("is {found}, and should be {remedy}")
}

/// In words what the patterns of the schema mean.
fn hint(pattern: &str) -> Option<&'static str> {
    match pattern {
        r"^([0-9]+(h|m|s|ms))+$" => Some("write a length of time such as 90s, 10m or 720h"),
        r"^(/[^/]*)+$" => Some("write a JSON pointer (RFC 6901) such as /data/access_token"),
        _ => None,
    }
}
