//! Reads what a token endpoint says (RFC 6749 §5), from servers that keep to the letter and from those that do not.

mod expiry;
mod refusal;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::provider::expression::{Variables, cut_out, without_tokens};
use crate::provider::resolved::{AnswerRules, TokenPlaces};
use crate::sensitive::Sensitive;

pub use refusal::{ErrorClass, TokenRefusal, printable};
use refusal::{has_error, refusal};

/// Longest token that is taken, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

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

/// Reads an answer received at `now`. `status` only decides where the body does not.
pub fn read(status: u16, body: &[u8], rules: &AnswerRules, now: Timestamp) -> Answer {
    let success = (200..=299).contains(&status);
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return if success {
            Answer::Unreadable("the answer is not JSON")
        } else {
            Answer::Refused(refusal(status, &Value::Null, Value::Null, rules))
        };
    };
    let response = told(&value, rules);
    if !success {
        return Answer::Refused(refusal(status, &value, response, rules));
    }
    let variables = Variables { response, status: status.into(), ..Variables::default() };
    let yes = match &rules.success {
        None => !has_error(&value, rules),
        Some(success) => match success.evaluate(&variables) {
            Ok(verdict) => verdict == Value::Bool(true),
            // There may be tokens in it.
            Err(_) => return Answer::Unreadable("oauth2.tokenResponse.success cannot be evaluated over the answer"),
        },
    };
    if yes {
        tokens(&value, variables.response, rules, now)
    } else {
        Answer::Refused(refusal(status, &value, variables.response, rules))
    }
}

/// The part of an answer that expressions may see.
fn told(body: &Value, rules: &AnswerRules) -> Value {
    let mut body = without_tokens(body);
    for pointer in rules.token_pointers() {
        cut_out(&mut body, pointer);
    }
    body
}

fn tokens(body: &Value, told: Value, rules: &AnswerRules, now: Timestamp) -> Answer {
    let main = match set(body, &rules.tokens, rules, now) {
        Ok(Some(tokens)) => tokens,
        Ok(None) if rules.tokens == TokenPlaces::default() => {
            return Answer::Unreadable("the answer has no access_token");
        }
        Ok(None) => return Answer::Unreadable("the answer has no token at oauth2.tokenResponse.accessToken"),
        Err(what) => return Answer::Unreadable(what),
    };
    // Whoever asked for the first tokens gets them, whatever is wrong with further ones.
    let further = |(name, places): (&String, &TokenPlaces)| {
        set(body, places, rules, now).ok().flatten().map(|tokens| (name.clone(), tokens))
    };
    Answer::Tokens(Box::new(TokenAnswer {
        access_token: main.access_token,
        token_type: main.token_type,
        refresh_token: main.refresh_token,
        lifetime: main.lifetime,
        refresh_token_lifetime: main.refresh_token_lifetime,
        scopes: main.scopes,
        sets: rules.sets.iter().filter_map(further).collect(),
        body: told,
    }))
}

/// The tokens at these places; `None` where there is no access token.
fn set(
    body: &Value,
    places: &TokenPlaces,
    rules: &AnswerRules,
    now: Timestamp,
) -> Result<Option<SetTokens>, &'static str> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(access_token) = text(&places.access_token) else { return Ok(None) };
    let refresh_token = text(&places.refresh_token);
    for token in [Some(access_token), refresh_token].into_iter().flatten() {
        if token.len() > MAX_TOKEN {
            return Err("a token in the answer is larger than 16 KiB");
        }
        // RFC 6749 appendix A.12: tokens are made of visible characters. A line break would end up in a header.
        if token.bytes().any(|byte| !(0x20..=0x7e).contains(&byte)) {
            return Err("a token in the answer has control or non-ASCII characters");
        }
    }
    let lifetime = |pointer: &str| body.pointer(pointer).and_then(|value| expiry::lifetime(value, rules.expiry, now));
    Ok(Some(SetTokens {
        access_token: Sensitive::new(access_token),
        token_type: text(&places.token_type)
            .filter(|kind| kind.len() <= 64 && kind.bytes().all(|byte| byte.is_ascii_graphic()))
            .map_or_else(|| "Bearer".to_owned(), canonical_type),
        refresh_token: refresh_token.map(Sensitive::new),
        lifetime: lifetime(&places.expires_in),
        refresh_token_lifetime: lifetime(&places.refresh_token_expires_in),
        scopes: body.pointer(&places.scope).and_then(scopes),
    }))
}

/// `token_type` is case-insensitive (RFC 6749 §5.1); workloads like one spelling.
fn canonical_type(kind: &str) -> String {
    if kind.eq_ignore_ascii_case("bearer") { "Bearer".to_owned() } else { kind.to_owned() }
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

/// Makes the expiry of an answer received at `now`.
pub fn expires_at(answer: &TokenAnswer, default: Option<SignedDuration>, now: Timestamp) -> Option<Timestamp> {
    answer.lifetime.or(default).map(|lifetime| now.checked_add(lifetime).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests;
