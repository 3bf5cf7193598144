//! Reads what a token endpoint says (RFC 6749 §5), from servers that keep to the letter and from those that do not.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::provider::ErrorWords;
use crate::provider::expression::without_tokens;
use crate::sensitive::Sensitive;

/// Longest token that is taken, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// Longest lifetime that is believed.
const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// A successful answer.
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: Sensitive,
    /// How it is used; `Bearer` when the answer does not say.
    pub token_type: String,
    /// The refresh token; `None` when the answer has none, which on a refresh means that the old one stays.
    pub refresh_token: Option<Sensitive>,
    /// The lifetime; `None` when the answer has none that makes sense.
    pub lifetime: Option<SignedDuration>,
    /// The refresh token's lifetime; `None` when the answer has none that makes sense.
    pub refresh_token_lifetime: Option<SignedDuration>,
    /// The granted scopes; `None` when the answer has none, which means those that were asked for.
    pub scopes: Option<Vec<String>>,
    /// Further tokens, by the name that `oauth2.tokenSets` has for them; those that the answer has.
    pub sets: BTreeMap<String, SetTokens>,
    /// The answer without its tokens: what expressions see.
    pub body: Value,
}

/// Further tokens of an answer, such as a user's beside a bot's.
#[derive(Clone, Debug)]
pub struct SetTokens {
    /// The access token.
    pub access_token: Sensitive,
    /// How it is used; `Bearer` when the answer does not say.
    pub token_type: String,
    /// The refresh token, where there is one.
    pub refresh_token: Option<Sensitive>,
    /// The lifetime; `None` when the answer has none that makes sense.
    pub lifetime: Option<SignedDuration>,
    /// The refresh token's lifetime; `None` when the answer has none that makes sense.
    pub refresh_token_lifetime: Option<SignedDuration>,
    /// The granted scopes; `None` when the answer has none, which means those that were asked for.
    pub scopes: Option<Vec<String>>,
}

/// What a refusal means for the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The grant, or the code, is dead.
    Permanent,
    /// The server is in trouble and has not acted.
    Transient,
    /// The client is set up wrongly.
    Configuration,
}

/// A refusal (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", description.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct TokenRefusal {
    /// What it means.
    pub class: ErrorClass,
    /// The error word.
    pub code: String,
    /// The server's explanation, bounded and of printable characters only.
    pub description: Option<String>,
}

/// An answer of the token endpoint.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Tokens.
    Tokens(Box<TokenAnswer>),
    /// A refusal.
    Refused(TokenRefusal),
    /// Neither: the text says what is wrong with it, and quotes nothing of it.
    Unreadable(&'static str),
}

/// Reads an answer. `status` only decides where the body does not.
pub fn read(status: u16, body: &[u8], words: &ErrorWords) -> Answer {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return match status {
            200..=299 => Answer::Unreadable("the answer is not JSON"),
            _ => Answer::Refused(refusal(status, None, None, words)),
        };
    };
    let error = value.get("error").filter(|error| !error.is_null());
    if error.is_some() || !(200..=299).contains(&status) {
        let code = error.and_then(|error| {
            error.as_str().map(str::to_owned).or_else(|| error.get("code")?.as_str().map(str::to_owned))
        });
        let description = ["error_description", "reason", "message"].iter().find_map(|key| value.get(key)?.as_str());
        return Answer::Refused(refusal(status, code, description, words));
    }
    tokens(value)
}

