//! The API keys of a description.

use super::{Identity, ProviderError, expression};
use crate::api::provider::{ApiKey, IdentityCall, Method, ProviderSpec};
use crate::provider::api_key::KeyForm;
use crate::provider::form::Form;
use crate::provider::template::UrlTemplate;

/// How an app takes an API key.
#[derive(Clone, Debug)]
pub struct KeyClient {
    /// What a key looks like, and how it is sent.
    pub form: KeyForm,
    /// The call that proves a key.
    pub identity: Option<Identity>,
}

pub(super) fn key_client(
    section: &ApiKey,
    spec: &ProviderSpec,
    parameters: &Form,
) -> Result<KeyClient, ProviderError> {
    let form = KeyForm::new(section).map_err(ProviderError::KeyPattern)?;
    let identity = spec.identity.as_ref().map(|call| described_identity(call, parameters)).transpose()?;
    Ok(KeyClient { form, identity })
}

/// The section `identity`.
fn described_identity(
    call: &IdentityCall,
    parameters: &Form,
) -> Result<Identity, ProviderError> {
    let field = "identity.url";
    let url =
        call.call.url.as_deref().ok_or(ProviderError::Missing { field, remedy: "set it, or leave identity out" })?;
    let template = UrlTemplate::parse(url).map_err(|source| ProviderError::Url { field, source })?;
    let unknown = template.parameters().into_iter().find(|name| !parameters.contains_key(*name));
    if let Some(name) = unknown {
        return Err(ProviderError::UnknownParameter { field, name: name.to_owned() });
    }
    Ok(Identity {
        method: call.call.method.unwrap_or(Method::Get),
        url: template,
        success: call.success.as_deref().map(|source| expression("identity.success", source)).transpose()?,
    })
}
