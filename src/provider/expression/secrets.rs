//! What expressions never see, and what their results never hold.
//!
//! Takes JSON, gives JSON without tokens, or whether a held secret is in it. No I/O.

use serde_json::Value;

/// Keys whose values are secrets wherever they stand, compared without case, `_` and `-`.
const SECRET_KEYS: [&str; 4] = ["clientassertion", "apikey", "password", "privatekey"];

/// Ends of keys whose values are secrets, compared alike.
const SECRET_ENDINGS: [&str; 2] = ["token", "secret"];

/// Shorter secrets are not looked for: they would be found in everything.
const SHORTEST_SECRET: usize = 8;

/// A copy without tokens, at any depth.
///
/// Removed is every key that ends in `token` or `secret`, such as `access_token`, `refresh_token`, `id_token`, `token`,
/// `registrationAccessToken` or `client_secret`, and `client_assertion`, `api_key`, `password` and `private_key`, in
/// whatever spelling of case, `_` and `-`. A key such as `token_type` stays.
pub fn without_tokens(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.iter().filter(|(key, _)| !is_secret_key(key));
            Value::Object(kept.map(|(key, value)| (key.clone(), without_tokens(value))).collect())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(without_tokens).collect()),
        other => other.clone(),
    }
}

/// Takes out what lies at a JSON pointer (RFC 6901), for a token under a name that does not tell that it is one.
pub fn cut_out(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(entries)) => {
            entries.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        // The other elements keep their places.
        Some(Value::Array(_)) => {
            if let Some(element) = value.pointer_mut(pointer) {
                *element = Value::Null;
            }
        }
        _ => {}
    }
}

/// Whether what stands under this key is a secret.
fn is_secret_key(key: &str) -> bool {
    let key: String = key.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect();
    SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending)) || SECRET_KEYS.contains(&key.as_str())
}

/// Whether one of these secrets is part of a string or a key of the value, or of its strings put together one after
/// another.
///
/// Secrets shorter than 8 bytes are not looked for.
pub fn contains_secret(result: &Value, secrets: &[&str]) -> bool {
    let mut strings = Vec::new();
    collect(result, &mut strings);
    let joined = strings.concat();
    secrets.iter().any(|secret| secret.len() >= SHORTEST_SECRET && joined.contains(secret))
}

/// All strings and keys, in order.
fn collect<'value>(value: &'value Value, strings: &mut Vec<&'value str>) {
    match value {
        Value::String(text) => strings.push(text),
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, strings)),
        Value::Object(entries) => {
            for (key, element) in entries {
                strings.push(key);
                collect(element, strings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_go_and_the_rest_stays() {
        let answer = json!({
            "access_token": "a", "ACCESS-TOKEN": "a", "accessToken": "a", "refresh_token": "r", "id_token": "i", "client_secret": "c", "token": "t",
            "token_type": "bot", "expires_in": 3600, "team": {"id": "T1"}, "authed_user": {"id": "U1", "access_token": "x", "list": [{"botToken": "b", "n": 1}]},
        });
        let expected = json!({
            "token_type": "bot", "expires_in": 3600, "team": {"id": "T1"}, "authed_user": {"id": "U1", "list": [{"n": 1}]},
        });
        assert_eq!(without_tokens(&answer), expected);
    }

    #[test]
    fn what_lies_at_a_pointer_goes() {
        let mut answer = json!({ "data": { "key": "k", "n": 1 }, "a/b": "s", "list": ["t", "u"] });
        for pointer in ["/data/key", "/a~1b", "/list/0", "/list/7", "/nowhere/at/all", "", "/data/key/deeper"] {
            cut_out(&mut answer, pointer);
        }
        assert_eq!(answer, json!({ "data": { "n": 1 }, "list": [null, "u"] }));
    }

    #[test]
    fn secrets_are_found() {
        let secrets = ["xoxb-1234567", "short"];
        for value in [
            json!("xoxb-1234567"),
            json!("Bearer xoxb-1234567."),
            json!({"a": [1, {"xoxb-1234567": 2}]}),
            json!(["xoxb-1", "234567"]),
            json!([["xoxb"], {"-123": "4567"}]),
        ] {
            assert!(contains_secret(&value, &secrets), "{value}");
        }
        for value in [json!("xoxb-123456"), json!("short"), json!(null), json!([1, 2, true]), json!({})] {
            assert!(!contains_secret(&value, &secrets), "{value}");
        }
        assert!(!contains_secret(&json!("anything"), &[""]));
    }
}
