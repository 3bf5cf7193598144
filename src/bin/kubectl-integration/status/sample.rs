//! Integrations for tests, as the operator would leave them.

use integration_operator::api::ProjectIntegration;
use jiff::Timestamp;
use serde_json::{Value, json};

/// When all of this happens.
pub(crate) fn now() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

fn integration(status: &Value) -> ProjectIntegration {
    serde_json::from_value(json!({
        "apiVersion": "integrations.tms.dev/v1alpha1",
        "kind": "ProjectIntegration",
        "metadata": {
            "name": "web.slack",
            "namespace": "acme",
            "generation": 1,
            "creationTimestamp": "2026-04-28T09:00:00Z",
        },
        "spec": { "tenantId": "acme", "projectId": "web", "type": "slack" },
        "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-05-01T11:55:00Z", "observedGeneration": 1,
    })
}

fn held(conditions: &Value) -> ProjectIntegration {
    integration(&json!({
        "observedGeneration": 1,
        "conditions": conditions,
        "installation": {
            "installedBy": "jane", "agentId": "42",
            "installedAt": "2026-04-28T12:00:00Z", "lastUpdatedAt": "2026-04-28T12:00:00Z",
        },
        "scopes": ["channels:read", "chat:write"],
        "metadata": { "workspaceId": "T1", "workspaceName": "Acme" },
        "token": {
            "secretName": "web.slack", "expiresAt": "2026-05-01T12:42:00Z",
            "lastRefreshedAt": "2026-05-01T11:42:00Z", "nextRefreshAt": "2026-05-01T12:22:00Z",
        },
    }))
}

/// All is well.
pub(crate) fn connected() -> ProjectIntegration {
    held(&json!([
        condition("Ready", "True", "Connected", "Connected to Slack"),
        condition("Stalled", "False", "NotStalled", ""),
        condition("Authorized", "True", "Granted", "Slack granted access"),
        condition("TokenFresh", "True", "Refreshed", "The access token is fresh"),
        condition("Healthy", "True", "Verified", "Slack accepts the token"),
    ]))
}

/// The last refresh failed; the token still lives.
pub(crate) fn failing() -> ProjectIntegration {
    let message = "Slack answered 503; trying again in 2m";
    held(&json!([
        condition("Ready", "False", "RefreshFailing", message),
        condition("Authorized", "True", "Granted", "Slack granted access"),
        condition("TokenFresh", "False", "RefreshFailing", message),
        condition("Healthy", "True", "Verified", "Slack accepts the token"),
    ]))
}

/// Nobody has connected it yet.
pub(crate) fn unauthorized() -> ProjectIntegration {
    let message = "Nobody has authorized this integration yet";
    integration(&json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Ready", "False", "AuthorizationRequired", message),
            condition("Authorized", "False", "AuthorizationRequired", message),
        ],
    }))
}

/// Nobody has given a key yet.
pub(crate) fn keyless() -> ProjectIntegration {
    let message = "Mail is connected by an API key and none was given";
    let mut keyless = integration(&json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Ready", "False", "ApiKeyMissing", message),
            condition("Authorized", "False", "ApiKeyMissing", message),
        ],
    }));
    keyless.metadata.name = Some("web.mail".to_owned());
    keyless.spec.type_ = "mail".to_owned();
    keyless
}

/// A key is held.
pub(crate) fn keyed() -> ProjectIntegration {
    let mut keyed = held(&json!([
        condition("Ready", "True", "Connected", "Connected"),
        condition("Authorized", "True", "Granted", "An API key is held"),
        condition("TokenFresh", "True", "NeverExpires", "An API key works until the app ends it"),
        condition("Healthy", "True", "Verified", "Mail accepts the key"),
    ]));
    if let Some(token) = keyed.status.as_mut().and_then(|status| status.token.as_mut()) {
        token.type_ = Some("ApiKey".to_owned());
        token.expires_at = None;
        token.next_refresh_at = None;
    }
    keyed
}

/// The operator has not looked at it yet.
pub(crate) fn fresh() -> ProjectIntegration {
    integration(&json!({ "observedGeneration": -1 }))
}
