//! What is held: one grant for each connected integration, kept as a Secret in the operator's namespace.
//!
//! The grant Secret is the one durable point of commit. The token Secret that workloads read and the status that
//! people read are derived from it and can be rebuilt. Everything here but [`store`] is pure: no client, no clock.

pub mod account;
pub mod binding;
pub mod chain;
pub mod credentials;
pub mod plan;
pub mod record;
pub mod schedule;
pub mod sharing;
pub mod store;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use account::{Account, Choice, ChoiceOption, Told};
pub use binding::Binding;
pub use chain::{ChainSummary, Ended, TokenSet};
pub use credentials::{ClientCredentials, Which};
pub use record::{GrantView, Handled, Intent, KeySource, Published, Refusal, Summary};
pub use store::{GrantStore, StoreError};

use crate::api::provider::Reauthorization;
use crate::sensitive::Sensitive;

/// The integration that a grant belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a resource re-created under the same name is another one.
    pub uid: String,
}

/// Everything that is held for one integration; at most 64 KiB when written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Whose it is.
    pub integration: Owner,
    /// Counts authorizations of this integration; an answer to an older epoch's refresh is dropped.
    pub epoch: u64,
    /// Counts token answers within the epoch.
    pub generation: u64,
    /// The attempt whose answer these tokens are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// For an API key, which lies in `tokens` as the access token: where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<KeySource>,
    /// The tokens of the main chain.
    pub tokens: Tokens,
    /// Further chains of tokens, by the names of the description's `tokenSets`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, TokenSet>,
    /// Scopes that the provider granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes that were asked for.
    #[serde(default)]
    pub requested_scopes: Vec<String>,
    /// Scopes that were asked for and not granted, as far as the provider tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_scopes: Vec<String>,
    /// Whether the provider has said of a refresh token of this authorization that it is good (RFC 7662): its no means
    /// something then. There are providers that can only be asked about access tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub askable: bool,
    /// What was learnt of the account, and from what.
    #[serde(default)]
    pub account: Account,
    /// Hash of the client and the upstream installation, where the description says how to tell them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// What the provider said of the account; goes to `status.metadata`.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// The same, for values that are secrets themselves; goes to the token Secret.
    #[serde(default)]
    pub secret_metadata: BTreeMap<String, Sensitive>,
    /// Values that the person gave.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Who connected, and when.
    pub installed: Installed,
    /// The provider and the places that these credentials may be sent to.
    pub binding: Binding,
}

/// The tokens of a grant (RFC 6749 §5.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The access token.
    pub access_token: Sensitive,
    /// How it is used, such as `Bearer`.
    pub token_type: String,
    /// The refresh token, where the provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Sensitive>,
    /// When these tokens were received.
    pub obtained_at: Timestamp,
    /// When the access token expires; `None` when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When the life that ends at `refresh_expires_at` began; `None` where no end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_obtained_at: Option<Timestamp>,
    /// When the refresh token expires, where the answer told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_expires_at: Option<Timestamp>,
}

