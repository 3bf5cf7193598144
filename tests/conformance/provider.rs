//! A server as the questions see it: its endpoints, its clients, and a person who consents.

use std::collections::HashMap;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use crate::sandbox::{Consent, RevocationEffect, Sandbox, SandboxOptions};
use crate::servers::{self, Browser, FinalPage, OidcClient, OidcOptions, OidcProvider};

/// Where browsers return to; nobody listens there.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9/callback";
pub(crate) const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters-0123456789";
pub(crate) const SCOPE: &str = "openid offline_access write";

/// Who asks: an id and a secret.
pub(crate) type Credentials = (&'static str, &'static str);

/// The client that everything is given to, which sends its secret in the body.
pub(crate) const CLIENT: Credentials = ("test-client", "test-client-secret-7f3a");
/// One that uses the header (RFC 6749 §2.3.1).
pub(crate) const BASIC: Credentials = ("basic-client", "basic-client-secret-91bc");
/// One that was given nothing.
pub(crate) const STRANGER: Credentials = ("stranger", "stranger-secret-4d2e");

/// A server to be asked.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) introspection_endpoint: String,
    pub(crate) revocation_endpoint: String,
    pub(crate) userinfo_endpoint: String,
    pub(crate) http: Client,
    _server: Server,
}

/// Stops when it is dropped.
enum Server {
    Sandbox(Box<Sandbox>),
    Oidc(Box<OidcProvider>),
}

/// What an endpoint said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Provider {
    /// The sandbox as it is by default, but that an access token dies alone: whether the grant ends with it is left to the
    /// server (RFC 7009 §2.1).
    pub(crate) fn sandbox() -> Self {
        let sandbox = Sandbox::start(SandboxOptions {
            client_id: CLIENT.0.to_owned(),
            client_secret: CLIENT.1.to_owned(),
            other_clients: [BASIC, STRANGER].map(|(id, secret)| (id.to_owned(), secret.to_owned())).to_vec(),
            redirect_uris: vec![CALLBACK.to_owned()],
            consent: Consent::Allow(None),
            revocation_effect: RevocationEffect::Token,
            ..SandboxOptions::default()
        });
        let issuer = sandbox.base_url.clone();
        Self {
            authorization_endpoint: format!("{issuer}/authorize"),
            token_endpoint: format!("{issuer}/token"),
            introspection_endpoint: format!("{issuer}/introspect"),
            revocation_endpoint: format!("{issuer}/revoke"),
            userinfo_endpoint: format!("{issuer}/userinfo"),
            issuer,
            http: servers::http_client(),
            _server: Server::Sandbox(Box::new(sandbox)),
        }
    }

    /// `oidc-provider`; `None` where there is no Node and the question is skipped.
    pub(crate) async fn oidc() -> Option<Self> {
        if !servers::available() {
            return None;
        }
        let client = |(id, secret): Credentials, method: &str| OidcClient {
            client_id: id.to_owned(),
            client_secret: secret.to_owned(),
            token_endpoint_auth_method: method.to_owned(),
            ..OidcClient::new(CALLBACK)
        };
        let server = OidcProvider::start(OidcOptions {
            clients: vec![
                client(CLIENT, "client_secret_post"),
                client(BASIC, "client_secret_basic"),
                client(STRANGER, "client_secret_post"),
            ],
            scopes: vec!["write".to_owned()],
            access_ttl_seconds: 3600,
            ..OidcOptions::default()
        })
        .await;
        Some(Self {
            issuer: server.issuer.clone(),
            authorization_endpoint: server.authorization_endpoint.clone(),
            token_endpoint: server.token_endpoint.clone(),
            introspection_endpoint: server.introspection_endpoint.clone(),
            revocation_endpoint: server.revocation_endpoint.clone(),
            userinfo_endpoint: server.userinfo_endpoint.clone(),
            http: servers::http_client(),
            _server: Server::Oidc(Box::new(server)),
        })
    }

    /// Sends a browser with a good authorization request, in which a question may change what it likes: an empty value
    /// leaves a parameter out. The person says yes.
    pub(crate) async fn visit(&self, changes: &[(&str, &str)]) -> FinalPage {
        let challenge = servers::s256(VERIFIER);
        let mut params = HashMap::from([
            ("client_id", CLIENT.0),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", SCOPE),
            ("state", "a state"),
            ("prompt", "consent"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ]);
        params.extend(changes.iter().copied());
        params.retain(|_, value| !value.is_empty());
        let url = Url::parse_with_params(&self.authorization_endpoint, params).unwrap();
        Browser::new().consent(url.as_str(), &[CALLBACK]).await.unwrap()
    }

    /// A code for `client`.
    pub(crate) async fn code_for(&self, client: Credentials) -> String {
        let page = self.visit(&[("client_id", client.0)]).await;
        page.query("code").unwrap_or_else(|| panic!("no code in {}", page.url))
    }

    /// A good exchange by the client, with changes.
    pub(crate) async fn exchange(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let mut params = HashMap::from([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ]);
        params.extend(changes.iter().copied());
        params.retain(|_, value| !value.is_empty());
        self.post(&self.token_endpoint, CLIENT, &params.into_iter().collect::<Vec<_>>()).await
    }

    /// The tokens of a new grant.
    pub(crate) async fn connect(&self) -> Value {
        let answer = self.exchange(&self.code_for(CLIENT).await, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    pub(crate) async fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", "refresh_token"), ("refresh_token", token)], more].concat();
        self.post(&self.token_endpoint, CLIENT, &form).await
    }

    /// What the server says of a token to the client.
    pub(crate) async fn introspect(&self, token: &str) -> Value {
        let answer = self.post(&self.introspection_endpoint, CLIENT, &[("token", token)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    pub(crate) async fn is_active(&self, token: &str) -> bool {
        self.introspect(token).await["active"].as_bool().unwrap()
    }

    /// Whether an access token opens the server's own resource.
    pub(crate) async fn opens(&self, access_token: &str) -> bool {
        read(self.http.get(&self.userinfo_endpoint).bearer_auth(access_token)).await.status.is_success()
    }

    /// Posts a form, with the client's credentials in it.
    pub(crate) async fn post(&self, url: &str, client: Credentials, form: &[(&str, &str)]) -> Answer {
        let credentials = [("client_id", client.0), ("client_secret", client.1)];
        read(self.http.post(url).form(&[&credentials, form].concat())).await
    }
}

/// Sends a request and reads all of the answer.
pub(crate) async fn read(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}

impl Answer {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }

    /// Asserts that the request was refused, in the form that every refusal has (RFC 6749 §5.2).
    pub(crate) fn refused(&self, status: u16, error: &str) {
        self.refused_at_revocation(status, error);
        self.is_json_and_not_kept();
    }

    /// The same, but for the ban on keeping it: an answer of the revocation endpoint holds no secret, and RFC 7009 §2.2 says
    /// nothing of caches. The sandbox forbids it, `oidc-provider` leaves it open.
    pub(crate) fn refused_at_revocation(&self, status: u16, error: &str) {
        assert_eq!((self.status.as_u16(), self.body["error"].as_str()), (status, Some(error)), "{}", self.body);
        assert!(self.body["error_description"].is_string(), "{}", self.body);
    }

    /// Asserts what RFC 6749 §5.1 wants of every answer with secrets in it.
    pub(crate) fn is_json_and_not_kept(&self) {
        let content_type = self.headers[CONTENT_TYPE].to_str().unwrap();
        assert!(content_type.starts_with("application/json"), "{content_type}");
        assert_eq!(self.headers[CACHE_CONTROL], "no-store");
    }
}
