//! URLs with places for a tenant's values, such as `https://{subdomain}.zendesk.com/oauth/tokens`.
//!
//! Takes a template and the values, gives a URL that has the scheme, the port and the host suffix of the template,
//! whatever the values are. No I/O. Values are checked by a [`ParameterRule`] before; the rendered URL is nevertheless
//! parsed again and compared with the template.

mod rule;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use url::{Host, Url};

pub(super) use rule::whole_match;
pub use rule::{LONGEST_PATTERN, LONGEST_VALUE, ParameterRule, RuleError};
pub use text::TextTemplate;

/// The longest template, in bytes.
pub const LONGEST_TEMPLATE: usize = 2048;

/// What stands for a value while the template is checked: one DNS label that no description contains.
const PROBE: &str = "x0probe0x";

/// Why a template cannot be read or rendered.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// Longer than [`LONGEST_TEMPLATE`].
    #[error("the URL template is longer than {LONGEST_TEMPLATE} bytes")]
    TooLong,
    /// A brace without its partner, or something else than a name between braces.
    #[error("the URL template has a misplaced brace at byte {position}")]
    Brace {
        /// Where, in bytes from the start.
        position: usize,
    },
    /// A value in the scheme, the port or the user information.
    #[error("the URL template has a parameter outside host, path and query")]
    Misplaced,
    /// The host would be the tenant's choice: it must end in a fixed suffix of two labels at least.
    #[error("the host of the URL template has no fixed suffix of at least two labels")]
    OpenHost,
    /// Not a URL.
    #[error("the URL template does not give a URL")]
    Parse(#[source] url::ParseError),
    /// User information or a fragment in the template, or a URL without a host.
    #[error("the URL template must have a host, and neither user information nor a fragment")]
    Unfit,
    /// A parameter without a value.
    #[error("the parameter `{name}` has no value")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A value that is empty, too long, a dot segment, or has characters its place does not allow.
    #[error("the value of the parameter `{name}` does not fit into the URL")]
    Value {
        /// Its name; the value is not repeated.
        name: String,
    },
    /// The rendered URL leads elsewhere than the template says.
    #[error("the rendered URL leaves the host, scheme or port of its template")]
    Escaped,
}

/// A URL with named places in host, path or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate {
    pieces: Vec<Piece>,
    /// The template with a probe in each place.
    probe: Url,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Parameter { name: String, place: Place },
}

/// Where in the URL a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Host,
    Path,
    Query,
}

impl UrlTemplate {
    /// Reads a template; one without parameters is a plain URL.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > LONGEST_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        let pieces = split(source)?;
        let probe = Url::parse(&join(&pieces, |_, _| Ok(PROBE.to_owned()))?).map_err(TemplateError::Parse)?;
        if probe.host_str().is_none_or(str::is_empty) || has_user_info(&probe) || probe.fragment().is_some() {
            return Err(TemplateError::Unfit);
        }
        let template = Self { pieces, probe };
        template.check_host()?;
        Ok(template)
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> BTreeSet<&str> {
        self.pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Parameter { name, .. } => Some(name.as_str()),
                Piece::Text(_) => None,
            })
            .collect()
    }

    /// The names of those that stand in its host or path: without their values there is no URL.
    pub fn indispensable(&self) -> BTreeSet<&str> {
        self.pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Parameter { name, place: Place::Host | Place::Path } => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The URL with these values; values that it has no place for are ignored, and a parameter of the query whose value
    /// is missing is left out.
    ///
    /// In the host a value must be DNS labels; in path and query it is percent-encoded, so that it stays one segment or
    /// one value.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Result<Url, TemplateError> {
        let rendered = join(&self.pieces, |name, place| match values.get(name) {
            Some(value) => fit(value, place).ok_or_else(|| TemplateError::Value { name: name.to_owned() }),
            None if place == Place::Query => Ok(PROBE.to_owned()),
            None => Err(TemplateError::Missing { name: name.to_owned() }),
        })?;
        let mut url = Url::parse(&rendered).map_err(TemplateError::Parse)?;
        if !self.still_holds(&url) {
            return Err(TemplateError::Escaped);
        }
        if let Some(query) = url.query().filter(|query| query.contains(PROBE)) {
            let kept = query.split('&').filter(|pair| !pair.contains(PROBE)).collect::<Vec<_>>().join("&");
            url.set_query(Some(&kept).filter(|kept| !kept.is_empty()).map(String::as_str));
        }
        Ok(url)
    }

    /// Where it leads with these values: scheme, host and port. A place whose value is missing stands as it is written, so
    /// that two templates have one origin only where they lead to the same hosts.
    pub fn origin(&self, values: &BTreeMap<String, String>) -> String {
        let in_host = |piece: &Piece| matches!(piece, Piece::Parameter { place: Place::Host, .. });
        if !self.pieces.iter().any(in_host) {
            return self.probe.origin().ascii_serialization();
        }
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Parameter { name, place: Place::Host } => match values.get(name) {
                    Some(value) => text.push_str(value),
                    None => text.extend(["{", name, "}"]),
                },
                Piece::Parameter { .. } => break,
            }
        }
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let host = authority.split(['/', '?', '#', '\\', ':']).next().unwrap_or_default().to_ascii_lowercase();
        let port = self.probe.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}", self.probe.scheme())
    }

    /// A host with parameters ends in two fixed labels at least, and no parameter hides in the port.
    fn check_host(&self) -> Result<(), TemplateError> {
        let in_host = self.pieces.iter().any(|piece| matches!(piece, Piece::Parameter { place: Place::Host, .. }));
        if !in_host {
            return Ok(());
        }
        let suffix = self.suffix();
        let fixed = suffix
            .strip_prefix('.')
            .is_some_and(|rest| rest.split('.').count() >= 2 && rest.split('.').all(|label| !label.is_empty()));
        if fixed { Ok(()) } else { Err(TemplateError::OpenHost) }
    }

    /// What follows the last parameter of the host; the whole host where it has none.
    fn suffix(&self) -> &str {
        let host = self.probe.host_str().unwrap_or_default();
        host.rsplit(PROBE).next().unwrap_or(host)
    }

    /// Whether a rendered URL is one that the template can mean.
    fn still_holds(&self, url: &Url) -> bool {
        let probe = &self.probe;
        let host = url.host_str().unwrap_or_default();
        let labels = |host: &str| host.split('.').count();
        let same_host = if probe.host_str().unwrap_or_default().contains(PROBE) {
            matches!(url.host(), Some(Host::Domain(_)))
                && host.ends_with(self.suffix())
                && host.len() > self.suffix().len()
        } else {
            url.host() == probe.host()
        };
        let same_segments = |url: &Url| url.path_segments().map(Iterator::count);
        same_host
            && labels(host) >= labels(probe.host_str().unwrap_or_default())
            && url.scheme() == probe.scheme()
            && url.port_or_known_default() == probe.port_or_known_default()
            && !has_user_info(url)
            && url.fragment().is_none()
            && same_segments(url) == same_segments(probe)
            && url.query_pairs().count() == probe.query_pairs().count()
    }
}

