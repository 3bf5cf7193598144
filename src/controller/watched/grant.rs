//! A grant as the cache holds it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::api::ObjectMeta;

use super::packed::Packed;
use crate::controller::context::SecretMeta;
use crate::grant::GrantView;
use crate::grant::record::{Glance, ViewError};
use crate::grant::store::INSTALLATION_LABEL;
use crate::seal::SEALED_WITH;

/// What the annotations of a grant are like: those that each has, in their order.
const LIKE: &str = concat!(
    r#"{"integrations.tms.dev/handled":"{}","integrations.tms.dev/published":"{\"name\":\"web.slack\",\"uid\":\"","#,
    r#""}","integrations.tms.dev/sealed-with":"","integrations.tms.dev/summary":"{\"integration\":{\"namespace\":\"acme\","#,
    r#"\"name\":\"web.slack\",\"uid\":\"\"},\"epoch\":1,\"generation\":1,\"attempt\":\"\",\"obtainedAt\":\"2026-"#,
    r#"\",\"expiresAt\":\"2026-\",\"refreshable\":true,\"refreshObtainedAt\":\"2026-\",\"refreshExpiresAt\":\"2026-"#,
    r#"\",\"sets\":{},\"installedAt\":\"2026-\",\"provider\":{\"kind\":\"ClusterIntegrationProvider\",\"name\":\"slack"#,
    r#"\",\"uid\":\"\"},\"binding\":\"\",\"parts\":{\"object\":\"\",\"client\":\"\",\"token\":\"\",\"refresh\":\"\","#,
    r#"\"introspection\":\"\",\"identity\":\"\"},\"installation\":\"\",\"fingerprint\":\"\",\"described\":\"\","#,
    r#"\"completedAt\":\"2026-\",\"parameters\":{},\"requestedScopes\":[\"\",\"\"]}"}"#,
);

/// A grant Secret by its metadata.
#[derive(Clone, Debug)]
pub struct WatchedGrant {
    /// Names and versions; the rest is below.
    metadata: ObjectMeta,
    annotations: Packed,
    /// The hash of client and upstream installation, by which siblings are found.
    pub installation: Option<Box<str>>,
    /// The name of the key that its data is sealed with.
    pub sealed_with: Option<Box<str>>,
    /// When its access token expires.
    pub expires_at: Option<Timestamp>,
}

impl WatchedGrant {
    /// Packs what the watch has delivered.
    pub fn new(secret: SecretMeta) -> Self {
        let metadata = secret.metadata;
        let expires_at = Glance::at(&metadata).and_then(|glance| glance.expires_at);
        let annotations = metadata.annotations.unwrap_or_default();
        let short = |text: &String| text.as_str().into();
        Self {
            expires_at,
            installation: metadata.labels.as_ref().and_then(|labels| labels.get(INSTALLATION_LABEL)).map(short),
            sealed_with: annotations.get(SEALED_WITH).map(short),
            annotations: Packed::new(serde_json::json!(annotations).to_string().as_bytes(), LIKE),
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
        }
    }

    /// With its annotations.
    pub fn open(&self) -> ObjectMeta {
        let annotations: Option<BTreeMap<_, _>> = serde_json::from_slice(&self.annotations.open(LIKE)).ok();
        ObjectMeta { annotations, ..self.metadata.clone() }
    }

    /// As reconciles look at it.
    pub fn view(&self) -> Result<GrantView, ViewError> {
        GrantView::from_metadata(&self.open())
    }
}

impl Resource for WatchedGrant {
    type DynamicType = ();
    type Scope = <Secret as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::record::SUMMARY;
    use crate::grant::tests_support::summary;

    #[test]
    fn what_is_opened_is_what_was_packed() {
        let mut held = summary(0, Some(10));
        held.installation = Some("i".to_owned());
        let annotations = BTreeMap::from([
            (SUMMARY.to_owned(), serde_json::to_string(&held).unwrap()),
            (SEALED_WITH.to_owned(), "key".to_owned()),
        ]);
        let metadata = ObjectMeta {
            name: Some("grant-1".to_owned()),
            uid: Some("u".to_owned()),
            resource_version: Some("7".to_owned()),
            labels: Some(BTreeMap::from([(INSTALLATION_LABEL.to_owned(), "i".to_owned())])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        let grant = WatchedGrant::new(SecretMeta { metadata: metadata.clone(), ..SecretMeta::default() });
        assert_eq!(grant.view().unwrap(), GrantView::from_metadata(&metadata).unwrap());
        assert_eq!(grant.expires_at, held.expires_at);
        assert_eq!((grant.installation.as_deref(), grant.sealed_with.as_deref()), (Some("i"), Some("key")));
    }

    #[test]
    fn one_that_cannot_be_read_is_one_of_the_cache_all_the_same() {
        let grant = WatchedGrant::new(SecretMeta::default());
        assert!(grant.view().is_err() && grant.expires_at.is_none());
    }
}
