//! Keys and envelopes. Pure but for random nonces.
//!
//! An envelope is `sealed/1 <key's name>\n`, a nonce of 96 random bits, and AES-256-GCM over the data with its tag.
//! Authenticated along with it are the key's name, the namespace and the name of the object: one that is copied onto
//! another does not open. Random nonces may be used for 2³² messages under one key (NIST SP 800-38D §8.3); ten thousand
//! grants that are refreshed every five minutes take four years for that.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::Place;

/// How an envelope begins; a grant that was never sealed begins with a brace.
const PREFIX: &[u8] = b"sealed/";
const VERSION: &[u8] = b"sealed/1 ";
const LONGEST_NAME: usize = 63;
/// What a key file should have, for messages.
const FORM: &str = "a line for each key, as name:base64 of 32 bytes, such as \"2026-01:$(openssl rand -base64 32)\"";

/// Keys by their names; the first is the one to write with.
pub struct Keyring {
    keys: Vec<(String, LessSafeKey)>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.keys.iter().map(|(name, _)| name)).finish()
    }
}

/// A key file cannot be used. Nothing of its contents is quoted.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the grant key file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is no key.
    #[error("line {line} of the grant key file: {what}; it should have {FORM}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no key in it.
    #[error("the grant key file holds no key; it should have {FORM}")]
    Empty,
}

/// Something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There are no keys at all.
    #[error(
        "it is sealed with key {key}, and the operator runs without --grant-key-file; run it with the file that holds this key"
    )]
    NoKeys {
        /// The key's name.
        key: String,
    },
    /// The key is not among them.
    #[error(
        "it is sealed with key {key}, which the grant key file does not hold (it holds {held}); put that key back into the file, on a further line"
    )]
    UnknownKey {
        /// The key's name.
        key: String,
        /// Those that there are.
        held: String,
    },
    /// The key is there and does not fit.
    #[error(
        "it does not open with key {key}: it was changed, or copied from another object, or the file has another key under that name; restore the object or the key"
    )]
    Damaged {
        /// The key's name.
        key: String,
    },
    /// A form that this version does not know.
    #[error("it is sealed in a form that this version of the operator does not know; run the version that wrote it")]
    Version,
    /// No random numbers, or too much data.
    #[error("it could not be sealed")]
    Failed,
}

impl Keyring {
    /// Reads a file of keys.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
        Self::parse(&Zeroizing::new(text))
    }

    /// Reads keys: `name:base64`, one a line. Empty lines, and those that begin with `#`, are passed over.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys = vec![];
        let mut names = BTreeSet::new();
        for (index, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| KeyFileError::Line { line: index, what };
            let (name, key) = line.split_once(':').ok_or_else(|| wrong("it has no colon"))?;
            if !is_name(name) {
                return Err(wrong("a name has letters, digits, dots, dashes and underscores only, 63 at most"));
            }
            if !names.insert(name) {
                return Err(wrong("this name stands there twice"));
            }
            let bytes = STANDARD.decode(key.trim()).map_err(|_| wrong("what follows the colon is not base64"))?;
            let bytes = Zeroizing::new(bytes);
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong("the key has not 32 bytes"))?;
            keys.push((name.to_owned(), LessSafeKey::new(key)));
        }
        if keys.is_empty() { Err(KeyFileError::Empty) } else { Ok(Self { keys }) }
    }

    /// The name of the key to write with.
    pub fn first(&self) -> &str {
        self.keys.first().map_or("", |(name, _)| name)
    }

    /// The names of all keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| name.as_str())
    }

    /// Whether a key of this name is there.
    pub fn holds(&self, key: &str) -> Result<(), SealError> {
        self.key(key).map(|_| ())
    }

    /// Seals `data` with the first key.
    pub fn seal(&self, place: Place<'_>, mut data: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let (name, key) = self.keys.first().ok_or(SealError::Failed)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Failed)?;
        let mut envelope = [VERSION, name.as_bytes(), b"\n", &nonce].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(authenticated(name, place)), &mut data)
            .map_err(|_| SealError::Failed)?;
        envelope.append(&mut data);
        Ok(envelope)
    }

    /// Opens an envelope.
    pub fn open(&self, place: Place<'_>, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = data.strip_prefix(VERSION).ok_or(SealError::Version)?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(SealError::Version)?;
        let (name, rest) = rest.split_at(end);
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name)).ok_or(SealError::Version)?;
        let damaged = || SealError::Damaged { key: name.to_owned() };
        let key = self.key(name)?;
        let (nonce, sealed) = rest[1..].split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length =
            key.open_in_place(nonce, Aad::from(authenticated(name, place)), &mut sealed).map_err(|_| damaged())?.len();
        sealed.truncate(length);
        Ok(sealed)
    }

    fn key(&self, wanted: &str) -> Result<&LessSafeKey, SealError> {
        let found = self.keys.iter().find(|(name, _)| name == wanted).map(|(_, key)| key);
        found.ok_or_else(|| SealError::UnknownKey {
            key: wanted.to_owned(),
            held: self.names().collect::<Vec<_>>().join(", "),
        })
    }
}

