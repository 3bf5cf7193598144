//! The authorization request (RFC 6749 §4.1.1) and from a token answer to a grant.

use std::collections::BTreeMap;

use jiff::Timestamp;
use url::Url;

use super::account::{Names, Subject};
use super::answer::{TokenAnswer, expires_at};
use super::attempt::Attempt;
use super::client::named;
use crate::api::provider::Pkce;
use crate::digest::sha256_base64url;
use crate::grant::{Account, ClientCredentials, Grant, Installed, Tokens};
use crate::provider::endpoints::Endpoints;
use crate::provider::registry::Usable;
use crate::provider::resolved::OAuthClient;

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

/// Makes the grant of a first answer, with what that answer tells; `epoch` is the one to be written.
pub fn first_grant(attempt: &Attempt, usable: &Usable, answer: &TokenAnswer, epoch: u64, now: Timestamp) -> Grant {
    let grant = Grant {
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
            expires_at: expires_at(answer, usable.client.default_lifetime, now),
        },
        scopes: answer.scopes.clone().unwrap_or_else(|| attempt.scopes.clone()),
        requested_scopes: attempt.scopes.clone(),
        missing_scopes: vec![],
        account: Account::new(&answer.body, &attempt.query),
        installation: None,
        metadata: BTreeMap::new(),
        secret_metadata: BTreeMap::new(),
        parameters: attempt.parameters.clone(),
        installed: Installed { by: attempt.caller.clone(), agent_id: attempt.agent_id.clone(), at: now },
        binding: usable.endpoints.binding(&usable.provider, &usable.client, &usable.credentials),
    };
    subject(attempt, usable).conclude(&grant, None, now)
}

/// The connection that an attempt is about, as expressions see it.
pub fn subject<'a>(attempt: &Attempt, usable: &'a Usable) -> Subject<'a> {
    let names = Names {
        namespace: &attempt.integration.namespace,
        name: &attempt.integration.name,
        tenant: &attempt.tenant,
        project: &attempt.project,
        type_: &attempt.type_,
    };
    Subject::of_oauth(usable, names, &[&attempt.parameters])
}
