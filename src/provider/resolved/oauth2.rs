//! The OAuth 2.0 client of a description.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use jiff::SignedDuration;
use url::Url;

use super::account::{callback_params, grant_identity};
use super::answer::AnswerRules;
use super::requests::{ExtraParams, extra_params, headers, parameter_names};
use super::{ApiRules, CLIENT_ID, Identity, ProviderError, Surroundings, duration, expression};
use crate::api::provider::{
    Assertion, ClientAuthentication, GrantedScopes, Method, Pkce, ProviderSpec, Reauthorization, RefreshProfile,
    RequestFormat, RevocationAuthentication, RevocationBody, RevocationEffect,
};
use crate::grant::binding::TokenInBody;
use crate::grant::plan::Profile;
use crate::provider::discovery::ServerMetadata;
use crate::provider::expression::Expression;
use crate::provider::form::Form;
use crate::provider::template::UrlTemplate;

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
    /// Where a refresh is sent, if not to the token endpoint.
    pub refresh_url: Option<UrlTemplate>,
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
    /// Whether the answer's scopes can be compared with those asked for.
    pub granted_scopes: GrantedScopes,
    /// Scopes that an answer never lists.
    pub unreported_scopes: Vec<String>,
    /// Scopes that an answer lists by another name.
    pub scope_aliases: BTreeMap<String, String>,
    /// Parameters of the callback that are kept.
    pub callback_params: Vec<String>,
    /// PKCE.
    pub pkce: Pkce,
    /// Client authentication.
    pub client_authentication: ClientAuthentication,
    /// How client assertions are made.
    pub assertion: Assertion,
    /// Body of token requests.
    pub request_format: RequestFormat,
    /// Names that this provider has for parameters of the protocol.
    pub parameter_names: Arc<BTreeMap<String, String>>,
    /// Further headers of token requests.
    pub token_headers: HeaderMap,
    /// Extra parameters of the authorization request.
    pub authorization_params: ExtraParams,
    /// Extra parameters of the exchange.
    pub token_params: ExtraParams,
    /// Extra parameters of a refresh.
    pub refresh_params: ExtraParams,
    /// How refresh tokens behave.
    pub refresh: RefreshProfile,
    /// Refresh at least this often.
    pub refresh_every: Option<SignedDuration>,
    /// Lifetime of an access token whose answer names none.
    pub default_lifetime: Option<SignedDuration>,
    /// How token answers are read.
    pub answer: Arc<AnswerRules>,
    /// Which upstream installation a grant is.
    pub grant_identity: Option<Arc<Expression>>,
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
    /// When a 2xx answer is a yes: an expression that compiles.
    pub success: Option<String>,
    /// Statuses beyond 2xx that mean the token is gone already.
    pub gone: Vec<u16>,
}

pub(super) fn oauth_client(
    spec: &ProviderSpec,
    around: &Surroundings<'_>,
    form: &Form,
    api: &ApiRules,
) -> Result<OAuthClient, ProviderError> {
    let oauth = spec.oauth2.clone().unwrap_or_default();
    let found = around.discovered;
    let url = |field: &'static str, own: Option<&str>, discovered: Option<&Url>| -> Result<_, ProviderError> {
        let Some(text) = own.or(discovered.map(Url::as_str)) else { return Ok(None) };
        let template = UrlTemplate::parse(text).map_err(|source| ProviderError::Url { field, source })?;
        if let Some(name) =
            template.parameters().into_iter().find(|name| *name != CLIENT_ID && !form.contains_key(name))
        {
            return Err(ProviderError::UnknownParameter { field, name: name.to_owned() });
        }
        if let Some(name) = template.indispensable().into_iter().find(|name| form.may_be_absent(name)) {
            return Err(ProviderError::OptionalParameter { field, name: name.to_owned() });
        }
        Ok(Some(template))
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
    let refresh_url = url("oauth2.refreshURL", oauth.refresh_url.as_deref(), None)?;
    let introspection_url = url(
        "oauth2.introspectionURL",
        oauth.introspection_url.as_deref(),
        found.and_then(|metadata| metadata.introspection_endpoint.as_ref()),
    )?;
    let identity = match api.identity(spec.identity.as_ref(), form)? {
        Some(identity) => Some(identity),
        None => url(
            "oauth2.userinfoURL",
            oauth.userinfo_url.as_deref(),
            found.and_then(|metadata| metadata.userinfo_endpoint.as_ref()),
        )?
        .map(|url| api.userinfo(url))
        .transpose()?,
    };
    let refresh = oauth.refresh.clone().unwrap_or_default();
    let extra = |field, extra| extra_params(field, extra, &oauth, form);
    Ok(OAuthClient {
        issuer: found.map(|metadata| metadata.issuer.clone()).or(oauth.issuer.clone()),
        issuer_in_response: found.is_some_and(|metadata| metadata.authorization_response_iss_parameter_supported),
        authorization_url,
        token_url,
        refresh_url,
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
        grant_identity: oauth.grant_identity.as_deref().map(grant_identity).transpose()?,
        callback_params: callback_params(&oauth.callback_params)?,
        granted_scopes: oauth.granted_scopes.unwrap_or_default(),
        unreported_scopes: oauth.unreported_scopes.clone(),
        scope_aliases: oauth.scope_aliases.clone(),
        answer: Arc::new(AnswerRules::new(&oauth)?),
        parameter_names: Arc::new(parameter_names(&oauth)?),
        token_headers: headers(&oauth)?,
        authorization_params: extra("oauth2.authorizationParams", &oauth.authorization_params)?,
        token_params: extra("oauth2.tokenParams", &oauth.token_params)?,
        refresh_params: extra("oauth2.refreshParams", &oauth.refresh_params)?,
        assertion: oauth.assertion.unwrap_or_default(),
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
        if let Some(success) = &revocation.success {
            expression("oauth2.revocation.success", success)?;
        }
        let url = url(field, revocation.url.as_deref(), None)?
            .ok_or(ProviderError::Missing { field, remedy: "set it, or set oauth2.revocationURL for RFC 7009" })?;
        return Ok(Some(RevocationCall {
            method: revocation.method.unwrap_or(Method::Post),
            url,
            authentication: revocation.authentication.unwrap_or_default(),
            body: revocation.body.as_ref().map(token),
            success: revocation.success.clone(),
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
        success: None,
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