/// The name of the key that data was sealed with; `None` where it was not sealed.
pub fn key_of(data: &[u8]) -> Option<&str> {
    let line = data.strip_prefix(PREFIX)?.split(|byte| *byte == b'\n').next()?;
    let name = line.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default();
    Some(std::str::from_utf8(name).ok().filter(|name| is_name(name)).unwrap_or("of an unknown form"))
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fits)
}

/// None of the parts can hold a NUL, so that no two lists of them are the same.
fn authenticated(key: &str, place: Place<'_>) -> Vec<u8> {
    [VERSION, key.as_bytes(), b"\0", place.namespace.as_bytes(), b"\0", place.name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'static> = Place { namespace: "operator", name: "grant-1" };

    fn line(name: &str, byte: u8) -> String {
        format!("{name}:{}\n", STANDARD.encode([byte; 32]))
    }

    fn keyring(text: &str) -> Keyring {
        Keyring::parse(text).unwrap()
    }

    fn opened(keyring: &Keyring, data: &[u8]) -> Result<Vec<u8>, SealError> {
        keyring.open(HERE, data).map(|data| data.to_vec())
    }

    #[test]
    fn what_is_sealed_opens_and_never_looks_the_same_twice() {
        let keys = keyring(&line("a", 1));
        let first = keys.seal(HERE, b"canary".to_vec()).unwrap();
        assert_eq!(opened(&keys, &first).unwrap(), b"canary");
        assert_ne!(first, keys.seal(HERE, b"canary".to_vec()).unwrap());
        assert!(!first.windows(6).any(|part| part == b"canary"));
        assert_eq!((key_of(&first), key_of(b"{\"a\":1}")), (Some("a"), None));
        assert_eq!(opened(&keys, &keys.seal(HERE, vec![]).unwrap()).unwrap(), b"");
    }

    #[test]
    fn under_another_name_it_does_not_open() {
        let keys = keyring(&line("a", 1));
        let sealed = keys.seal(HERE, b"canary".to_vec()).unwrap();
        for place in [Place { name: "grant-2", ..HERE }, Place { namespace: "other", ..HERE }] {
            assert_eq!(keys.open(place, &sealed).unwrap_err(), SealError::Damaged { key: "a".into() });
        }
    }

    #[test]
    fn no_byte_of_it_can_be_changed() {
        let keys = keyring(&[line("a", 1), line("b", 1)].concat());
        let sealed = keys.seal(HERE, b"canary".to_vec()).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 3;
            // `a` becomes `b`, and the key of that name has the same bytes: the name is authenticated as well.
            assert!(opened(&keys, &changed).is_err(), "byte {index}");
        }
        for length in 0..sealed.len() {
            assert!(opened(&keys, &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn keys_are_rotated() {
        let (old, both, new) =
            (keyring(&line("a", 1)), keyring(&[line("b", 2), line("a", 1)].concat()), keyring(&line("b", 2)));
        let before = old.seal(HERE, b"canary".to_vec()).unwrap();
        assert_eq!(opened(&both, &before).unwrap(), b"canary");
        let after = both.seal(HERE, b"canary".to_vec()).unwrap();
        assert_eq!(key_of(&after), Some("b"));
        assert_eq!(opened(&new, &after).unwrap(), b"canary");
        let error = opened(&new, &before).unwrap_err();
        assert_eq!(error, SealError::UnknownKey { key: "a".into(), held: "b".into() });
        assert!(error.to_string().contains("put that key back"));
        let other = keyring(&line("a", 9));
        assert_eq!(opened(&other, &before).unwrap_err(), SealError::Damaged { key: "a".into() });
    }

    #[test]
    fn files_that_are_none_are_refused_and_not_quoted() {
        let canary = STANDARD.encode([7; 31]);
        for bad in [
            String::new(),
            "# nothing\n\n".into(),
            canary.clone(),
            format!("a:{canary}"),
            format!("a:{canary}!"),
            format!("a b:{}", STANDARD.encode([7; 32])),
            format!(":{}", STANDARD.encode([7; 32])),
            line("a", 1) + &line("a", 2),
        ] {
            let error = Keyring::parse(&bad).unwrap_err().to_string();
            assert!(!error.contains(&canary[..8]) && error.contains("base64"), "{error}");
        }
        assert_eq!(keyring(&format!("# old\n\n  {}", line("x.1_2-3", 1))).first(), "x.1_2-3");
        assert_eq!(format!("{:?}", keyring(&line("a", 1))), r#"["a"]"#);
    }

    #[test]
    fn later_forms_are_said_to_be_later() {
        let keys = keyring(&line("a", 1));
        assert_eq!(opened(&keys, b"sealed/2 a\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx").unwrap_err(), SealError::Version);
    }
}
