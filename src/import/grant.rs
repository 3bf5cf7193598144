//! From a row to a grant, by the functions that make one of a token answer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Trouble;
use super::rows::Row;
use crate::grant::{Grant, Owner};
use crate::oauth::answer::{Answer, TokenAnswer, read};
use crate::oauth::authorize::{Purpose, first_grant};
use crate::provider::registry::Usable;
use crate::provider::resolved::AnswerRules;

/// The row as a token answer. Its tokens lie where the table has them, whatever the description says of the app's answers.
pub(super) fn answer(row: &Row) -> Result<TokenAnswer, Trouble> {
    let mut body = row.answer();
    if let Value::Object(body) = &mut body {
        // The row tells of a moment, and not how long it was to that.
        for name in ["expires_in", "error"] {
            body.remove(name);
        }
    }
    let bytes = zeroize::Zeroizing::new(body.to_string());
    match read(200, bytes.as_bytes(), &AnswerRules::default(), Timestamp::now()) {
        Answer::Tokens(answer) => Ok(*answer),
        Answer::Unreadable(what) => Err(Trouble::Tokens(what)),
        Answer::Refused(_) => Err(Trouble::Tokens("it reads as a refusal")),
    }
}

/// The grant of a row. A token whose expiry nobody knows, and that can be refreshed, counts as expired: the operator
/// refreshes it at once and knows then.
pub(super) fn grant(
    row: &Row,
    owner: &Owner,
    usable: &Usable,
    parameters: &BTreeMap<String, String>,
    answer: &TokenAnswer,
    epoch: u64,
) -> Grant {
    let now = Timestamp::now();
    let obtained_at = row.updated_at.or(row.installed_at).unwrap_or(now).min(now);
    let scopes = answer.scopes.clone().unwrap_or_else(|| usable.client.scopes.clone());
    let purpose = Purpose {
        integration: owner,
        tenant: &row.tenant,
        project: &row.project,
        type_: &row.type_,
        scopes: &scopes,
        parameters,
        query: &BTreeMap::new(),
        caller: None,
        agent_id: row.agent_id(),
    };
    let mut grant = first_grant(purpose, usable, answer, epoch, obtained_at);
    let unknown = grant.tokens.refresh_token.is_some().then_some(obtained_at);
    grant.tokens.expires_at = row.expires_at().or(grant.tokens.expires_at).or(unknown);
    grant.installed.at = row.installed_at.unwrap_or(obtained_at);
    grant
}
