//! How the answers of a token endpoint are to be read: RFC 6749 §5, and what a description says beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ProviderError, expression};
use crate::api::provider::{ErrorWords, ExpiryForm, OAuth2, TokenPointers};
use crate::provider::expression::Expression;

/// How token answers are read.
#[derive(Clone, Debug, Default)]
pub struct AnswerRules {
    /// Where the tokens lie.
    pub tokens: TokenPlaces,
    /// Where further tokens lie, by the name of their set.
    pub sets: BTreeMap<String, TokenPlaces>,
    /// How expiries are written.
    pub expiry: ExpiryForm,
    /// When a 2xx answer is a yes; where it has no error word when `None`.
    pub success: Option<Arc<Expression>>,
    /// The error word.
    pub error: Option<String>,
    /// The explanation beside it.
    pub error_description: Option<String>,
    /// Error words.
    pub words: ErrorWords,
    /// When a refusal means that the grant is dead.
    pub permanent_when: Option<Arc<Expression>>,
    /// When a refusal is the provider's own trouble.
    pub transient_when: Option<Arc<Expression>>,
    /// When a refusal is the client's set-up.
    pub configuration_when: Option<Arc<Expression>>,
}

/// JSON pointers (RFC 6901) into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlaces {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The token's type.
    pub token_type: String,
    /// The access token's lifetime or expiry.
    pub expires_in: String,
    /// The refresh token's lifetime or expiry.
    pub refresh_token_expires_in: String,
    /// The scopes.
    pub scope: String,
}

impl Default for TokenPlaces {
    fn default() -> Self {
        Self::new(&TokenPointers::default(), "")
    }
}

impl TokenPlaces {
    /// What the description says; what it leaves out has its usual name under `parent`.
    fn new(pointers: &TokenPointers, parent: &str) -> Self {
        let place = |own: &Option<String>, name: &str| own.clone().unwrap_or_else(|| format!("{parent}/{name}"));
        Self {
            access_token: place(&pointers.access_token, "access_token"),
            refresh_token: place(&pointers.refresh_token, "refresh_token"),
            token_type: place(&pointers.token_type, "token_type"),
            expires_in: place(&pointers.expires_in, "expires_in"),
            refresh_token_expires_in: place(&pointers.refresh_token_expires_in, "refresh_token_expires_in"),
            scope: place(&pointers.scope, "scope"),
        }
    }
}

impl AnswerRules {
    /// Reads `tokenResponse`, `tokenSets` and `errors` of a description.
    pub fn new(oauth: &OAuth2) -> Result<Self, ProviderError> {
        let answer = oauth.token_response.clone().unwrap_or_default();
        let words = oauth.errors.clone().unwrap_or_default();
        check("oauth2.tokenResponse", &answer.tokens)?;
        for (name, pointer) in [("error", &answer.error), ("errorDescription", &answer.error_description)] {
            check_pointer("oauth2.tokenResponse", name, pointer.as_deref())?;
        }
        let compile = |field: &str, source: Option<&String>| source.map(|source| expression(field, source)).transpose();
        Ok(Self {
            tokens: TokenPlaces::new(&answer.tokens, ""),
            sets: oauth
                .token_sets
                .iter()
                .map(|(name, set)| Ok((name.clone(), set_places(name, &set.tokens)?)))
                .collect::<Result<_, ProviderError>>()?,
            expiry: answer.expiry.unwrap_or_default(),
            success: compile("oauth2.tokenResponse.success", answer.success.as_ref())?,
            error: answer.error,
            error_description: answer.error_description,
            permanent_when: compile("oauth2.errors.permanentWhen", words.permanent_when.as_ref())?,
            transient_when: compile("oauth2.errors.transientWhen", words.transient_when.as_ref())?,
            configuration_when: compile("oauth2.errors.configurationWhen", words.configuration_when.as_ref())?,
            words,
        })
    }

    /// Where tokens may lie in an answer, those of sets included.
    pub fn token_pointers(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.tokens)
            .chain(self.sets.values())
            .flat_map(|places| [places.access_token.as_str(), places.refresh_token.as_str()])
    }
}

/// The places of a set: what is left out lies beside its access token, so that no set takes a token of another.
fn set_places(name: &str, pointers: &TokenPointers) -> Result<TokenPlaces, ProviderError> {
    let field = format!("oauth2.tokenSets.{name}");
    check(&field, pointers)?;
    let Some((parent, _)) = pointers.access_token.as_deref().and_then(|pointer| pointer.rsplit_once('/')) else {
        return Err(ProviderError::Pointer { field: format!("{field}.accessToken"), text: String::new() });
    };
    Ok(TokenPlaces::new(pointers, parent))
}

fn check(field: &str, pointers: &TokenPointers) -> Result<(), ProviderError> {
    for (name, pointer) in [
        ("accessToken", &pointers.access_token),
        ("refreshToken", &pointers.refresh_token),
        ("tokenType", &pointers.token_type),
        ("expiresIn", &pointers.expires_in),
        ("refreshTokenExpiresIn", &pointers.refresh_token_expires_in),
        ("scope", &pointers.scope),
    ] {
        check_pointer(field, name, pointer.as_deref())?;
    }
    Ok(())
}

/// A pointer into an answer, not at the whole of it. `~` is written `~0`, and `/` inside a name `~1`.
fn check_pointer(field: &str, name: &str, pointer: Option<&str>) -> Result<(), ProviderError> {
    let Some(text) = pointer else { return Ok(()) };
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && escaped {
        return Ok(());
    }
    Err(ProviderError::Pointer { field: format!("{field}.{name}"), text: text.to_owned() })
}
