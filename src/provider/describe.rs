//! A description in words, for a person who is about to use it.
//!
//! Takes a description with its preset underneath, gives text. No I/O.

use std::fmt::Write as _;

use super::catalogue::Kind;
use crate::api::provider::{
    ApiKey, ClientAuthentication, CredentialPlacement, Method, OAuth2, Parameter, Pkce, ProviderSpec,
};
use crate::text::Block;

/// What the operator's address is called where it is not known.
pub const PUBLIC_URL: &str = "<public URL>";

/// The redirect URI of a cluster provider.
pub fn callback_pattern(name: &str) -> String {
    format!("{PUBLIC_URL}/api/public/integrations/{name}/callback")
}

/// What a description says; `callback` is the redirect URI to register in the app's console.
pub fn describe(title: &str, spec: &ProviderSpec, callback: &str, block: &mut Block) {
    block.lines("Name", spec.display_name.as_deref().filter(|name| *name != title));
    block.lines("Kind", [Kind::of(spec).as_str()]);
    if let Some(oauth2) = &spec.oauth2 {
        block.lines("Endpoints", endpoints(oauth2));
        block
            .lines("Scopes", oauth2.scopes.as_ref().map(|scopes| scopes.join(" ")).filter(|scopes| !scopes.is_empty()));
        block.lines(
            "Tokens",
            oauth2
                .token_sets
                .iter()
                .map(|(name, set)| format!("a further set, {name}_access_token, with {}", set.scopes.join(" "))),
        );
        block.lines("Client", [client(oauth2)]);
    }
    block.lines("API key", spec.api_key.iter().flat_map(api_key));
    block.lines("API", spec.api.as_ref().and_then(|api| api.base_url.as_deref()));
    let identity = spec.identity.as_ref().map(|identity| &identity.call);
    block.lines(
        "Identity",
        identity
            .and_then(|call| Some(format!("{} {}", method(call.method.unwrap_or(Method::Get)), call.url.as_deref()?))),
    );
    block.lines("Look-ups", spec.lookups.iter().map(|lookup| lookup.name.as_str()));
    block.lines("Form", spec.parameters.iter().map(|(name, parameter)| question(name, parameter)));
    block.lines("Metadata", joined(spec.metadata.keys()));
    block.lines("Published", published(spec));
    if spec.oauth2.is_some() {
        block.lines("Secret", [format!("clientCredentialsRef names one with {}", secret_keys(spec).join(" and "))]);
        block.lines("Callback", [callback]);
    }
}

/// The keys that the Secret of the client's credentials must have.
pub fn secret_keys(spec: &ProviderSpec) -> Vec<&'static str> {
    let authentication = spec.oauth2.as_ref().map(|client| client.client_authentication.unwrap_or_default());
    match authentication {
        None => vec![],
        Some(ClientAuthentication::None) => vec!["client_id"],
        Some(ClientAuthentication::PrivateKeyJwt) => vec!["client_id", "private_key"],
        Some(ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost) => {
            vec!["client_id", "client_secret"]
        }
    }
}

fn endpoints(oauth2: &OAuth2) -> Vec<String> {
    let revocation = oauth2.revocation.as_ref();
    let revocation_url = revocation.and_then(|revocation| revocation.url.as_ref()).or(oauth2.revocation_url.as_ref());
    let revocation_method = revocation.and_then(|revocation| revocation.method).unwrap_or(Method::Post);
    let all = [
        ("issuer", None, oauth2.issuer.as_ref()),
        ("authorization", None, oauth2.authorization_url.as_ref()),
        ("token", None, oauth2.token_url.as_ref()),
        ("refresh", None, oauth2.refresh_url.as_ref()),
        ("revocation", Some(revocation_method).filter(|method| *method != Method::Post), revocation_url),
        ("introspection", None, oauth2.introspection_url.as_ref()),
        ("userinfo", None, oauth2.userinfo_url.as_ref()),
    ];
    all.into_iter()
        .filter_map(|(name, verb, url)| {
            let verb = verb.map(|verb| format!("{} ", method(verb))).unwrap_or_default();
            Some(format!("{name:<13}  {verb}{}", url?))
        })
        .collect()
}

