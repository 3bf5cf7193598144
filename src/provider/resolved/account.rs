//! What a description says of calls to the app's API: the sections `api` and `identity`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use super::{ProviderError, expression};
use crate::api::provider::{Api, IdentityCall, ProviderSpec};
use crate::provider::call::{CallTemplate, Placement, PlacementError};
use crate::provider::expression::Expression;
use crate::provider::form::Form;
use crate::provider::template::UrlTemplate;

/// The call that proves a credential.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The request.
    pub call: CallTemplate,
    /// When a 2xx answer is a yes.
    pub success: Option<Arc<Expression>>,
    /// Statuses that mean: the credential is good, and this call is beyond its rights.
    pub limited: Vec<u16>,
}

/// What all calls of a description have in common.
#[derive(Clone, Debug)]
pub struct ApiRules {
    /// How an access token is sent.
    pub authorization: Placement,
    /// How an API key is sent; `None` where none is taken.
    pub api_key: Option<Placement>,
    headers: BTreeMap<String, String>,
}

impl ApiRules {
    pub(super) fn new(spec: &ProviderSpec, form: &Form) -> Result<Self, ProviderError> {
        let api = spec.api.clone().unwrap_or_default();
        let Api { headers, authorization, .. } = api;
        let placement = |field, described| {
            let placement = Placement::new(field, described)?;
            let names = placement.parameters();
            if let Some(name) = names.iter().find(|name| !form.contains_key(name)) {
                return Err(ProviderError::UnknownParameter { field, name: (*name).to_owned() });
            }
            if let Some(name) = names.iter().find(|name| form.may_be_absent(name)) {
                return Err(PlacementError::Optional { field, name: (*name).to_owned() }.into());
            }
            Ok(placement)
        };
        Ok(Self {
            authorization: placement("api.authorization", &authorization.unwrap_or_default())?,
            api_key: spec.api_key.as_ref().map(|key| placement("apiKey", &key.placement)).transpose()?,
            headers,
        })
    }

    /// Headers that a credential may be in.
    fn carriers(&self) -> Vec<HeaderName> {
        [Some(&self.authorization), self.api_key.as_ref()].into_iter().flatten().map(Placement::carrier).collect()
    }

    /// The section `identity`; `None` where there is none.
    pub(super) fn identity(&self, call: Option<&IdentityCall>, form: &Form) -> Result<Option<Identity>, ProviderError> {
        let Some(described) = call else { return Ok(None) };
        let field = "identity.url";
        let missing = ProviderError::Missing { field, remedy: "set it, or leave identity out" };
        let text = described.call.url.as_deref().ok_or(missing)?;
        let url = UrlTemplate::parse(text).map_err(|source| ProviderError::Url { field, source })?;
        if let Some(name) = url.parameters().into_iter().find(|name| !form.contains_key(name)) {
            return Err(ProviderError::UnknownParameter { field, name: name.to_owned() });
        }
        Ok(Some(Identity {
            call: CallTemplate::new("identity", &described.call, url, &self.headers, &self.carriers())?,
            success: described.success.as_deref().map(|source| expression("identity.success", source)).transpose()?,
            limited: described.limited.clone(),
        }))
    }

    /// A GET of the `UserInfo` endpoint (`OpenID` Connect Core §5.3), which proves a credential as well.
    pub(super) fn userinfo(&self, url: UrlTemplate) -> Result<Identity, ProviderError> {
        let call = CallTemplate::get(url, &self.headers, &self.carriers())?;
        Ok(Identity { call, success: None, limited: vec![] })
    }
}
