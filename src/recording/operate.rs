//! What the operator does with a description, without a cluster: its own functions, in the order of its own flows.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::format::Recording;
use crate::api::provider::{Pkce, ProviderSpec};
use crate::api::{ProjectIntegration, ProjectIntegrationSpec, ProviderKind};
use crate::causes::chain;
use crate::flow::account::{Haste, Ways, ask};
use crate::flow::api_key::{Proved, key_grant};
use crate::grant::binding::ProviderRef;
use crate::grant::{ClientCredentials, Grant, KeySource, Owner};
use crate::oauth::account::{Names, Subject};
use crate::oauth::answer::{ErrorClass, TokenAnswer};
use crate::oauth::attempt::Attempt;
use crate::oauth::authorize::{authorization_url, first_grant, subject};
use crate::oauth::identity::{self, verify};
use crate::oauth::received;
use crate::oauth::revoke::revoke;
use crate::oauth::token::{TokenOutcome, TokenRequest, send};
use crate::provider::connection::Keyed;
use crate::provider::endpoints::{Endpoints, IdentityEndpoint};
use crate::provider::gate::{GateOptions, Gates};
use crate::provider::outbound::Outbound;
use crate::provider::registry::Usable;
use crate::provider::resolved::{Provider, Surroundings};
use crate::sensitive::Sensitive;

/// The operator's address in recordings.
const PUBLIC_URL: &str = "https://connect.example.com";

/// What changes in an authorization URL.
pub(super) const STATE: &str = "recorded-state";

/// A PKCE verifier (RFC 7636 §4.1).
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// An app as one integration uses it.
pub(super) struct App {
    way: Way,
    attempt: Attempt,
}

enum Way {
    OAuth(Box<Usable>),
    Key(Box<Keyed>, Sensitive),
}

/// What the token endpoint said, for a report.
pub(super) struct Said {
    pub(super) class: &'static str,
    pub(super) code: Option<String>,
}

impl App {
    /// Resolves a description and fills it with the recording's values.
    pub(super) fn new(name: &str, spec: &ProviderSpec, recording: &Recording) -> Result<Self, String> {
        let public_url = Url::parse(PUBLIC_URL).map_err(|error| error.to_string())?;
        let kind = ProviderKind::ClusterIntegrationProvider;
        let reference = ProviderRef { kind, namespace: None, name: name.to_owned(), uid: "uid".to_owned() };
        let around =
            Surroundings { reference: reference.clone(), discovered: None, public_url: &public_url, tenant: None };
        let provider = Arc::new(Provider::resolve(spec, &around).map_err(|error| chain(&error))?);
        let now = Timestamp::now();
        let redirect_uri = match &recording.callback {
            Some(url) => Url::parse(url).map_err(|error| format!("callback: {error}"))?,
            None => provider.callback_url.clone(),
        };
        let mut attempt = Attempt {
            nonce: Sensitive::new("nonce"),
            verifier: Sensitive::new(VERIFIER),
            integration: Owner { namespace: "acme".to_owned(), name: format!("web.{name}"), uid: "uid".to_owned() },
            tenant: "acme".to_owned(),
            project: "web".to_owned(),
            type_: name.to_owned(),
            provider: reference,
            display_name: provider.display_name.clone(),
            pin: provider.pin.clone(),
            redirect_uri,
            scopes: recording.scopes.clone(),
            parameters: recording.parameters.clone(),
            caller: None,
            agent_id: None,
            request: None,
            return_to: None,
            browsers: vec![],
            traceparent: None,
            created_at: now,
            deadline: now,
            parked: None,
            query: BTreeMap::new(),
            callback_params: vec![],
        };
        let way = if let Some(key) = &recording.api_key {
            let keyed = Keyed::render(Arc::clone(&provider), &recording.parameters).map_err(|error| chain(&error))?;
            let key = keyed.form.read(key).map_err(|error| chain(&error))?.to_owned();
            Way::Key(Box::new(keyed), Sensitive::new(key))
        } else {
            let client = provider.oauth.clone().ok_or("the description has no oauth2, and the recording no apiKey")?;
            if attempt.scopes.is_empty() {
                attempt.scopes.clone_from(&client.scopes);
            }
            let credentials = credentials(&recording.client)?;
            let endpoints = Endpoints::render(&provider, &client, &credentials.client_id, &recording.parameters)
                .map_err(|error| chain(&error))?;
            let callback = recording.connect.callback.iter();
            let kept = callback.filter(|(name, _)| client.callback_params.contains(name));
            attempt.query = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            attempt.callback_params.clone_from(&client.callback_params);
            let (provider, credentials) = (Arc::clone(&provider), Arc::new(credentials));
            Way::OAuth(Box::new(Usable { provider, client, credentials, endpoints }))
        };
        Ok(Self { way, attempt })
    }