fn client(oauth2: &OAuth2) -> String {
    let authentication = match oauth2.client_authentication.unwrap_or_default() {
        ClientAuthentication::ClientSecretPost => "authenticates in the body",
        ClientAuthentication::ClientSecretBasic => "authenticates by HTTP Basic",
        ClientAuthentication::PrivateKeyJwt => "authenticates by a signed assertion",
        ClientAuthentication::None => "is public",
    };
    let pkce = match oauth2.pkce.unwrap_or_default() {
        Pkce::S256 => "with PKCE",
        Pkce::None => "without PKCE",
    };
    format!("{authentication}, {pkce}")
}

fn api_key(key: &ApiKey) -> Vec<String> {
    let mut lines = vec![key.title.clone().unwrap_or_else(|| "API key".to_owned())];
    lines.extend(key.description.clone());
    lines.push(format!("sent {}", placement(&key.placement)));
    lines
}

fn placement(placement: &CredentialPlacement) -> String {
    if let Some(basic) = &placement.basic {
        return match &basic.username {
            Some(username) => format!("by HTTP Basic, as the password of {username}"),
            None => "by HTTP Basic, as the user name".to_owned(),
        };
    }
    let header = placement.header.as_deref().unwrap_or("Authorization");
    format!("as {header}: {}<key>", placement.prefix.as_deref().unwrap_or("Bearer "))
}

fn question(name: &str, parameter: &Parameter) -> String {
    let mut line = name.to_owned();
    let mut more = |words: &str| {
        // Writing to a String cannot fail.
        let _ = write!(line, "{words}");
    };
    if let Some(default) = &parameter.default {
        more(&format!(" [{default}]"));
    } else if parameter.optional {
        more(" (may be left out)");
    }
    if let Some(title) = &parameter.title {
        more(&format!(": {title}"));
    }
    if let Some(description) = &parameter.description {
        more(&format!(". {description}"));
    }
    more(&format!("; matches {}", parameter.pattern.as_deref().unwrap_or("one DNS label")));
    line
}

/// The keys of the Secret that workloads read.
fn published(spec: &ProviderSpec) -> Option<String> {
    let mut keys: Vec<&str> = Vec::new();
    if spec.oauth2.is_some() {
        keys.extend(["access_token", "token_type", "expires_at"]);
    }
    if spec.api_key.is_some() {
        keys.push("api_key");
    }
    keys.extend(spec.secret_metadata.keys().map(String::as_str));
    (!keys.is_empty()).then(|| keys.join(", "))
}

fn joined<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

const fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Delete => "DELETE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::catalogue::preset;

    fn described(name: &str, spec: &ProviderSpec) -> String {
        let mut block = Block::new(name, 9);
        describe(name, spec, &callback_pattern(name), &mut block);
        block.finish()
    }

    #[test]
    fn an_app_in_words() {
        let text = described("slack", &preset("slack").unwrap());
        for line in [
            "slack\n",
            "  Name       Slack\n",
            "  Kind       oauth2\n",
            "authorization  https://slack.com/oauth/v2/authorize\n",
            "  Identity   POST https://slack.com/api/auth.test\n",
            "clientCredentialsRef names one with client_id and client_secret\n",
            "  Callback   <public URL>/api/public/integrations/slack/callback\n",
            "incoming_webhook_url",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_form_and_a_key_in_words() {
        let spec: ProviderSpec = serde_json::from_value(serde_json::json!({
            "apiKey": {"title": "Restricted key", "header": "X-Key", "prefix": ""},
            "parameters": {
                "region": {"default": "eu", "pattern": "eu|us", "title": "Region"},
                "site": {"optional": true},
            },
        }))
        .unwrap();
        let text = described("acme", &spec);
        for line in [
            "  Kind       api-key\n",
            "  API key    Restricted key\n             sent as X-Key: <key>\n",
            "  Form       region [eu]: Region; matches eu|us\n             site (may be left out); matches one DNS label\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("Callback"), "{text}");
    }
}
