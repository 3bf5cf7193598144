//! What stands in the annotations of a grant Secret: enough to plan with, nothing secret.
//!
//! The controller watches grants by metadata only, so these annotations are all it knows until it has reason to read one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Owner;
use super::binding::{Parts, ProviderRef};

/// Annotation with the [`Summary`]; written together with the data.
pub const SUMMARY: &str = "integrations.tms.dev/summary";
/// Annotation with the [`Intent`] of an unfinished refresh.
pub const INTENT: &str = "integrations.tms.dev/intent";
/// Annotation with the [`Published`] Secret.
pub const PUBLISHED: &str = "integrations.tms.dev/published";
/// Annotation with the [`Handled`] requests.
pub const HANDLED: &str = "integrations.tms.dev/handled";
/// Annotation with the [`Refusal`] that ended the grant.
pub const REFUSED: &str = "integrations.tms.dev/refused";
/// Annotation with the time at which another account was offered and not accepted.
pub const MISMATCH: &str = "integrations.tms.dev/account-mismatch-at";

/// Annotation with the time at which the grant's integration was found to be gone.
pub const ORPHANED: &str = "integrations.tms.dev/orphaned-at";

/// A grant without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Whose it is.
    pub integration: Owner,
    /// Counts authorizations.
    pub epoch: u64,
    /// Counts token answers within the epoch.
    pub generation: u64,
    /// The attempt whose answer these tokens are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// For an API key: where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<KeySource>,
    /// When the tokens were received.
    pub obtained_at: Timestamp,
    /// When the access token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// When the integration was connected.
    pub installed_at: Timestamp,
    /// The provider it was made for.
    pub provider: ProviderRef,
    /// Digest of client and origins it was made for.
    pub binding: String,
    /// The same part by part, so that a change can be named; absent in grants of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
    /// Hash of client and upstream installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// Digest of the description and the values that metadata and the like were derived with; `None` until they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<String>,
    /// When they were derived last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Values that the person gave when connecting.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The value of the form that says which of several accounts or sites it is, where that is still to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Scopes that were asked for; absent in grants of earlier versions, and for API keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_scopes: Option<Vec<String>>,
    /// Those of them that were not granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_scopes: Vec<String>,
}

impl Summary {
    /// When anything that is derived from the grant may last have changed.
    pub fn updated_at(&self) -> Timestamp {
        self.completed_at.map_or(self.obtained_at, |at| at.max(self.obtained_at))
    }
}

/// Where an API key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySource {
    /// The Secret that `spec.apiKey` names, which it follows.
    Spec,
    /// Somebody gave it over HTTP, and it exists nowhere else.
    Given,
}

/// A refresh that is about to be sent, or was and has not been heard of: lock and write-ahead record in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// This attempt; a conflict that shows our own attempt is a success.
    pub attempt: String,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// The run of the process that made it.
    pub boot: String,
    /// The replica that made it (its Pod's uid).
    pub holder: String,
    /// When a request with this refresh token was first sent: the start of a replay window.
    pub first_sent: Timestamp,
    /// After this moment the request is no longer in flight.
    pub deadline: Timestamp,
}

/// The Secret that was written for workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Its name.
    pub name: String,
    /// Its uid: what is applied later must hit this object and no other.
    pub uid: String,
}

/// Why a grant can no longer be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The epoch that ended.
    pub epoch: u64,
    /// When it was found out.
    pub at: Timestamp,
    /// For people: step, cause and remedy.
    pub message: String,
}

/// The request annotations that were handled: by the annotation, the time it held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handled(pub BTreeMap<String, String>);

impl Handled {
    /// Whether the request of this annotation with this value was handled.
    pub fn is(&self, annotation: &str, value: &str) -> bool {
        self.0.get(annotation).is_some_and(|handled| handled == value)
    }
}

/// A grant as its metadata shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantView {
    /// Name of the Secret.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion, for compare-and-swap.
    pub resource_version: String,
    /// What is held.
    pub summary: Summary,
    /// An unfinished refresh.
    pub intent: Option<Intent>,
    /// The Secret written for workloads.
    pub published: Option<Published>,
    /// Requests that were handled.
    pub handled: Handled,
    /// Why it can no longer be used.
    pub refused: Option<Refusal>,
    /// When another account was offered and not accepted.
    pub mismatch: Option<Timestamp>,
    /// When its integration was found to be gone.
    pub orphaned: Option<Timestamp>,
}

/// A grant Secret whose annotations cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The Secret carries no such annotation.
    #[error("grant {grant} has no annotation {annotation}")]
    Missing {
        /// The Secret.
        grant: String,
        /// The annotation.
        annotation: &'static str,
    },
    /// The annotation is not what this version writes.
    #[error("grant {grant}: annotation {annotation} cannot be read")]
    Malformed {
        /// The Secret.
        grant: String,
        /// The annotation.
        annotation: &'static str,
        /// The decoder's word.
        #[source]
        source: serde_json::Error,
    },
}

impl GrantView {
    /// Reads the annotations of a grant Secret.
    pub fn from_metadata(metadata: &ObjectMeta) -> Result<Self, ViewError> {
        let name = metadata.name.clone().unwrap_or_default();
        let summary = annotation(metadata, &name, SUMMARY)?
            .ok_or_else(|| ViewError::Missing { grant: name.clone(), annotation: SUMMARY })?;
        Ok(Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            summary,
            intent: annotation(metadata, &name, INTENT)?,
            published: annotation(metadata, &name, PUBLISHED)?,
            handled: annotation(metadata, &name, HANDLED)?.unwrap_or_default(),
            refused: annotation(metadata, &name, REFUSED)?,
            mismatch: annotation(metadata, &name, MISMATCH)?,
            orphaned: annotation(metadata, &name, ORPHANED)?,
            name,
        })
    }

    /// Whether this view is at least as new as `other`, by the order of resource versions; unknown counts as yes.
    pub fn at_least(&self, other: &Self) -> bool {
        match (self.resource_version.parse::<u64>(), other.resource_version.parse::<u64>()) {
            (Ok(own), Ok(others)) => own >= others,
            _ => true,
        }
    }
}

fn annotation<T: DeserializeOwned>(
    metadata: &ObjectMeta,
    grant: &str,
    annotation: &'static str,
) -> Result<Option<T>, ViewError> {
    metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(annotation))
        .map(|text| serde_json::from_str(text))
        .transpose()
        .map_err(|source| ViewError::Malformed { grant: grant.to_owned(), annotation, source })
}
