//! The way to connect without HTTP: an annotation asks, and the link lies in a Secret that belongs to the integration.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams};

use super::context::Context;
use super::situation::Situation;
use crate::api::MANAGER;
use crate::api::project_integration::AuthorizationStatus;
use crate::api::request::REQUESTED_BY;
use crate::causes::chain;
use crate::digest::short_hash;
use crate::flow::attempts::{DENIED_ANNOTATION, OWNER_ANNOTATION};
use crate::flow::begin::{BeginError, Initiator};
use crate::publish::owner;

/// A link could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The flow could not begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The Secret with the link could not be written or removed.
    #[error("Secret {name} with the authorization link could not be written or removed")]
    Secret {
        /// The Secret.
        name: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ConnectError {
    /// What to tell the person who asked.
    pub fn message(&self) -> String {
        chain(self)
    }
}

/// Begins a flow and lays its link down.
pub async fn begin(
    context: &Context,
    situation: &Situation<'_>,
    request: &str,
) -> Result<AuthorizationStatus, ConnectError> {
    let integration = situation.integration;
    let caller = integration.annotations().get(REQUESTED_BY).cloned();
    let who = Initiator { caller, request: Some(request.to_owned()), ..Initiator::default() };
    let begun = context.flow.begin(integration, who).await?;
    let name = secret_name(&situation.name);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(situation.namespace.clone()),
            owner_references: Some(vec![owner(integration)]),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("integrations.tms.dev/authorization-url".to_owned()),
        data: Some([("url".to_owned(), ByteString(begun.url.expose().as_bytes().to_vec()))].into()),
        ..Secret::default()
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &situation.namespace);
    // The name carries a hash that nobody else would choose, so this cannot land on a foreign Secret by accident.
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&secret))
        .await
        .map_err(|source| ConnectError::Secret { name: name.clone(), source: Box::new(source) })?;
    Ok(AuthorizationStatus { secret_name: name, expires_at: begun.expires_at.to_string() })
}

/// Removes the Secret with the link.
pub async fn withdraw(context: &Context, namespace: &str, name: &str) -> Result<(), ConnectError> {
    let name = secret_name(name);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    match api.delete(&name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ConnectError::Secret { name, source: Box::new(source) }),
    }
}

/// How the authorization that was asked for stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A person is expected, or at it.
    Open,
    /// The person, or the provider, said no.
    Denied,
    /// It is over: used, expired or replaced.
    Over,
}

/// Looks at the attempts of an integration, as the watch shows them.
pub fn progress(context: &Context, situation: &Situation<'_>, now: Timestamp) -> Progress {
    let own = format!("{}/{}", situation.namespace, situation.name);
    let attempts = context.attempt_cache.state();
    let mut denied = false;
    for attempt in &attempts {
        let annotations = attempt.metadata.annotations.as_ref();
        let value = |key: &str| annotations.and_then(|annotations| annotations.get(key));
        if value(OWNER_ANNOTATION) != Some(&own) {
            continue;
        }
        if value(DENIED_ANNOTATION).is_some() {
            denied = true;
        } else if value("integrations.tms.dev/deadline")
            .and_then(|text| text.parse::<Timestamp>().ok())
            .is_some_and(|deadline| now < deadline)
        {
            return Progress::Open;
        }
    }
    if denied { Progress::Denied } else { Progress::Over }
}

fn secret_name(integration: &str) -> String {
    let hash = short_hash(&["authorization-url", integration]);
    let stem: String = integration.chars().take(200).collect();
    format!("{stem}-authorization-{}", &hash[..10])
}
