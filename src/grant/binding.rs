//! The provider that a grant was made for, and the places its credentials may be sent to.
//!
//! Whoever may edit a provider or an integration must not thereby send a refresh token elsewhere (RFC 9700 §4.4.2), so
//! the origins are kept in the grant and compared before each use. The binding also holds all that a revocation needs,
//! since in a dying namespace the provider and its client Secret are gone first.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use super::credentials::ClientCredentials;
use crate::api::ProviderKind;
use crate::api::provider::{
    Assertion, ClientAuthentication, Method, RequestFormat, RevocationAuthentication, RevocationEffect, TokenChoice,
};
use crate::digest::short_hash;

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
    /// Where a refresh is sent, if not to the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_url: Option<Url>,
    /// Introspection endpoint (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_url: Option<Url>,
    /// The call that proves the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_url: Option<Url>,
    /// How the client authenticates.
    pub client_authentication: ClientAuthentication,
    /// How client assertions are made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub assertion: Assertion,
    /// Names that the provider has for parameters of the protocol.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter_names: BTreeMap<String, String>,
    /// The body of token requests.
    pub request_format: RequestFormat,
    /// The whole revocation request, with its address rendered; `None` where the provider has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationRequest>,
    /// What a revocation ends.
    pub revocation_effect: RevocationEffect,
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
    /// When a 2xx answer is a yes: CEL over `response`; always when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
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
    /// A digest of everything that must stay the same for the credentials to be sent: provider, client and origins.
    pub fn digest(&self) -> String {
        let mut parts = vec![
            self.provider.uid.clone(),
            self.client_id.clone(),
            origin(Some(&self.token_url)),
            origin(self.introspection_url.as_ref()),
            origin(self.identity_url.as_ref()),
        ];
        // Grants that were made before there was such a field keep their digests.
        parts.extend(self.refresh_url.as_ref().map(|url| origin(Some(url))));
        short_hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn origin(url: Option<&Url>) -> String {
    url.map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

fn is_default(assertion: &Assertion) -> bool {
    *assertion == Assertion::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{
        "provider": { "kind": "ClusterIntegrationProvider", "name": "app", "uid": "1" },
        "clientId": "id",
        "tokenUrl": "https://app.example/token",
        "clientAuthentication": "ClientSecretPost",
        "requestFormat": "Form",
        "revocation": { "method": "POST", "url": "https://app.example/revoke", "authentication": "Client" },
        "revocationEffect": "Grant"
    }"#;

    #[test]
    fn bindings_of_earlier_versions_keep_their_digests() {
        let mut binding: Binding = serde_json::from_str(STORED).unwrap();
        let as_before = short_hash(&["1", "id", "https://app.example", "", ""]);
        assert_eq!(binding.digest(), as_before);
        binding.refresh_url = Some("https://app.example/refresh".parse().unwrap());
        let bound = binding.digest();
        assert_ne!(bound, as_before);
        binding.refresh_url = Some("https://app.example/elsewhere".parse().unwrap());
        assert_eq!(binding.digest(), bound, "the origin counts, not the path");
        binding.refresh_url = Some("https://evil.example/refresh".parse().unwrap());
        assert_ne!(binding.digest(), bound);
    }
}
