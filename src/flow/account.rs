//! Asks the provider whose a connection is: the identity call, then the look-ups in their order.
//!
//! Used right after an exchange, and by the controller where what is held was derived by another description, by other
//! values, or not at all. Answers that are held are used again as long as the requests are the same.

use std::time::Duration;

use serde_json::Value;

use super::Flow;
use crate::grant::{Grant, Told};
use crate::oauth::account::{Answers, Subject, told};
use crate::oauth::call::{Answer, send};
use crate::oauth::identity::{Verdict, verify};
use crate::provider::call::PreparedCall;
use crate::provider::expression::Variables;
use crate::provider::gate::{Admission, Gates};
use crate::provider::lookup::{ChooseError, Chosen, LookupRules};
use crate::provider::outbound::{Outbound, SendError};
use crate::provider::template::TemplateError;

/// Whether the gate may keep a call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// A person waits: the gate is told what happens but not asked for leave.
    Now,
    /// It may wait until the provider can bear it.
    Later,
}

/// The provider has not said whose the connection is.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The app refuses the call.
    #[error("{call} was refused (HTTP {status})")]
    Refused {
        /// Which call.
        call: String,
        /// The status.
        status: u16,
    },
    /// The app wants fewer requests.
    #[error("the app asks for fewer requests")]
    Limited {
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// A failure of the app's own.
    #[error("{call} was answered with HTTP {status}")]
    Failed {
        /// Which call.
        call: String,
        /// The status.
        status: u16,
    },
    /// No answer.
    #[error("the app could not be reached for {call}")]
    Unreachable {
        /// Which call.
        call: String,
        /// What went wrong on the way.
        #[source]
        source: Option<SendError>,
    },
    /// The address cannot be made with what was chosen.
    #[error("lookups.{name}.url: {source}")]
    Address {
        /// The look-up.
        name: String,
        /// Why.
        source: TemplateError,
    },
    /// The credential would go where the connection was not made for.
    #[error("{call} goes to {origin}, which was not part of the description when this was connected; connect again")]
    Elsewhere {
        /// Which call.
        call: String,
        /// Where it goes.
        origin: String,
    },
    /// Nothing can be chosen from the answer.
    #[error(transparent)]
    Choose(#[from] ChooseError),
}

impl AskError {
    /// Whether it may pass without anybody's doing.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Limited { .. } | Self::Failed { .. } | Self::Unreachable { .. })
    }

    /// When the provider wants to be asked again.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after } => *retry_after,
            _ => None,
        }
    }
}

/// How the provider is reached.
#[derive(Clone, Copy, Debug)]
pub struct Ways<'a> {
    /// Requests.
    pub outbound: &'a Outbound,
    /// Whether they may be sent.
    pub gates: &'a Gates,
}

impl<'a> From<&'a Flow> for Ways<'a> {
    fn from(flow: &'a Flow) -> Self {
        Self { outbound: &flow.outbound, gates: &flow.gates }
    }
}

/// What one connection asks with.
struct Asker<'a> {
    ways: Ways<'a>,
    subject: &'a Subject<'a>,
    grant: &'a Grant,
    haste: Haste,
}

/// Asks all that the description wants to know of the account that `grant` is of.
pub async fn ask(ways: Ways<'_>, subject: &Subject<'_>, grant: &Grant, haste: Haste) -> Result<Answers, AskError> {
    let asker = Asker { ways, subject, grant, haste };
    let mut answers = Answers { identity: asker.identity().await?, ..Answers::default() };
    for lookup in &subject.provider.lookups {
        let known = grant.account.lookups.get(&lookup.name);
        let mut chosen = asker.step(lookup, &mut answers, known).await?;
        if known.is_some() && matches!(chosen, Some(Chosen::Open(_))) {
            // There may be more to choose from than there was.
            chosen = asker.step(lookup, &mut answers, None).await?;
        }
        match chosen {
            None => {}
            Some(Chosen::One { value, element }) => {
                answers.chosen.insert(lookup.name.clone(), (value, element));
            }
            Some(Chosen::Open(choice)) => {
                answers.choice = Some(choice);
                break;
            }
        }
    }
    Ok(answers)
}

