//! From a description to a provider that can be used: everything is parsed here, once, and a mistake is one error.
//!
//! Pure: discovery has been made before, and nothing here knows a client or a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use url::Url;

use super::api_key::KeyForm;
use super::discovery::ServerMetadata;
use super::expression::{Expression, ExpressionError};
use super::template::{ParameterRule, RuleError, TemplateError, UrlTemplate};
use crate::api::ProviderKind;
use crate::api::provider::{
    ApiKey, ClientAuthentication, IdentityCall, Method, Pkce, ProviderSpec, Reauthorization, RefreshProfile,
    RequestFormat, RevocationAuthentication, RevocationBody, RevocationEffect,
};
use crate::digest::short_hash;
use crate::grant::binding::ProviderRef;
use crate::grant::binding::TokenInBody;
use crate::grant::plan::Profile;
use crate::grant::schedule::parse_duration;

/// Parameters that the protocol owns; a description cannot set them.
const PROTOCOL_PARAMETERS: [&str; 10] = [
    "client_id",
    "client_secret",
    "redirect_uri",
    "state",
    "response_type",
    "scope",
    "code",
    "grant_type",
    "refresh_token",
    "client_assertion",
];

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
    pub parameters: BTreeMap<String, ParameterRule>,
    /// The OAuth 2.0 client; `None` where there is none.
    pub oauth: Option<OAuthClient>,
    /// What is asked of a person who gives an API key; `None` where none is taken.
    pub api_key: Option<KeyClient>,
    /// What goes to `status.metadata`.
    pub metadata: BTreeMap<String, Arc<Expression>>,
    /// What goes to the token Secret.
    pub secret_metadata: BTreeMap<String, Arc<Expression>>,
    /// Whether any expression looks at the identity answer.
    pub needs_identity: bool,
    /// The redirect URI of this provider context, and of no other.
    pub callback_url: Url,
    /// A digest of the description, by which a change in the middle of a flow is noticed.
    pub pin: String,
}

/// An OAuth 2.0 client, ready for use.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// The issuer, where the description names one.
    pub issuer: Option<String>,
    /// Whether the server says that it sends `iss` with every authorization response (RFC 9207 §3).
    pub issuer_in_response: bool,
    /// Authorization endpoint.
    pub authorization_url: UrlTemplate,
    /// Token endpoint.
    pub token_url: UrlTemplate,
    /// Introspection endpoint.
    pub introspection_url: Option<UrlTemplate>,
    /// The call that proves a credential.
    pub identity: Option<Identity>,
    /// How to revoke, and where.
    pub revocation: Option<RevocationCall>,
    /// What a revocation ends.
    pub revocation_effect: RevocationEffect,
    /// What a second authorization does to the first.
    pub reauthorization: Reauthorization,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
    /// What separates them.
    pub scope_separator: String,
    /// PKCE.
    pub pkce: Pkce,
    /// Client authentication.
    pub client_authentication: ClientAuthentication,
    /// Body of token requests.
    pub request_format: RequestFormat,
    /// Extra parameters of the authorization request.
    pub authorization_params: BTreeMap<String, String>,
    /// Extra parameters of the exchange.
    pub token_params: BTreeMap<String, String>,
    /// Extra parameters of a refresh.
    pub refresh_params: BTreeMap<String, String>,
    /// How refresh tokens behave.
    pub refresh: RefreshProfile,
    /// Refresh at least this often.
    pub refresh_every: Option<SignedDuration>,
    /// Lifetime of an access token whose answer names none.
    pub default_lifetime: Option<SignedDuration>,
    /// Error words.
    pub errors: crate::api::provider::ErrorWords,
    /// Which upstream installation a grant is.
    pub grant_identity: Option<Arc<Expression>>,
}

/// How an app takes an API key.
#[derive(Clone, Debug)]
pub struct KeyClient {
    /// What a key looks like, and how it is sent.
    pub form: KeyForm,
    /// The call that proves a key.
    pub identity: Option<Identity>,
}

/// The call that proves a credential.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Method.
    pub method: Method,
    /// Address.
    pub url: UrlTemplate,
    /// When a 2xx answer is a yes.
    pub success: Option<Arc<Expression>>,
}

