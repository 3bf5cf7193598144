//! How a request proves whose it is: the sections `signature` and `timestamp`, with a published scheme underneath.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use jiff::SignedDuration;
use url::Url;

use super::rules::{WebhookError, expressions};
use crate::api::provider::{
    KeyEncoding, Signature, SignatureAlgorithm, SignatureEncoding, SignatureList, TimestampUnit, WebhookJwt,
    WebhookScheme, WebhookTimestamp, Webhooks,
};
use crate::grant::schedule::parse_duration;
use crate::provider::expression::Expression;

/// Keys of the client's Secret where the description names none.
const SECRET_KEYS: [&str; 2] = ["signing_secret", "signing_secret_next"];

/// How a request proves that it is the app's.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// The algorithm, with what it alone needs.
    pub algorithm: Algorithm,
    /// Where the proof stands.
    pub place: Place,
    /// What stands before it.
    pub prefix: String,
    /// Where the header is a list.
    pub list: Option<ListForm>,
    /// How the proof is written.
    pub encoding: SignatureEncoding,
    /// What is signed.
    pub signed: Vec<Signed>,
    /// How the key is written.
    pub key_encoding: KeyEncoding,
    /// Keys of the client's Secret.
    pub secret_keys: Vec<String>,
    /// When it was sent.
    pub time: Option<TimeRules>,
}

/// An algorithm.
#[derive(Clone, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-1.
    HmacSha1,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// The secret itself.
    Equality,
    /// A JSON Web Token.
    Jwt(JwtRules),
}

/// How much of a request its proof covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The body.
    Body,
    /// Whoever sent it knew a secret.
    Sender,
}

/// Where a proof stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header(HeaderName),
    /// The body, by a pointer in which `*` is every element.
    Body(Vec<String>),
}

/// A header of several entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListForm {
    /// Between entries.
    pub separator: char,
    /// Between name and value.
    pub assignment: char,
    /// The name of signatures.
    pub name: String,
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Itself.
    Text(String),
    /// The time as the request writes it.
    Timestamp,
    /// A header as it stands there.
    Header(HeaderName),
    /// The body.
    Body,
}

/// When a request was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// Where the time stands.
    pub source: TimeSource,
    /// How it is written.
    pub unit: TimestampUnit,
    /// How far from now it may be; as far as it likes when `None`.
    pub tolerance: Option<SignedDuration>,
}

/// Where a time stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// A header.
    Header(HeaderName),
    /// An entry of the list that the signature stands in.
    Entry(String),
    /// The body, by a JSON pointer.
    Body(String),
}

/// What a token must say.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// Who issued it.
    pub issuer: Option<String>,
    /// Whom it is for; the client's own id when `None`.
    pub audience: Option<String>,
    /// The issuer's keys; the app's secret when `None`.
    pub jwks_url: Option<Url>,
    /// Claims that must be equal to something of the request.
    pub claims: BTreeMap<String, Arc<Expression>>,
}

impl Scheme {
    /// The sections `scheme`, `signature` and `timestamp`.
    pub(super) fn new(webhooks: &Webhooks) -> Result<Self, WebhookError> {
        let (base, base_time) = webhooks.scheme.map(published).unwrap_or_default();
        let signature = over(base, webhooks.signature.clone().unwrap_or_default());
        let list = signature.list.as_ref().map(list_form).transpose()?;
        let time = webhooks.timestamp.clone().or(base_time);
        let time = time.map(|time| time_rules(&time, list.is_some())).transpose()?;
        let algorithm = match signature.algorithm.ok_or(WebhookError::missing("webhooks.signature.algorithm"))? {
            SignatureAlgorithm::HmacSha256 => Algorithm::HmacSha256,
            SignatureAlgorithm::HmacSha1 => Algorithm::HmacSha1,
            SignatureAlgorithm::Ed25519 => Algorithm::Ed25519,
            SignatureAlgorithm::EcdsaP256 => Algorithm::EcdsaP256,
            SignatureAlgorithm::Equality => Algorithm::Equality,
            SignatureAlgorithm::Jwt => Algorithm::Jwt(jwt_rules(signature.jwt.clone().unwrap_or_default())?),
        };
        if signature.jwt.is_some() && !matches!(algorithm, Algorithm::Jwt(_)) {
            return Err(WebhookError::unfit("webhooks.signature.jwt", "is for the algorithm Jwt only"));
        }
        let place = place(&signature, &algorithm)?;
        let scheme = Self {
            signed: signed(signature.signed.as_deref().unwrap_or("{body}"))?,
            prefix: signature.prefix.unwrap_or_default(),
            encoding: signature.encoding.unwrap_or_default(),
            key_encoding: key_encoding(signature.key_encoding, &algorithm)?,
            secret_keys: match signature.secret_keys {
                keys if keys.is_empty() => SECRET_KEYS.map(str::to_owned).to_vec(),
                keys => keys,
            },
            algorithm,
            place,
            list,
            time,
        };
        scheme.check()?;
        Ok(scheme)
    }

