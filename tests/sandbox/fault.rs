//! Misbehaviour on demand: which requests a fault meets, and what it does to them.
//!
//! A fault strikes either *instead of* the request, which is then never carried out, or `after_commit`: the provider has done
//! what it was asked, and only the answer suffers. Telling the two apart is the whole difficulty of refreshing a token that
//! rotates, hence the knob.

use std::{collections::VecDeque, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{answer::Answer, authority::GrantId, connection::Link, gzip, ledger::Endpoint};

/// A fault and the requests it is meant for: by default the next token request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub effect: Effect,
    #[serde(default = "once")]
    pub times: u32,
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Only token requests of this grant type.
    #[serde(default)]
    pub grant_type: Option<String>,
    /// Only requests that concern this grant.
    #[serde(default)]
    pub grant: Option<GrantId>,
    #[serde(default)]
    pub after_commit: bool,
}

fn once() -> u32 {
    1
}

/// What a fault does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Waits, then goes on as usual.
    Delay { millis: u64 },
    /// Never answers.
    Hang,
    /// Ends the connection without an answer.
    Close,
    /// Answers with a bare status.
    Status { status: u16, retry_after: Option<String> },
    /// Answers with exactly this.
    Answer { status: u16, content_type: String, body: String },
    /// Sends the client elsewhere.
    Redirect { status: u16, location: String },
    /// An answer of this many bytes.
    Huge { bytes: u64 },
    /// A small answer that unpacks to this many bytes.
    GzipBomb { bytes: u64 },
    /// The true answer, of which only the first half arrives.
    Truncate,
    /// The true answer with these fields set.
    Set { fields: Map<String, Value> },
    /// The true answer without these fields.
    Without { fields: Vec<String> },
}

impl Fault {
    pub fn new(effect: Effect) -> Self {
        Self { effect, times: 1, endpoint: Endpoint::Token, grant_type: None, grant: None, after_commit: false }
    }

    /// Strikes this many times instead of once.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Strikes until the faults are cleared.
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    pub fn at(self, endpoint: Endpoint) -> Self {
        Self { endpoint, ..self }
    }

    pub fn on_refresh(self) -> Self {
        Self { grant_type: Some("refresh_token".to_owned()), ..self }
    }

    pub fn on_exchange(self) -> Self {
        Self { grant_type: Some("authorization_code".to_owned()), ..self }
    }

    pub fn on_grant(self, grant: GrantId) -> Self {
        Self { grant: Some(grant), ..self }
    }

    /// Carries the request out first.
    pub fn after_commit(self) -> Self {
        Self { after_commit: true, ..self }
    }

    /// Whether the request is carried out before the fault strikes. Faults that alter an answer need a true one.
    pub fn commits(&self) -> bool {
        self.after_commit || matches!(self.effect, Effect::Truncate | Effect::Set { .. } | Effect::Without { .. })
    }
}