/// How to revoke, and where.
#[derive(Clone, Debug)]
pub struct RevocationCall {
    /// Method.
    pub method: Method,
    /// Address.
    pub url: UrlTemplate,
    /// Who asks.
    pub authentication: RevocationAuthentication,
    /// How the token is passed.
    pub body: Option<TokenInBody>,
    /// Statuses beyond 2xx that mean the token is gone already.
    pub gone: Vec<u16>,
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
    /// A parameter's pattern does not compile.
    #[error("parameters.{name}: {source}")]
    Parameter {
        /// The parameter.
        name: String,
        /// Why.
        source: RuleError,
    },
    /// A URL asks for a parameter that the form does not have.
    #[error("{field} uses {{{name}}}, but spec.parameters has no such entry")]
    UnknownParameter {
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
    /// A length of time cannot be read.
    #[error("{field}: {text} is not a length of time such as 1h30m")]
    Duration {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A value of the description language that this version cannot carry out.
    #[error("{field}: {value} is not supported by this version")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What stands there.
        value: &'static str,
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
        let parameters = spec
            .parameters
            .iter()
            .map(|(name, parameter)| {
                ParameterRule::new(parameter.pattern.as_deref())
                    .map(|rule| (name.clone(), rule))
                    .map_err(|source| ProviderError::Parameter { name: name.clone(), source })
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let callback_url = callback_url(spec, around)?;
        let oauth = spec.oauth2.as_ref().map(|_| oauth_client(spec, around, &parameters)).transpose()?;
        let api_key = spec.api_key.as_ref().map(|section| key_client(section, spec, &parameters)).transpose()?;
        if oauth.is_none() && api_key.is_none() {
            return Err(ProviderError::NoCredential);
        }
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
            needs_identity: needs_identity(spec),
            metadata: expressions("metadata", &spec.metadata)?,
            secret_metadata: expressions("secretMetadata", &spec.secret_metadata)?,
            parameters,
            callback_url,
            reference,
        })
    }
}

impl Provider {
    /// A value that the form asks for and nobody has given.
    pub fn missing_parameter(&self, given: &BTreeMap<String, String>) -> Option<&str> {
        self.parameters.keys().map(String::as_str).find(|name| !given.contains_key(*name))
    }
}

fn key_client(
    section: &ApiKey,
    spec: &ProviderSpec,
    parameters: &BTreeMap<String, ParameterRule>,
) -> Result<KeyClient, ProviderError> {
    let form = KeyForm::new(section).map_err(ProviderError::KeyPattern)?;
    let identity = spec.identity.as_ref().map(|call| described_identity(call, parameters)).transpose()?;
    Ok(KeyClient { form, identity })
}

/// The section `identity`.
fn described_identity(
    call: &IdentityCall,
    parameters: &BTreeMap<String, ParameterRule>,
) -> Result<Identity, ProviderError> {
    let field = "identity.url";
    let url =
        call.call.url.as_deref().ok_or(ProviderError::Missing { field, remedy: "set it, or leave identity out" })?;
    Ok(Identity {
        method: call.call.method.unwrap_or(Method::Get),
        url: template(field, url, parameters)?,
        success: call.success.as_deref().map(|source| expression("identity.success", source)).transpose()?,
    })
}

/// An address whose places are all values of the form, or the client's identifier.
fn template(
    field: &'static str,
    text: &str,
    parameters: &BTreeMap<String, ParameterRule>,
) -> Result<UrlTemplate, ProviderError> {
    let template = UrlTemplate::parse(text).map_err(|source| ProviderError::Url { field, source })?;
    let unknown = template.parameters().into_iter().find(|name| *name != CLIENT_ID && !parameters.contains_key(*name));
    match unknown.map(str::to_owned) {
        Some(name) => Err(ProviderError::UnknownParameter { field, name }),
        None => Ok(template),
    }
}

fn oauth_client(
    spec: &ProviderSpec,
    around: &Surroundings<'_>,
    parameters: &BTreeMap<String, ParameterRule>,
) -> Result<OAuthClient, ProviderError> {
    let oauth = spec.oauth2.clone().unwrap_or_default();
    let found = around.discovered;
    let url = |field: &'static str, own: Option<&str>, discovered: Option<&Url>| -> Result<_, ProviderError> {
        own.or(discovered.map(Url::as_str)).map(|text| template(field, text, parameters)).transpose()
    };
    let remedy = "set it, or set oauth2.issuer to a server with metadata (RFC 8414)";
    let authorization_url = url(
        "oauth2.authorizationURL",
        oauth.authorization_url.as_deref(),
        found.and_then(|metadata| metadata.authorization_endpoint.as_ref()),
    )?
    .ok_or(ProviderError::Missing { field: "oauth2.authorizationURL", remedy })?;
    let token_url = url(
        "oauth2.tokenURL",
        oauth.token_url.as_deref(),
        found.and_then(|metadata| metadata.token_endpoint.as_ref()),
    )?
    .ok_or(ProviderError::Missing { field: "oauth2.tokenURL", remedy })?;
    let introspection_url = url(
        "oauth2.introspectionURL",
        oauth.introspection_url.as_deref(),
        found.and_then(|metadata| metadata.introspection_endpoint.as_ref()),
    )?;
    let identity = match &spec.identity {
        Some(call) => Some(described_identity(call, parameters)?),
        None => url(
            "oauth2.userinfoURL",
            oauth.userinfo_url.as_deref(),
            found.and_then(|metadata| metadata.userinfo_endpoint.as_ref()),
        )?
        .map(|url| Identity { method: Method::Get, url, success: None }),
    };
    for (field, extra) in [
        ("oauth2.authorizationParams", &oauth.authorization_params),
        ("oauth2.tokenParams", &oauth.token_params),
        ("oauth2.refreshParams", &oauth.refresh_params),
    ] {
        if let Some(name) =
            extra.keys().find(|name| PROTOCOL_PARAMETERS.contains(&name.as_str()) || name.starts_with("code_"))
        {
            return Err(ProviderError::ProtocolParameter { field, name: name.clone() });
        }
    }
    if oauth.client_authentication == Some(ClientAuthentication::PrivateKeyJwt) {
        return Err(ProviderError::Unsupported { field: "oauth2.clientAuthentication", value: "PrivateKeyJwt" });
    }
    let refresh = oauth.refresh.clone().unwrap_or_default();
    Ok(OAuthClient {
        issuer: found.map(|metadata| metadata.issuer.clone()).or(oauth.issuer.clone()),
        issuer_in_response: found.is_some_and(|metadata| metadata.authorization_response_iss_parameter_supported),
        authorization_url,
        token_url,
        introspection_url,
        identity,
        revocation: revocation(&oauth, found, &url)?,
        revocation_effect: oauth.revocation_effect.unwrap_or_default(),
        reauthorization: oauth.reauthorization.unwrap_or_default(),
        scopes: oauth.scopes.clone().unwrap_or_default(),
        scope_separator: oauth.scope_separator.clone().unwrap_or_else(|| " ".to_owned()),
        pkce: oauth.pkce.unwrap_or_default(),
        client_authentication: oauth.client_authentication.unwrap_or_default(),
        request_format: oauth.request_format.unwrap_or_default(),
        refresh_every: duration("oauth2.refresh.every", refresh.every.as_deref())?,
        default_lifetime: duration("oauth2.accessTokenLifetime", oauth.access_token_lifetime.as_deref())?,
        grant_identity: oauth
            .grant_identity
            .as_deref()
            .map(|source| expression("oauth2.grantIdentity", source))
            .transpose()?,
        errors: oauth.errors.unwrap_or_default(),
        authorization_params: oauth.authorization_params,
        token_params: oauth.token_params,
        refresh_params: oauth.refresh_params,
        refresh,
    })
}

