//! Who is asking, and may they: both questions go to the API server, each time anew.
//!
//! A bearer token (RFC 6750 §2.1) is shown to it by `TokenReview`, bound to an audience, so that a token meant for
//! somebody else opens nothing here. What the caller may do is what RBAC grants in the tenant's namespace, asked by
//! `SubjectAccessReview`. Nothing is remembered: a right that was taken away is gone at the next request.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::Shared;
use super::error::ApiError;
use super::ids::Target;
use crate::api::GROUP;
use crate::sensitive::Sensitive;

/// Longest token that is shown to the API server, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How users that are service accounts are called.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const RESOURCE: &str = "projectintegrations";

/// What a caller wants to do; each is a verb on a (sub)resource, as RBAC knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Start or confirm a flow.
    Install,
    /// Give an API key.
    Credentials,
    /// Create the integration.
    Create,
    /// Read one.
    Get,
    /// Read all of a namespace.
    List,
    /// Ask for a refresh.
    Update,
    /// Disconnect and delete.
    Delete,
    /// Read the access token.
    Token,
    /// Post a message.
    Message,
    /// List what can be done.
    ListActions,
    /// Do it.
    Act,
    /// Call the app's API, with the verb that the method needs.
    Proxy(&'static str),
}

impl Right {
    /// The verb and the subresource.
    pub const fn attributes(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Install => ("create", Some("install")),
            Self::Credentials => ("create", Some("credentials")),
            Self::Create => ("create", None),
            Self::Get => ("get", None),
            Self::List => ("list", None),
            Self::Update => ("update", None),
            Self::Delete => ("delete", None),
            Self::Token => ("get", Some("token")),
            Self::Message => ("create", Some("messages")),
            Self::ListActions => ("get", Some("actions")),
            Self::Act => ("create", Some("actions")),
            Self::Proxy(verb) => (verb, Some("proxy")),
        }
    }
}

/// Who is asking.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The Kubernetes user.
    pub username: String,
    user: UserInfo,
}

/// Asks the API server about callers.
#[derive(Clone)]
pub struct Authenticator {
    client: kube::Client,
    audience: String,
    accept_api_server_audience: bool,
}

impl Authenticator {
    /// Accepts tokens made for `audience`; with `accept_api_server_audience` also those made for the API server itself,
    /// except those of service accounts: every Pod has one of these.
    pub fn new(client: kube::Client, audience: String, accept_api_server_audience: bool) -> Self {
        Self { client, audience, accept_api_server_audience }
    }

    /// The caller whose token the headers carry.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let refused = || ApiError::Unauthenticated { audience: self.audience.clone() };
        let token = bearer(headers).ok_or_else(refused)?;
        if let Some(caller) = self.review(&token, Some(&self.audience)).await? {
            return Ok(caller);
        }
        if self.accept_api_server_audience
            && let Some(caller) = self.review(&token, None).await?
            && !caller.username.starts_with(SERVICE_ACCOUNT)
        {
            return Ok(caller);
        }
        Err(refused())
    }

    /// Whether RBAC grants `right` in `namespace`, on the object `name` where one is meant.
    pub async fn permits(
        &self,
        caller: &Caller,
        right: Right,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<bool, ApiError> {
        let (verb, subresource) = right.attributes();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: caller.user.username.clone(),
                uid: caller.user.uid.clone(),
                groups: caller.user.groups.clone(),
                extra: caller.user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    group: Some(GROUP.to_owned()),
                    resource: Some(RESOURCE.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    verb: Some(verb.to_owned()),
                    name: name.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer =
            reviews.create(&PostParams::default(), &review).await.map_err(ApiError::cluster("review a right"))?;
        Ok(answer.status.is_some_and(|status| status.allowed && !status.denied.unwrap_or(false)))
    }

    async fn review(&self, token: &Sensitive, audience: Option<&str>) -> Result<Option<Caller>, ApiError> {
        let audiences = audience.map(|audience| vec![audience.to_owned()]);
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.expose().to_owned()), audiences },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer =
            reviews.create(&PostParams::default(), &review).await.map_err(ApiError::cluster("review a token"))?;
        let Some(status) = answer.status else { return Ok(None) };
        // An authenticator that knows nothing of audiences leaves the list empty: its yes does not count.
        let meant = audience.is_none_or(|audience| status.audiences.iter().flatten().any(|other| other == audience));
        if status.authenticated != Some(true) || !meant {
            return Ok(None);
        }
        let Some(user) = status.user else { return Ok(None) };
        let username = user.username.clone().filter(|name| !name.is_empty());
        Ok(username.map(|username| Caller { username, user }))
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, ApiError> {
        state.auth.authenticate(&parts.headers).await
    }
}

impl super::ServerState {
    /// The namespace of the target's tenant, where the caller has the right on its integration.
    pub(super) async fn permit(&self, caller: &Caller, right: Right, target: &Target) -> Result<String, ApiError> {
        self.permit_in(caller, right, &target.tenant, Some(&target.name())).await
    }

    /// The namespace of `tenant`, where the caller has the right; an unknown tenant answers like a missing right.
    pub(super) async fn permit_in(
        &self,
        caller: &Caller,
        right: Right,
        tenant: &str,
        name: Option<&str>,
    ) -> Result<String, ApiError> {
        let namespace = self.flow.tenants.namespace_of(tenant).ok_or(ApiError::Forbidden)?;
        if !self.auth.permits(caller, right, &namespace, name).await? {
            return Err(ApiError::Forbidden);
        }
        Ok(namespace)
    }
}

/// The one bearer token of a request (RFC 6750 §2.1, `b64token`); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<Sensitive> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    let well_formed = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
    let acceptable = scheme.eq_ignore_ascii_case("bearer") && well_formed && (1..=MAX_TOKEN).contains(&token.len());
    acceptable.then(|| Sensitive::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn one_bearer_token() {
        assert_eq!(bearer(&headers(&["Bearer a.b-c"])).unwrap().expose(), "a.b-c");
        assert_eq!(bearer(&headers(&["bEaReR a"])).unwrap().expose(), "a");
        for bad in [&[][..], &["Bearer"], &["Bearer "], &["Basic YQ=="], &["Bearer a b"], &["Bearer a", "Bearer b"]] {
            assert!(bearer(&headers(bad)).is_none(), "{bad:?}");
        }
        assert!(bearer(&headers(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN + 1))])).is_none());
    }
}