impl Effect {
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None }
    }

    pub fn rate_limited(retry_after: &str) -> Self {
        Self::Status { status: 429, retry_after: Some(retry_after.to_owned()) }
    }

    /// `200 OK` with this text as its JSON.
    pub fn json(body: &str) -> Self {
        Self::Answer { status: 200, content_type: "application/json".to_owned(), body: body.to_owned() }
    }

    pub fn redirect(location: &str) -> Self {
        Self::Redirect { status: 307, location: location.to_owned() }
    }

    pub fn drop_refresh_token() -> Self {
        Self::without("refresh_token")
    }

    pub fn without(field: &str) -> Self {
        Self::Without { fields: vec![field.to_owned()] }
    }

    pub fn expires_in(value: impl Into<Value>) -> Self {
        Self::set("expires_in", value)
    }

    pub fn set(field: &str, value: impl Into<Value>) -> Self {
        Self::Set { fields: Map::from_iter([(field.to_owned(), value.into())]) }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Delay { .. } => "delay",
            Self::Hang => "hang",
            Self::Close => "close",
            Self::Status { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Redirect { .. } => "redirect",
            Self::Huge { .. } => "huge",
            Self::GzipBomb { .. } => "gzip_bomb",
            Self::Truncate => "truncate",
            Self::Set { .. } => "set",
            Self::Without { .. } => "without",
        }
    }

    /// Strikes: `answer` is the true one where the request was carried out.
    pub async fn strike(self, link: &Link, answer: Option<Answer>) -> Response {
        match self {
            Self::Delay { millis } => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                truth(answer)
            }
            Self::Hang => std::future::pending().await,
            Self::Close => {
                link.cut();
                StatusCode::OK.into_response()
            }
            Self::Status { status, retry_after } => with_headers(status, [(RETRY_AFTER, retry_after)], Body::empty()),
            Self::Answer { status, content_type, body } => {
                with_headers(status, [(CONTENT_TYPE, Some(content_type))], Body::from(body))
            }
            Self::Redirect { status, location } => with_headers(status, [(LOCATION, Some(location))], Body::empty()),
            Self::Huge { bytes } => with_headers(200, [json_type()], huge(bytes)),
            Self::GzipBomb { bytes } => {
                let encoding = (CONTENT_ENCODING, Some("gzip".to_owned()));
                with_headers(200, [json_type(), encoding], Body::from(gzip::bomb(bytes)))
            }
            Self::Truncate => truncated(truth(answer)).await,
            Self::Set { fields } => truth(edited(answer, |body| body.extend(fields))),
            Self::Without { fields } => truth(edited(answer, |body| body.retain(|name, _| !fields.contains(name)))),
        }
    }
}

fn truth(answer: Option<Answer>) -> Response {
    answer.map_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), Answer::into_response)
}

fn edited(answer: Option<Answer>, edit: impl FnOnce(&mut Map<String, Value>)) -> Option<Answer> {
    let mut answer = answer?;
    if let Some(Value::Object(body)) = &mut answer.body {
        edit(body);
    }
    Some(answer)
}

fn json_type() -> (HeaderName, Option<String>) {
    (CONTENT_TYPE, Some("application/json".to_owned()))
}

fn with_headers<const N: usize>(status: u16, headers: [(HeaderName, Option<String>); N], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A JSON string that goes on for about so many bytes, sent as fast as it is read.
fn huge(bytes: u64) -> Body {
    const CHUNK: usize = 16 * 1024;
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let chunks = usize::try_from(bytes.div_ceil(CHUNK as u64)).unwrap_or(usize::MAX);
    let filling = stream::repeat(chunk).take(chunks);
    let parts = stream::iter([Bytes::from_static(b"{\"access_token\":\"")])
        .chain(filling)
        .chain(stream::iter([Bytes::from_static(b"\"}")]));
    Body::from_stream(parts.map(Ok::<_, std::io::Error>))
}

/// Announces the whole body and sends half of it.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = whole.slice(..whole.len() / 2);
    let rest = stream::once(async {
        // Long enough for the first half to be on its way before the connection breaks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
    });
    Response::from_parts(parts, Body::from_stream(stream::iter([Ok(half)]).chain(rest)))
}

/// The request a fault may be meant for.
#[derive(Clone, Debug)]
pub struct Target {
    pub endpoint: Endpoint,
    pub grant_type: Option<String>,
    pub grant: Option<GrantId>,
}

/// Faults that wait for their requests, first come, first struck.
#[derive(Debug, Default)]
pub struct Faults(VecDeque<Fault>);

impl Faults {
    pub fn push(&mut self, fault: Fault) {
        self.0.push_back(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many strikes are still to come.
    pub fn pending(&self) -> u32 {
        self.0.iter().fold(0, |sum: u32, fault| sum.saturating_add(fault.times))
    }

    /// The fault that meets this request, if any.
    pub fn meet(&mut self, target: &Target) -> Option<Fault> {
        let index = self.0.iter().position(|fault| {
            fault.times > 0
                && fault.endpoint == target.endpoint
                && (fault.grant_type.is_none() || fault.grant_type == target.grant_type)
                && (fault.grant.is_none() || fault.grant == target.grant)
        })?;
        let fault = self.0[index].clone();
        if fault.times <= 1 {
            self.0.remove(index);
        } else if fault.times < u32::MAX {
            self.0[index].times -= 1;
        }
        Some(fault)
    }
}
