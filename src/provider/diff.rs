//! What a change of a description does to those who use it.
//!
//! Takes two descriptions and an integration's own values, gives the fields that differ and why its grant would not be
//! used any more. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::catalogue::{Kind, with_preset};
use super::discovery::ServerMetadata;
use super::endpoints::Endpoints;
use super::resolved::{Provider, Surroundings};
use crate::api::provider::ProviderSpec;
use crate::causes::chain;
use crate::grant::binding::ProviderRef;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Such as `spec.oauth2.scopes`.
    pub field: String,
    /// What stood there; none where it is new.
    pub old: Option<Value>,
    /// What stands there; none where it is gone.
    pub new: Option<Value>,
}

/// What an integration brings along.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// Values of the form.
    pub parameters: BTreeMap<String, String>,
    /// Its own scopes; those of the description when empty.
    pub scopes: Vec<String>,
}

/// One side of a comparison.
#[derive(Debug)]
pub struct Side {
    spec: ProviderSpec,
    provider: Arc<Provider>,
}

impl Side {
    /// Reads a description as the operator would have it.
    pub fn new(reference: &ProviderRef, spec: &ProviderSpec) -> Result<Self, String> {
        let spec = with_preset(spec).map_err(|error| chain(&error))?;
        let public_url = Url::parse("https://connect.example.com").map_err(|error| error.to_string())?;
        let issuer = spec.oauth2.as_ref().and_then(|client| client.issuer.as_deref());
        // What an issuer's metadata says is not asked for here: its endpoints are taken to be its own.
        let discovered: Option<ServerMetadata> = issuer.and_then(|issuer| {
            let own = serde_json::json!({
                "issuer": issuer, "authorization_endpoint": issuer, "token_endpoint": issuer,
            });
            serde_json::from_value(own).ok()
        });
        let around = Surroundings {
            reference: reference.clone(),
            discovered: discovered.as_ref(),
            public_url: &public_url,
            tenant: reference.namespace.as_deref(),
        };
        let provider = Provider::resolve(&spec, &around).map_err(|error| chain(&error))?;
        Ok(Self { spec, provider: Arc::new(provider) })
    }

    /// Whether a flow that was begun under the other description could end under this one.
    pub fn same_flow(&self, other: &Self) -> bool {
        self.provider.pin == other.provider.pin
    }

    /// A form filled with anything, for where there is no integration.
    pub fn sample(mut self) -> (Self, User) {
        let mut user = User::default();
        for (name, parameter) in &self.spec.parameters {
            user.parameters.insert(name.clone(), parameter.default.clone().unwrap_or_else(|| "sample".to_owned()));
        }
        for parameter in self.spec.parameters.values_mut() {
            parameter.pattern = None;
        }
        let reference = self.provider.reference.clone();
        // Without patterns every sample fits; the description was fine with them, so it is without.
        let loose = Self::new(&reference, &self.spec).unwrap_or(self);
        (loose, user)
    }

    fn scopes(&self, user: &User) -> Vec<String> {
        if user.scopes.is_empty() {
            self.spec.oauth2.as_ref().and_then(|client| client.scopes.clone()).unwrap_or_default()
        } else {
            user.scopes.clone()
        }
    }

    /// The places that a grant's credentials are sent to, by what lies there.
    fn origins(&self, user: &User) -> Result<BTreeMap<&'static str, String>, String> {
        let Some(client) = &self.provider.oauth else { return Ok(BTreeMap::new()) };
        let endpoints =
            Endpoints::render(&self.provider, client, "", &user.parameters).map_err(|error| chain(&error))?;
        let all = [
            ("token endpoint", Some(&endpoints.token.url)),
            ("refresh endpoint", endpoints.token.refresh_url.as_ref()),
            ("introspection endpoint", endpoints.introspection.as_ref()),
            ("identity call", endpoints.identity.as_ref().map(|identity| &identity.call.url)),
        ];
        Ok(all.into_iter().filter_map(|(name, url)| Some((name, url?.origin().ascii_serialization()))).collect())
    }
}

/// The fields in which two descriptions differ, with their presets underneath. Lists are compared as a whole.
pub fn changes(old: &Side, new: &Side) -> Vec<Change> {
    let mut found = Vec::new();
    let value = |side: &Side| serde_json::to_value(&side.spec).unwrap_or_default();
    compare("spec", Some(&value(old)), Some(&value(new)), &mut found);
    found
}

