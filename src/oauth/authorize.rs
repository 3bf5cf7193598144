//! The authorization request (RFC 6749 §4.1.1) and from a token answer to a grant.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::answer::{TokenAnswer, expires_at};
use super::attempt::Attempt;
use super::client::named;
use crate::api::provider::Pkce;
use crate::digest::{sha256_base64url, short_hash};
use crate::grant::{Binding, ClientCredentials, Grant, Installed, Tokens};
use crate::provider::endpoints::Endpoints;
use crate::provider::expression::{Expression, Variables, contains_secret, without_tokens};
use crate::provider::resolved::{OAuthClient, Provider};
use crate::sensitive::Sensitive;

/// The address to which the browser is sent.
pub fn authorization_url(
    endpoints: &Endpoints,
    client: &OAuthClient,
    credentials: &ClientCredentials,
    attempt: &Attempt,
    state: &str,
) -> Url {
    let scopes = attempt.scopes.join(&client.scope_separator);
    let challenge = sha256_base64url(attempt.verifier.expose());
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", &credentials.client_id),
        ("redirect_uri", attempt.redirect_uri.as_str()),
        ("state", state),
    ];
    if !scopes.is_empty() {
        parameters.push(("scope", &scopes));
    }
    if client.pkce == Pkce::S256 {
        parameters.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    let named = parameters.into_iter().map(|(name, value)| (named(name, &client.parameter_names), value));
    let extra = endpoints.authorization_params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut url = endpoints.authorization.clone();
    url.query_pairs_mut().extend_pairs(named.chain(extra));
    url
}

/// What a description's expressions may see: never a token.
pub fn variables(
    body: &Value,
    identity: &Value,
    attempt_parameters: &BTreeMap<String, String>,
    owner: &Value,
) -> Variables {
    Variables {
        response: without_tokens(body),
        identity: without_tokens(identity),
        integration: owner.clone(),
        parameters: json!(attempt_parameters),
        ..Variables::default()
    }
}

/// Makes the grant of a first answer. `epoch` and `generation` are those to be written.
#[allow(clippy::too_many_arguments)]
pub fn first_grant(
    attempt: &Attempt,
    provider: &Provider,
    client: &OAuthClient,
    binding: Binding,
    answer: &TokenAnswer,
    identity: &Value,
    epoch: u64,
    now: Timestamp,
) -> Grant {
    let owner = json!({
        "namespace": attempt.integration.namespace,
        "name": attempt.integration.name,
        "tenantId": attempt.tenant,
        "projectId": attempt.project,
        "type": attempt.type_,
    });
    let variables = variables(&answer.body, identity, &attempt.parameters, &owner);
    let mut grant = Grant {
        integration: attempt.integration.clone(),
        epoch,
        generation: 1,
        attempt: None,
        api_key: None,
        tokens: Tokens {
            access_token: answer.access_token.clone(),
            token_type: answer.token_type.clone(),
            refresh_token: answer.refresh_token.clone(),
            obtained_at: now,
            expires_at: expires_at(answer, client.default_lifetime, now),
        },
        scopes: answer.scopes.clone().unwrap_or_else(|| attempt.scopes.clone()),
        requested_scopes: attempt.scopes.clone(),
        installation: installation(client.grant_identity.as_deref(), &binding, &variables),
        metadata: BTreeMap::new(),
        secret_metadata: secret_values(&provider.secret_metadata, &variables, answer.refresh_token.as_ref()),
        parameters: attempt.parameters.clone(),
        installed: Installed { by: attempt.caller.clone(), agent_id: attempt.agent_id.clone(), at: now },
        binding,
    };
    grant.metadata = public_values(&provider.metadata, &variables, &grant.secrets());
    grant
}

/// Hash of client and upstream installation, where the description tells installations apart. A client is an id at a
/// server: two servers may well know a client by the same id.
pub fn installation(expression: Option<&Expression>, binding: &Binding, variables: &Variables) -> Option<String> {
    let (server, client_id) = binding.client_at();
    let hash = |text: &str| Some(short_hash(&[&server, client_id, text]));
    match expression?.evaluate(variables) {
        Ok(Value::Null) | Err(_) => None,
        Ok(Value::String(text)) => hash(&text),
        Ok(other) => hash(&other.to_string()),
    }
}

/// Evaluates what goes to `status.metadata`; a result that holds a secret is left out. At most 4 KiB in all.
pub fn public_values(
    expressions: &BTreeMap<String, Arc<Expression>>,
    variables: &Variables,
    secrets: &[&str],
) -> BTreeMap<String, Value> {
    let mut left = 4 * 1024_usize;
    let mut values = BTreeMap::new();
    for (name, expression) in expressions {
        let Ok(value) = expression.evaluate(variables) else { continue };
        if value.is_null() || contains_secret(&value, secrets) {
            continue;
        }
        let size = name.len() + value.to_string().len();
        if size <= left {
            left -= size;
            values.insert(name.clone(), value);
        }
    }
    values
}

/// Evaluates what goes into the token Secret. A refresh token never does, whatever name an app repeats it under.
pub fn secret_values(
    expressions: &BTreeMap<String, Arc<Expression>>,
    variables: &Variables,
    refresh_token: Option<&Sensitive>,
) -> BTreeMap<String, Sensitive> {
    let kept: Vec<&str> = refresh_token.map(Sensitive::expose).into_iter().collect();
    expressions
        .iter()
        .filter_map(|(name, expression)| match expression.evaluate(variables) {
            Ok(value) if contains_secret(&value, &kept) => None,
            Ok(Value::String(text)) => Some((name.clone(), Sensitive::new(text))),
            _ => None,
        })
        .collect()
}
