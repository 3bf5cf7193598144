//! The authorization request (RFC 6749 §4.1.1) and from a token answer to a grant.

use std::collections::BTreeMap;

use jiff::Timestamp;
use url::Url;

use super::account::{Names, Subject};
use super::answer::TokenAnswer;
use super::attempt::Attempt;
use super::client::named;
use super::received;
use crate::api::provider::Pkce;
use crate::digest::sha256_base64url;
use crate::grant::{Account, ClientCredentials, Grant, Installed, Owner};
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
    let of_sets = client.token_sets.values().filter(|set| !set.scopes.is_empty());
    let of_sets: Vec<_> = of_sets
        .filter_map(|set| Some((set.scope_parameter.as_deref()?, set.scopes.join(&client.scope_separator))))
        .collect();
    parameters.extend(of_sets.iter().map(|(name, scopes)| (*name, scopes.as_str())));
    if client.pkce == Pkce::S256 {
        parameters.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    let named = parameters.into_iter().map(|(name, value)| (named(name, &client.parameter_names), value));
    let extra = endpoints.authorization_params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut url = endpoints.authorization.clone();
    url.query_pairs_mut().extend_pairs(named.chain(extra));
    url
}

/// What a grant is made for, beside an answer.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// Whose it is.
    pub integration: &'a Owner,
    /// The tenant.
    pub tenant: &'a str,
    /// The project.
    pub project: &'a str,
    /// The app.
    pub type_: &'a str,
    /// Scopes that were asked for.
    pub scopes: &'a [String],
    /// Values that the person gave.
    pub parameters: &'a BTreeMap<String, String>,
    /// Parameters of the callback that are kept.
    pub query: &'a BTreeMap<String, String>,
    /// The Kubernetes user that asked.
    pub caller: Option<&'a str>,
    /// The person of the product on whose behalf it was asked.
    pub agent_id: Option<&'a str>,
}

impl<'a> From<&'a Attempt> for Purpose<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            integration: &attempt.integration,
            tenant: &attempt.tenant,
            project: &attempt.project,
            type_: &attempt.type_,
            scopes: &attempt.scopes,
            parameters: &attempt.parameters,
            query: &attempt.query,
            caller: attempt.caller.as_deref(),
            agent_id: attempt.agent_id.as_deref(),
        }
    }
}

/// Makes the grant of a first answer, with what that answer tells; `epoch` is the one to be written.
pub fn first_grant<'a>(
    purpose: impl Into<Purpose<'a>>,
    usable: &Usable,
    answer: &TokenAnswer,
    epoch: u64,
    now: Timestamp,
) -> Grant {
    let purpose = purpose.into();
    let grant = Grant {
        integration: purpose.integration.clone(),
        epoch,
        generation: 1,
        attempt: None,
        api_key: None,
        tokens: received::tokens(answer, &usable.client, now),
        sets: received::sets(answer, &usable.client, now),
        scopes: answer.scopes.clone().unwrap_or_else(|| purpose.scopes.to_vec()),
        requested_scopes: purpose.scopes.to_vec(),
        missing_scopes: vec![],
        askable: false,
        account: Account::new(&answer.body, purpose.query),
        installation: None,
        metadata: BTreeMap::new(),
        secret_metadata: BTreeMap::new(),
        parameters: purpose.parameters.clone(),
        installed: Installed {
            by: purpose.caller.map(str::to_owned),
            agent_id: purpose.agent_id.map(str::to_owned),
            at: now,
        },
        binding: usable.endpoints.binding(&usable.provider, &usable.client, &usable.credentials),
    };
    subject(purpose, usable).conclude(&grant, None, now)
}

/// The connection that a grant is about, as expressions see it.
pub fn subject<'a, 'b>(purpose: impl Into<Purpose<'b>>, usable: &'a Usable) -> Subject<'a> {
    let purpose = purpose.into();
    let names = Names {
        namespace: &purpose.integration.namespace,
        name: &purpose.integration.name,
        tenant: purpose.tenant,
        project: purpose.project,
        type_: purpose.type_,
    };
    Subject::of_oauth(usable, names, &[purpose.parameters])
}