    /// The authorization URL and the challenge in it; none for an API key.
    pub(super) fn authorization_url(&self) -> Option<(Url, String)> {
        let Way::OAuth(oauth) = &self.way else { return None };
        let challenge = crate::digest::sha256_base64url(VERIFIER);
        let url = authorization_url(&oauth.endpoints, &oauth.client, &oauth.credentials, &self.attempt, STATE);
        Some((url, challenge))
    }

    /// From the callback to a grant.
    pub(super) async fn connect(&self, outbound: &Outbound, more: impl Fn() -> bool) -> Result<Grant, String> {
        match &self.way {
            Way::Key(keyed, key) => {
                let identity = match &keyed.identity {
                    Some(endpoint) => accepted(outbound, endpoint, key).await?,
                    None => Value::Null,
                };
                let integration = self.integration();
                let proved = Proved {
                    integration: &integration,
                    keyed,
                    key: key.clone(),
                    source: KeySource::Spec,
                    by: None,
                    agent_id: None,
                    identity,
                };
                let grant = key_grant(&proved, self.attempt.integration.clone(), 1);
                let names = Names {
                    namespace: &self.attempt.integration.namespace,
                    name: &self.attempt.integration.name,
                    tenant: &self.attempt.tenant,
                    project: &self.attempt.project,
                    type_: &self.attempt.type_,
                };
                let subject = Subject::of_key(keyed, names, &[&self.attempt.parameters]);
                self.complete(outbound, &subject, grant).await
            }
            Way::OAuth(usable) => {
                let answer = match self.ask(outbound, &self.code()).await {
                    Some(TokenOutcome::Tokens(answer)) => answer,
                    other => return Err(format!("the code gave no tokens: {}", told(other.as_ref()))),
                };
                let grant = first_grant(&self.attempt, usable, &answer, 1, Timestamp::now());
                let grant = self.complete(outbound, &subject(&self.attempt, usable), grant).await?;
                // The controller proves what is new, where nothing else has.
                if let Some(endpoint) = usable.endpoints.identity.as_ref().filter(|_| more()) {
                    accepted(outbound, endpoint, &grant.tokens.access_token).await?;
                }
                Ok(grant)
            }
        }
    }

    /// Asks whose the connection is.
    async fn complete(&self, outbound: &Outbound, subject: &Subject<'_>, grant: Grant) -> Result<Grant, String> {
        let gates = Gates::new(GateOptions::default());
        let answers = ask(Ways { outbound, gates: &gates }, subject, &grant, Haste::Now).await;
        let answers = answers.map_err(|error| chain(&error))?;
        Ok(subject.conclude(&grant, Some(&answers), Timestamp::now()))
    }

    /// Refreshes what is held: the main chain, and then the further sets as long as `more` is recorded. Asks again while
    /// an outcome is not known and more is recorded.
    pub(super) async fn refresh(
        &self,
        outbound: &Outbound,
        grant: &Grant,
        more: impl Fn() -> bool,
    ) -> Result<Grant, String> {
        let mut held = grant.clone();
        let sets = grant.sets.keys().map(|name| Some(name.as_str()));
        for set in [None].into_iter().chain(sets) {
            let Some(request) = refresh(&held, set) else {
                match set {
                    None => return Err("there is no refresh token".to_owned()),
                    Some(_) => continue,
                }
            };
            if set.is_some() && !more() {
                break;
            }
            let answer = loop {
                match self.ask(outbound, &request).await {
                    Some(TokenOutcome::Tokens(answer)) => break answer,
                    Some(TokenOutcome::Ambiguous(_)) if more() => {}
                    other => return Err(format!("the refresh gave no tokens: {}", told(other.as_ref()))),
                }
            };
            held = self.renewed(&held, set, &answer);
        }
        Ok(held)
    }

    /// What is held after the refresh of a chain.
    fn renewed(&self, before: &Grant, set: Option<&str>, answer: &TokenAnswer) -> Grant {
        let Way::OAuth(oauth) = &self.way else { return before.clone() };
        let now = Timestamp::now();
        let tokens = received::tokens(answer, &oauth.client, now);
        let mut grant = before.renewed(set, "recorded", tokens, answer.scopes.clone());
        if set.is_none() {
            grant.take_along(received::sets(answer, &oauth.client, now));
        }
        grant
    }

    /// What the operator makes of an answer to a code, or to a refresh where something is held.
    pub(super) async fn refused(&self, outbound: &Outbound, held: Option<&Grant>) -> Option<Said> {
        let request = match held {
            Some(grant) => refresh(grant, None)?,
            None => self.code(),
        };
        self.ask(outbound, &request).await.as_ref().map(said)
    }

