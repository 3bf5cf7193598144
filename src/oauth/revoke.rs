//! Revocation (RFC 7009, and the providers' own ways), by what the grant holds and nothing else.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::client::{ClientRules, Told, Tries, bearer, encode_body, told_of_client};
use crate::api::provider::{Method as RevocationMethod, RevocationAuthentication, TokenChoice};
use crate::grant::binding::{RevocationRequest, TokenInBody};
use crate::grant::{Binding, ClientCredentials, Grant, Tokens};
use crate::provider::expression::{Expression, Variables, without_tokens};
use crate::provider::outbound::{Outbound, OutboundRequest, OutboundResponse, SendError};

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
    /// The provider answered with success, and its answer says otherwise.
    #[error("the revocation endpoint answered HTTP {status}, but not what oauth2.revocation.success asks for")]
    Denied {
        /// The status.
        status: u16,
    },
}

impl RevokeError {
    /// Whether asking again may succeed. A revocation may be asked for twice (RFC 7009 §2.2: a token that is gone already is
    /// a success).
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Send(error) => !matches!(error, SendError::Forbidden(_)),
            Self::Refused { status } => *status == 429 || *status >= 500,
            Self::NoClient | Self::Denied { .. } => false,
        }
    }
}

/// Revokes what `grant` holds: the tokens of each chain, all of which are tried. The first failure is told.
pub async fn revoke(outbound: &Outbound, grant: &Grant, client: Option<&ClientCredentials>) -> Result<(), RevokeError> {
    let main = Box::pin(revoke_tokens(outbound, &grant.binding, &grant.tokens, client));
    let (main, sets) = tokio::join!(main, revoke_sets(outbound, grant, client));
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
    let by_client = match revocation.authentication {
        RevocationAuthentication::Client | RevocationAuthentication::ClientBasic => true,
        RevocationAuthentication::Bearer | RevocationAuthentication::None => false,
    };
    let nobody = ClientCredentials::new(&binding.client_id, None);
    let client = match client.or(binding.client.as_ref()) {
        Some(client) => client,
        None if by_client => return Err(RevokeError::NoClient),
        None => &nobody,
    };
    let mut tries = Tries::new(client);
    loop {
        let response = outbound.send(request(binding, tokens, revocation, &tries)).await?;
        let told = if by_client { told_of_client(&response) } else { Told::Unclear };
        if !tries.go_on(told) {
            return judge(revocation, &response);
        }
    }
}

fn request(binding: &Binding, tokens: &Tokens, revocation: &RevocationRequest, tries: &Tries<'_>) -> OutboundRequest {
    let rules = ClientRules::from(binding);
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
        RevocationAuthentication::Client => tries.authenticate(rules, &mut headers, &mut parameters),
        RevocationAuthentication::ClientBasic => tries.basic(&mut headers),
        RevocationAuthentication::Bearer => bearer(&mut headers, tokens.access_token.expose()),
        RevocationAuthentication::None => {}
    }
    let encode = |body: &TokenInBody| encode_body(body.format, &parameters, rules.names, &mut headers);
    let body = revocation.body.as_ref().map(encode).unwrap_or_default();
    OutboundRequest {
        method: match revocation.method {
            RevocationMethod::Get => Method::GET,
            RevocationMethod::Post => Method::POST,
            RevocationMethod::Delete => Method::DELETE,
        },
        url: revocation.url.clone(),
        headers,
        body: Some(body),
        private_networks: binding.private_networks.as_slice().into(),
        timeout: tries.timeout(),
    }
}

fn judge(revocation: &RevocationRequest, response: &OutboundResponse) -> Result<(), RevokeError> {
    let status = response.status.as_u16();
    // A dead Bearer token answers 401: what was to be revoked is gone.
    let dead = revocation.authentication == RevocationAuthentication::Bearer && status == 401;
    if dead || revocation.gone.contains(&status) {
        return Ok(());
    }
    if !response.status.is_success() {
        return Err(RevokeError::Refused { status });
    }
    match &revocation.success {
        Some(success) if !says_yes(success, response) => Err(RevokeError::Denied { status }),
        _ => Ok(()),
    }
}

/// Whether the expression holds over the answer. It compiled when the grant was made.
fn says_yes(success: &str, response: &OutboundResponse) -> bool {
    let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    let variables = Variables { response: without_tokens(&body), ..Variables::default() };
    let verdict = Expression::compile(success).map(|success| success.evaluate(&variables));
    matches!(verdict, Ok(Ok(Value::Bool(true))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(status: u16, body: &Value, success: Option<&str>) -> Result<(), RevokeError> {
        let revocation = RevocationRequest {
            method: RevocationMethod::Post,
            url: "https://app.example/revoke".parse().unwrap(),
            authentication: RevocationAuthentication::None,
            body: None,
            success: success.map(str::to_owned),
            gone: vec![404],
        };
        let status = http::StatusCode::from_u16(status).unwrap();
        let body = body.to_string().into_bytes();
        judge(&revocation, &OutboundResponse { status, headers: HeaderMap::new(), body })
    }

    #[test]
    fn a_yes_is_what_the_description_says() {
        let success = Some("response.ok == true || response.error == 'token_revoked'");
        assert!(judged(200, &json!({ "ok": false }), None).is_ok());
        assert!(judged(200, &json!({ "ok": true }), success).is_ok());
        assert!(judged(200, &json!({ "ok": false, "error": "token_revoked" }), success).is_ok());
        for body in [json!({ "ok": false, "error": "ratelimited" }), json!("<html>"), json!(null)] {
            assert!(matches!(judged(200, &body, success), Err(RevokeError::Denied { status: 200 })), "{body}");
        }
        assert!(judged(404, &json!(null), success).is_ok(), "gone is gone");
        assert!(matches!(judged(500, &json!({ "ok": true }), success), Err(RevokeError::Refused { status: 500 })));
    }
}
