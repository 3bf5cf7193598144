//! From a description to a provider that can be used: everything is parsed here, once, and a mistake is one error.
//!
//! Pure: discovery has been made before, and nothing here knows a client or a clock.

mod account;
mod answer;
mod api_key;
mod oauth2;
mod requests;
mod scopes;
mod token_sets;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use url::Url;

pub use account::{AccountError, ApiRules, Identity};
pub use answer::{AnswerRules, TokenPlaces};
pub use api_key::KeyClient;
use api_key::key_client;
use oauth2::oauth_client;
pub use oauth2::{OAuthClient, RevocationCall};
pub use requests::ExtraParams;
pub use token_sets::TokenSetError;

use super::action::{ActionError, ActionRules, ErrorRules};
use super::call::{CallError, PlacementError};
use super::discovery::ServerMetadata;
use super::expression::{Expression, ExpressionError};
use super::form::{Form, FormError};
use super::lookup::LookupRules;
use super::template::{RuleError, TemplateError};
use super::webhook::{WebhookError, WebhookRules};
use crate::api::ProviderKind;
use crate::api::provider::ProviderSpec;
use crate::digest::short_hash;
use crate::grant::binding::ProviderRef;
use crate::grant::schedule::parse_duration;

/// What a URL may name beside the values of the form: the client's own identifier.
pub const CLIENT_ID: &str = "client_id";

/// A description that was checked and parsed.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The object it came from.
    pub reference: ProviderRef,
    /// The app's name as people know it.
    pub display_name: String,
    /// The Secret with the client's credentials.
    pub client_secret_name: Option<String>,
    /// Which namespaces may use it; all when `None`.
    pub allowed_namespaces: Option<LabelSelector>,
    /// Private networks in which its endpoints may lie.
    pub private_networks: Arc<[IpNet]>,
    /// The form for the person who connects.
    pub parameters: Form,
    /// The OAuth 2.0 client; `None` where there is none.
    pub oauth: Option<OAuthClient>,
    /// What is asked of a person who gives an API key; `None` where none is taken.
    pub api_key: Option<KeyClient>,
    /// What all calls to its API have in common, and where it lies.
    pub api: ApiRules,
    /// What can be done with a connection.
    pub actions: Vec<ActionRules>,
    /// How the app words refusals.
    pub errors: ErrorRules,
    /// How its webhooks are taken; `None` where it has none.
    pub webhooks: Option<Arc<WebhookRules>>,
    /// Calls after connecting, in their order.
    pub lookups: Vec<LookupRules>,
    /// What goes to `status.metadata`.
    pub metadata: BTreeMap<String, Arc<Expression>>,
    /// What goes to the token Secret.
    pub secret_metadata: BTreeMap<String, Arc<Expression>>,
    /// Whether any expression looks at the identity answer.
    pub needs_identity: bool,
    /// A digest of all that it says of the account.
    pub account: String,
    /// The redirect URI of this provider context, and of no other.
    pub callback_url: Url,
    /// A digest of the description, by which a change in the middle of a flow is noticed.
    pub pin: String,
}

/// A description that cannot be used. Every variant names the field.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A required field is missing.
    #[error("{field} is missing; {remedy}")]
    Missing {
        /// The field.
        field: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A URL cannot be used.
    #[error("{field}: {source}")]
    Url {
        /// The field.
        field: &'static str,
        /// Why.
        source: TemplateError,
    },
    /// An expression does not compile.
    #[error("{field}: {source}")]
    Expression {
        /// The field.
        field: String,
        /// Why, and where.
        source: ExpressionError,
    },
    /// It says neither how to authorize nor how to send a key.
    #[error("the description needs oauth2 or apiKey")]
    NoCredential,
    /// The pattern of the key does not compile.
    #[error("apiKey.pattern: {0}")]
    KeyPattern(#[source] RuleError),
    /// The form cannot be used.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A pointer is not one.
    #[error("{field}: {text:?} is no JSON pointer (RFC 6901) such as /data/access_token")]
    Pointer {
        /// The field.
        field: String,
        /// What stands there.
        text: String,
    },
    /// A parameter of the protocol cannot be renamed like this.
    #[error("oauth2.parameterNames.{name} {problem}")]
    ParameterName {
        /// The parameter of the protocol.
        name: String,
        /// Why.
        problem: &'static str,
    },
    /// A header cannot be set.
    #[error("oauth2.tokenHeaders.{name} {problem}")]
    Header {
        /// The header.
        name: String,
        /// Why.
        problem: &'static str,
    },
    /// A URL asks for a parameter that the form does not have.
    #[error("{field} uses {{{name}}}, but spec.parameters has no such entry")]
    UnknownParameter {
        /// The field.
        field: &'static str,
        /// The parameter.
        name: String,
    },
    /// Host or path of a URL take a value that may be left out.
    #[error(
        "{field} uses {{{name}}} in its host or path; give parameters.{name} a default, or do not make it optional"
    )]
    OptionalParameter {
        /// The field.
        field: &'static str,
        /// The parameter.
        name: String,
    },
    /// Extra parameters try to set what the protocol owns.
    #[error("{field} must not set {name}: the protocol owns it")]
    ProtocolParameter {
        /// The field.
        field: &'static str,
        /// The parameter.
        name: String,
    },
    /// A network is not a CIDR.
    #[error("allowedPrivateCIDRs: {text} is not a network such as 10.1.0.0/16")]
    Network {
        /// What stands there.
        text: String,
    },
    /// A field of the cluster kind stands in a tenant's provider.
    #[error("{field} is for ClusterIntegrationProvider only")]
    ClusterOnly {
        /// The field.
        field: &'static str,
    },
    /// A call cannot be made as described.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An action cannot be carried out as described.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// Webhooks cannot be taken as described.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// What is said of the account cannot be used.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A credential cannot be sent as described.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A length of time cannot be read.
    #[error("{field}: {text} is not a length of time such as 1h30m")]
    Duration {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A set of further tokens is described wrongly.
    #[error("oauth2.tokenSets.{name}{source}")]
    TokenSet {
        /// The set.
        name: String,
        /// Why.
        source: TokenSetError,
    },
    /// The description cannot be digested.
    #[error("the description cannot be encoded")]
    Encode(#[source] serde_json::Error),
}

/// What resolving needs beside the description.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The object.
    pub reference: ProviderRef,
    /// The metadata of the issuer, where the description names one.
    pub discovered: Option<&'a ServerMetadata>,
    /// The operator's public address.
    pub public_url: &'a Url,
    /// The tenant, for a tenant's own provider.
    pub tenant: Option<&'a str>,
}

