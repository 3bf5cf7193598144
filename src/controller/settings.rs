//! What the spec of an integration means: parsed once, pure, and a mistake is one error for one object.

use std::time::Duration;

use jiff::SignedDuration;

use crate::api::ProjectIntegration;
use crate::grant::schedule::{Timing, parse_duration};

/// The shortest time between health checks.
const SHORTEST_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// A spec that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The Secret for workloads; `None` where none is wanted.
    pub secret_name: Option<String>,
    /// When to refresh.
    pub before: Option<SignedDuration>,
    /// Time between health checks.
    pub check_interval: Duration,
    /// Failures in a row before `Healthy` turns `False`.
    pub failure_threshold: u32,
    /// No refresh, no calls.
    pub suspend: bool,
}

/// A spec with a mistake that the schema could not catch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A length of time cannot be read.
    #[error("{field}: {text} is not a length of time such as 90s, 10m or 1h30m")]
    Duration {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// The name is not made of project and type; the schema says so too, but only where it is installed.
    #[error("the name must be {expected}")]
    Name {
        /// What it must be.
        expected: String,
    },
}

/// Reads the spec.
pub fn settings(integration: &ProjectIntegration) -> Result<Settings, SettingsError> {
    let spec = &integration.spec;
    let name = integration.metadata.name.clone().unwrap_or_default();
    let expected = format!("{}.{}", spec.project_id, spec.type_);
    if name != expected {
        return Err(SettingsError::Name { expected });
    }
    let secret =
        spec.secret.clone().unwrap_or(crate::api::project_integration::PublishedSecret { name: None, publish: true });
    let check = spec.health_check.clone().unwrap_or_default();
    let interval = duration("spec.healthCheck.interval", &check.interval)?.max(SHORTEST_INTERVAL);
    Ok(Settings {
        secret_name: secret.publish.then(|| secret.name.unwrap_or(name)),
        before: spec.refresh.as_ref().map(|refresh| duration("spec.refresh.before", &refresh.before)).transpose()?,
        check_interval: interval.unsigned_abs(),
        failure_threshold: check.failure_threshold.max(1),
        suspend: spec.suspend,
    })
}

impl Settings {
    /// When to refresh, by the spec and the provider's `refresh.every`.
    pub fn timing(&self, every: Option<SignedDuration>) -> Timing {
        Timing { before: self.before, every }
    }
}

fn duration(field: &'static str, text: &str) -> Result<SignedDuration, SettingsError> {
    parse_duration(text).ok_or_else(|| SettingsError::Duration { field, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::project_integration::{HealthCheck, ProjectIntegrationSpec, PublishedSecret, RefreshOverride};

    fn integration() -> ProjectIntegration {
        let spec = ProjectIntegrationSpec {
            tenant_id: "acme".into(),
            project_id: "web".into(),
            type_: "slack".into(),
            ..ProjectIntegrationSpec::default()
        };
        ProjectIntegration::new("web.slack", spec)
    }

    #[test]
    fn defaults() {
        let settings = settings(&integration()).unwrap();
        assert_eq!(settings.secret_name.as_deref(), Some("web.slack"));
        assert_eq!(settings.check_interval, Duration::from_mins(10));
        assert_eq!(settings.failure_threshold, 3);
    }

    #[test]
    fn no_secret_when_none_is_wanted() {
        let mut integration = integration();
        integration.spec.secret = Some(PublishedSecret { name: None, publish: false });
        assert_eq!(settings(&integration).unwrap().secret_name, None);
    }

    #[test]
    fn mistakes_name_their_field() {
        let mut integration = integration();
        integration.spec.refresh = Some(RefreshOverride { before: "soon".into() });
        assert!(settings(&integration).unwrap_err().to_string().starts_with("spec.refresh.before"));
        integration.spec.refresh = None;
        integration.spec.health_check = Some(HealthCheck { interval: "1d".into(), failure_threshold: 1 });
        assert!(settings(&integration).unwrap_err().to_string().starts_with("spec.healthCheck.interval"));
        integration.metadata.name = Some("other".into());
        assert_eq!(settings(&integration).unwrap_err().to_string(), "the name must be web.slack");
    }
}
