//! From what a provider has said to what is told of the account: metadata, the installation, and where the API lies.
//!
//! Takes a grant, its provider and the answers of identity and look-ups, gives the grant completed. Pure:
//! `crate::flow::account` asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::digest::short_hash;
use crate::grant::store::MAX_SIZE;
use crate::grant::{Binding, Choice, Grant, Told};
use crate::provider::connection::Keyed;
use crate::provider::endpoints::IdentityEndpoint;
use crate::provider::expression::{Expression, Variables, contains_secret, without_tokens};
use crate::provider::registry::Usable;
use crate::provider::resolved::{OAuthClient, Provider};
use crate::sensitive::Sensitive;

/// Most that goes to `status.metadata`, in bytes as JSON.
const LARGEST_METADATA: usize = 4 * 1024;

/// One connection, as the expressions of its description see it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// Its OAuth client; `None` for an API key.
    pub client: Option<&'a OAuthClient>,
    /// The call that proves the credential.
    pub identity: Option<&'a IdentityEndpoint>,
    /// The integration's own names.
    pub integration: Value,
    /// Values of the form.
    pub values: BTreeMap<String, String>,
}

/// The names of an integration as expressions see them.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// The project.
    pub project: &'a str,
    /// The app.
    pub type_: &'a str,
}

/// What identity and look-ups have said.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The identity answer.
    pub identity: Option<Told>,
    /// Whole answers of look-ups.
    pub lookups: BTreeMap<String, Told>,
    /// Elements that were chosen of them, with their values.
    pub chosen: BTreeMap<String, (String, Value)>,
    /// What is still to be chosen; look-ups after it were not made.
    pub choice: Option<Choice>,
}

impl<'a> Subject<'a> {
    /// A connection by OAuth. `layers` are values of the form, the last on top.
    pub fn of_oauth(usable: &'a Usable, names: Names<'_>, layers: &[&BTreeMap<String, String>]) -> Self {
        Self {
            provider: &usable.provider,
            client: Some(&usable.client),
            identity: usable.endpoints.identity.as_ref(),
            integration: names.variable(),
            values: usable.provider.parameters.values(layers),
        }
    }

    /// A connection by an API key.
    pub fn of_key(keyed: &'a Keyed, names: Names<'_>, layers: &[&BTreeMap<String, String>]) -> Self {
        Self {
            provider: &keyed.provider,
            client: None,
            identity: keyed.identity.as_ref(),
            integration: names.variable(),
            values: keyed.provider.parameters.values(layers),
        }
    }

    /// A digest of the description and the values: what is derived with another one has to be derived again.
    pub fn described(&self) -> String {
        let identity = self.identity.map(|identity| identity.call.url.as_str()).unwrap_or_default();
        short_hash(&[&self.provider.account, identity, &json!(self.values).to_string()])
    }

