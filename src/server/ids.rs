//! What paths and queries name: tenants, projects, types and people, checked before anything is done with them.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::Deserialize;

use super::Shared;
use super::error::ApiError;
use crate::flow::Place;

/// Longest agent id, in bytes.
const MAX_AGENT_ID: usize = 128;
const LABEL: &str = "a lower-case UUID or DNS label: at most 63 of a-z, 0-9 and -, with no - at either end";

/// A project: the path `/v1/tenants/{tenant}/projects/{project}/…`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Project {
    /// The tenant.
    pub tenant: String,
    /// The project.
    pub project: String,
}

/// One integration of a project: the path `…/integrations/{type}/…`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Target {
    /// The tenant.
    pub tenant: String,
    /// The project.
    pub project: String,
    /// The type, with `_` read as `-`.
    #[serde(rename = "type")]
    pub type_: String,
}

#[derive(Deserialize)]
struct PlacePath {
    tenant: Option<String>,
    #[serde(rename = "type")]
    type_: String,
}

impl Target {
    /// The name of the `ProjectIntegration`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.project, self.type_)
    }
}

impl FromRequestParts<Shared> for Project {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let project: Self = path(parts).await?;
        check("the tenant", &project.tenant)?;
        check("the project", &project.project)?;
        Ok(project)
    }
}

impl FromRequestParts<Shared> for Target {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let mut target: Self = path(parts).await?;
        target.type_ = target.type_.replace('_', "-");
        check("the tenant", &target.tenant)?;
        check("the project", &target.project)?;
        check("the integration type", &target.type_)?;
        Ok(target)
    }
}

impl FromRequestParts<Shared> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let PlacePath { tenant, type_ } = path(parts).await?;
        let place = Self { tenant, type_: type_.replace('_', "-") };
        // A person is looking: what cannot be a place is a place that is not there.
        let sound = is_label(&place.type_) && place.tenant.as_deref().is_none_or(is_label);
        if sound { Ok(place) } else { Err(ApiError::NoSuchPath) }
    }
}

async fn path<T: serde::de::DeserializeOwned + Send>(parts: &mut Parts) -> Result<T, ApiError> {
    let Path(value) = Path::from_request_parts(parts, &()).await.map_err(|_| ApiError::NoSuchPath)?;
    Ok(value)
}

fn check(what: &'static str, text: &str) -> Result<(), ApiError> {
    if is_label(text) { Ok(()) } else { Err(ApiError::Malformed { what, form: LABEL }) }
}

/// Whether `text` is a DNS label (RFC 1123 §2.1, lower case); lower-case UUIDs are.
pub fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// A person of the product. Printable ASCII only: the start page shows it, and what turns the direction of text or looks
/// like nothing at all could make it say something else.
pub fn agent_id(text: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(id) = text.filter(|id| !id.is_empty()) else { return Ok(None) };
    if id.len() <= MAX_AGENT_ID && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(id));
    }
    Err(ApiError::Malformed { what: "agent_id", form: "at most 128 printable ASCII characters without spaces" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "acme", "new-app", "4f9c2b1e-0000-4000-8000-000000000000", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "a_b", "ä", "a b", "..", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn agent_ids() {
        let check = |text: &str| agent_id(Some(text.to_owned()));
        assert_eq!(check("agent-7").unwrap().as_deref(), Some("agent-7"));
        assert_eq!(check("").unwrap(), None);
        for bad in ["a b", "a\n", "\u{202e}evil", &"a".repeat(129)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