fn tokens(value: Value) -> Answer {
    let access_token = match value.get("access_token").and_then(Value::as_str) {
        Some(token) if !token.is_empty() => token,
        _ => return Answer::Unreadable("the answer has no access_token"),
    };
    let refresh_token = value.get("refresh_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    for token in [Some(access_token), refresh_token].into_iter().flatten() {
        if token.len() > MAX_TOKEN {
            return Answer::Unreadable("a token in the answer is larger than 16 KiB");
        }
        // RFC 6749 appendix A.12: tokens are made of visible characters. A line break would end up in a header.
        if token.bytes().any(|byte| !(0x20..=0x7e).contains(&byte)) {
            return Answer::Unreadable("a token in the answer has control or non-ASCII characters");
        }
    }
    Answer::Tokens(Box::new(TokenAnswer {
        access_token: Sensitive::new(access_token),
        token_type: value
            .get("token_type")
            .and_then(Value::as_str)
            .filter(|kind| !kind.is_empty() && kind.len() <= 64 && kind.bytes().all(|byte| byte.is_ascii_graphic()))
            .map_or_else(|| "Bearer".to_owned(), canonical_type),
        refresh_token: refresh_token.map(Sensitive::new),
        lifetime: value.get("expires_in").and_then(lifetime),
        refresh_token_lifetime: value.get("refresh_token_expires_in").and_then(lifetime),
        scopes: value.get("scope").and_then(scopes),
        sets: BTreeMap::new(),
        body: without_tokens(&value),
    }))
}

/// `token_type` is case-insensitive (RFC 6749 §5.1); workloads like one spelling.
fn canonical_type(kind: &str) -> String {
    if kind.eq_ignore_ascii_case("bearer") { "Bearer".to_owned() } else { kind.to_owned() }
}

/// Seconds as a number or as a string; nothing that is not positive, at least one and no more than ten years.
fn lifetime(value: &Value) -> Option<SignedDuration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    if !seconds.is_finite() || seconds <= 0.0 {
        return None;
    }
    // A fraction of a second would have us refresh as fast as we can.
    let seconds = seconds.clamp(1.0, MAX_LIFETIME.as_secs_f64());
    Some(SignedDuration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFETIME))
}

/// Scopes come separated by spaces (RFC 6749 §3.3), by commas, or as a list.
fn scopes(value: &Value) -> Option<Vec<String>> {
    let scopes: Vec<String> = match value {
        Value::String(text) => text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return None,
    };
    (!scopes.is_empty()).then_some(scopes)
}

fn refusal(status: u16, code: Option<String>, description: Option<&str>, words: &ErrorWords) -> TokenRefusal {
    let code = code.map(|code| printable(&code, 64)).filter(|code| !code.is_empty());
    let class = code.as_deref().and_then(|code| class_of(code, words)).unwrap_or(match status {
        401 => ErrorClass::Configuration,
        429 | 500..=599 => ErrorClass::Transient,
        _ if code.is_some() => ErrorClass::Configuration,
        _ => ErrorClass::Transient,
    });
    TokenRefusal {
        class,
        code: code.unwrap_or_else(|| format!("HTTP {status}")),
        description: description.map(|text| printable(text, 256)).filter(|text| !text.is_empty()),
    }
}

/// The provider's own words first, then those of RFC 6749 §4.1.2.1 and §5.2 and of `OpenID` Connect Core §3.1.2.6.
fn class_of(code: &str, words: &ErrorWords) -> Option<ErrorClass> {
    let known = |list: &[String]| list.iter().any(|word| word == code);
    if known(&words.permanent) {
        Some(ErrorClass::Permanent)
    } else if known(&words.transient) {
        Some(ErrorClass::Transient)
    } else if known(&words.configuration) {
        Some(ErrorClass::Configuration)
    } else {
        match code {
            "invalid_grant" | "access_denied" | "interaction_required" | "consent_required" | "login_required" => {
                Some(ErrorClass::Permanent)
            }
            "server_error" | "temporarily_unavailable" | "slow_down" => Some(ErrorClass::Transient),
            "invalid_client"
            | "unauthorized_client"
            | "invalid_scope"
            | "invalid_request"
            | "unsupported_grant_type" => Some(ErrorClass::Configuration),
            _ => None,
        }
    }
}

/// The printable ASCII of a foreign text, at most `limit` bytes of it: it goes into conditions and logs.
pub fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|character| matches!(character, ' '..='~')).take(limit).collect()
}