    /// The identity call, where anything that is told depends on it.
    pub fn wanted_identity(&self) -> Option<&'a IdentityEndpoint> {
        self.identity.filter(|_| self.provider.needs_identity)
    }

    /// Whether the provider has to be asked before everything is known.
    pub fn asks(&self) -> bool {
        self.wanted_identity().is_some() || !self.provider.lookups.is_empty()
    }

    /// What expressions see.
    pub fn variables(&self, grant: &Grant, answers: &Answers) -> Variables {
        let mut lookup = serde_json::Map::new();
        for (name, told) in &answers.lookups {
            lookup.insert(name.clone(), told.body.clone());
        }
        for (name, (_, element)) in &answers.chosen {
            lookup.insert(name.clone(), element.clone());
        }
        Variables {
            response: grant.account.answer.clone().unwrap_or_default(),
            identity: answers.identity.as_ref().map(|told| told.body.clone()).unwrap_or_default(),
            lookup: Value::Object(lookup),
            request: json!({ "query": grant.account.query }),
            integration: self.integration.clone(),
            parameters: json!(self.values),
            ..Variables::default()
        }
    }

    /// Values for addresses: those of the form, and over them what was chosen.
    pub fn places(&self, answers: &Answers) -> BTreeMap<String, String> {
        let mut places = self.values.clone();
        places.extend(answers.chosen.iter().map(|(name, (value, _))| (name.clone(), value.clone())));
        places
    }

    /// The grant with all that can be told of it. Without `answers`, only what the token answer tells: then it counts as
    /// not complete.
    pub fn conclude(&self, grant: &Grant, answers: Option<&Answers>, now: Timestamp) -> Grant {
        let nothing = Answers::default();
        let known = answers.unwrap_or(&nothing);
        let variables = self.variables(grant, known);
        let mut done = grant.clone();
        // Where the token answer was too large to keep, what was found in it the first time stays.
        let lost = grant.account.answer.is_none();
        let stays = |expression: &Expression| lost && expression.speaks_of("response");
        if let Some(client) = self.client {
            done.missing_scopes = client.missing_scopes(&grant.requested_scopes, &grant.scopes);
            if let Some(identity) = client.grant_identity.as_deref().filter(|identity| !stays(identity)) {
                done.installation = installation(identity, &grant.binding, &variables);
            }
        }
        done.secret_metadata = secret_values(&self.provider.secret_metadata, &variables, &grant.refresh_tokens());
        for (name, value) in &grant.secret_metadata {
            if self.provider.secret_metadata.get(name).is_some_and(|expression| stays(expression.as_ref())) {
                done.secret_metadata.insert(name.clone(), value.clone());
            }
        }
        done.metadata = public_values(&self.provider.metadata, &variables, &done.secrets());
        for (name, value) in &grant.metadata {
            if self.provider.metadata.get(name).is_some_and(|expression| stays(expression.as_ref())) {
                done.metadata.insert(name.clone(), value.clone());
            }
        }
        let base = &self.provider.api.base;
        done.account.api_base = match &known.choice {
            None => base
                .base(&self.values, &self.places(known), &variables, |origin| grant.binding.allows(origin))
                .filter(|url| !holds_secret(url.as_str(), &done)),
            Some(_) => None,
        };
        done.account.routes =
            self.provider.webhooks.as_ref().map(|rules| rules.routes_of(&done.metadata)).unwrap_or_default();
        done.account.choice = known.choice.clone().map(|choice| without_secrets(choice, &done));
        done.account.trim();
        done.account.keep(known.identity.clone(), known.lookups.clone());
        if answers.is_some() || !self.asks() {
            done.account.described = Some(self.described());
            done.account.completed_at = Some(now);
        }
        done.within(MAX_SIZE)
    }
}

impl Names<'_> {
    fn variable(&self) -> Value {
        let Self { namespace, name, tenant, project, type_ } = self;
        json!({ "namespace": namespace, "name": name, "tenantId": tenant, "projectId": project, "type": type_ })
    }
}

/// What a call was answered, without tokens.
pub fn told(call: String, body: &Value) -> Told {
    Told { call, body: without_tokens(body) }
}

fn holds_secret(text: &str, grant: &Grant) -> bool {
    contains_secret(&json!(text), &grant.secrets())
}

/// Options go to the status: one that holds a secret is left out.
fn without_secrets(mut choice: Choice, grant: &Grant) -> Choice {
    choice.options.retain(|option| {
        let title = option.title.as_deref().unwrap_or_default();
        !holds_secret(&option.value, grant) && !holds_secret(title, grant)
    });
    choice
}

/// Hash of client and upstream installation, where the description tells installations apart. A client is an id at a
/// server: two servers may well know a client by the same id.
fn installation(expression: &Expression, binding: &Binding, variables: &Variables) -> Option<String> {
    let (server, client_id) = binding.client_at();
    let hash = |text: &str| Some(short_hash(&[&server, client_id, text]));
    match expression.evaluate(variables) {
        Ok(Value::Null) | Err(_) => None,
        Ok(Value::String(text)) => hash(&text),
        Ok(other) => hash(&other.to_string()),
    }
}

/// Evaluates what goes to `status.metadata`; a result that holds a secret is left out. At most 4 KiB in all.
fn public_values(
    expressions: &BTreeMap<String, Arc<Expression>>,
    variables: &Variables,
    secrets: &[&str],
) -> BTreeMap<String, Value> {
    let mut left = LARGEST_METADATA;
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
fn secret_values(
    expressions: &BTreeMap<String, Arc<Expression>>,
    variables: &Variables,
    refresh_tokens: &[&str],
) -> BTreeMap<String, Sensitive> {
    expressions
        .iter()
        .filter_map(|(name, expression)| match expression.evaluate(variables) {
            Ok(value) if contains_secret(&value, refresh_tokens) => None,
            Ok(Value::String(text)) => Some((name.clone(), Sensitive::new(text))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
