//! Sealing what is held: with `--grant-key-file`, grants and attempts are encrypted before they reach the API server.
//!
//! For clusters whose API server encrypts nothing at rest. [`Keyring`] is pure: keys and envelopes. [`Sealer`] is what the
//! stores hold: the keys as the file has them now. Without a file everything is written as it is.

mod follow;
pub mod keyring;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

pub use keyring::{KeyFileError, Keyring, SealError};

/// Annotation of a sealed Secret with the name of the key: what has to be sealed anew, and whether it can be opened, is
/// told without its data.
pub const SEALED_WITH: &str = "integrations.tms.dev/sealed-with";

/// Where an object lies: it is opened there and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Seals and opens with the keys of the file as they are now. Cheap to clone; all clones have the same keys.
#[derive(Clone, Debug, Default)]
pub struct Sealer {
    file: Option<Arc<PathBuf>>,
    keys: Arc<RwLock<Option<Arc<Keyring>>>>,
}

/// Data as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// An envelope, or the plain data where there is no key.
    pub data: Vec<u8>,
    /// The name of the key.
    pub key: Option<String>,
}

impl Sealer {
    /// With the keys of a file, or without any.
    pub fn load(file: Option<&Path>) -> Result<Self, KeyFileError> {
        let Some(path) = file else { return Ok(Self::default()) };
        let keyring = Keyring::read(path)?;
        Ok(Self { file: Some(Arc::new(path.to_owned())), keys: Arc::new(RwLock::new(Some(Arc::new(keyring)))) })
    }

    /// The name of the key that is written with.
    pub fn writing(&self) -> Option<String> {
        self.keyring().map(|keyring| keyring.first().to_owned())
    }

    /// Seals `plain` for one place.
    pub fn seal(&self, place: Place<'_>, plain: Vec<u8>) -> Result<Sealed, SealError> {
        let Some(keyring) = self.keyring() else { return Ok(Sealed { data: plain, key: None }) };
        let data = keyring.seal(place, plain)?;
        Ok(Sealed { data, key: Some(keyring.first().to_owned()) })
    }

    /// Opens what lies in a place. What was never sealed is taken as it is.
    pub fn open(&self, place: Place<'_>, data: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match (keyring::key_of(&data), self.keyring()) {
            (None, _) => Ok(Zeroizing::new(data)),
            (Some(key), None) => Err(SealError::NoKeys { key: key.to_owned() }),
            (Some(_), Some(keyring)) => keyring.open(place, &data),
        }
    }

    /// Whether what says that it was sealed with `key` can be opened, as far as that can be told without its data.
    pub fn holds(&self, key: &str) -> Result<(), SealError> {
        match self.keyring() {
            None => Err(SealError::NoKeys { key: key.to_owned() }),
            Some(keyring) => keyring.holds(key),
        }
    }

    fn keyring(&self) -> Option<Arc<Keyring>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