impl Asker<'_> {
    async fn identity(&self) -> Result<Option<Told>, AskError> {
        let Some(endpoint) = self.subject.wanted_identity() else { return Ok(None) };
        let call = endpoint.call.digest();
        if let Some(known) = self.grant.account.identity.as_ref().filter(|known| known.call == call) {
            return Ok(Some(known.clone()));
        }
        let name = || "the identity call".to_owned();
        let admission = self.admit(&endpoint.call)?;
        let verdict = verify(self.ways.outbound, endpoint, &self.grant.tokens.access_token).await;
        if let Some(admission) = admission {
            verdict.tell(admission);
        }
        match verdict {
            Verdict::Accepted(identity) => Ok(Some(told(call, &identity))),
            Verdict::Rejected { status } => Err(AskError::Refused { call: name(), status }),
            Verdict::Limited { retry_after } => Err(AskError::Limited { retry_after }),
            Verdict::Unavailable { status: Some(status), .. } => Err(AskError::Failed { call: name(), status }),
            Verdict::Unavailable { source, .. } => Err(AskError::Unreachable { call: name(), source }),
        }
    }

    /// One look-up, and what is chosen of its answer.
    async fn step(
        &self,
        lookup: &LookupRules,
        answers: &mut Answers,
        known: Option<&Told>,
    ) -> Result<Option<Chosen>, AskError> {
        let answer = self.lookup(lookup, answers, known).await?;
        answers.lookups.insert(lookup.name.clone(), answer);
        let Some(choose) = &lookup.choose else { return Ok(None) };
        let variables = self.subject.variables(self.grant, answers);
        let wanted = self.subject.values.get(&choose.parameter).map(String::as_str);
        Ok(Some(choose.choose(&lookup.name, &variables, wanted)?))
    }

    async fn lookup(&self, lookup: &LookupRules, before: &Answers, known: Option<&Told>) -> Result<Told, AskError> {
        let name = format!("look-up {}", lookup.name);
        self.allowed(&name, lookup.call.origin(&self.subject.values))?;
        let api = &self.subject.provider.api;
        let placement = match (&self.subject.client, &api.api_key) {
            (None, Some(placement)) => placement,
            _ => &api.authorization,
        };
        let places = self.subject.places(before);
        let prepared = lookup.call.prepare(placement, &places, &self.subject.provider.private_networks);
        let prepared = prepared.map_err(|source| AskError::Address { name: lookup.name.clone(), source })?;
        let call = prepared.digest();
        if let Some(known) = known.filter(|known| known.call == call) {
            return Ok(known.clone());
        }
        let admission = self.admit(&prepared)?;
        let answer = send(self.ways.outbound, &prepared, &self.grant.tokens.access_token).await;
        if let Some(admission) = admission {
            answer.tell(admission);
        }
        match answer {
            Answer::Success { status, body } => {
                let answer = told(call, &body);
                let yes = lookup.success.as_ref().is_none_or(|success| {
                    let body = serde_json::Map::from_iter([(lookup.name.clone(), answer.body.clone())]);
                    let variables = Variables { lookup: Value::Object(body), ..Variables::default() };
                    matches!(success.evaluate(&variables), Ok(Value::Bool(true)))
                });
                if yes { Ok(answer) } else { Err(AskError::Refused { call: name, status }) }
            }
            Answer::Refused { status } => Err(AskError::Refused { call: name, status }),
            Answer::Limited { retry_after } => Err(AskError::Limited { retry_after }),
            Answer::Unavailable { status: Some(status), .. } => Err(AskError::Failed { call: name, status }),
            Answer::Unavailable { source, .. } => Err(AskError::Unreachable { call: name, source }),
        }
    }

    /// Credentials go to the origins that the grant was made for and to no others (RFC 9700 §4.4.2).
    fn allowed(&self, call: &str, origin: String) -> Result<(), AskError> {
        if self.grant.binding.allows(&origin) {
            return Ok(());
        }
        Err(AskError::Elsewhere { call: call.to_owned(), origin })
    }

    fn admit(&self, call: &PreparedCall) -> Result<Option<Admission>, AskError> {
        match self.ways.gates.admit(&self.subject.provider.reference.uid, call.url.host_str().unwrap_or_default()) {
            Ok(admission) => Ok(Some(admission)),
            Err(_) if self.haste == Haste::Now => Ok(None),
            Err(busy) => Err(AskError::Limited { retry_after: Some(busy.retry_in) }),
        }
    }
}
