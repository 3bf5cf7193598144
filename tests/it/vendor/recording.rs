//! Whether what the operator asks is what a recording says: what an app answers by its own documentation, and what it must be
//! asked. Recordings lie beside the built-in descriptions as `<name>.recording.yaml`.

use std::collections::BTreeMap;

use integration_operator::recording::format::Request;
use serde_json::Value;
use url::Url;

use super::proxy::Received;

/// Values that differ each time.
const CHANGING: [&str; 5] = ["{code}", "{state}", "{code_verifier}", "{code_challenge}", "{assertion}"];

/// Whether a value is what was recorded.
pub fn fits(wanted: &str, found: &str) -> bool {
    if CHANGING.contains(&wanted) { !found.is_empty() } else { wanted == found }
}

/// Whether a request goes to this place.
pub fn is_at(wanted: &Request, request: &Received) -> bool {
    Url::parse(&wanted.url).is_ok_and(|url| url == request.url) && wanted.method == request.method.as_str()
}

/// Whether two go to the same place.
pub fn same_place(one: &Request, other: &Request) -> bool {
    (&one.method, &one.url) == (&other.method, &other.url)
}

/// What of a request is not as it must be.
pub fn mismatches(wanted: &Request, request: &Received) -> Vec<String> {
    let place = wanted.to_string();
    let mut wrong = Vec::new();
    let mut note = |what: &str, wanted: &str, found: &str| {
        wrong.push(format!("{place}: {what} must be\n    {wanted}\n  and is\n    {found}"));
    };
    for (name, wanted) in &wanted.headers {
        let found = request.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default());
        if !fits(wanted, found) {
            note(&format!("header {name}"), wanted, found);
        }
    }
    let text = String::from_utf8_lossy(&request.body);
    let kind = request.headers.get("content-type").map_or("", |value| value.to_str().unwrap_or_default());
    match (&wanted.form, &wanted.json) {
        (Some(form), _) => {
            let pairs: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
            let found: BTreeMap<String, String> = pairs.iter().cloned().collect();
            let same = pairs.len() == form.len()
                && form.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| fits(wanted, found)));
            if !same || kind != "application/x-www-form-urlencoded" {
                note("the form", &format!("{form:?}"), &format!("{found:?} ({kind})"));
            }
        }
        (None, Some(json)) => {
            let found: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            if !json_fits(json, &found) || kind != "application/json" {
                note("the JSON", &json.to_string(), &format!("{text} ({kind})"));
            }
        }
        (None, None) if wanted.method == "GET" && !text.is_empty() => note("the body", "empty", &text),
        (None, None) => {}
    }
    wrong
}

fn json_fits(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::String(wanted), Value::String(found)) => fits(wanted, found),
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.len() == found.len()
                && wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| json_fits(wanted, found)))
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| json_fits(wanted, found))
        }
        _ => wanted == found,
    }
}
