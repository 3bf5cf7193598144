//! What a recording says: a YAML file beside a description, `slack.recording.yaml` beside `slack.yaml`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A whole recording.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recording {
    /// Keys of the Secret with the client's credentials.
    #[serde(default)]
    pub client: BTreeMap<String, String>,
    /// The redirect URI, where it is not the operator's own for this description.
    #[serde(default)]
    pub callback: Option<String>,
    /// Values of the form.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// The key, in place of a client.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Scopes of the integration; those of the description when empty.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The authorization URL to the letter; `{state}` and `{code_challenge}` stand for what changes.
    #[serde(default)]
    pub authorize: Option<String>,
    /// From the callback to `Ready`.
    pub connect: Connect,
    /// Refreshes.
    #[serde(default)]
    pub refresh: Vec<Refresh>,
    /// Refusals of the token endpoint.
    #[serde(default)]
    pub errors: Vec<Refusal>,
    /// Answers of the identity call.
    #[serde(default)]
    pub identity: Vec<Verdict>,
    /// What deletion asks.
    #[serde(default)]
    pub revoke: Option<Revoke>,
}

/// From the callback to `Ready`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Further parameters of the callback.
    #[serde(default)]
    pub callback: BTreeMap<String, String>,
    /// What is asked, in order.
    #[serde(default)]
    pub calls: Vec<Exchange>,
    /// What is to be seen afterwards.
    #[serde(default)]
    pub expect: Expect,
}

/// What is to be seen afterwards; what is left out is not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    /// `status.metadata`, all of it.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Value>>,
    /// Keys of the published Secret.
    #[serde(default)]
    pub secret: BTreeMap<String, String>,
    /// `status.scopes`.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Seconds to the expiry; `null` where there is none.
    #[serde(default)]
    pub expires_in: Expiry,
}

/// When the access token expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It is not looked at.
    #[default]
    Any,
    /// Never.
    Never,
    /// In so many seconds.
    In(i64),
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Never, Self::In))
    }
}

/// A refresh.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// What it shows.
    pub name: String,
    /// What is asked, in order.
    pub calls: Vec<Exchange>,
    /// What is to be seen afterwards.
    #[serde(default)]
    pub expect: Expect,
}

/// An answer of the token endpoint that gives no tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What it shows.
    pub name: String,
    /// To what it answers.
    pub to: Asked,
    /// The answer.
    pub answer: Answer,
    /// What the operator makes of it.
    pub expect: Meaning,
}

/// A token request.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// With a code.
    Code,
    /// With a refresh token.
    Refresh,
}

/// What the operator makes of a refusal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meaning {
    /// `Permanent`, `Transient`, `Configuration` or `Ambiguous`.
    pub class: String,
    /// The error word.
    #[serde(default)]
    pub code: Option<String>,
}

/// An answer of the identity call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// What it shows.
    pub name: String,
    /// The answer.
    pub answer: Answer,
    /// `Verified`, `Rejected`, `RateLimited` or `ProviderUnavailable`.
    pub expect: String,
}

/// What deletion asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// In order.
    pub calls: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// As it must be.
    pub request: Request,
    /// As the vendor documents it.
    pub answer: Answer,
}

/// A request as it must be. `{code}`, `{state}`, `{code_verifier}`, `{code_challenge}` and `{assertion}` stand for any
/// text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The address, with its query.
    pub url: String,
    /// Headers that it must have, in lower case; others are not looked at.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as a form, exactly.
    #[serde(default)]
    pub form: Option<BTreeMap<String, String>>,
    /// The body as JSON, exactly.
    #[serde(default)]
    pub json: Option<Value>,
}

/// Its method and address.
impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.url)
    }
}

/// An answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// The body, as it is.
    #[serde(default)]
    pub text: Option<String>,
}
