//! What is told of API keys.

use super::Facts;
use crate::api::Reason;
use crate::api::condition::{ConditionType, Observed};
use crate::controller::memory::KeyTrouble;
use crate::controller::situation::Situation;
use crate::provider::connection::Keyed;

/// Why the key that the spec names is not the one in use.
pub(super) fn key_trouble<'a>(facts: &'a Facts<'_>) -> Option<&'a KeyTrouble> {
    let named = facts.situation.integration.spec.api_key.is_some() && facts.situation.served_by_key().is_some();
    facts.memory.key.as_ref().and_then(|look| look.trouble.as_ref()).filter(|_| named)
}

/// The same as `Healthy`, where a key was found and the app has not accepted it.
pub(super) fn unhealthy(trouble: &KeyTrouble) -> Option<Observed> {
    let status = match trouble.reason {
        Reason::Rejected | Reason::ProviderUnavailable => Some(false),
        Reason::RateLimited => None,
        _ => return None,
    };
    let (reason, message) = (trouble.reason, trouble.message.clone());
    Some(Observed { kind: ConditionType::Healthy, status, reason, message })
}

/// No key is held, and none is named.
pub(super) fn no_key(situation: &Situation<'_>, keyed: &Keyed) -> String {
    let app = &keyed.provider.display_name;
    if situation.integration.spec.api_key.is_some() {
        return format!("The API key for {app} has not been read yet.");
    }
    let spec = &situation.integration.spec;
    format!(
        "{app} is connected by an API key and none was given: name a Secret in spec.apiKey, or PUT the key to \
         /v1/tenants/{}/projects/{}/integrations/{}/credentials.",
        spec.tenant_id, spec.project_id, spec.type_
    )
}

/// What a key was given for is not what it would be sent to.
pub(super) fn key_changed(situation: &Situation<'_>) -> String {
    let remedy = if situation.integration.spec.api_key.is_some() {
        format!("agree by asking again: kubectl integration connect {}", situation.name)
    } else {
        "give the key again".to_owned()
    };
    format!(
        "The provider, or the address that proves its keys, is not what this key was given for, so the key is sent \
         nowhere: change it back, or {remedy}."
    )
}
