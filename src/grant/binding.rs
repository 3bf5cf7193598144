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
    /// The client that the grant was made to; empty for an API key, which knows none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// For a tenant's own provider: its client's credentials, so that a revocation needs nothing of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCredentials>,
    /// Token endpoint; none for an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<Url>,
    /// Where a refresh is sent, if not to the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_url: Option<Url>,
    /// Introspection endpoint (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_url: Option<Url>,
    /// The call that proves the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_url: Option<Url>,
    /// Further origins that a credential may be sent to: of look-ups, and of the app's API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_origins: Vec<String>,
    /// How the client authenticates.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// How client assertions are made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub assertion: Assertion,
    /// Names that the provider has for parameters of the protocol.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter_names: BTreeMap<String, String>,
    /// The body of token requests.
    #[serde(default)]
    pub request_format: RequestFormat,
    /// The whole revocation request, with its address rendered; `None` where the provider has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationRequest>,
    /// What a revocation ends.
    #[serde(default)]
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
    /// That of an API key: the provider, and the one place that the operator itself sends it to.
    pub fn of_api_key(
        provider: ProviderRef,
        identity_url: Option<Url>,
        api_origins: Vec<String>,
        private_networks: Vec<IpNet>,
    ) -> Self {
        Self {
            provider,
            client_id: String::new(),
            client: None,
            token_url: None,
            refresh_url: None,
            introspection_url: None,
            identity_url,
            api_origins,
            client_authentication: ClientAuthentication::default(),
            assertion: Assertion::default(),
            parameter_names: BTreeMap::new(),
            request_format: RequestFormat::default(),
            revocation: None,
            revocation_effect: RevocationEffect::default(),
            private_networks,
        }
    }

    /// A digest of everything that must stay the same for the credentials to be sent: provider, client and origins.
    pub fn digest(&self) -> String {
        let mut parts = vec![
            self.provider.uid.clone(),
            self.client_id.clone(),
            origin(self.token_url.as_ref()),
            origin(self.introspection_url.as_ref()),
            origin(self.identity_url.as_ref()),
        ];
        // Grants that were made before there was such a field keep their digests.
        parts.extend(self.refresh_url.as_ref().map(|url| origin(Some(url))));
        short_hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Binding {
    /// The same as [`Binding::digest`], part by part.
    pub fn parts(&self) -> Parts {
        let short = |text: &str| if text.is_empty() { String::new() } else { short_hash(&[text])[..8].to_owned() };
        let place = |url: Option<&Url>| short(&origin(url));
        Parts {
            object: short(&self.provider.uid),
            client: short(&self.client_id),
            token: place(self.token_url.as_ref()),
            refresh: place(self.refresh_url.as_ref()),
            introspection: place(self.introspection_url.as_ref()),
            identity: place(self.identity_url.as_ref()),
        }
    }

    /// Whether credentials may be sent to this origin, as `UrlTemplate::origin` writes it.
    pub fn allows(&self, wanted: &str) -> bool {
        let own = [&self.token_url, &self.refresh_url, &self.introspection_url, &self.identity_url];
        own.into_iter().any(|url| origin(url.as_ref()) == wanted)
            || self.api_origins.iter().any(|known| known == wanted)
    }
}

/// Short digests of what a binding holds; each empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parts {
    /// The provider object.
    pub object: String,
    /// The client id.
    pub client: String,
    /// Origin of the token endpoint.
    pub token: String,
    /// Origin of the place where a refresh is sent.
    pub refresh: String,
    /// Origin of the introspection endpoint.
    pub introspection: String,
    /// Origin of the identity call.
    pub identity: String,
}

impl Parts {
    /// What differs, in words for people.
    pub fn changes(&self, now: &Self) -> Vec<&'static str> {
        [
            (&self.object, &now.object, "the provider object was deleted and made again"),
            (&self.client, &now.client, "the client id changed"),
            (&self.token, &now.token, "the token endpoint lies elsewhere"),
            (&self.refresh, &now.refresh, "the endpoint for refreshes lies elsewhere"),
            (&self.introspection, &now.introspection, "the introspection endpoint lies elsewhere"),
            (&self.identity, &now.identity, "the identity call goes elsewhere"),
        ]
        .into_iter()
        .filter_map(|(before, now, change)| (before != now).then_some(change))
        .collect()
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
    use serde_json::json;

    use super::*;

    /// As it was written before there were API keys and other places for a refresh.
    fn stored() -> serde_json::Value {
        json!({
            "provider": { "kind": "ClusterIntegrationProvider", "name": "app", "uid": "u" },
            "clientId": "client",
            "tokenUrl": "https://app.example.com/token",
            "identityUrl": "https://api.example.com/me",
            "clientAuthentication": "ClientSecretPost",
            "requestFormat": "Form",
            "revocationEffect": "Grant",
            "privateNetworks": [],
        })
    }

    #[test]
    fn stored_grants_stay_readable_and_bound() {
        let mut binding: Binding = serde_json::from_value(stored()).unwrap();
        let parts = ["u", "client", "https://app.example.com", "", "https://api.example.com"];
        let as_before = short_hash(&parts);
        assert_eq!(binding.digest(), as_before);
        assert_eq!(serde_json::to_value(&binding).unwrap(), stored());
        binding.refresh_url = Some("https://app.example/refresh".parse().unwrap());
        let bound = binding.digest();
        assert_ne!(bound, as_before);
        binding.refresh_url = Some("https://app.example/elsewhere".parse().unwrap());
        assert_eq!(binding.digest(), bound, "the origin counts, not the path");
        binding.refresh_url = Some("https://evil.example/refresh".parse().unwrap());
        assert_ne!(binding.digest(), bound);
    }

    #[test]
    fn a_key_is_bound_to_provider_and_origin() {
        let provider = |uid: &str| ProviderRef {
            kind: ProviderKind::ClusterIntegrationProvider,
            namespace: None,
            name: "app".into(),
            uid: uid.into(),
        };
        let digest = |uid: &str, url: Option<&str>| {
            Binding::of_api_key(provider(uid), url.map(|url| url.parse().unwrap()), vec![], vec![]).digest()
        };
        let here = digest("u", Some("https://api.example.com/me"));
        assert_eq!(here, digest("u", Some("https://api.example.com/v2/me")));
        for other in [digest("v", Some("https://api.example.com/me")), digest("u", Some("https://evil.example.com/me"))]
        {
            assert_ne!(here, other);
        }
        assert_ne!(here, digest("u", None));
    }

    #[test]
    fn changes_are_named() {
        let before: Binding = serde_json::from_value(stored()).unwrap();
        let change = |field: &str, value: &str| {
            let mut text = stored();
            text[field] = json!(value);
            let now: Binding = serde_json::from_value(text).unwrap();
            before.parts().changes(&now.parts())
        };
        assert_eq!(change("clientId", "client"), [""; 0]);
        assert_eq!(change("clientId", "other"), ["the client id changed"]);
        assert_eq!(change("tokenUrl", "https://evil.example/token"), ["the token endpoint lies elsewhere"]);
        assert_eq!(change("tokenUrl", "https://app.example.com/v2/token"), [""; 0]);
        assert_eq!(change("introspectionUrl", "https://a.example/"), ["the introspection endpoint lies elsewhere"]);
        assert!(
            before.allows("https://api.example.com") && !before.allows("https://evil.example") && !before.allows("x")
        );
    }
}
