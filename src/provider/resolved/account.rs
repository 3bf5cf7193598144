//! What a description says of calls to the app's API and of the account: the sections `api`, `identity` and `lookups`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde_json::json;

use super::{ProviderError, expression};
use crate::api::ProviderKind;
use crate::api::provider::{Api, Choose, IdentityCall, Lookup, ProviderSpec};
use crate::digest::short_hash;
use crate::provider::action::{ActionError, ActionRules, Common};
use crate::provider::api_base::{BaseRules, HostPattern};
use crate::provider::call::{CallTemplate, Placement, PlacementError, described};
use crate::provider::expression::Expression;
use crate::provider::form::Form;
use crate::provider::lookup::{ChooseRules, LookupRules};
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

/// A section on the account that cannot be used. Every variant names the field.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A look-up has a mistake.
    #[error("lookups.{name}.{source}")]
    Lookup {
        /// The look-up.
        name: String,
        /// Which.
        source: Box<ProviderError>,
    },
    /// A look-up without a name that expressions could use, or two of one name.
    #[error("lookups: {name:?} must be a letter with letters and digits after it, and the only one of its name")]
    Name {
        /// The name.
        name: String,
    },
    /// The choice is made by a value that the form does not ask for, or that must always be given.
    #[error(
        "lookups.{name}.choose.parameter: parameters.{parameter} must be there, with optional: true and without a default"
    )]
    Parameter {
        /// The look-up.
        name: String,
        /// The value of the form.
        parameter: String,
    },
    /// `{name}` would mean two things.
    #[error("lookups.{name}: parameters.{name} is another value than what is chosen; rename one of them")]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// A host that the provider may name is none, or too wide.
    #[error(
        "api.hosts: {text:?} must be a host such as api.example.com, or *.example.com, with two fixed labels at least"
    )]
    Host {
        /// What stands there.
        text: String,
    },
    /// Parameters of the callback that the protocol owns.
    #[error("oauth2.callbackParams: {name:?} is the protocol's own, or no name")]
    CallbackParameter {
        /// The parameter.
        name: String,
    },
    /// Whose a grant is would be up to whoever holds the browser.
    #[error("oauth2.grantIdentity must not speak of request: what comes through the browser can be forged by it")]
    ForgedIdentity,
}

/// What all calls of a description have in common, and where its API lies.
#[derive(Clone, Debug)]
pub struct ApiRules {
    /// How an access token is sent.
    pub authorization: Placement,
    /// How an API key is sent; `None` where none is taken.
    pub api_key: Option<Placement>,
    /// Where the API lies.
    pub base: BaseRules,
    headers: BTreeMap<String, String>,
}

impl ApiRules {
    /// The section `api`. `chosen` are the names of what look-ups choose.
    pub(super) fn new(spec: &ProviderSpec, form: &Form) -> Result<Self, ProviderError> {
        let Api { headers, authorization, base_url, base_url_from, hosts, errors: _ } =
            spec.api.clone().unwrap_or_default();
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
        let hosts = hosts.iter().map(|text| {
            HostPattern::parse(text).ok_or_else(|| ProviderError::from(AccountError::Host { text: text.clone() }))
        });
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        if base_url_from.is_some() && hosts.is_empty() {
            let remedy = "name the hosts that baseURLFrom may lead to";
            return Err(ProviderError::Missing { field: "api.hosts", remedy });
        }
        let chosen: BTreeSet<&str> =
            spec.lookups.iter().filter(|lookup| lookup.choose.is_some()).map(|lookup| &*lookup.name).collect();
        Ok(Self {
            authorization: placement("api.authorization", &authorization.unwrap_or_default())?,
            api_key: spec.api_key.as_ref().map(|key| placement("apiKey", &key.placement)).transpose()?,
            base: BaseRules {
                url: base_url.as_deref().map(|text| template("api.baseURL", text, form, &chosen)).transpose()?,
                from: base_url_from.as_deref().map(|source| expression("api.baseURLFrom", source)).transpose()?,
                hosts,
            },
            headers,
        })
    }

