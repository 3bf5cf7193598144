//! The provider that a grant was made for, and the places its credentials may be sent to.
//!
//! Whoever may edit a provider or an integration must not thereby send a refresh token elsewhere (RFC 9700 §4.4.2), so
//! the origins are kept in the grant and compared before each use. The binding also holds all that a revocation needs,
//! since in a dying namespace the provider and its client Secret are gone first.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::api::ProviderKind;
use crate::api::provider::{
    ClientAuthentication, Method, Reauthorization, RequestFormat, RevocationAuthentication, RevocationEffect,
    TokenChoice,
};
use crate::digest::short_hash;
use crate::sensitive::Sensitive;

/// A provider object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRef {
    /// Which kind.
    pub kind: ProviderKind,
    /// Its namespace; `None` for a cluster provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// The client's credentials at the provider (RFC 6749 §2.3.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCredentials {
    /// The client identifier; not a secret.
    pub client_id: String,
    /// The client secret; `None` for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Sensitive>,
}

/// How a grant is tied to its provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// The provider object.
    pub provider: ProviderRef,
    /// The client that the grant was made to.
    pub client_id: String,
    /// For a tenant's own provider: its client's credentials, so that a revocation needs nothing of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCredentials>,
    /// Token endpoint.
    pub token_url: Url,
    /// Introspection endpoint (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_url: Option<Url>,
    /// The call that proves the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_url: Option<Url>,
    /// How the client authenticates.
    pub client_authentication: ClientAuthentication,
    /// The body of token requests.
    pub request_format: RequestFormat,
    /// The whole revocation request, with its address rendered; `None` where the provider has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationRequest>,
    /// What a revocation ends.
    pub revocation_effect: RevocationEffect,
    /// What a second authorization of the same installation does to the first.
    #[serde(default)]
    pub reauthorization: Reauthorization,
    /// Private networks that the provider's endpoints may lie in.
    #[serde(default)]
    pub private_networks: Vec<IpNet>,
}

/// Everything that a revocation takes beside the token and the client's credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationRequest {
    /// The HTTP method.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// Who asks.
    pub authentication: RevocationAuthentication,
    /// How the token is passed; nothing in the body when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<TokenInBody>,
    /// Statuses beyond 2xx that mean the token is gone already.
    #[serde(default)]
    pub gone: Vec<u16>,
}

/// A token as a parameter of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInBody {
    /// The encoding.
    pub format: RequestFormat,
    /// The parameter's name.
    pub parameter: String,
    /// Which token.
    pub token: TokenChoice,
}

impl Binding {
    /// The client: the origin of its server, and its id there.
    pub fn client_at(&self) -> (String, &str) {
        (origin(Some(&self.token_url)), &self.client_id)
    }

    /// A digest of everything that must stay the same for the credentials to be sent: provider, client and origins.
    pub fn digest(&self) -> String {
        short_hash(&[
            &self.provider.uid,
            &self.client_id,
            &origin(Some(&self.token_url)),
            &origin(self.introspection_url.as_ref()),
            &origin(self.identity_url.as_ref()),
        ])
    }
}

fn origin(url: Option<&Url>) -> String {
    url.map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}
