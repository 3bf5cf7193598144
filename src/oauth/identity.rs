//! The call that proves a credential and says whose it is.

use std::time::Duration;

use serde_json::Value;

use super::call::{Answer, send};
use crate::provider::endpoints::IdentityEndpoint;
use crate::provider::expression::Variables;
use crate::provider::gate::Admission;
use crate::provider::outbound::{Outbound, SendError};
use crate::sensitive::Sensitive;

/// What the provider made of the credential.
#[derive(Debug)]
pub enum Verdict {
    /// It is good; the JSON body says whose it is (`null` where there is none).
    Accepted(Value),
    /// It is not.
    Rejected {
        /// The status.
        status: u16,
    },
    /// The provider wants fewer requests.
    Limited {
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// No answer, or a failure of the provider's own.
    Unavailable {
        /// The status, where there was one.
        status: Option<u16>,
        /// What went wrong on the way, where nothing came back.
        source: Option<SendError>,
    },
}

impl Verdict {
    /// Tells the gate what came of a call that it admitted.
    pub fn tell(&self, admission: Admission) {
        match self {
            Self::Accepted(_) | Self::Rejected { .. } => admission.succeeded(),
            Self::Limited { retry_after } => admission.limited(*retry_after),
            Self::Unavailable { .. } => admission.failed(),
        }
    }
}

/// Tries a credential.
pub async fn verify(outbound: &Outbound, endpoint: &IdentityEndpoint, credential: &Sensitive) -> Verdict {
    judge(send(outbound, &endpoint.call, credential).await, endpoint)
}

fn judge(answer: Answer, endpoint: &IdentityEndpoint) -> Verdict {
    match answer {
        Answer::Success { status, body } => {
            let Some(success) = &endpoint.success else { return Verdict::Accepted(body) };
            let variables = Variables { identity: body, ..Variables::default() };
            match success.evaluate(&variables) {
                Ok(Value::Bool(true)) => Verdict::Accepted(variables.identity),
                _ => Verdict::Rejected { status },
            }
        }
        // The credential is good, and this call is beyond its rights.
        Answer::Refused { status } if endpoint.limited.contains(&status) => Verdict::Accepted(Value::Null),
        Answer::Refused { status } => Verdict::Rejected { status },
        Answer::Limited { retry_after } => Verdict::Limited { retry_after },
        Answer::Unavailable { status, source } => Verdict::Unavailable { status, source },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::provider::call::{CallTemplate, Placement};
    use crate::provider::expression::Expression;
    use crate::provider::template::UrlTemplate;

    fn endpoint(success: Option<&str>, limited: &[u16]) -> IdentityEndpoint {
        let url = UrlTemplate::parse("https://api.example.com/me").unwrap();
        let call = CallTemplate::get(url, &BTreeMap::new(), &[]).unwrap();
        IdentityEndpoint {
            call: call.prepare(&Placement::default(), &BTreeMap::new(), &Arc::from([])).unwrap(),
            success: success.map(|source| Arc::new(Expression::compile(source).unwrap())),
            limited: limited.to_vec(),
        }
    }

    #[test]
    fn success_is_what_the_description_says() {
        let endpoint = endpoint(Some("identity.ok == true"), &[]);
        let answer = |body| Answer::Success { status: 200, body };
        assert!(matches!(judge(answer(json!({ "ok": true })), &endpoint), Verdict::Accepted(_)));
        for body in [json!({ "ok": false }), json!({ "ok": "true" }), json!({}), Value::Null] {
            assert!(matches!(judge(answer(body), &endpoint), Verdict::Rejected { status: 200 }));
        }
    }

    #[test]
    fn a_limited_credential_is_good() {
        let endpoint = endpoint(None, &[403]);
        assert!(matches!(judge(Answer::Refused { status: 403 }, &endpoint), Verdict::Accepted(Value::Null)));
        assert!(matches!(judge(Answer::Refused { status: 401 }, &endpoint), Verdict::Rejected { status: 401 }));
    }
}
