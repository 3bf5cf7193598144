//! What stands in the annotations of a grant Secret: enough to plan with, nothing secret.
//!
//! The controller watches grants by metadata only, so these annotations are all it knows until it has reason to read one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Owner;
use super::binding::{Parts, ProviderRef};
use super::chain::ChainSummary;
use crate::seal::SEALED_WITH;

/// Annotation with the [`Summary`]; written together with the data.
pub const SUMMARY: &str = "integrations.tms.dev/summary";
/// Annotation with the [`Intent`]s of unfinished refreshes: a list, or one alone as earlier versions wrote it.
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
/// Annotation with the time at which it was begun to revoke and forget the grant.
pub const LEAVING: &str = "integrations.tms.dev/leaving-at";
/// Annotation with the trace of the authorization, until what came of it is published.
pub const TRACE: &str = "integrations.tms.dev/traceparent";

/// Annotation with the uid of the integration that is to take the grant over, put there by whoever may write to it.
pub const ADOPT: &str = "integrations.tms.dev/adopt-requested-for";

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
    /// When the life of the refresh token began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_obtained_at: Option<Timestamp>,
    /// When the refresh token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_expires_at: Option<Timestamp>,
    /// Further chains of tokens. The times above are those of the main one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, ChainSummary>,
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
    /// Whether this authorization ends earlier ones of the same installation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_earlier: bool,
    /// Keyed hash of the access token, by which grants that hold the same one are found; only beside `installation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
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
    /// Hashes of the metadata by which webhooks of the app find this connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
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
///
/// A grant has at most one for each chain, and at most one of them is on its way; the others have passed their deadlines
/// and wait for what their chain's profile allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// This attempt; a conflict that shows our own attempt is a success.
    pub attempt: String,
    /// The further set that is refreshed; the main chain when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
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
    /// Whether a later authorization of the same installation ended it, so that the access token is dead as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
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
    /// Unfinished refreshes.
    pub intents: Vec<Intent>,
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
    /// When it was begun to revoke and forget it.
    pub leaving: Option<Timestamp>,
    /// The trace of the authorization, until what came of it is published.
    pub trace: Option<String>,
    /// The name of the key that its data is sealed with.
    pub sealed_with: Option<String>,
    /// The uid of the integration that is to take it over.
    pub adopt: Option<String>,
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
    /// Which tokens a chain holds: epoch and generation.
    pub fn version_of(&self, set: Option<&str>) -> Option<(u64, u64)> {
        Some((self.summary.epoch, self.summary.chain(set)?.generation))
    }

    /// Reads the annotations of a grant Secret.
    pub fn from_metadata(metadata: &ObjectMeta) -> Result<Self, ViewError> {
        let name = metadata.name.clone().unwrap_or_default();
        let summary = annotation(metadata, &name, SUMMARY)?
            .ok_or_else(|| ViewError::Missing { grant: name.clone(), annotation: SUMMARY })?;
        Ok(Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            summary,
            intents: match annotation(metadata, &name, INTENT)? {
                None => vec![],
                Some(Intents::One(intent)) => vec![intent],
                Some(Intents::Several(intents)) => intents,
            },
            published: annotation(metadata, &name, PUBLISHED)?,
            handled: annotation(metadata, &name, HANDLED)?.unwrap_or_default(),
            refused: annotation(metadata, &name, REFUSED)?,
            mismatch: annotation(metadata, &name, MISMATCH)?,
            orphaned: annotation(metadata, &name, ORPHANED)?,
            leaving: annotation(metadata, &name, LEAVING)?,
            trace: metadata.annotations.as_ref().and_then(|all| all.get(TRACE)).cloned(),
            sealed_with: plain(metadata, SEALED_WITH),
            adopt: plain(metadata, ADOPT),
            name,
        })
    }

    /// The unfinished refresh of a chain, in this epoch.
    pub fn intent(&self, set: Option<&str>) -> Option<&Intent> {
        self.intents.iter().find(|intent| intent.set.as_deref() == set && intent.epoch == self.summary.epoch)
    }

    /// The unfinished refreshes of this epoch, but for that of one chain.
    pub fn intents_but(&self, set: Option<&str>) -> Vec<Intent> {
        let others = self.intents.iter().filter(|intent| intent.epoch == self.summary.epoch);
        others.filter(|intent| intent.set.as_deref() != set).cloned().collect()
    }

    /// Whether this view is at least as new as `other`, by the order of resource versions; unknown counts as yes.
    pub fn at_least(&self, other: &Self) -> bool {
        match (self.resource_version.parse::<u64>(), other.resource_version.parse::<u64>()) {
            (Ok(own), Ok(others)) => own >= others,
            _ => true,
        }
    }
}

