//! How a credential is sent: in a header with a prefix, or as one half of HTTP Basic.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use super::OWNED;
use crate::api::provider::CredentialPlacement;
use crate::provider::template::{TemplateError, TextTemplate};
use crate::sensitive::Sensitive;

/// What stands before a credential where nothing else is said (RFC 6750 §2.1).
const BEARER: &str = "Bearer ";

/// A placement that cannot be. Every variant names the field.
#[derive(Debug, Error)]
pub enum PlacementError {
    /// Not a header, or one that no credential is sent in.
    #[error("{field}.header: {name:?} is not a header that can carry a credential")]
    Header {
        /// The section.
        field: &'static str,
        /// What stands there.
        name: String,
    },
    /// A prefix that does not fit into a header.
    #[error("{field}.prefix is printable ASCII")]
    Prefix {
        /// The section.
        field: &'static str,
    },
    /// Both ways at once.
    #[error("{field}.basic stands in the place of header and prefix; remove one of them")]
    Both {
        /// The section.
        field: &'static str,
    },
    /// Both halves of HTTP Basic are given, so that there is no place for the credential.
    #[error("{field}.basic has a username and a password; leave out the one that is the credential")]
    NoPlace {
        /// The section.
        field: &'static str,
    },
    /// A place for a value that may be absent.
    #[error("{field}.basic.username uses {{{name}}}; give parameters.{name} a default, or do not make it optional")]
    Optional {
        /// The section.
        field: &'static str,
        /// The value.
        name: String,
    },
    /// RFC 7617 §2: a user name has no colon.
    #[error("{field}.basic.username must not have a colon")]
    Colon {
        /// The section.
        field: &'static str,
    },
}

/// How a credential is sent, with places for values of the form. The default is Bearer (RFC 6750 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    carrier: HeaderName,
    scheme: Scheme<TextTemplate>,
}

/// The same with its places filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    carrier: HeaderName,
    scheme: Scheme<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme<T> {
    /// After this.
    Prefix(String),
    /// As the password of this user name (RFC 7617).
    Password { username: T },
    /// As the user name with this password.
    Username { password: String },
}

impl Default for Placement {
    fn default() -> Self {
        Self { carrier: AUTHORIZATION, scheme: Scheme::Prefix(BEARER.to_owned()) }
    }
}

impl Placement {
    /// Checks a placement; `field` is its section, such as `api.authorization`.
    pub fn new(field: &'static str, described: &CredentialPlacement) -> Result<Self, PlacementError> {
        let CredentialPlacement { header, prefix, basic } = described;
        if let Some(basic) = basic {
            if header.is_some() || prefix.is_some() {
                return Err(PlacementError::Both { field });
            }
            let scheme = match (&basic.username, &basic.password) {
                (Some(_), Some(_)) => return Err(PlacementError::NoPlace { field }),
                (Some(username), None) if username.contains(':') => return Err(PlacementError::Colon { field }),
                (Some(username), None) => Scheme::Password { username: TextTemplate::parse(username) },
                (None, password) => Scheme::Username { password: password.clone().unwrap_or_default() },
            };
            return Ok(Self { carrier: AUTHORIZATION, scheme });
        }
        let name = header.as_deref().unwrap_or("Authorization");
        let unfit = || PlacementError::Header { field, name: name.to_owned() };
        let carrier: HeaderName = name.parse().map_err(|_| unfit())?;
        if OWNED.contains(&carrier) {
            return Err(unfit());
        }
        let prefix = prefix.as_deref().unwrap_or(BEARER);
        if !prefix.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(PlacementError::Prefix { field });
        }
        Ok(Self { carrier, scheme: Scheme::Prefix(prefix.to_owned()) })
    }

    /// The header that carries the credential; no described header can be that one.
    pub fn carrier(&self) -> HeaderName {
        self.carrier.clone()
    }

    /// The names of the values that it has places for.
    pub fn parameters(&self) -> BTreeSet<&str> {
        match &self.scheme {
            Scheme::Password { username } => username.parameters(),
            Scheme::Prefix(_) | Scheme::Username { .. } => BTreeSet::new(),
        }
    }

    /// Fills its places with values of the form.
    pub fn fill(&self, values: &BTreeMap<String, String>) -> Result<Placed, TemplateError> {
        let scheme = match &self.scheme {
            Scheme::Password { username } => {
                for name in username.parameters() {
                    match values.get(name) {
                        None => return Err(TemplateError::Missing { name: name.to_owned() }),
                        // What follows a colon would be taken for the password.
                        Some(value) if value.contains(':') => {
                            return Err(TemplateError::Value { name: name.to_owned() });
                        }
                        Some(_) => {}
                    }
                }
                let filled = username.render(values).unwrap_or_default();
                Scheme::Password { username: filled }
            }
            Scheme::Prefix(prefix) => Scheme::Prefix(prefix.clone()),
            Scheme::Username { password } => Scheme::Username { password: password.clone() },
        };
        Ok(Placed { carrier: self.carrier.clone(), scheme })
    }
}

