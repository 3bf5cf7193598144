//! `refresh`, `check` and `disconnect`: ask by annotation, wait, and say how it went.

use std::io::{IsTerminal as _, Write as _};

use integration_operator::api::{ConditionType, ProjectIntegration, request};
use jiff::Timestamp;

use crate::args::{Act, Disconnect};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::request::Request;
use crate::status::{condition, is_true};
use crate::words::{moment, sentence};

/// Refreshes the access token now.
pub(crate) async fn refresh(cluster: &Cluster, act: &Act) -> Result<(), Failure> {
    carry_out(cluster, act, request::REFRESH, refreshed).await
}

/// Proves the credential now.
pub(crate) async fn check(cluster: &Cluster, act: &Act) -> Result<(), Failure> {
    carry_out(cluster, act, request::CHECK, checked).await
}

/// Revokes and forgets what is held, once the person at the terminal has said yes.
pub(crate) async fn disconnect(cluster: &Cluster, disconnect: &Disconnect) -> Result<(), Failure> {
    let name = &disconnect.act.name;
    if !disconnect.yes && std::io::stdin().is_terminal() {
        let integration = cluster.integration(name).await?;
        if !agreed(&question(&integration))? {
            return Err(Failure::refused("nothing was done"));
        }
    }
    carry_out(cluster, &disconnect.act, request::DISCONNECT, disconnected).await
}

/// Words for success or failure, from the integration as it was when the request was handled.
type Outcome = fn(&ProjectIntegration, Timestamp) -> Result<String, String>;

async fn carry_out(cluster: &Cluster, act: &Act, annotation: &'static str, words: Outcome) -> Result<(), Failure> {
    let request = Request::make(cluster, &act.name, annotation).await?;
    if act.no_wait {
        println!("asked, at {}", request.at);
        return Ok(());
    }
    let integration = request.handled(cluster, &act.name, act.timeout).await?;
    let said = words(&integration, Timestamp::now()).map_err(Failure::refused)?;
    println!("{said}");
    Ok(())
}

fn refreshed(integration: &ProjectIntegration, now: Timestamp) -> Result<String, String> {
    let token = integration.status.as_ref().and_then(|status| status.token.as_ref());
    if !is_true(integration, ConditionType::TokenFresh) {
        return Err(format!("not refreshed: {}", why(integration, ConditionType::TokenFresh)));
    }
    let Some(token) = token else { return Err("not refreshed: no token is held".to_owned()) };
    let last = moment(&token.last_refreshed_at, now);
    Ok(match &token.expires_at {
        Some(expiry) => format!("refreshed {last}; the access token expires {}", moment(expiry, now)),
        None => format!("last obtained {last}; the access token does not expire"),
    })
}

fn checked(integration: &ProjectIntegration, _: Timestamp) -> Result<String, String> {
    if is_true(integration, ConditionType::Healthy) {
        return Ok(format!("healthy: {}", why(integration, ConditionType::Healthy)));
    }
    let kind = if is_true(integration, ConditionType::Authorized) {
        ConditionType::Healthy
    } else {
        ConditionType::Authorized
    };
    let unknown = condition(integration, kind).is_none_or(|condition| condition.status == "Unknown");
    let words = why(integration, kind);
    // A provider without a call that could prove the credential is no failure of this command.
    if unknown { Ok(format!("not known: {words}")) } else { Err(format!("not healthy: {words}")) }
}

fn disconnected(integration: &ProjectIntegration, _: Timestamp) -> Result<String, String> {
    if is_true(integration, ConditionType::Authorized) {
        return Err("still connected: the operator took the request for older than the connection; \
                    compare the clock of this machine with the cluster's, and ask again"
            .to_owned());
    }
    Ok(format!("disconnected: {}", why(integration, ConditionType::Authorized)))
}

/// Reason and message of a condition.
fn why(integration: &ProjectIntegration, kind: ConditionType) -> String {
    match condition(integration, kind) {
        Some(condition) if condition.message.is_empty() => condition.reason.clone(),
        Some(condition) => format!("{}: {}", condition.reason, sentence(&condition.message)),
        None => format!("the operator says nothing about {}", kind.as_str()),
    }
}

fn question(integration: &ProjectIntegration) -> String {
    let spec = &integration.spec;
    format!(
        "Revoke and forget the connection of project {} (tenant {}) to {}? [y/N] ",
        spec.project_id, spec.tenant_id, spec.type_
    )
}

fn agreed(question: &str) -> Result<bool, Failure> {
    let failed = |source| Failure::Local { what: "ask back; pass --yes", source };
    eprint!("{question}");
    std::io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    #[test]
    fn a_refresh_says_until_when() {
        let said = refreshed(&sample::connected(), sample::now());
        assert_eq!(said.as_deref(), Ok("refreshed 18m ago; the access token expires in 42m"));
    }

    #[test]
    fn a_failed_refresh_says_why() {
        let said = refreshed(&sample::failing(), sample::now());
        let words = "not refreshed: RefreshFailing: Slack answered 503; trying again in 2m.";
        assert_eq!(said, Err(words.to_owned()));
    }

    #[test]
    fn a_check_says_what_the_provider_says() {
        let said = checked(&sample::connected(), sample::now());
        assert_eq!(said.as_deref(), Ok("healthy: Verified: Slack accepts the token."));
        let said = checked(&sample::unauthorized(), sample::now());
        let words = "not healthy: AuthorizationRequired: Nobody has authorized this integration yet.";
        assert_eq!(said, Err(words.to_owned()));
    }

    #[test]
    fn a_disconnect_that_was_too_old_is_told() {
        assert!(disconnected(&sample::connected(), sample::now()).is_err_and(|words| words.contains("clock")));
        assert!(disconnected(&sample::unauthorized(), sample::now()).is_ok());
    }
}
