//! What a refusal means: by the description's expressions, its words, the standard's, and last the status.

use serde_json::Value;

use crate::provider::expression::{Expression, Variables};
use crate::provider::resolved::AnswerRules;

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
    /// Whether the description itself says so, by a word or an expression.
    pub described: bool,
    /// Whether it is the client that is refused, before anything else was looked at.
    pub of_client: bool,
    /// The error word.
    pub code: String,
    /// The server's explanation, bounded and of printable characters only.
    pub description: Option<String>,
}

/// Reads a refusal out of an answer's body, `null` where that is no JSON. `response` is the body without its tokens.
pub(super) fn refusal(status: u16, body: &Value, response: Value, rules: &AnswerRules) -> TokenRefusal {
    let code = error_word(body, rules).map(|code| printable(&code, 64)).filter(|code| !code.is_empty());
    let (class, described) = match described(status, response, code.as_deref(), rules) {
        Some(class) => (class, true),
        None => (code.as_deref().and_then(standard).unwrap_or(by_status(status, code.is_some())), false),
    };
    TokenRefusal {
        class,
        described,
        of_client: class == ErrorClass::Configuration
            && (described || status == 401 || code.as_deref() == Some("invalid_client")),
        code: code.unwrap_or_else(|| format!("HTTP {status}")),
        description: explanation(body, rules).map(|text| printable(text, 256)).filter(|text| !text.is_empty()),
    }
}

/// The error word of an answer; a number is one too. Nothing that says that there is no error.
pub(super) fn error_word(body: &Value, rules: &AnswerRules) -> Option<String> {
    fn word(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()).filter(|_| number.as_i64() != Some(0)),
            // Some nest it: `{"error": {"code": …}}`.
            Value::Object(entries) => entries.get("code").and_then(word),
            _ => None,
        }
    }
    body.pointer(rules.error.as_deref().unwrap_or("/error")).and_then(word)
}

/// Whether something stands where the error word would, be it a word or not.
pub(super) fn has_error(body: &Value, rules: &AnswerRules) -> bool {
    body.pointer(rules.error.as_deref().unwrap_or("/error")).is_some_and(|error| match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_i64() != Some(0),
        _ => true,
    })
}

fn explanation<'a>(body: &'a Value, rules: &AnswerRules) -> Option<&'a str> {
    match &rules.error_description {
        Some(pointer) => body.pointer(pointer)?.as_str(),
        None => ["error_description", "reason", "message"].iter().find_map(|key| body.get(key)?.as_str()),
    }
}

/// What the description says of it: its expressions first, then its words.
fn described(status: u16, response: Value, code: Option<&str>, rules: &AnswerRules) -> Option<ErrorClass> {
    let variables = Variables { response, status: status.into(), ..Variables::default() };
    let holds = |expression: &Expression| matches!(expression.evaluate(&variables), Ok(Value::Bool(true)));
    let known = |words: &[String]| words.iter().any(|word| Some(word.as_str()) == code);
    let by_expression = [
        (&rules.permanent_when, ErrorClass::Permanent),
        (&rules.transient_when, ErrorClass::Transient),
        (&rules.configuration_when, ErrorClass::Configuration),
    ];
    let by_word = [
        (&rules.words.permanent, ErrorClass::Permanent),
        (&rules.words.transient, ErrorClass::Transient),
        (&rules.words.configuration, ErrorClass::Configuration),
    ];
    by_expression
        .into_iter()
        .find_map(|(when, class)| when.as_deref().filter(|when| holds(when)).map(|_| class))
        .or_else(|| by_word.into_iter().find_map(|(words, class)| known(words).then_some(class)))
}

/// The words of RFC 6749 §4.1.2.1 and §5.2 and of `OpenID` Connect Core §3.1.2.6.
fn standard(code: &str) -> Option<ErrorClass> {
    match code {
        "invalid_grant" | "access_denied" | "interaction_required" | "consent_required" | "login_required" => {
            Some(ErrorClass::Permanent)
        }
        "server_error" | "temporarily_unavailable" | "slow_down" => Some(ErrorClass::Transient),
        "invalid_client" | "unauthorized_client" | "invalid_scope" | "invalid_request" | "unsupported_grant_type" => {
            Some(ErrorClass::Configuration)
        }
        _ => None,
    }
}

const fn by_status(status: u16, has_word: bool) -> ErrorClass {
    match status {
        401 => ErrorClass::Configuration,
        429 | 500..=599 => ErrorClass::Transient,
        _ if has_word => ErrorClass::Configuration,
        _ => ErrorClass::Transient,
    }
}

/// The printable ASCII of a foreign text, at most `limit` bytes of it: it goes into conditions and logs.
pub fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|character| matches!(character, ' '..='~')).take(limit).collect()
}