/// `oauth2.revocation` where it stands, else RFC 7009 at `oauth2.revocationURL` or the discovered endpoint.
fn revocation(
    oauth: &crate::api::provider::OAuth2,
    found: Option<&ServerMetadata>,
    url: &impl Fn(&'static str, Option<&str>, Option<&Url>) -> Result<Option<UrlTemplate>, ProviderError>,
) -> Result<Option<RevocationCall>, ProviderError> {
    let token = |body: &RevocationBody| TokenInBody {
        format: body.format.unwrap_or_default(),
        parameter: body.parameter.clone().unwrap_or_else(|| "token".to_owned()),
        token: body.token.unwrap_or_default(),
    };
    if let Some(revocation) = &oauth.revocation {
        let field = "oauth2.revocation.url";
        let url = url(field, revocation.url.as_deref(), None)?
            .ok_or(ProviderError::Missing { field, remedy: "set it, or set oauth2.revocationURL for RFC 7009" })?;
        return Ok(Some(RevocationCall {
            method: revocation.method.unwrap_or(Method::Post),
            url,
            authentication: revocation.authentication.unwrap_or_default(),
            body: revocation.body.as_ref().map(token),
            gone: revocation.gone.clone(),
        }));
    }
    let template = url(
        "oauth2.revocationURL",
        oauth.revocation_url.as_deref(),
        found.and_then(|metadata| metadata.revocation_endpoint.as_ref()),
    )?;
    Ok(template.map(|url| RevocationCall {
        method: Method::Post,
        url,
        authentication: RevocationAuthentication::Client,
        body: Some(token(&RevocationBody::default())),
        gone: vec![],
    }))
}

impl OAuthClient {
    /// How refresh tokens behave, as the planner wants it.
    pub fn profile(&self) -> Profile {
        Profile {
            rotation: self.refresh.rotation.unwrap_or_default(),
            grace: SignedDuration::from_secs(i64::from(self.refresh.grace_seconds.unwrap_or(0))),
            old_access_token: self.refresh.old_access_token.unwrap_or_default(),
            introspection: self.introspection_url.is_some(),
            probe: self.identity.is_some(),
        }
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

/// Whether any expression looks at the identity answer; if none does, connecting asks for none.
fn needs_identity(spec: &ProviderSpec) -> bool {
    let identity = spec.oauth2.as_ref().and_then(|oauth| oauth.grant_identity.as_ref());
    spec.metadata
        .values()
        .chain(spec.secret_metadata.values())
        .chain(identity)
        .any(|source| source.contains("identity"))
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