    /// Headers of every call; those that cannot be were refused already.
    pub fn headers(&self) -> HeaderMap {
        described("api.headers", &self.headers, &self.carriers()).unwrap_or_default()
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
        let url = template(field, described.call.url.as_deref().ok_or(missing)?, form, &BTreeSet::new())?;
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

    /// The section `actions`.
    pub(super) fn actions(&self, spec: &ProviderSpec, kind: ProviderKind) -> Result<Vec<ActionRules>, ActionError> {
        let has_base = self.base.url.is_some() || self.base.from.is_some();
        let common = Common { kind, headers: &self.headers, carriers: &self.carriers(), has_base };
        ActionRules::all(&spec.actions, common)
    }

    /// The section `lookups`.
    pub(super) fn lookups(&self, lookups: &[Lookup], form: &Form) -> Result<Vec<LookupRules>, ProviderError> {
        let (mut names, mut chosen) = (BTreeSet::new(), BTreeSet::new());
        let mut rules = Vec::new();
        for lookup in lookups {
            let name = lookup.name.as_str();
            if !is_name(name) || !names.insert(name) {
                return Err(AccountError::Name { name: name.to_owned() }.into());
            }
            let wrap = |source| AccountError::Lookup { name: name.to_owned(), source: Box::new(source) };
            let missing = ProviderError::Missing { field: "url", remedy: "set it, or leave the look-up out" };
            let text = lookup.call.url.as_deref().ok_or_else(|| wrap(missing))?;
            let url = template("url", text, form, &chosen).map_err(wrap)?;
            let field = format!("lookups.{name}");
            rules.push(LookupRules {
                name: name.to_owned(),
                call: CallTemplate::new(&field, &lookup.call, url, &self.headers, &self.carriers())?,
                success: lookup
                    .success
                    .as_deref()
                    .map(|source| expression(&format!("{field}.success"), source))
                    .transpose()?,
                choose: lookup.choose.as_ref().map(|choose| choose_rules(name, choose, form)).transpose()?,
            });
            if lookup.choose.is_some() {
                chosen.insert(name);
            }
        }
        Ok(rules)
    }
}

/// Names of the protocol's own parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207 §2).
const RESPONSE_PARAMETERS: [&str; 6] = ["code", "state", "error", "iss", "error_description", "error_uri"];

/// The section `oauth2.callbackParams`.
pub(super) fn callback_params(names: &[String]) -> Result<Vec<String>, AccountError> {
    let unfit = |name: &&String| {
        RESPONSE_PARAMETERS.contains(&name.as_str()) || name.is_empty() || name.len() > 64 || !name.is_ascii()
    };
    match names.iter().find(unfit) {
        Some(name) => Err(AccountError::CallbackParameter { name: name.clone() }),
        None => Ok(names.to_vec()),
    }
}

/// The expression of `oauth2.grantIdentity`.
pub(super) fn grant_identity(source: &str) -> Result<Arc<Expression>, ProviderError> {
    let expression = expression("oauth2.grantIdentity", source)?;
    if expression.speaks_of("request") { Err(AccountError::ForgedIdentity.into()) } else { Ok(expression) }
}

/// A digest of all that a description says of the account: where it changes, what is told of it is found anew.
pub(super) fn digest(spec: &ProviderSpec) -> String {
    let oauth = spec.oauth2.clone().unwrap_or_default();
    // How refusals are worded says nothing of the account.
    let api = spec.api.clone().map(|api| Api { errors: None, ..api });
    let said = json!([
        api,
        spec.api_key.as_ref().map(|key| &key.placement),
        spec.identity,
        spec.lookups,
        spec.metadata,
        spec.secret_metadata,
        spec.webhooks.as_ref().map(|webhooks| webhooks.routes.iter().map(|route| &route.metadata).collect::<Vec<_>>()),
        oauth.grant_identity,
        oauth.granted_scopes,
        oauth.unreported_scopes,
        oauth.scope_aliases,
    ]);
    short_hash(&["account", &said.to_string()])
}

fn choose_rules(name: &str, choose: &Choose, form: &Form) -> Result<ChooseRules, ProviderError> {
    let parameter = choose.parameter.clone();
    if !form.may_be_absent(&parameter) {
        return Err(AccountError::Parameter { name: name.to_owned(), parameter }.into());
    }
    if parameter != name && form.contains_key(name) {
        return Err(AccountError::Ambiguous { name: name.to_owned() }.into());
    }
    let field = format!("lookups.{name}.choose.from");
    Ok(ChooseRules {
        from: choose.from.as_deref().map(|source| expression(&field, source)).transpose()?,
        value: choose.value.clone(),
        title: choose.title.clone(),
        parameter,
    })
}

/// A letter, then letters and digits.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An address whose places are values of the form, or what was chosen.
fn template(
    field: &'static str,
    text: &str,
    form: &Form,
    chosen: &BTreeSet<&str>,
) -> Result<UrlTemplate, ProviderError> {
    let url = UrlTemplate::parse(text).map_err(|source| ProviderError::Url { field, source })?;
    let unknown = |name: &&str| !chosen.contains(*name) && !form.contains_key(name);
    if let Some(name) = url.parameters().into_iter().find(unknown) {
        return Err(ProviderError::UnknownParameter { field, name: name.to_owned() });
    }
    let absent = |name: &&str| !chosen.contains(*name) && form.may_be_absent(name);
    if let Some(name) = url.indispensable().into_iter().find(absent) {
        return Err(ProviderError::OptionalParameter { field, name: name.to_owned() });
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::grant::binding::ProviderRef;
    use crate::provider::resolved::{Provider, Surroundings};

    fn resolve(change: &Value) -> Result<Provider, String> {
        let mut spec = json!({
            "oauth2": { "authorizationURL": "https://app.example.com/a", "tokenURL": "https://app.example.com/t" },
            "parameters": { "site": { "optional": true }, "region": {} },
        });
        for (field, value) in change.as_object().unwrap() {
            match (spec[field].as_object_mut(), value) {
                (Some(section), Value::Object(more)) => section.extend(more.clone()),
                _ => spec[field] = value.clone(),
            }
        }
        let spec: ProviderSpec = serde_json::from_value(spec).unwrap();
        let reference = ProviderRef {
            kind: ProviderKind::ClusterIntegrationProvider,
            namespace: None,
            name: "app".into(),
            uid: "1".into(),
        };
        let public_url = "https://operator.example.com".parse().unwrap();
        let around = Surroundings { reference, discovered: None, public_url: &public_url, tenant: None };
        Provider::resolve(&spec, &around).map_err(|error| error.to_string())
    }

    fn choose(name: &str, parameter: &str) -> Value {
        let choose = json!({ "value": "id", "parameter": parameter });
        json!({ "name": name, "url": "https://api.example.com/sites", "choose": choose })
    }

    #[test]
    fn what_was_chosen_has_a_place_in_later_addresses() {
        let about = json!({ "name": "about", "url": "https://api.example.com/{site}" });
        let base = json!({ "baseURL": "https://api.example.com/ex/{site}" });
        let good = json!({ "lookups": [choose("site", "site"), about], "api": base });
        assert_eq!(resolve(&good).unwrap().lookups.len(), 2);
        let early = json!({ "lookups": [about, choose("site", "site")] });
        assert!(resolve(&early).unwrap_err().starts_with("lookups.about.url uses {site} in its host or path"));
        let unknown = json!({ "lookups": [{ "name": "a", "url": "https://api.example.com/{nothing}" }] });
        assert!(resolve(&unknown).unwrap_err().starts_with("lookups.a.url uses {nothing}"));
        assert!(resolve(&json!({ "api": base })).unwrap_err().starts_with("api.baseURL uses {site}"));
    }

    #[test]
    fn mistakes_name_their_field() {
        for (change, said) in [
            (json!({ "lookups": [choose("site", "region")] }), "lookups.site.choose.parameter: parameters.region"),
            (json!({ "lookups": [choose("site", "none")] }), "lookups.site.choose.parameter: parameters.none"),
            (json!({ "lookups": [choose("region", "site")] }), "lookups.region: parameters.region is another"),
            (json!({ "lookups": [choose("a", "site"), choose("a", "site")] }), "lookups: \"a\" must be"),
            (json!({ "lookups": [{ "name": "A-b", "url": "https://a.example.com" }] }), "lookups: \"A-b\" must be"),
            (json!({ "lookups": [{ "name": "a" }] }), "lookups.a.url is missing"),
            (
                json!({ "lookups": [{ "name": "a", "url": "https://a.example.com", "headers": { "Host": "x" } }] }),
                "lookups.a.headers must not set Host",
            ),
            (json!({ "api": { "baseURLFrom": "response.url" } }), "api.hosts is missing"),
            (json!({ "api": { "hosts": ["*.com"] } }), "api.hosts: \"*.com\""),
            (
                json!({ "api": { "headers": { "authorization": "x" } }, "identity": { "url": "https://a.example.com" } }),
                "api.headers must not set authorization",
            ),
            (
                json!({ "api": { "authorization": { "basic": { "username": "{site}" } } } }),
                "api.authorization.basic.username",
            ),
            (json!({ "oauth2": { "callbackParams": ["state"] } }), "oauth2.callbackParams: \"state\""),
            (
                json!({ "oauth2": { "grantIdentity": "request.query.shop" } }),
                "oauth2.grantIdentity must not speak of request",
            ),
        ] {
            let error = resolve(&change).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn the_digest_tells_what_is_said_of_the_account() {
        let digest = |change: Value| resolve(&change).unwrap().account;
        let plain = digest(json!({}));
        assert_eq!(plain, digest(json!({ "displayName": "App", "oauth2": { "scopes": ["a"] } })));
        for change in [
            json!({ "metadata": { "a": "response.a" } }),
            json!({ "secretMetadata": { "a": "response.a" } }),
            json!({ "api": { "baseURL": "https://api.example.com" } }),
            json!({ "lookups": [choose("site", "site")] }),
            json!({ "oauth2": { "grantIdentity": "response.a" } }),
            json!({ "oauth2": { "unreportedScopes": ["a"] } }),
        ] {
            assert_ne!(plain, digest(change.clone()), "{change}");
        }
    }

    #[test]
    fn scopes_that_were_not_granted() {
        let missing = |oauth: Value, granted: &[&str]| {
            let client = resolve(&json!({ "oauth2": oauth })).unwrap().oauth.unwrap();
            let owned = |scopes: &[&str]| scopes.iter().map(ToString::to_string).collect::<Vec<_>>();
            client.missing_scopes(&owned(&["read", "write", "offline_access"]), &owned(granted))
        };
        assert_eq!(missing(json!({}), &["read"]), ["write", "offline_access"]);
        assert_eq!(missing(json!({ "unreportedScopes": ["offline_access"] }), &["read"]), ["write"]);
        assert_eq!(missing(json!({ "scopeAliases": { "write": "w" } }), &["read", "w"]), ["offline_access"]);
        assert_eq!(missing(json!({ "grantedScopes": "Unreliable" }), &[]), [""; 0]);
        assert_eq!(missing(json!({}), &["read", "write", "offline_access", "more"]), [""; 0]);
    }
}
