//! Request annotations: each holds a time, is done once, and is acknowledged by the same time in the grant and status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::context::Context;
use super::situation::Situation;
use crate::api::request;
use crate::grant::store::Marks;
use crate::grant::{Handled, StoreError};

/// What the annotations of an integration ask for and has not been done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// A link to authorize with.
    pub connect: Option<String>,
    /// A refresh now.
    pub refresh: Option<String>,
    /// Revoke and forget.
    pub disconnect: Option<String>,
    /// Check now.
    pub check: Option<String>,
    /// Requests that are acknowledged without being done: they are older than what is connected now.
    pub stale: Vec<(&'static str, String)>,
}

/// Reads the annotations. `mirrored` is `status.handled`, which counts only while there is no grant to ask.
pub fn requests(situation: &Situation<'_>, mirrored: &BTreeMap<String, String>) -> Requests {
    let grant = situation.grant.as_ref();
    let created = situation.integration.creation_timestamp().map(|time| time.0);
    // Such a key would be taken up even where nothing is held now.
    let names_key = situation.integration.spec.api_key.is_some();
    let installed = grant.map(|grant| grant.summary.installed_at);
    let mut requests = Requests::default();
    for annotation in [request::CONNECT, request::REFRESH, request::DISCONNECT, request::CHECK] {
        let Some(value) = situation.integration.annotations().get(annotation) else { continue };
        let handled = match grant {
            Some(grant) => grant.handled.is(annotation, value),
            None => mirrored.get(annotation) == Some(value),
        };
        if handled {
            continue;
        }
        let Ok(asked) = value.parse::<Timestamp>() else {
            requests.stale.push((annotation, value.clone()));
            continue;
        };
        // Times in an annotation have seconds; those of objects too. A request in the second of the creation is
        // taken as later, except for a disconnect, which must be later beyond doubt.
        let second = |time: Timestamp| time.as_second();
        let older = |than: Option<Timestamp>| than.is_some_and(|than| second(asked) < second(than));
        let not_later = |than: Option<Timestamp>| than.is_some_and(|than| second(asked) <= second(than));
        let slot = match annotation {
            request::CONNECT if !older(installed) => &mut requests.connect,
            request::REFRESH if grant.is_some() && !older(installed) => &mut requests.refresh,
            request::DISCONNECT if (grant.is_some() || names_key) && !not_later(created) && !not_later(installed) => {
                &mut requests.disconnect
            }
            request::CHECK => &mut requests.check,
            _ => {
                requests.stale.push((annotation, value.clone()));
                continue;
            }
        };
        *slot = Some(value.clone());
    }
    requests
}

/// What is handled once `done` is: the grant's own list with these on top.
pub fn with(situation: &Situation<'_>, mirrored: &BTreeMap<String, String>, done: &[(&str, String)]) -> Handled {
    let mut handled = match &situation.grant {
        Some(grant) => grant.handled.0.clone(),
        None => mirrored.clone(),
    };
    for (annotation, value) in done {
        handled.insert((*annotation).to_owned(), value.clone());
    }
    // What is no longer asked for need not be remembered.
    handled.retain(|annotation, _| situation.integration.annotations().contains_key(annotation));
    Handled(handled)
}

/// Writes onto the grant what was handled; without a grant the status alone remembers.
pub async fn acknowledge(
    context: &Context,
    situation: &mut Situation<'_>,
    handled: &Handled,
) -> Result<(), StoreError> {
    let Some(grant) = &situation.grant else { return Ok(()) };
    if grant.handled == *handled {
        return Ok(());
    }
    let marks = Marks { handled: Some(handled.clone()), ..Marks::default() };
    let found = context.grants.annotate(grant, &marks).await?;
    context.wrote(&situation.uid, &found.view);
    situation.grant = Some(found.view);
    Ok(())
}
