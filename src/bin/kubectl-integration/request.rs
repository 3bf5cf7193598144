//! Asking the operator for something: an annotation with the time now, and waiting until it is in `status.handled`.
//!
//! It is waited for by asking again every second. A watch would be quicker, but a person who may `get` one integration
//! often may not `watch`, and a request is over in seconds.

use std::time::Duration;

use integration_operator::api::{ProjectIntegration, request};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::failure::Failure;

/// Time between two looks at an integration.
pub(crate) const PACE: Duration = Duration::from_secs(1);

/// A request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Which annotation.
    pub(crate) annotation: &'static str,
    /// The time it holds; also its identity.
    pub(crate) at: Timestamp,
    /// The object as it was answered when the request was written: what was so before.
    pub(crate) before: ProjectIntegration,
}

impl Request {
    /// Writes the annotation, and who asks.
    pub(crate) async fn make(cluster: &Cluster, name: &str, annotation: &'static str) -> Result<Self, Failure> {
        let at = now();
        let caller = caller(cluster).await?;
        let patch =
            json!({ "metadata": { "annotations": { annotation: at.to_string(), request::REQUESTED_BY: caller } } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let before = cluster
            .integrations()
            .patch(name, &params, &Patch::Merge(&patch))
            .await
            .map_err(|error| Failure::api("patch", cluster.called(name), error))?;
        Ok(Self { annotation, at, before })
    }

    /// Whether the operator has taken this very request up.
    pub(crate) fn is_handled(&self, integration: &ProjectIntegration) -> bool {
        let handled = integration.status.as_ref().and_then(|status| status.handled.get(self.annotation));
        handled.is_some_and(|handled| *handled == self.at.to_string())
    }

    /// Waits until the operator has taken this request up, and gives the integration as it is then.
    pub(crate) async fn handled(
        &self,
        cluster: &Cluster,
        name: &str,
        timeout: Duration,
    ) -> Result<ProjectIntegration, Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            let integration = cluster.integration(name).await?;
            if self.is_handled(&integration) {
                return Ok(integration);
            }
            if Instant::now() >= deadline {
                let (what, annotation) = (cluster.called(name), self.annotation);
                return Err(Failure::NotAnswering { what, annotation, waited: timeout });
            }
            sleep(PACE).await;
        }
    }
}

/// The time now, in milliseconds: fine enough to tell two requests apart, and short to read.
fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc)).unwrap_or(now)
}

/// The name under which the API server knows the caller; an admission policy compares it.
async fn caller(cluster: &Cluster) -> Result<String, Failure> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(|error| Failure::api("create", "a selfsubjectreview, to learn your own name", error))?;
    Ok(review.status.and_then(|status| status.user_info).and_then(|user| user.username).unwrap_or_default())
}
