//! Revocation (RFC 7009, and the providers' own ways), by what the grant holds and nothing else.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};

use super::{authenticate_client, basic, bearer, encode_body};
use crate::api::provider::{Method as RevocationMethod, RevocationAuthentication, TokenChoice};
use crate::grant::{Binding, ClientCredentials, Grant, Tokens};
use crate::provider::outbound::{Outbound, OutboundRequest, SendError};
use crate::sensitive::Sensitive;

/// A revocation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The client's credentials are not to be had.
    #[error("the client's credentials are missing")]
    NoClient,
    /// No answer.
    #[error("the revocation endpoint gave no answer")]
    Send(#[from] SendError),
    /// The provider refused.
    #[error("the revocation endpoint answered HTTP {status}")]
    Refused {
        /// The status.
        status: u16,
    },
}

/// Revokes what `grant` holds: the tokens of each chain, all of which are tried. The first failure is told.
pub async fn revoke(outbound: &Outbound, grant: &Grant, client: Option<&ClientCredentials>) -> Result<(), RevokeError> {
    let (main, sets) = tokio::join!(
        revoke_tokens(outbound, &grant.binding, &grant.tokens, client),
        revoke_sets(outbound, grant, client)
    );
    main.and(sets)
}

/// Revokes the further sets of `grant` alone, as where its main chain has ended. Those that have ended are left out.
pub async fn revoke_sets(
    outbound: &Outbound,
    grant: &Grant,
    client: Option<&ClientCredentials>,
) -> Result<(), RevokeError> {
    let living = grant.sets.values().filter(|set| set.ended.is_none());
    let all = living.map(|set| revoke_tokens(outbound, &grant.binding, &set.tokens, client));
    futures::future::join_all(all).await.into_iter().collect()
}

/// Revokes one chain of tokens. A provider without revocation is done at once; a token that is gone already is a success.
pub async fn revoke_tokens(
    outbound: &Outbound,
    binding: &Binding,
    tokens: &Tokens,
    client: Option<&ClientCredentials>,
) -> Result<(), RevokeError> {
    let Some(revocation) = &binding.revocation else { return Ok(()) };
    let client = client.or(binding.client.as_ref());
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut parameters = Vec::new();
    if let Some(body) = &revocation.body {
        let token = match (body.token, &tokens.refresh_token) {
            (TokenChoice::RefreshToken, Some(refresh_token)) => refresh_token,
            _ => &tokens.access_token,
        };
        parameters.push((body.parameter.clone(), token.expose().to_owned()));
    }
    match revocation.authentication {
        RevocationAuthentication::Client => {
            let client = client.ok_or(RevokeError::NoClient)?;
            authenticate_client(binding.client_authentication, client, &mut headers, &mut parameters);
        }
        RevocationAuthentication::ClientBasic => {
            let client = client.ok_or(RevokeError::NoClient)?;
            let secret = client.client_secret.as_ref().map_or("", Sensitive::expose);
            basic(&mut headers, &client.client_id, secret);
        }
        RevocationAuthentication::Bearer => bearer(&mut headers, tokens.access_token.expose()),
        RevocationAuthentication::None => {}
    }
    let body =
        revocation.body.as_ref().map(|body| encode_body(body.format, &parameters, &mut headers)).unwrap_or_default();
    let response = outbound
        .send(OutboundRequest {
            method: match revocation.method {
                RevocationMethod::Get => Method::GET,
                RevocationMethod::Post => Method::POST,
                RevocationMethod::Delete => Method::DELETE,
            },
            url: revocation.url.clone(),
            headers,
            body: Some(body),
            private_networks: binding.private_networks.as_slice().into(),
            timeout: super::token::TIMEOUT,
        })
        .await?;
    let status = response.status.as_u16();
    // A dead Bearer token answers 401: what was to be revoked is gone.
    let dead = revocation.authentication == RevocationAuthentication::Bearer && status == 401;
    if response.status.is_success() || dead || revocation.gone.contains(&status) {
        Ok(())
    } else {
        Err(RevokeError::Refused { status })
    }
}
