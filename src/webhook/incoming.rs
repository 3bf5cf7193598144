//! A request of an app, as it came, and as expressions of its description see it.

use http::HeaderMap;
use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use serde_json::{Map, Value, json};

use crate::provider::expression::Variables;
use crate::provider::webhook::{Place, WebhookRules};

/// The largest body that expressions see, in bytes; of a larger one they see nothing.
pub const LARGEST_SEEN: usize = 768 * 1024;

/// A request of an app.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its query, as it stands in the address.
    pub query: &'a str,
    /// Its body, byte by byte as it came.
    pub body: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// A header that stands there once and is text.
    pub fn header(&self, name: &HeaderName) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body).ok()
    }

    /// Its media type, without parameters and in lower case.
    pub fn media_type(&self) -> String {
        let value = self.header(&CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// What expressions see. Headers that may hold a secret are not among it.
    pub fn variables(&self, rules: &WebhookRules) -> Variables {
        let hidden = |name: &HeaderName| {
            *name == AUTHORIZATION || *name == COOKIE || rules.scheme.place == Place::Header(name.clone())
        };
        let names = self.headers.keys().filter(|name| !hidden(name));
        let headers: Map<String, Value> =
            names.filter_map(|name| Some((name.as_str().to_owned(), json!(self.header(name)?)))).collect();
        let request = json!({
            "headers": headers,
            "query": form(self.query.as_bytes()),
            "body": if self.is_seen() { self.parsed(rules.json_field.as_deref()) } else { Value::Null },
        });
        Variables { request, ..Variables::default() }
    }

    /// Whether expressions see the body.
    pub const fn is_seen(&self) -> bool {
        self.body.len() <= LARGEST_SEEN
    }

    /// The body: JSON, or a form of which one field may be JSON; `null` where it is neither.
    fn parsed(&self, json_field: Option<&str>) -> Value {
        if self.media_type() != "application/x-www-form-urlencoded" {
            return self.json().unwrap_or_default();
        }
        let mut fields = form(self.body);
        if let Some(name) = json_field
            && let Some(text) = fields.get(name).and_then(Value::as_str)
            && let Ok(value) = serde_json::from_str(text)
        {
            fields.insert(name.to_owned(), value);
        }
        Value::Object(fields)
    }
}

/// Fields of a form; of several of one name the first.
fn form(text: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(text) {
        fields.entry(name.into_owned()).or_insert_with(|| Value::String(value.into_owned()));
    }
    fields
}
