//! One integration as the HTTP API shows it. Pure: from the object to its representation.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::{ConditionType, ProjectIntegration, ProjectIntegrationStatus, Reason, request};

/// One integration.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Integration")]
pub struct View {
    /// The object's uid.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The project.
    pub project_id: String,
    /// The type.
    pub integration_type: String,
    /// What the provider said of the account, and who connected it when.
    pub meta: Map<String, Value>,
    /// The state in one word.
    pub status: Word,
    /// When the object was created.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub updated_at: Option<Timestamp>,
    /// Its conditions.
    pub conditions: Vec<ConditionView>,
}

/// The state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "State")]
pub enum Word {
    /// Nobody has connected it yet, or the operator has not looked at it yet.
    Pending,
    /// Connected and well.
    Active,
    /// Connected or not, something is wrong; the conditions say what.
    Failing,
    /// The grant is dead; a person must connect again.
    ReauthorizationRequired,
    /// Suspended by its spec.
    Suspended,
    /// Disconnected on request.
    Disconnected,
}

/// One condition.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Condition")]
pub struct ConditionView {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Its reason, one of a closed list.
    pub reason: String,
    /// The step, the cause and the remedy.
    pub message: String,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

impl View {
    /// The representation of an object.
    pub fn of(integration: &ProjectIntegration) -> Self {
        let spec = &integration.spec;
        let created_at = integration.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let written = integration.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
        let none = ProjectIntegrationStatus::default();
        let status = integration.status.as_ref().unwrap_or(&none);
        Self {
            id: integration.uid().unwrap_or_default(),
            tenant_id: spec.tenant_id.clone(),
            project_id: spec.project_id.clone(),
            integration_type: spec.type_.clone(),
            meta: meta(status),
            status: word(spec.suspend, status),
            created_at,
            updated_at: written.map(|Time(time)| *time).max().or(created_at),
            conditions: status.conditions.iter().map(ConditionView::of).collect(),
        }
    }
}

impl ConditionView {
    fn of(condition: &Condition) -> Self {
        Self {
            type_: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            last_transition_time: condition.last_transition_time.0,
        }
    }
}

/// The provider's words first: they cannot speak over who installed.
fn meta(status: &ProjectIntegrationStatus) -> Map<String, Value> {
    let mut meta: Map<String, Value> =
        status.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let installation = status.installation.as_ref();
    let text = |value: Option<&String>| value.map_or(Value::Null, |text| Value::String(text.clone()));
    for (name, value) in [
        ("installed_by_agent_id", installation.and_then(|installation| installation.agent_id.as_ref())),
        ("installed_at", installation.map(|installation| &installation.installed_at)),
        ("last_updated_at", installation.map(|installation| &installation.last_updated_at)),
    ] {
        meta.insert(name.to_owned(), text(value));
    }
    meta
}

fn word(suspend: bool, status: &ProjectIntegrationStatus) -> Word {
    let find = |type_: ConditionType| status.conditions.iter().find(|condition| condition.type_ == type_.as_str());
    let is = |condition: Option<&Condition>, word: &str| condition.is_some_and(|condition| condition.status == word);
    let (ready, authorized) = (find(ConditionType::Ready), find(ConditionType::Authorized));
    if suspend {
        Word::Suspended
    } else if is(ready, "True") {
        Word::Active
    } else if is(authorized, "False") {
        without_grant(authorized, status)
    } else if is(ready, "False") && (is(authorized, "True") || is(find(ConditionType::Stalled), "True")) {
        Word::Failing
    } else {
        Word::Pending
    }
}

/// The word where no usable credential is held.
fn without_grant(authorized: Option<&Condition>, status: &ProjectIntegrationStatus) -> Word {
    let reason = authorized.map_or("", |condition| condition.reason.as_str());
    let is = |known: Reason| reason == known.as_str();
    if is(Reason::Disconnected) {
        Word::Disconnected
    } else if is(Reason::AuthorizationRequired) {
        let disconnected = status.handled.keys().any(|key| key == "disconnect" || key == request::DISCONNECT);
        if disconnected { Word::Disconnected } else { Word::Pending }
    } else if is(Reason::AuthorizationDenied) {
        Word::Pending
    } else if is(Reason::ReauthorizationRequired) {
        Word::ReauthorizationRequired
    } else {
        Word::Failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProjectIntegrationSpec;
    use crate::api::project_integration::Installation;

    fn status(conditions: &[(&str, &str, &str)]) -> ProjectIntegrationStatus {
        let condition = |(type_, status, reason): &(&str, &str, &str)| Condition {
            type_: (*type_).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        ProjectIntegrationStatus { conditions: conditions.iter().map(condition).collect(), ..Default::default() }
    }

    #[test]
    fn words() {
        use Word::{Active, Disconnected, Failing, Pending, ReauthorizationRequired};
        for (conditions, expected) in [
            (&[][..], Pending),
            (&[("Ready", "True", "Connected"), ("Authorized", "True", "Granted")], Active),
            (&[("Ready", "False", "Expired"), ("Authorized", "True", "Granted")], Failing),
            (&[("Ready", "Unknown", "NotStalled"), ("Authorized", "True", "Granted")], Pending),
            (&[("Ready", "False", "x"), ("Authorized", "False", "AuthorizationRequired")], Pending),
            (&[("Ready", "False", "x"), ("Authorized", "False", "AuthorizationDenied")], Pending),
            (&[("Ready", "False", "x"), ("Authorized", "False", "Disconnected")], Disconnected),
            (&[("Ready", "False", "x"), ("Authorized", "False", "ReauthorizationRequired")], ReauthorizationRequired),
            (&[("Ready", "False", "x"), ("Authorized", "False", "ProviderChanged")], Failing),
            (&[("Ready", "False", "TenantMismatch"), ("Stalled", "True", "TenantMismatch")], Failing),
        ] {
            assert_eq!(word(false, &status(conditions)), expected, "{conditions:?}");
            assert_eq!(word(true, &status(conditions)), Word::Suspended);
        }
        assert_eq!(serde_json::to_value(ReauthorizationRequired).unwrap(), "reauthorization_required");
    }

    #[test]
    fn the_representation() {
        let spec = ProjectIntegrationSpec {
            tenant_id: "acme".to_owned(),
            project_id: "web".to_owned(),
            type_: "slack".to_owned(),
            ..Default::default()
        };
        let mut integration = ProjectIntegration::new("web.slack", spec);
        integration.metadata.uid = Some("u".to_owned());
        let mut status = status(&[("Ready", "True", "Connected")]);
        status.metadata = [
            ("workspaceId".to_owned(), Value::from("T1")),
            ("installed_by_agent_id".to_owned(), Value::from("forged")),
        ]
        .into();
        status.installation = Some(Installation {
            agent_id: Some("agent-7".to_owned()),
            installed_at: "2026-01-01T00:00:00Z".to_owned(),
            ..Default::default()
        });
        integration.status = Some(status);
        let view = serde_json::to_value(View::of(&integration)).unwrap();
        assert_eq!(view["id"], "u");
        assert_eq!(view["integration_type"], "slack");
        assert_eq!(view["status"], "active");
        assert_eq!(view["meta"]["workspaceId"], "T1");
        assert_eq!(view["meta"]["installed_by_agent_id"], "agent-7");
        assert_eq!(view["conditions"][0]["type"], "Ready");
    }
}
