//! How it is said that a webhook was not taken. To the app these are answers to repeat by, to people words in its console.

use http::StatusCode;

use super::ApiError;
use crate::provider::registry::LookupError;
use crate::webhook::desk::Refused;
use crate::webhook::verify::Distrust;

/// The status and the stable word.
pub(super) const fn kind(refused: &Refused) -> (StatusCode, &'static str) {
    match refused {
        Refused::NoEndpoint => (StatusCode::NOT_FOUND, "webhook_not_found"),
        Refused::Provider(_) | Refused::Distrusted(Distrust::NoKey) => {
            (StatusCode::SERVICE_UNAVAILABLE, "webhook_not_ready")
        }
        // What Discord wants to see for a signature that it made wrong on purpose.
        Refused::Distrusted(_) => (StatusCode::UNAUTHORIZED, "webhook_distrusted"),
        Refused::Nobody => (StatusCode::NOT_FOUND, "webhook_for_nobody"),
        Refused::NotDelivered => (StatusCode::SERVICE_UNAVAILABLE, "event_not_delivered"),
        Refused::Cluster(_) => (StatusCode::SERVICE_UNAVAILABLE, "cluster_unavailable"),
        Refused::Grant(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage_failed"),
        Refused::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
    }
}

/// An app that is not described is one that has no endpoint.
impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Provider(LookupError::NotFound { .. } | LookupError::NoTenant { .. }) => {
                Self::Webhook(Refused::NoEndpoint)
            }
            refused => Self::Webhook(refused),
        }
    }
}
