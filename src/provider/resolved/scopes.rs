//! Scopes: what was asked for, and what was granted.

use super::OAuthClient;
use crate::api::provider::GrantedScopes;

impl OAuthClient {
    /// Scopes that were asked for and not granted, as far as the provider tells (RFC 6749 §5.1).
    pub fn missing_scopes(&self, requested: &[String], granted: &[String]) -> Vec<String> {
        if self.granted_scopes == GrantedScopes::Unreliable {
            return vec![];
        }
        let has = |scope: &String| {
            let listed = |name: &String| granted.contains(name);
            listed(scope) || self.unreported_scopes.contains(scope) || self.scope_aliases.get(scope).is_some_and(listed)
        };
        requested.iter().filter(|scope| !has(scope)).cloned().collect()
    }

    /// Scopes that are wanted now and were not asked for.
    pub fn added_scopes(wanted: &[String], requested: &[String]) -> Vec<String> {
        wanted.iter().filter(|scope| !requested.contains(scope)).cloned().collect()
    }
}
