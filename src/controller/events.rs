//! Kubernetes Events on transitions that a person would want to hear of. Never a credential, and never a reason to fail.

use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::api::{ProjectIntegration, Reason};

/// Publishes Events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events of this replica.
    pub fn new(client: kube::Client, holder: &str) -> Self {
        let reporter =
            Reporter { controller: "integrations.tms.dev/operator".to_owned(), instance: Some(holder.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells of something good.
    pub async fn normal(&self, integration: &ProjectIntegration, reason: Reason, action: &str, note: &str) {
        self.publish(integration, EventType::Normal, reason, action, note).await;
    }

    /// Tells of something that a person should look at.
    pub async fn warning(&self, integration: &ProjectIntegration, reason: Reason, action: &str, note: &str) {
        self.publish(integration, EventType::Warning, reason, action, note).await;
    }

    async fn publish(
        &self,
        integration: &ProjectIntegration,
        type_: EventType,
        reason: Reason,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.as_str().to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &integration.object_ref(&())).await {
            // A namespace that is going away takes no Events; the log has to do.
            tracing::info!(reason = reason.as_str(), note, %error, "an Event could not be published");
        }
    }
}
