//! Plays the app: compares each request with the recording to the letter, and gives the recorded answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use url::Url;

use super::format::{Answer, Exchange, Request};
use super::report::{differs, short};
use crate::provider::outbound::{OutboundRequest, OutboundResponse, Player, SendError};

/// What stands for a text that is another one each time.
const CHANGING: [&str; 5] = ["{code}", "{state}", "{code_verifier}", "{code_challenge}", "{assertion}"];

/// Exchanges to be played, and what went wrong.
#[derive(Debug)]
pub(super) struct Script {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that were not asked for yet.
    left: Vec<Exchange>,
    /// The answer to everything, in place of exchanges.
    always: Option<Answer>,
    problems: Vec<String>,
}

impl Script {
    /// These exchanges.
    pub(super) fn of(exchanges: &[Exchange]) -> Self {
        Self { state: Mutex::new(State { left: exchanges.to_vec(), ..State::default() }) }
    }

    /// One answer to whatever is asked.
    pub(super) fn always(answer: &Answer) -> Self {
        Self { state: Mutex::new(State { always: Some(answer.clone()), ..State::default() }) }
    }

    /// How many exchanges are left.
    pub(super) fn left(&self) -> usize {
        self.lock().left.len()
    }

    /// What went wrong, and what was never asked.
    pub(super) fn problems(&self) -> Vec<String> {
        let state = self.lock();
        let unasked = state.left.iter().map(|one| format!("was not asked: {} {}", one.request.method, one.request.url));
        state.problems.iter().cloned().chain(unasked).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Player for Script {
    fn play(&self, request: &OutboundRequest) -> Result<OutboundResponse, SendError> {
        let mut state = self.lock();
        if let Some(answer) = &state.always {
            return Ok(response(answer));
        }
        let matching = state.left.iter().position(|exchange| mismatches(&exchange.request, request).is_empty());
        let same_place = || state.left.iter().position(|exchange| is_at(&exchange.request, request));
        let Some(index) = matching.or_else(same_place) else {
            let problem = format!("asks {} {}, which is not recorded", request.method, request.url);
            state.problems.push(problem);
            return Ok(response(&Answer { status: 404, ..Answer::default() }));
        };
        let exchange = state.left.remove(index);
        let asked = format!("{} {}", request.method, request.url);
        let wrong = mismatches(&exchange.request, request);
        state.problems.extend(wrong.into_iter().map(|wrong| format!("{asked}: {wrong}")));
        Ok(response(&exchange.answer))
    }
}

fn response(answer: &Answer) -> OutboundResponse {
    let body = match (&answer.body, &answer.text) {
        (Some(body), _) => body.to_string(),
        (None, text) => text.clone().unwrap_or_default(),
    };
    let headers = answer.headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
    });
    OutboundResponse {
        status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers: headers.collect::<HeaderMap>(),
        body: body.into_bytes(),
    }
}

fn is_at(wanted: &Request, request: &OutboundRequest) -> bool {
    wanted.method == request.method.as_str() && Url::parse(&wanted.url).is_ok_and(|url| url == request.url)
}

/// What of a request is not as it must be.
fn mismatches(wanted: &Request, request: &OutboundRequest) -> Vec<String> {
    if !is_at(wanted, request) {
        return vec![format!("should be {} {}", wanted.method, wanted.url)];
    }
    let mut wrong = Vec::new();
    for (name, value) in &wanted.headers {
        match request.headers.get(name).and_then(|value| value.to_str().ok()) {
            Some(found) => {
                wrong.extend(differs(&format!("header {name}"), value, found).filter(|_| !stands_for(value, found)));
            }
            None => wrong.push(format!("header {name} is missing")),
        }
    }
    let body = request.body.as_deref().unwrap_or_default();
    match (&wanted.form, &wanted.json) {
        (Some(form), _) => wrong.extend(of_form(form, body)),
        (None, Some(json)) => match serde_json::from_slice::<Value>(body) {
            Ok(found) => of_json(json, &found, "body", &mut wrong),
            Err(_) => wrong.push("the body is no JSON".to_owned()),
        },
        (None, None) if wanted.method == "GET" && !body.is_empty() => wrong.push("has a body".to_owned()),
        (None, None) => {}
    }
    wrong
}

/// Whether what is wanted stands for any text.
fn stands_for(wanted: &str, found: &str) -> bool {
    CHANGING.contains(&wanted) && !found.is_empty()
}

fn of_form(wanted: &BTreeMap<String, String>, body: &[u8]) -> Vec<String> {
    let found: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let mut wrong = Vec::new();
    for (name, value) in wanted {
        match found.get(name) {
            Some(found) if stands_for(value, found) => {}
            Some(found) => wrong.extend(differs(&format!("form {name}"), value, found)),
            None => wrong.push(format!("form {name} is missing")),
        }
    }
    let more = found.iter().filter(|(name, _)| !wanted.contains_key(*name));
    wrong.extend(more.map(|(name, value)| format!("form {name}={} is too much", short(value))));
    wrong
}

fn of_json(wanted: &Value, found: &Value, path: &str, wrong: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                match found.get(key) {
                    Some(found) => of_json(value, found, &format!("{path}.{key}"), wrong),
                    None => wrong.push(format!("{path}.{key} is missing")),
                }
            }
            let more = found.keys().filter(|key| !wanted.contains_key(*key));
            wrong.extend(more.map(|key| format!("{path}.{key} is too much")));
        }
        (Value::String(wanted), Value::String(found)) if stands_for(wanted, found) => {}
        (Value::String(wanted), Value::String(found)) => wrong.extend(differs(path, wanted, found)),
        (wanted, found) if wanted == found => {}
        _ => wrong.push(format!("{path} differs")),
    }
}