    /// What the operator makes of an answer to the identity call: a reason of `Healthy`.
    pub(super) async fn verdict(&self, outbound: &Outbound, credential: &Sensitive) -> Option<&'static str> {
        let endpoint = match &self.way {
            Way::OAuth(oauth) => oauth.endpoints.identity.as_ref()?,
            Way::Key(keyed, _) => keyed.identity.as_ref()?,
        };
        Some(reason(&verify(outbound, endpoint, credential).await))
    }

    /// Revokes what is held.
    pub(super) async fn revoke(&self, outbound: &Outbound, grant: &Grant) -> Result<(), String> {
        let client = match &self.way {
            Way::OAuth(oauth) => Some(&*oauth.credentials),
            Way::Key(..) => None,
        };
        revoke(outbound, grant, client).await.map_err(|error| chain(&error))
    }

    async fn ask(&self, outbound: &Outbound, request: &TokenRequest) -> Option<TokenOutcome> {
        let Way::OAuth(oauth) = &self.way else { return None };
        Some(send(outbound, &oauth.endpoints.token, &oauth.credentials, request).await)
    }

    fn code(&self) -> TokenRequest {
        let pkce = match &self.way {
            Way::OAuth(oauth) => oauth.client.pkce == Pkce::S256,
            Way::Key(..) => false,
        };
        TokenRequest::Code {
            code: Sensitive::new("recorded-code"),
            redirect_uri: self.attempt.redirect_uri.clone(),
            verifier: pkce.then(|| self.attempt.verifier.clone()),
        }
    }

    fn integration(&self) -> ProjectIntegration {
        let spec = ProjectIntegrationSpec {
            tenant_id: self.attempt.tenant.clone(),
            project_id: self.attempt.project.clone(),
            type_: self.attempt.type_.clone(),
            parameters: self.attempt.parameters.clone(),
            ..ProjectIntegrationSpec::default()
        };
        let mut integration = ProjectIntegration::new(&self.attempt.integration.name, spec);
        integration.metadata.namespace = Some(self.attempt.integration.namespace.clone());
        integration
    }
}

async fn accepted(outbound: &Outbound, endpoint: &IdentityEndpoint, credential: &Sensitive) -> Result<Value, String> {
    match verify(outbound, endpoint, credential).await {
        identity::Verdict::Accepted(identity) => Ok(identity),
        other => Err(format!("the identity call was not accepted: {}", reason(&other))),
    }
}

fn refresh(grant: &Grant, set: Option<&str>) -> Option<TokenRequest> {
    let tokens = grant.tokens_of(set)?;
    Some(TokenRequest::Refresh {
        refresh_token: tokens.refresh_token.clone()?,
        access_token: tokens.access_token.clone(),
    })
}

fn credentials(keys: &BTreeMap<String, String>) -> Result<ClientCredentials, String> {
    let secret = |key: &str| keys.get(key).map(|text| Sensitive::new(text.as_str()));
    let known = json!({"client_id": 1, "client_secret": 1, "client_secret_next": 1, "private_key": 1, "key_id": 1});
    if let Some(unknown) = keys.keys().find(|key| known.get(key.as_str()).is_none()) {
        return Err(format!("client.{unknown} is no key of the Secret"));
    }
    let client_id = keys.get("client_id").ok_or("client.client_id is missing")?;
    Ok(ClientCredentials {
        client_secret_next: secret("client_secret_next"),
        private_key: secret("private_key"),
        key_id: keys.get("key_id").cloned(),
        ..ClientCredentials::new(client_id.as_str(), secret("client_secret"))
    })
}

fn reason(verdict: &identity::Verdict) -> &'static str {
    match verdict {
        identity::Verdict::Accepted(_) => "Verified",
        identity::Verdict::Rejected { .. } => "Rejected",
        identity::Verdict::Limited { .. } => "RateLimited",
        identity::Verdict::Unavailable { .. } => "ProviderUnavailable",
    }
}

fn said(outcome: &TokenOutcome) -> Said {
    match outcome {
        TokenOutcome::Tokens(_) => Said { class: "Tokens", code: None },
        TokenOutcome::NotSent(_) => Said { class: "NotSent", code: None },
        TokenOutcome::Ambiguous(_) => Said { class: "Ambiguous", code: None },
        TokenOutcome::Refused { refusal, .. } => {
            let class = match refusal.class {
                ErrorClass::Permanent => "Permanent",
                ErrorClass::Transient => "Transient",
                ErrorClass::Configuration => "Configuration",
            };
            Said { class, code: Some(refusal.code.clone()) }
        }
    }
}

fn told(outcome: Option<&TokenOutcome>) -> String {
    let Some(outcome) = outcome else { return "the description has no OAuth client".to_owned() };
    let said = said(outcome);
    match (outcome, said.code) {
        (TokenOutcome::Ambiguous(why), _) => format!("Ambiguous: {}", chain(why)),
        (_, Some(code)) => format!("{} {code}", said.class),
        (_, None) => said.class.to_owned(),
    }
}