fn compare(field: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    match (old, new) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let more = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(more) {
                compare(&format!("{field}.{key}"), before.get(key), after.get(key), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(Change { field: field.to_owned(), old: old.cloned(), new: new.cloned() }),
    }
}

/// Why the grant of an integration would not be used any more, or would not do; nothing where it stays in use.
pub fn reasons(old: &Side, new: &Side, user: &User) -> Vec<String> {
    let mut reasons = Vec::new();
    let (before, after) = (Kind::of(&old.spec), Kind::of(&new.spec));
    match (old.provider.oauth.is_some(), new.provider.oauth.is_some()) {
        (true, true) => {}
        (false, false) => return reasons,
        _ if before == Kind::Both || after == Kind::Both => {}
        _ => return vec![format!("connects by {after} in place of {before}")],
    }
    let secret = |side: &Side| side.spec.client_credentials_ref.as_ref().map(|reference| reference.name.clone());
    if let (Some(before), Some(after)) = (secret(old), secret(new))
        && before != after
    {
        reasons.push(format!(
            "the client is that of Secret {after} in place of {before}, unless its client_id is the same"
        ));
    }
    match (old.origins(user), new.origins(user)) {
        (Ok(before), Ok(after)) => {
            for name in ["token endpoint", "refresh endpoint", "introspection endpoint", "identity call"] {
                if let (Some(before), Some(after)) = (before.get(name), after.get(name))
                    && before != after
                {
                    reasons.push(format!("the {name} moves from {before} to {after}"));
                }
            }
        }
        (_, Err(problem)) => reasons.push(format!("its values do not fill the new description: {problem}")),
        (Err(_), Ok(_)) => {}
    }
    let had = old.scopes(user);
    let added: Vec<String> = new.scopes(user).into_iter().filter(|scope| !had.contains(scope)).collect();
    if !added.is_empty() {
        reasons.push(format!("scopes are added: {}", added.join(" ")));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ProviderKind;

    fn side(spec: Value) -> Side {
        let kind = ProviderKind::ClusterIntegrationProvider;
        let reference = ProviderRef { kind, namespace: None, name: "acme".to_owned(), uid: "uid".to_owned() };
        Side::new(&reference, &serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn acme() -> Value {
        json!({
            "clientCredentialsRef": {"name": "one"},
            "oauth2": {
                "authorizationURL": "https://{site}.acme.test/authorize", "tokenURL": "https://{site}.acme.test/token",
                "scopes": ["a"],
            },
            "identity": {"url": "https://api.acme.test/me"},
            "parameters": {"site": {}},
        })
    }

    fn changed(pointer: &str, value: Value) -> Side {
        let mut spec = acme();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[key] = value;
        side(spec)
    }

    fn user(site: &str, scopes: &[&str]) -> User {
        User {
            parameters: BTreeMap::from([("site".to_owned(), site.to_owned())]),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }
    }

    #[test]
    fn fields_are_told_apart() {
        let (old, new) = (side(acme()), changed("/oauth2/scopes", json!(["a", "b"])));
        let field = "spec.oauth2.scopes".to_owned();
        assert_eq!(changes(&old, &new), [Change { field, old: Some(json!(["a"])), new: Some(json!(["a", "b"])) }]);
        assert!(changes(&old, &side(acme())).is_empty() && old.same_flow(&side(acme())) && !old.same_flow(&new));
    }

    #[test]
    fn a_grant_stays_where_its_origins_stay() {
        let old = side(acme());
        for (pointer, value) in [
            ("/oauth2/tokenURL", json!("https://{site}.acme.test/v2/token")),
            ("/oauth2/scopes", json!([])),
            ("/displayName", json!("Acme")),
            ("/oauth2/revocationURL", json!("https://elsewhere.test/revoke")),
        ] {
            assert_eq!(reasons(&old, &changed(pointer, value), &user("web", &[])), Vec::<String>::new(), "{pointer}");
        }
    }

    #[test]
    fn who_must_authorize_again_and_why() {
        let old = side(acme());
        for (pointer, value, reason) in [
            (
                "/oauth2/tokenURL",
                json!("https://{site}.acme2.test/t"),
                "the token endpoint moves from https://web.acme.test to https://web.acme2.test",
            ),
            (
                "/identity/url",
                json!("https://me.acme.test/"),
                "the identity call moves from https://api.acme.test to https://me.acme.test",
            ),
            ("/oauth2/scopes", json!(["b", "a"]), "scopes are added: b"),
            (
                "/clientCredentialsRef/name",
                json!("two"),
                "the client is that of Secret two in place of one, unless its client_id is the same",
            ),
            (
                "/parameters/region",
                json!({}),
                "its values do not fill the new description: parameter region is missing; set spec.parameters.region",
            ),
        ] {
            assert_eq!(reasons(&old, &changed(pointer, value), &user("web", &[])), [reason]);
        }
        let keys = side(json!({"apiKey": {}}));
        assert_eq!(reasons(&old, &keys, &user("web", &[])), ["connects by api-key in place of oauth2"]);
    }

    #[test]
    fn an_integration_with_scopes_of_its_own_is_not_asked_for_more() {
        let new = changed("/oauth2/scopes", json!(["a", "b"]));
        assert_eq!(reasons(&side(acme()), &new, &user("web", &["a"])), Vec::<String>::new());
    }

    #[test]
    fn a_form_can_be_filled_with_anything() {
        let mut spec = acme();
        spec["parameters"]["site"]["pattern"] = json!("[0-9]+");
        let (old, user) = side(spec.clone()).sample();
        spec["oauth2"]["tokenURL"] = json!("https://acme.test/token");
        let (new, _) = side(spec).sample();
        assert_eq!(
            reasons(&old, &new, &user),
            ["the token endpoint moves from https://sample.acme.test to https://acme.test"]
        );
    }
}
