//! `oauth2.tokenSets`: checked here, since a schema cannot check the keys of a map. Pure.

use std::collections::BTreeMap;

use super::ProviderError;
use super::requests::is_protocol_parameter;
use crate::api::provider::{OAuth2, TokenSet};

/// Longest name of a set.
const MAX_NAME: usize = 32;

/// A set of further tokens that cannot be used. Each text goes on after `oauth2.tokenSets.<name>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenSetError {
    /// Its name cannot begin the keys of a Secret.
    #[error(": a name is a lower-case letter and up to 31 lower-case letters, digits and `_`, such as `user`")]
    Name,
    /// Its access token would be the first one.
    #[error(".accessToken is missing; say where the token lies in the answer, such as /authed_user/access_token")]
    AccessToken,
    /// Scopes that nothing would ask for.
    #[error(".scopeParameter is missing; name the parameter that asks for these scopes, or leave scopes out")]
    ScopeParameter,
    /// The request has a parameter of that name already.
    #[error(".scopeParameter must not be {parameter}: the request has another value under this name")]
    Taken {
        /// The parameter.
        parameter: String,
    },
}

/// The sets of a description, by name.
pub(super) fn token_sets(oauth: &OAuth2) -> Result<BTreeMap<String, TokenSet>, ProviderError> {
    let mut taken: Vec<&str> = oauth.authorization_params.keys().map(String::as_str).collect();
    for (name, set) in &oauth.token_sets {
        check(name, set, &taken).map_err(|source| ProviderError::TokenSet { name: name.clone(), source })?;
        taken.extend(set.scope_parameter.as_deref());
    }
    Ok(oauth.token_sets.clone())
}

fn check(name: &str, set: &TokenSet, taken: &[&str]) -> Result<(), TokenSetError> {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.len() > MAX_NAME || !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(rest) {
        return Err(TokenSetError::Name);
    }
    if set.tokens.access_token.is_none() {
        return Err(TokenSetError::AccessToken);
    }
    match set.scope_parameter.as_deref() {
        None if !set.scopes.is_empty() => Err(TokenSetError::ScopeParameter),
        Some(parameter) if is_protocol_parameter(parameter) || taken.contains(&parameter) => {
            Err(TokenSetError::Taken { parameter: parameter.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::provider::TokenPointers;

    fn user() -> TokenSet {
        TokenSet {
            scopes: vec!["search:read".into()],
            scope_parameter: Some("user_scope".into()),
            tokens: TokenPointers {
                access_token: Some("/authed_user/access_token".into()),
                ..TokenPointers::default()
            },
        }
    }

    fn said(name: &str, set: TokenSet) -> String {
        let authorization_params = BTreeMap::from([("team".to_owned(), "T1".to_owned())]);
        let token_sets = BTreeMap::from([(name.to_owned(), set)]);
        token_sets_of(&OAuth2 { authorization_params, token_sets, ..OAuth2::default() })
    }

    fn token_sets_of(oauth: &OAuth2) -> String {
        token_sets(oauth).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn names() {
        let longest = "a".repeat(32);
        for good in ["user", "u", "a_1", "x_", &longest] {
            assert_eq!(said(good, user()), "", "{good}");
        }
        for bad in ["", "User", "1user", "_user", "us-er", "us.er", "benutzér", &"a".repeat(33)] {
            let said = said(bad, user());
            assert!(said.starts_with(&format!("oauth2.tokenSets.{bad}: a name is ")), "{bad}: {said}");
        }
    }

    #[test]
    fn mistakes_name_their_field() {
        let without_pointer = TokenSet { tokens: TokenPointers::default(), ..user() };
        assert!(said("user", without_pointer).starts_with("oauth2.tokenSets.user.accessToken is missing; "));
        let without_parameter = TokenSet { scope_parameter: None, ..user() };
        assert!(
            said("user", without_parameter.clone()).starts_with("oauth2.tokenSets.user.scopeParameter is missing; ")
        );
        assert_eq!(said("user", TokenSet { scopes: vec![], ..without_parameter }), "");
        for taken in ["scope", "state", "code_challenge", "team"] {
            let said = said("user", TokenSet { scope_parameter: Some(taken.into()), ..user() });
            assert!(said.starts_with(&format!("oauth2.tokenSets.user.scopeParameter must not be {taken}")), "{said}");
        }
        let token_sets = BTreeMap::from([("a".to_owned(), user()), ("b".to_owned(), user())]);
        let said = token_sets_of(&OAuth2 { token_sets, ..OAuth2::default() });
        assert!(said.starts_with("oauth2.tokenSets.b.scopeParameter must not be user_scope"), "{said}");
    }
}
