//! Writes the status, and tells of transitions.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::json;

use crate::api::project_integration::ProjectIntegrationStatus;
use crate::api::{MANAGER, ProjectIntegration, Reason};
use crate::controller::context::Context;

/// Whether a status says of an integration that is connected no more than that times have changed.
pub fn is_no_news(standing: &ProjectIntegrationStatus, status: &ProjectIntegrationStatus) -> bool {
    let without_times = |status: &ProjectIntegrationStatus| {
        let mut status = status.clone();
        if let Some(token) = &mut status.token {
            (token.expires_at, token.next_refresh_at) = (None, None);
            token.last_refreshed_at.clear();
            for set in token.sets.values_mut() {
                (set.expires_at, set.next_refresh_at) = (None, None);
                set.last_refreshed_at.clear();
            }
        }
        if let Some(installation) = &mut status.installation {
            installation.last_updated_at.clear();
        }
        // Messages name such times.
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    status.token.is_some() && without_times(standing) == without_times(status)
}

/// Writes the status where it differs from what stands, and tells of transitions by an Event.
pub async fn apply(
    context: &Context,
    integration: &ProjectIntegration,
    status: ProjectIntegrationStatus,
) -> Result<(), kube::Error> {
    let standing = integration.status.clone().unwrap_or_default();
    if standing == status {
        return Ok(());
    }
    let api: Api<ProjectIntegration> =
        Api::namespaced(context.client.clone(), &integration.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": format!("{}/v1alpha1", crate::api::GROUP),
        "kind": "ProjectIntegration",
        "metadata": { "name": integration.name_any(), "uid": integration.uid() },
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let request = Request::new(api.resource_url())
        .patch_subresource("status", &integration.name_any(), &parameters, &Patch::Apply(&patch))
        .map_err(kube::Error::BuildRequest)?;
    match context.client.request::<Written>(request).await {
        Ok(written) => remember(context, &written.metadata),
        // Gone, or another one by now: there is nobody left to tell.
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => return Ok(()),
        Err(error) => return Err(error),
    }
    announce(context, integration, &standing, &status).await;
    Ok(())
}

/// The little that is read of the API server's answer to a write of the status: most of it is `managedFields`.
#[derive(Deserialize)]
struct Written {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    uid: String,
    resource_version: String,
}

/// Keeps the version that was written, so that the next reconcile can tell whether the watch has caught up.
fn remember(context: &Context, written: &Version) {
    let version = written.resource_version.parse().ok();
    if let (Some(version), uid) = (version, &written.uid) {
        context.memories.update(uid, |memory| memory.told = Some((version, Timestamp::now())));
    }
}

async fn announce(
    context: &Context,
    integration: &ProjectIntegration,
    before: &ProjectIntegrationStatus,
    now: &ProjectIntegrationStatus,
) {
    let ready = |status: &ProjectIntegrationStatus| {
        status.conditions.iter().find(|condition| condition.type_ == "Ready").cloned()
    };
    let Some(now) = ready(now) else { return };
    let earlier = ready(before);
    if earlier.as_ref().map(|condition| condition.reason.as_str()) == Some(now.reason.as_str()) {
        return;
    }
    let Some((reason, _)) = Reason::ALL.iter().find(|(reason, _)| reason.as_str() == now.reason) else { return };
    let expected = matches!(reason, Reason::AuthorizationRequired | Reason::Disconnected | Reason::Suspended);
    if now.status == "True" && *reason == Reason::Connected || expected {
        context.events.normal(integration, *reason, "Reconcile", &now.message).await;
    } else {
        context.events.warning(integration, *reason, "Reconcile", &now.message).await;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;
    use crate::api::project_integration::{TokenSetStatus, TokenStatus};

    #[test]
    fn times_are_no_news_and_all_else_is() {
        let ready = Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: "Connected".into(),
            message: "m".into(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let user = TokenSetStatus { last_refreshed_at: "1".into(), ..TokenSetStatus::default() };
        let token = TokenStatus {
            last_refreshed_at: "1".into(),
            sets: [("user".to_owned(), user)].into(),
            ..TokenStatus::default()
        };
        let standing = ProjectIntegrationStatus {
            conditions: vec![ready],
            token: Some(token),
            ..ProjectIntegrationStatus::default()
        };
        let changed = |change: fn(&mut ProjectIntegrationStatus)| {
            let mut status = standing.clone();
            change(&mut status);
            is_no_news(&standing, &status)
        };
        assert!(changed(|status| {
            let token = status.token.as_mut().unwrap();
            token.expires_at = Some("2".into());
            token.sets.get_mut("user").unwrap().last_refreshed_at = "2".into();
            status.conditions[0].message = "n".into();
        }));
        assert!(!changed(|status| status.conditions[0].status = "False".into()));
        assert!(!changed(|status| status.token.as_mut().unwrap().sets.get_mut("user").unwrap().ended = true));
        assert!(!changed(|status| _ = status.handled.insert("refresh".into(), "now".into())));
        assert!(!changed(|status| status.token = None));
    }
}
