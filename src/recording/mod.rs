//! Recordings: what a vendor documents, played to a description through the operator's own code.
//!
//! Takes a description and a recording as text, gives a [`Report`]. Requests are built and answers read by the
//! functions that the running operator uses (`operate`); only the network is not there (`player`). No I/O.

pub mod format;
mod operate;
mod player;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::ClusterIntegrationProvider;
use crate::causes::chain;
use crate::grant::Grant;
use crate::provider::catalogue::with_preset;
use crate::provider::outbound::Outbound;
use crate::publish;
use crate::sensitive::Sensitive;
use format::{Asked, Expect, Expiry, Recording, Revoke};
use operate::{App, STATE};
use player::Script;
use report::differs;
pub use report::{Report, Step};

/// Seconds by which an expiry may be off: the test takes time itself.
const SLACK: i64 = 5;

/// Nothing could be played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The description is none.
    #[error("the description cannot be read; `providers lint` says more")]
    Description(#[source] serde_yaml::Error),
    /// The recording is none.
    #[error("the recording cannot be read")]
    Recording(#[source] serde_yaml::Error),
    /// The description cannot be used with what the recording has.
    #[error("{0}")]
    App(String),
}

/// Plays a recording to a description.
pub async fn play(description: &str, recording: &str) -> Result<Report, PlayError> {
    let manifest: ClusterIntegrationProvider = serde_yaml::from_str(description).map_err(PlayError::Description)?;
    let recording: Recording = serde_yaml::from_str(recording).map_err(PlayError::Recording)?;
    let spec = with_preset(&manifest.spec.description).map_err(|error| PlayError::App(chain(&error)))?;
    let name = manifest.metadata.name.unwrap_or_default();
    let app = App::new(&name, &spec, &recording).map_err(PlayError::App)?;
    let mut report = Report::default();
    if let Some((url, challenge)) = app.authorization_url() {
        let wanted = recording.authorize.as_deref().unwrap_or_default();
        let wanted = wanted.replace("{state}", STATE).replace("{code_challenge}", &challenge);
        let problem = (wanted != url.as_str()).then(|| format!("is {url}\n          and should be {wanted}"));
        report.step("authorize", problem.into_iter().collect());
    }
    let grant = Box::pin(connect(&app, &recording, &mut report)).await;
    let later = match &grant {
        Some(grant) => Box::pin(refreshes(&app, grant, &recording, &mut report)).await,
        None => vec![],
    };
    Box::pin(errors(&app, grant.as_ref(), &recording, &mut report)).await;
    let credential = grant.as_ref().map_or_else(|| Sensitive::new("token"), |grant| grant.tokens.access_token.clone());
    for case in &recording.identity {
        let outbound = Outbound::played(Arc::new(Script::always(&case.answer)));
        let found = Box::pin(app.verdict(&outbound, &credential)).await.unwrap_or("NotChecked");
        let problem = (found != case.expect).then(|| format!("is {found}, and should be {}", case.expect));
        report.step(format!("identity: {}", case.name), problem.into_iter().collect());
    }
    if let (Some(case), Some(grant)) = (&recording.revoke, &grant) {
        // Revoked is what was held last: what connecting gave, or a refresh after it.
        let mut problems = revocation(&app, case, grant).await;
        for later in &later {
            if !problems.is_empty() {
                let again = revocation(&app, case, later).await;
                problems = if again.is_empty() { again } else { problems };
            }
        }
        report.step("revoke", problems);
    }
    Ok(report)
}

async fn connect(app: &App, recording: &Recording, report: &mut Report) -> Option<Grant> {
    let script = Arc::new(Script::of(&recording.connect.calls));
    let outbound = Outbound::played(Arc::clone(&script) as _);
    let outcome = app.connect(&outbound, || script.left() > 0).await;
    let mut problems = script.problems();
    let grant = match outcome {
        Ok(grant) => {
            problems.extend(compare(&recording.connect.expect, &grant));
            Some(grant)
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    report.step("connect", problems);
    grant
}

async fn revocation(app: &App, case: &Revoke, grant: &Grant) -> Vec<String> {
    let script = Arc::new(Script::of(&case.calls));
    let outcome = app.revoke(&Outbound::played(Arc::clone(&script) as _), grant).await;
    outcome.err().into_iter().chain(script.problems()).collect()
}

/// Plays each refresh after connecting, and gives what is held after each.
async fn refreshes(app: &App, grant: &Grant, recording: &Recording, report: &mut Report) -> Vec<Grant> {
    let mut held = Vec::new();
    for case in &recording.refresh {
        let script = Arc::new(Script::of(&case.calls));
        let outbound = Outbound::played(Arc::clone(&script) as _);
        let outcome = app.refresh(&outbound, grant, || script.left() > 0).await;
        let mut problems = script.problems();
        match outcome {
            Ok(renewed) => {
                problems.extend(compare(&case.expect, &renewed));
                held.push(renewed);
            }
            Err(problem) => problems.push(problem),
        }
        report.step(format!("refresh: {}", case.name), problems);
    }
    held
}

async fn errors(app: &App, grant: Option<&Grant>, recording: &Recording, report: &mut Report) {
    for case in &recording.errors {
        let outbound = Outbound::played(Arc::new(Script::always(&case.answer)));
        let held = match case.to {
            Asked::Code => None,
            Asked::Refresh => grant,
        };
        let mut problems = Vec::new();
        match app.refused(&outbound, held).await {
            Some(said) => {
                if said.class != case.expect.class {
                    problems.push(format!("is {}, and should be {}", said.class, case.expect.class));
                }
                if let Some(wanted) = &case.expect.code {
                    problems.extend(differs("the error word", wanted, &said.code.unwrap_or_default()));
                }
            }
            None => problems.push("there is no token request to refuse".to_owned()),
        }
        report.step(format!("error: {}", case.name), problems);
    }
}

/// What of a grant is not as expected. Values that may be secrets are shown in part.
fn compare(expect: &Expect, grant: &Grant) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(wanted) = &expect.metadata {
        for name in wanted.keys().chain(grant.metadata.keys().filter(|name| !wanted.contains_key(*name))) {
            match (wanted.get(name), grant.metadata.get(name)) {
                (Some(wanted), Some(found)) if wanted == found => {}
                (Some(wanted), Some(found)) => {
                    wrong.push(format!("metadata.{name} is {found}, and should be {wanted}"));
                }
                (Some(wanted), None) => wrong.push(format!("metadata.{name} is missing, and should be {wanted}")),
                (None, found) => {
                    wrong.push(format!("metadata.{name} is too much: {}", found.cloned().unwrap_or_default()));
                }
            }
        }
    }
    let published: BTreeMap<String, String> = publish::data(grant)
        .into_iter()
        .filter_map(|(name, value)| Some((name, String::from_utf8(value.0).ok()?)))
        .collect();
    for (name, wanted) in &expect.secret {
        match published.get(name) {
            Some(found) => wrong.extend(differs(&format!("secret.{name}"), wanted, found)),
            None => wrong.push(format!("secret.{name} is missing")),
        }
    }
    if let Some(wanted) = &expect.scopes
        && *wanted != grant.scopes
    {
        wrong.push(format!("scopes are {}, and should be {}", grant.scopes.join(" "), wanted.join(" ")));
    }
    let tokens = &grant.tokens;
    let found = tokens.expires_at.map(|at| at.duration_since(tokens.obtained_at).as_secs());
    let found_words = found.map_or_else(|| "never".to_owned(), |seconds| format!("in {seconds} s"));
    match expect.expires_in {
        Expiry::Any => {}
        Expiry::Never if found.is_none() => {}
        Expiry::In(wanted) if found.is_some_and(|found| (wanted - found).abs() <= SLACK) => {}
        Expiry::Never => wrong.push(format!("expires {found_words}, and should never")),
        Expiry::In(wanted) => wrong.push(format!("expires {found_words}, and should in {wanted} s")),
    }
    wrong
}

#[cfg(test)]
mod tests;