/// Makes the expiry of an answer received at `now`.
pub fn expires_at(answer: &TokenAnswer, default: Option<SignedDuration>, now: Timestamp) -> Option<Timestamp> {
    answer.lifetime.or(default).map(|lifetime| now.checked_add(lifetime).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, body: &Value) -> Answer {
        read(status, body.to_string().as_bytes(), &ErrorWords::default())
    }

    #[allow(clippy::needless_pass_by_value)]
    fn lifetime_of(expires_in: Value) -> Option<i64> {
        match answer(200, &json!({ "access_token": "a", "expires_in": expires_in })) {
            Answer::Tokens(answer) => answer.lifetime.map(|lifetime| lifetime.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lifetimes_as_servers_send_them() {
        assert_eq!(lifetime_of(json!(3600)), Some(3600));
        assert_eq!(lifetime_of(json!("3600")), Some(3600));
        assert_eq!(lifetime_of(json!(0.001)), Some(1));
        assert_eq!(lifetime_of(json!(1e99)), Some(MAX_LIFETIME.as_secs()));
        for nonsense in [json!(0), json!(-1), json!(null), json!("soon"), json!([]), json!(true)] {
            assert_eq!(lifetime_of(nonsense.clone()), None, "{nonsense}");
        }
    }

    #[test]
    fn token_types() {
        for (sent, kept) in [(json!("bEaReR"), "Bearer"), (json!("bot"), "bot"), (json!(null), "Bearer")] {
            let Answer::Tokens(answer) = answer(201, &json!({ "access_token": "a", "token_type": sent })) else {
                panic!("not taken")
            };
            assert_eq!(answer.token_type, kept);
        }
    }

    #[test]
    fn empty_and_null_refresh_tokens_mean_none() {
        for sent in [json!(null), json!(""), json!(7)] {
            let Answer::Tokens(answer) = answer(200, &json!({ "access_token": "a", "refresh_token": sent })) else {
                panic!("not taken")
            };
            assert!(answer.refresh_token.is_none());
        }
    }

    #[test]
    fn scopes_in_every_form() {
        for sent in [json!("a b"), json!("a,b"), json!(["a", "b"]), json!("a, b")] {
            let Answer::Tokens(answer) = answer(200, &json!({ "access_token": "a", "scope": sent })) else {
                panic!("not taken")
            };
            assert_eq!(answer.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
        }
    }

    #[test]
    fn refusals_with_status_200_and_the_others() {
        let class = |status, body: &Value| match answer(status, body) {
            Answer::Refused(refusal) => refusal.class,
            other => panic!("{other:?}"),
        };
        assert_eq!(class(400, &json!({ "error": "invalid_grant" })), ErrorClass::Permanent);
        assert_eq!(class(403, &json!({ "error": "invalid_grant" })), ErrorClass::Permanent);
        assert_eq!(class(401, &json!({ "error": "invalid_client" })), ErrorClass::Configuration);
        assert_eq!(class(200, &json!({ "ok": false, "error": "ratelimited" })), ErrorClass::Configuration);
        assert_eq!(class(503, &json!({})), ErrorClass::Transient);
        assert_eq!(class(429, &json!({ "error": "slow_down" })), ErrorClass::Transient);
        let words = ErrorWords { transient: vec!["ratelimited".into()], ..ErrorWords::default() };
        let Answer::Refused(refusal) = read(200, br#"{"ok":false,"error":"ratelimited"}"#, &words) else { panic!() };
        assert_eq!(refusal.class, ErrorClass::Transient);
    }

    #[test]
    fn what_is_no_answer_at_all() {
        for body in ["<html>", "", "[]", "{}", "{\"access_token\":\"\"}", "{\"access_token\":\"a\\nb\"}", "{\"access_"]
        {
            assert!(matches!(read(200, body.as_bytes(), &ErrorWords::default()), Answer::Unreadable(_)), "{body}");
        }
        let large = json!({ "access_token": "x".repeat(MAX_TOKEN + 1) });
        assert!(matches!(answer(200, &large), Answer::Unreadable(_)));
    }

    #[test]
    fn descriptions_are_tamed() {
        let body = json!({ "error": "invalid_grant\u{1b}[31m", "error_description": "a\nb\u{202e}c".repeat(400) });
        let Answer::Refused(refusal) = answer(400, &body) else { panic!() };
        assert_eq!(refusal.code, "invalid_grant[31m");
        assert!(refusal.description.unwrap().len() <= 256);
    }
}
