//! Integrations as callers see them: list, get, refresh, delete.
//!
//! Nothing here waits for the controllers. A refresh is an annotation and a delete a deletion, as `kubectl` would leave
//! them; what came of it is read from the status.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::DeserializeGuard;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::auth::{Caller, Right};
use super::error::ApiError;
use super::ids::{Project, Target};
use super::view::View;
use super::{MANAGER, ServerState, Shared};
use crate::api::{ProjectIntegration, request};

/// Integrations read at once while listing a namespace.
const PAGE: u32 = 500;
/// Least time between two refreshes that are asked for.
const REFRESH_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// Times a refresh is asked for again where somebody else wrote in between.
const WRITES: usize = 5;

/// All of a project's integrations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Integrations")]
pub(super) struct Listing {
    integrations: Vec<View>,
}

/// That a refresh was asked for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RefreshRequested")]
pub(super) struct Requested {
    #[schemars(with = "String", extend("format" = "date-time"))]
    requested_at: Timestamp,
}

/// Lists the integrations of a project.
pub(super) async fn list(
    State(state): State<Shared>,
    project: Project,
    caller: Caller,
) -> Result<Json<Listing>, ApiError> {
    let namespace = state.permit_in(&caller, Right::List, &project.tenant, None).await?;
    // One that cannot be decoded is the reconciler's to complain about; it does not hide the others.
    let api: Api<DeserializeGuard<ProjectIntegration>> = Api::namespaced(state.flow.client.clone(), &namespace);
    let mut integrations = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = api.list(&page).await.map_err(ApiError::cluster("list integrations"))?;
        let of_project = |integration: &ProjectIntegration| {
            integration.spec.tenant_id == project.tenant && integration.spec.project_id == project.project
        };
        let sound = found.items.into_iter().filter_map(|guarded| guarded.0.ok());
        integrations.extend(sound.filter(of_project).map(|integration| View::of(&integration)));
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(Json(Listing { integrations })),
        }
    }
}

/// Reads one integration.
pub(super) async fn get(State(state): State<Shared>, target: Target, caller: Caller) -> Result<Json<View>, ApiError> {
    let namespace = state.permit(&caller, Right::Get, &target).await?;
    Ok(Json(View::of(&state.integration(&namespace, &target).await?)))
}

/// Deletes an integration; its finalizer revokes what is held.
pub(super) async fn delete(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let namespace = state.permit(&caller, Right::Delete, &target).await?;
    let integration = state.integration(&namespace, &target).await?;
    let exactly = Preconditions { uid: integration.uid(), resource_version: None };
    let how = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    match state.api(&namespace).delete(&target.name(), &how).await {
        // Still there: the finalizer has work to do.
        Ok(deleted) if deleted.is_left() => Ok(StatusCode::ACCEPTED),
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Err(ApiError::NoIntegration),
        Err(source) => Err(ApiError::cluster("delete an integration")(source)),
    }
}

/// Asks for a refresh, unless somebody did so less than a minute ago. The annotation itself is the memory of that, so
/// that it counts on all replicas.
pub(super) async fn refresh(
    State(state): State<Shared>,
    target: Target,
    caller: Caller,
) -> Result<(StatusCode, Json<Requested>), ApiError> {
    let namespace = state.permit(&caller, Right::Update, &target).await?;
    for _ in 0..WRITES {
        let integration = state.integration(&namespace, &target).await?;
        let now = Timestamp::now();
        may_refresh(&integration, now)?;
        let patch = json!({ "metadata": {
            "uid": integration.uid(),
            "resourceVersion": integration.resource_version(),
            "annotations": { request::REFRESH: now, request::REQUESTED_BY: caller.username },
        }});
        let how = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match state.api(&namespace).patch(&target.name(), &how, &Patch::Merge(&patch)).await {
            Ok(_) => return Ok((StatusCode::ACCEPTED, Json(Requested { requested_at: now }))),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => return Err(ApiError::NoIntegration),
            Err(source) => return Err(ApiError::cluster("ask for a refresh")(source)),
        }
    }
    Err(ApiError::TooMany { retry_after: std::time::Duration::from_secs(1) })
}

fn may_refresh(integration: &ProjectIntegration, now: Timestamp) -> Result<(), ApiError> {
    if integration.metadata.deletion_timestamp.is_some() {
        return Err(ApiError::Deleting);
    }
    if integration.spec.suspend {
        return Err(ApiError::Suspended);
    }
    let last = integration.annotations().get(request::REFRESH).and_then(|text| text.parse::<Timestamp>().ok());
    let since = last.map_or(SignedDuration::MAX, |last| now.duration_since(last));
    // A time ahead of us was not written by a clock; it must not stop refreshes until it is reached.
    if (-REFRESH_PAUSE..REFRESH_PAUSE).contains(&since) {
        let retry_after = (REFRESH_PAUSE - since).min(REFRESH_PAUSE);
        return Err(ApiError::TooMany { retry_after: retry_after.unsigned_abs() });
    }
    Ok(())
}

impl ServerState {
    pub(super) fn api(&self, namespace: &str) -> Api<ProjectIntegration> {
        Api::namespaced(self.flow.client.clone(), namespace)
    }

    /// The integration in the tenant's namespace, as long as it names that tenant.
    pub(super) async fn integration(&self, namespace: &str, target: &Target) -> Result<ProjectIntegration, ApiError> {
        let found = self.api(namespace).get_opt(&target.name()).await;
        found
            .map_err(ApiError::cluster("read an integration"))?
            .filter(|integration| integration.spec.tenant_id == target.tenant)
            .ok_or(ApiError::NoIntegration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_at(text: &str) -> ProjectIntegration {
        let mut integration = ProjectIntegration::new("web.slack", crate::api::ProjectIntegrationSpec::default());
        integration.annotations_mut().insert(request::REFRESH.to_owned(), text.to_owned());
        integration
    }

    #[test]
    fn one_refresh_a_minute() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        for (last, wait) in [("2026-01-01T00:00:30Z", 30), ("2026-01-01T00:01:00Z", 60), ("2026-01-01T00:01:30Z", 60)] {
            let Err(ApiError::TooMany { retry_after }) = may_refresh(&asked_at(last), now) else { panic!("{last}") };
            assert_eq!(retry_after.as_secs(), wait, "{last}");
        }
        for last in ["2026-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "soon", ""] {
            assert!(may_refresh(&asked_at(last), now).is_ok(), "{last}");
        }
    }
}