    /// How much of a request its proof covers.
    pub const fn binding(&self) -> Binding {
        match self.algorithm {
            Algorithm::Equality | Algorithm::Jwt(_) => Binding::Sender,
            _ => Binding::Body,
        }
    }

    /// Whether a secret is needed to check a proof: not where the issuer's keys are public.
    pub const fn needs_secret(&self) -> bool {
        !matches!(&self.algorithm, Algorithm::Jwt(JwtRules { jwks_url: Some(_), .. }))
    }

    /// What is not signed proves nothing.
    fn check(&self) -> Result<(), WebhookError> {
        let field = "webhooks.signature.signed";
        if self.binding() == Binding::Sender {
            return match self.time {
                Some(_) => Err(WebhookError::unfit("webhooks.timestamp", "is of no use where no signature covers it")),
                None => Ok(()),
            };
        }
        if self.signed.iter().filter(|piece| **piece == Signed::Body).count() != 1 {
            return Err(WebhookError::unfit(field, "must have {body} once"));
        }
        let covers_time = self.signed.contains(&Signed::Timestamp);
        match &self.time {
            None if covers_time => Err(WebhookError::unfit(field, "speaks of {timestamp}; set webhooks.timestamp")),
            // A time in the body is covered by the body.
            Some(TimeRules { source: TimeSource::Header(_) | TimeSource::Entry(_), .. }) if !covers_time => {
                Err(WebhookError::unfit(field, "must have {timestamp}: a time that is not signed proves nothing"))
            }
            _ => Ok(()),
        }
    }
}

/// A scheme that was published, as a description would have it.
fn published(scheme: WebhookScheme) -> (Signature, Option<WebhookTimestamp>) {
    let (algorithm, name) = match scheme {
        WebhookScheme::StandardWebhooks => (SignatureAlgorithm::HmacSha256, "v1"),
        WebhookScheme::StandardWebhooksPublicKey => (SignatureAlgorithm::Ed25519, "v1a"),
    };
    let list = SignatureList {
        separator: Some(" ".to_owned()),
        assignment: Some(",".to_owned()),
        name: Some(name.to_owned()),
    };
    let signature = Signature {
        algorithm: Some(algorithm),
        header: Some("webhook-signature".to_owned()),
        list: Some(list),
        encoding: Some(SignatureEncoding::Base64),
        signed: Some("{header.webhook-id}.{timestamp}.{body}".to_owned()),
        key_encoding: Some(KeyEncoding::Whsec),
        ..Signature::default()
    };
    let time = WebhookTimestamp {
        header: Some("webhook-timestamp".to_owned()),
        tolerance: Some("5m".to_owned()),
        ..WebhookTimestamp::default()
    };
    (signature, Some(time))
}

/// One signature over another, field by field.
fn over(base: Signature, over: Signature) -> Signature {
    Signature {
        algorithm: over.algorithm.or(base.algorithm),
        header: over.header.or(base.header),
        body_pointer: over.body_pointer.or(base.body_pointer),
        prefix: over.prefix.or(base.prefix),
        list: over.list.or(base.list),
        encoding: over.encoding.or(base.encoding),
        signed: over.signed.or(base.signed),
        key_encoding: over.key_encoding.or(base.key_encoding),
        secret_keys: if over.secret_keys.is_empty() { base.secret_keys } else { over.secret_keys },
        jwt: over.jwt.or(base.jwt),
    }
}

fn place(signature: &Signature, algorithm: &Algorithm) -> Result<Place, WebhookError> {
    match (&signature.header, &signature.body_pointer) {
        (Some(name), None) => Ok(Place::Header(header("webhooks.signature.header", name)?)),
        (None, Some(text)) if matches!(algorithm, Algorithm::Equality) => {
            let steps = text.strip_prefix('/').map(|rest| rest.split('/').map(str::to_owned).collect());
            steps.map(Place::Body).ok_or(WebhookError::unfit("webhooks.signature.bodyPointer", "must begin with /"))
        }
        (None, Some(_)) => Err(WebhookError::unfit("webhooks.signature.bodyPointer", "is for Equality only")),
        (None, None) => Err(WebhookError::missing("webhooks.signature.header")),
        (Some(_), Some(_)) => {
            Err(WebhookError::unfit("webhooks.signature.bodyPointer", "stands in the place of header; remove one"))
        }
    }
}