/// Who connected, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// The Kubernetes user that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The person of the product on whose behalf it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Grant {
    /// Every secret that this grant holds, for checks that none of them leaks into something derived.
    pub fn secrets(&self) -> Vec<&str> {
        let chains = std::iter::once(&self.tokens).chain(self.sets.values().map(|set| &set.tokens));
        let mut secrets: Vec<_> = chains
            .flat_map(|tokens| [Some(&tokens.access_token), tokens.refresh_token.as_ref()])
            .flatten()
            .map(Sensitive::expose)
            .collect();
        secrets.extend(self.secret_metadata.values().map(Sensitive::expose));
        secrets
    }

    /// The refresh tokens of all chains, which never leave the operator.
    pub fn refresh_tokens(&self) -> Vec<&str> {
        let sets = self.sets.values().filter_map(|set| set.tokens.refresh_token.as_ref());
        self.tokens.refresh_token.iter().chain(sets).map(Sensitive::expose).collect()
    }

    /// The grant without what is merely convenient to have, where it would be too large with that.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        if serde_json::to_vec(&self).is_ok_and(|data| data.len() > bytes) {
            self.account.forget_answers();
        }
        self
    }

    /// The part of it that may be seen by those who can read the Secret's metadata; the store adds the fingerprint.
    pub fn summary(&self) -> Summary {
        Summary {
            integration: self.integration.clone(),
            epoch: self.epoch,
            generation: self.generation,
            attempt: self.attempt.clone(),
            api_key: self.api_key,
            obtained_at: self.tokens.obtained_at,
            expires_at: self.tokens.expires_at,
            refreshable: self.tokens.refresh_token.is_some(),
            refresh_obtained_at: self.tokens.refresh_obtained_at,
            refresh_expires_at: self.tokens.refresh_expires_at,
            sets: self.sets.iter().map(|(name, set)| (name.clone(), set.summary())).collect(),
            installed_at: self.installed.at,
            provider: self.binding.provider.clone(),
            binding: self.binding.digest(),
            parts: Some(self.binding.parts()),
            installation: self.installation.clone(),
            ends_earlier: self.binding.reauthorization == Reauthorization::ReplacesEarlier,
            fingerprint: None,
            described: self.account.described.clone(),
            completed_at: self.account.completed_at,
            parameters: self.parameters.clone(),
            routes: self.account.routes.clone(),
            choice: self.account.choice.as_ref().map(|choice| choice.parameter.clone()),
            requested_scopes: self.api_key.is_none().then(|| self.requested_scopes.clone()),
            missing_scopes: self.missing_scopes.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::api::ProviderKind;
    use crate::grant::binding::ProviderRef;

    /// A summary with the given times, in seconds.
    pub(crate) fn summary(obtained: i64, expires: Option<i64>) -> Summary {
        Summary {
            integration: Owner { namespace: "acme".into(), name: "web.slack".into(), uid: "uid-1".into() },
            epoch: 1,
            generation: 1,
            attempt: None,
            api_key: None,
            obtained_at: Timestamp::from_second(obtained).unwrap(),
            expires_at: expires.map(|second| Timestamp::from_second(second).unwrap()),
            refreshable: true,
            refresh_obtained_at: None,
            refresh_expires_at: None,
            sets: BTreeMap::new(),
            installed_at: Timestamp::from_second(obtained).unwrap(),
            provider: ProviderRef {
                kind: ProviderKind::ClusterIntegrationProvider,
                namespace: None,
                name: "slack".into(),
                uid: "provider-1".into(),
            },
            binding: "binding".into(),
            parts: None,
            installation: None,
            ends_earlier: false,
            fingerprint: None,
            described: None,
            completed_at: None,
            parameters: BTreeMap::new(),
            routes: vec![],
            choice: None,
            requested_scopes: None,
            missing_scopes: vec![],
        }
    }

    /// A further set with the given times, in seconds.
    pub(crate) fn set(obtained: i64, expires: Option<i64>) -> ChainSummary {
        ChainSummary { generation: 1, ..summary(obtained, expires).chain(None).unwrap() }
    }

    /// A view of a grant with nothing unfinished.
    pub(crate) fn view(obtained: i64, expires: Option<i64>) -> GrantView {
        GrantView {
            name: "grant-1".into(),
            uid: "grant-uid".into(),
            resource_version: "1".into(),
            summary: summary(obtained, expires),
            intents: vec![],
            published: None,
            handled: Handled::default(),
            refused: None,
            mismatch: None,
            orphaned: None,
            leaving: None,
            trace: None,
            sealed_with: None,
            adopt: None,
        }
    }

    /// A binding that says nothing of revocation.
    pub(crate) fn binding() -> Binding {
        Binding::of_api_key(summary(0, None).provider, None, vec![], vec![])
    }
}
