//! Recordings: what an app answers by its own documentation, and what the operator must ask and make of it.
//!
//! They lie beside the built-in descriptions as `<name>.recording.yaml`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::proxy::Received;

/// A whole recording.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recording {
    #[serde(default)]
    pub client: BTreeMap<String, String>,
    #[serde(default)]
    pub callback: Option<String>,
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    #[serde(default)]
    pub api_key: Option<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub authorize: Option<String>,
    pub connect: Connect,
    #[serde(default)]
    pub refresh: Vec<Refresh>,
    #[serde(default)]
    pub errors: Vec<ErrorCase>,
    #[serde(default)]
    pub identity: Vec<IdentityCase>,
    #[serde(default)]
    pub revoke: Option<Revoke>,
}

/// From the callback to `Ready`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    #[serde(default)]
    pub callback: BTreeMap<String, String>,
    #[serde(default)]
    pub calls: Vec<Exchange>,
    #[serde(default)]
    pub expect: Expect,
}

/// What is to be seen afterwards.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    pub secret: BTreeMap<String, String>,
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Seconds; `null` for a token that does not expire; not looked at when absent.
    #[serde(default, deserialize_with = "some")]
    #[expect(clippy::option_option, reason = "absent, null and a number are three things")]
    pub expires_in: Option<Option<i64>>,
}

#[expect(clippy::option_option, reason = "absent, null and a number are three things")]
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    pub name: String,
    pub calls: Vec<Exchange>,
    #[serde(default)]
    pub expect: Expect,
}

/// An answer of the token endpoint that is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorCase {
    pub name: String,
    pub to: String,
    pub answer: Answer,
    pub expect: ErrorExpect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorExpect {
    pub class: String,
    #[serde(default)]
    pub code: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityCase {
    pub name: String,
    pub answer: Answer,
    /// The reason of `Healthy`.
    pub expect: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    pub calls: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    pub request: Wanted,
    pub answer: Answer,
}

/// A request as it must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub method: String,
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub form: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub json: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Option<Value>,
    #[serde(default)]
    pub text: Option<String>,
}

/// Values that differ each time.
const CHANGING: [&str; 5] = ["{code}", "{state}", "{code_verifier}", "{code_challenge}", "{assertion}"];

/// Whether a value is what was recorded.
pub fn fits(wanted: &str, found: &str) -> bool {
    if CHANGING.contains(&wanted) { !found.is_empty() } else { wanted == found }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.url)
    }
}

impl Wanted {
    /// Whether a request goes to this place.
    pub fn is_at(&self, request: &Received) -> bool {
        Url::parse(&self.url).is_ok_and(|url| url == request.url) && self.method == request.method.as_str()
    }

    /// Whether another goes to the same place.
    pub fn same_place(&self, other: &Self) -> bool {
        (&self.method, &self.url) == (&other.method, &other.url)
    }

    /// What of a request is not as it must be.
    pub fn mismatches(&self, request: &Received) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut note = |what: &str, wanted: &str, found: &str| {
            wrong.push(format!("{self}: {what} must be\n    {wanted}\n  and is\n    {found}"));
        };
        for (name, wanted) in &self.headers {
            let found = request.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default());
            if !fits(wanted, found) {
                note(&format!("header {name}"), wanted, found);
            }
        }
        let text = String::from_utf8_lossy(&request.body);
        let kind = request.headers.get("content-type").map_or("", |value| value.to_str().unwrap_or_default());
        match (&self.form, &self.json) {
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
            (None, None) if self.method == "GET" && !text.is_empty() => note("the body", "empty", &text),
            (None, None) => {}
        }
        wrong
    }
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