/// Whether the URL names a user.
fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Cuts a template at its braces.
fn split(source: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut position = 0;
    while let Some(open) = source[position..].find(['{', '}']).map(|found| position + found) {
        let brace = TemplateError::Brace { position: open };
        let Some(length) = source[open..].strip_prefix('{').and_then(|rest| rest.find('}')) else { return Err(brace) };
        let name = &source[open + 1..=open + length];
        if !is_name(name) {
            return Err(brace);
        }
        pieces.push(Piece::Text(source[position..open].to_owned()));
        pieces.push(Piece::Parameter { name: name.to_owned(), place: place(&source[..open])? });
        position = open + length + 2;
    }
    pieces.push(Piece::Text(source[position..].to_owned()));
    Ok(pieces)
}

/// A parameter's name: letters, digits, `_` and `-`.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Which part of the URL follows this beginning.
fn place(before: &str) -> Result<Place, TemplateError> {
    let (_, rest) = before.split_once("://").ok_or(TemplateError::Misplaced)?;
    match rest.find(['/', '?', '#', '\\']) {
        Some(_) if rest.contains('#') => Err(TemplateError::Misplaced),
        Some(_) if rest.contains('?') => Ok(Place::Query),
        Some(_) => Ok(Place::Path),
        // After a colon comes a port or a password.
        None if rest.contains([':', '@']) => Err(TemplateError::Misplaced),
        None => Ok(Place::Host),
    }
}

/// Puts the pieces together again.
fn join(
    pieces: &[Piece],
    value: impl Fn(&str, Place) -> Result<String, TemplateError>,
) -> Result<String, TemplateError> {
    let mut joined = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => joined.push_str(text),
            Piece::Parameter { name, place } => joined.push_str(&value(name, *place)?),
        }
    }
    Ok(joined)
}

/// The value as it may stand in its place; none where it may not.
fn fit(value: &str, place: Place) -> Option<String> {
    if value.is_empty() || value.len() > LONGEST_VALUE {
        return None;
    }
    match place {
        Place::Host => value.split('.').all(rule::is_dns_label).then(|| value.to_ascii_lowercase()),
        // Dots alone would be taken for "this" and "up" (RFC 3986 §5.2.4), encoded or not.
        Place::Path if value.bytes().all(|byte| byte == b'.') => None,
        Place::Path | Place::Query => Some(percent_encode(value)),
    }
}

/// Everything but unreserved characters (RFC 3986 §2.3), percent-encoded.
pub(super) fn percent_encode(value: &str) -> String {
    value.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
        encoded
    })
}

#[cfg(test)]
mod tests;