impl Provider {
    /// Checks and parses a description that has been merged with its preset.
    pub fn resolve(spec: &ProviderSpec, around: &Surroundings<'_>) -> Result<Self, ProviderError> {
        let reference = around.reference.clone();
        if reference.kind == ProviderKind::IntegrationProvider {
            if spec.allowed_namespaces.is_some() {
                return Err(ProviderError::ClusterOnly { field: "allowedNamespaces" });
            }
            if !spec.allowed_private_cidrs.is_empty() {
                return Err(ProviderError::ClusterOnly { field: "allowedPrivateCIDRs" });
            }
        }
        let parameters = Form::new(&spec.parameters)?;
        let callback_url = callback_url(spec, around)?;
        let api = ApiRules::new(spec, &parameters)?;
        let oauth = spec.oauth2.as_ref().map(|_| oauth_client(spec, around, &parameters, &api)).transpose()?;
        let api_key = key_client(spec, &parameters, &api)?;
        if oauth.is_none() && api_key.is_none() {
            return Err(ProviderError::NoCredential);
        }
        let metadata = expressions("metadata", &spec.metadata)?;
        let secret_metadata = expressions("secretMetadata", &spec.secret_metadata)?;
        let grant_identity = oauth.as_ref().and_then(|client| client.grant_identity.as_ref());
        let needs_identity = metadata
            .values()
            .chain(secret_metadata.values())
            .chain(grant_identity)
            .chain(&api.base.from)
            .any(|expression| expression.speaks_of("identity"));
        let text = serde_json::to_string(spec).map_err(ProviderError::Encode)?;
        let discovered = around.discovered.map(|metadata| format!("{metadata:?}")).unwrap_or_default();
        Ok(Self {
            pin: short_hash(&[&reference.uid, &text, &discovered, callback_url.as_str()]),
            display_name: spec.display_name.clone().unwrap_or_else(|| reference.name.clone()),
            client_secret_name: spec.client_credentials_ref.as_ref().map(|secret| secret.name.clone()),
            allowed_namespaces: spec.allowed_namespaces.clone(),
            private_networks: networks(spec)?,
            oauth,
            api_key,
            actions: api.actions(spec, reference.kind)?,
            errors: ErrorRules::new(&spec.api.as_ref().and_then(|api| api.errors.clone()).unwrap_or_default())?,
            webhooks: WebhookRules::new(spec)?.map(Arc::new),
            lookups: api.lookups(&spec.lookups, &parameters)?,
            api,
            needs_identity,
            account: account::digest(spec),
            metadata,
            secret_metadata,
            parameters,
            callback_url,
            reference,
        })
    }
}

/// The redirect URI of a provider context: `{public}/api/public/…/{name}/callback`, or the one registered elsewhere.
fn callback_url(spec: &ProviderSpec, around: &Surroundings<'_>) -> Result<Url, ProviderError> {
    let field = "oauth2.redirectURI";
    if let Some(own) = spec.oauth2.as_ref().and_then(|oauth| oauth.redirect_uri.as_deref()) {
        return Url::parse(own).map_err(|source| ProviderError::Url { field, source: TemplateError::Parse(source) });
    }
    let path = match around.tenant {
        None => format!("/api/public/integrations/{}/callback", around.reference.name),
        Some(tenant) => format!("/api/public/tenants/{tenant}/integrations/{}/callback", around.reference.name),
    };
    let mut url = around.public_url.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    Ok(url)
}

fn networks(spec: &ProviderSpec) -> Result<Arc<[IpNet]>, ProviderError> {
    spec.allowed_private_cidrs
        .iter()
        .map(|text| text.parse().map_err(|_| ProviderError::Network { text: text.clone() }))
        .collect()
}

fn expressions(
    field: &str,
    sources: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Arc<Expression>>, ProviderError> {
    sources.iter().map(|(name, source)| Ok((name.clone(), expression(&format!("{field}.{name}"), source)?))).collect()
}

fn expression(field: &str, source: &str) -> Result<Arc<Expression>, ProviderError> {
    Expression::compile(source)
        .map(Arc::new)
        .map_err(|source| ProviderError::Expression { field: field.to_owned(), source })
}

fn duration(field: &'static str, text: Option<&str>) -> Result<Option<SignedDuration>, ProviderError> {
    text.map(|text| parse_duration(text).ok_or_else(|| ProviderError::Duration { field, text: text.to_owned() }))
        .transpose()
}

#[cfg(test)]
pub(crate) mod tests;