fn list_form(list: &SignatureList) -> Result<ListForm, WebhookError> {
    let sign = |field, text: &Option<String>, or| match text.as_deref().map(|text| text.chars().collect::<Vec<_>>()) {
        None => Ok(or),
        Some(signs) if signs.len() == 1 => Ok(signs[0]),
        Some(_) => Err(WebhookError::unfit(field, "must be one character")),
    };
    let (separator, assignment) = (
        sign("webhooks.signature.list.separator", &list.separator, ',')?,
        sign("webhooks.signature.list.assignment", &list.assignment, '=')?,
    );
    if separator == assignment {
        return Err(WebhookError::unfit("webhooks.signature.list.assignment", "must differ from separator"));
    }
    let name = list.name.clone().ok_or(WebhookError::missing("webhooks.signature.list.name"))?;
    Ok(ListForm { separator, assignment, name })
}

fn time_rules(time: &WebhookTimestamp, has_list: bool) -> Result<TimeRules, WebhookError> {
    let source = match (&time.header, &time.entry, &time.body_pointer) {
        (Some(name), None, None) => TimeSource::Header(header("webhooks.timestamp.header", name)?),
        (None, Some(name), None) if has_list => TimeSource::Entry(name.clone()),
        (None, Some(_), None) => {
            return Err(WebhookError::unfit("webhooks.timestamp.entry", "needs signature.list, of which it is one"));
        }
        (None, None, Some(pointer)) if pointer.starts_with('/') => TimeSource::Body(pointer.clone()),
        _ => {
            let problem = "needs one of header, entry and bodyPointer, the last beginning with /";
            return Err(WebhookError::unfit("webhooks.timestamp", problem));
        }
    };
    let field = "webhooks.timestamp.tolerance";
    let tolerance = time
        .tolerance
        .as_deref()
        .map(|text| parse_duration(text).ok_or(WebhookError::unfit(field, "must be a length of time such as 5m")));
    Ok(TimeRules { source, unit: time.unit.unwrap_or_default(), tolerance: tolerance.transpose()? })
}

/// Public keys have one size and no text is one.
fn key_encoding(encoding: Option<KeyEncoding>, algorithm: &Algorithm) -> Result<KeyEncoding, WebhookError> {
    let field = "webhooks.signature.keyEncoding";
    match (algorithm, encoding) {
        (Algorithm::EcdsaP256, Some(KeyEncoding::Spki) | None) => Ok(KeyEncoding::Spki),
        (Algorithm::EcdsaP256, Some(_)) => Err(WebhookError::unfit(field, "must be Spki for EcdsaP256")),
        (Algorithm::Ed25519, Some(KeyEncoding::Text)) => {
            Err(WebhookError::unfit(field, "must be Hex, Base64, Whsec or Spki for Ed25519"))
        }
        (Algorithm::Ed25519, None) => Ok(KeyEncoding::Hex),
        (Algorithm::Ed25519, Some(encoding)) => Ok(encoding),
        (_, Some(KeyEncoding::Spki)) => {
            Err(WebhookError::unfit(field, "is a public key, which this algorithm has not"))
        }
        (_, encoding) => Ok(encoding.unwrap_or_default()),
    }
}

fn jwt_rules(jwt: WebhookJwt) -> Result<JwtRules, WebhookError> {
    let field = "webhooks.signature.jwt.jwksURL";
    let url = jwt.jwks_url.as_deref().map(|text| {
        Url::parse(text).map_err(|_| WebhookError::unfit(field, "must be an address such as https://example.com/keys"))
    });
    Ok(JwtRules {
        issuer: jwt.issuer,
        audience: jwt.audience,
        jwks_url: url.transpose()?,
        claims: expressions("webhooks.signature.jwt.claims", &jwt.claims, &["request"])?,
    })
}

/// Text with places in braces.
fn signed(source: &str) -> Result<Vec<Signed>, WebhookError> {
    let field = "webhooks.signature.signed";
    let unfit = || WebhookError::unfit(field, "has a misplaced brace; a place is {body}, {timestamp} or {header.name}");
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, from) = rest.split_at(at);
        let (place, behind) = from.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or_else(unfit)?;
        if !text.is_empty() {
            pieces.push(Signed::Text(text.to_owned()));
        }
        pieces.push(match (place, place.strip_prefix("header.")) {
            ("body", _) => Signed::Body,
            ("timestamp", _) => Signed::Timestamp,
            (_, Some(name)) => Signed::Header(header(field, name)?),
            _ => return Err(unfit()),
        });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Signed::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn header(field: &'static str, name: &str) -> Result<HeaderName, WebhookError> {
    name.parse().map_err(|_| WebhookError::unfit(field, "is not the name of a header"))
}
