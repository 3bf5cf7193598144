//! The API keys of a description.

use super::{ApiRules, Identity, ProviderError};
use crate::api::provider::ProviderSpec;
use crate::provider::api_key::KeyForm;
use crate::provider::call::Placement;
use crate::provider::form::Form;

/// How an app takes an API key.
#[derive(Clone, Debug)]
pub struct KeyClient {
    /// What a key looks like.
    pub form: KeyForm,
    /// How it is sent.
    pub placement: Placement,
    /// The call that proves a key.
    pub identity: Option<Identity>,
}

/// The section `apiKey`, with the call that proves a key; `None` where no keys are taken.
pub(super) fn key_client(spec: &ProviderSpec, form: &Form, api: &ApiRules) -> Result<Option<KeyClient>, ProviderError> {
    let (Some(section), Some(placement)) = (&spec.api_key, &api.api_key) else { return Ok(None) };
    Ok(Some(KeyClient {
        form: KeyForm::new(section).map_err(ProviderError::KeyPattern)?,
        placement: placement.clone(),
        identity: api.identity(spec.identity.as_ref(), form)?,
    }))
}