impl Placed {
    /// The header that carries `credential`; `None` where the credential has characters that no header takes.
    pub fn header(&self, credential: &Sensitive) -> Option<(HeaderName, HeaderValue)> {
        let basic = |username: &str, password: &str| {
            let pair = Sensitive::new(format!("{username}:{password}"));
            format!("Basic {}", STANDARD.encode(pair.expose()))
        };
        let credential = credential.expose();
        let text = Sensitive::new(match &self.scheme {
            Scheme::Prefix(prefix) => format!("{prefix}{credential}"),
            Scheme::Password { username } => basic(username, credential),
            Scheme::Username { password } => basic(credential, password),
        });
        let mut value = HeaderValue::from_str(text.expose()).ok()?;
        value.set_sensitive(true);
        Some((self.carrier.clone(), value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn placed(described: Value, values: &[(&str, &str)]) -> Result<String, String> {
        let described: CredentialPlacement = serde_json::from_value(described).unwrap();
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let placement = Placement::new("api.authorization", &described).map_err(|error| error.to_string())?;
        let placement = placement.fill(&values).map_err(|error| error.to_string())?;
        let (name, value) = placement.header(&Sensitive::new("s3cret")).unwrap();
        assert!(value.is_sensitive());
        Ok(format!("{name}: {}", value.to_str().unwrap()))
    }

    #[test]
    fn bearer_header_and_basic() {
        let basic = |text: &str| Ok(format!("authorization: Basic {}", STANDARD.encode(text)));
        assert_eq!(placed(json!({}), &[]), Ok("authorization: Bearer s3cret".into()));
        assert_eq!(placed(json!({ "prefix": "Token token=" }), &[]), Ok("authorization: Token token=s3cret".into()));
        assert_eq!(placed(json!({ "header": "X-Api-Key", "prefix": "" }), &[]), Ok("x-api-key: s3cret".into()));
        assert_eq!(placed(json!({ "basic": {} }), &[]), basic("s3cret:"));
        assert_eq!(placed(json!({ "basic": { "password": "X" } }), &[]), basic("s3cret:X"));
        let zendesk = json!({ "basic": { "username": "{email}/token" } });
        assert_eq!(placed(zendesk.clone(), &[("email", "a@b.example")]), basic("a@b.example/token:s3cret"));
        assert_eq!(placed(zendesk.clone(), &[]), Err("the parameter `email` has no value".into()));
        assert!(placed(zendesk, &[("email", "a:b")]).is_err());
    }

    #[test]
    fn mistakes_name_their_field() {
        for (described, said) in [
            (json!({ "header": "a b" }), "api.authorization.header: \"a b\""),
            (json!({ "header": "Host" }), "api.authorization.header: \"Host\""),
            (json!({ "prefix": "a\nb" }), "api.authorization.prefix"),
            (json!({ "prefix": "x", "basic": {} }), "api.authorization.basic stands in"),
            (json!({ "basic": { "username": "u", "password": "p" } }), "api.authorization.basic has"),
            (json!({ "basic": { "username": "a:b" } }), "api.authorization.basic.username"),
        ] {
            let error = placed(described, &[]).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn a_credential_that_no_header_takes_is_not_sent() {
        assert_eq!(Placement::default().fill(&BTreeMap::new()).unwrap().header(&Sensitive::new("a\nb")), None);
    }
}