/// The little of a grant that tells whom a change of it concerns and how urgent it is: read for every event of the watch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Glance {
    /// Whose it is.
    pub integration: Owner,
    /// Counts token answers within the epoch.
    pub generation: u64,
    /// The attempt whose answer the tokens are.
    #[serde(default)]
    pub attempt: Option<String>,
    /// When the access token expires.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Whether this authorization ends earlier ones of the same installation.
    #[serde(default)]
    pub ends_earlier: bool,
}

impl Glance {
    /// Reads it; `None` where the annotation is missing or cannot be read.
    pub fn at(metadata: &ObjectMeta) -> Option<Self> {
        serde_json::from_str(metadata.annotations.as_ref()?.get(SUMMARY)?).ok()
    }

    /// Whether the intent of this attempt stands on the grant.
    pub fn intends(metadata: &ObjectMeta, attempt: &str) -> bool {
        metadata.annotations.as_ref().and_then(|all| all.get(INTENT)).is_some_and(|intent| intent.contains(attempt))
    }
}

/// Unfinished refreshes as the annotation has them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Intents {
    One(Intent),
    Several(Vec<Intent>),
}

fn plain(metadata: &ObjectMeta, annotation: &str) -> Option<String> {
    metadata.annotations.as_ref()?.get(annotation).cloned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests_support::{set, summary};

    fn metadata(summary: &serde_json::Value, intent: Option<&str>) -> ObjectMeta {
        let intent = intent.map(|text| (INTENT.to_owned(), text.to_owned()));
        let annotations = [(SUMMARY.to_owned(), summary.to_string())].into_iter().chain(intent).collect();
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    #[test]
    fn what_was_written_before_there_were_sets_is_read() {
        let written = serde_json::to_value(summary(0, Some(10))).unwrap();
        assert!(written.get("sets").is_none() && written.get("refreshExpiresAt").is_none());
        let times = r#""firstSent":"1970-01-01T00:00:05Z","deadline":"1970-01-01T00:00:45Z""#;
        let one = format!(r#"{{"attempt":"a","epoch":1,"boot":"b","holder":"h",{times}}}"#);
        let view = GrantView::from_metadata(&metadata(&written, Some(&one))).unwrap();
        assert_eq!(view.summary, summary(0, Some(10)));
        assert_eq!(view.intent(None).unwrap().attempt, "a");
        assert!(view.intent(Some("user")).is_none());
        assert!(GrantView::from_metadata(&metadata(&written, Some("[{}]"))).is_err());
    }

    #[test]
    fn sets_and_their_intents_are_read_again() {
        let mut held = summary(0, Some(10));
        held.sets.insert("user".into(), set(0, Some(20)));
        let intent = |attempt: &str, set: Option<&str>, epoch| Intent {
            attempt: attempt.into(),
            set: set.map(str::to_owned),
            epoch,
            boot: "b".into(),
            holder: "h".into(),
            first_sent: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
        };
        let intents = [intent("m", None, 1), intent("u", Some("user"), 1), intent("o", Some("old"), 0)];
        let text = serde_json::to_string(&intents).unwrap();
        let written = serde_json::to_value(&held).unwrap();
        let view = GrantView::from_metadata(&metadata(&written, Some(&text))).unwrap();
        assert_eq!(view.summary, held);
        assert_eq!(view.intent(Some("user")).unwrap().attempt, "u");
        assert!(view.intent(Some("old")).is_none(), "of another epoch");
        assert_eq!(view.intents_but(Some("user")), [intent("m", None, 1)]);
    }
}
