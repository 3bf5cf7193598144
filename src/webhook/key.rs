//! Keys out of their Secrets, as the algorithm needs them.

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::api::provider::KeyEncoding;
use crate::provider::webhook::{Algorithm, Scheme};
use crate::sensitive::Sensitive;

/// Base64 with the standard alphabet, with or without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What stands before the point of a P-256 key in SPKI (RFC 5480 §2), and before an Ed25519 key (RFC 8410 §4).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The fewest bytes of a secret that authenticates: fewer can be guessed.
const SHORTEST: usize = 8;

/// A secret that is no key of the scheme. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not written as the description says.
    #[error("it is not written as keyEncoding says: {form}")]
    Encoding {
        /// How it should be.
        form: &'static str,
    },
    /// Too short.
    #[error("it has fewer than {SHORTEST} bytes")]
    Short,
    /// Not of the algorithm's size or kind.
    #[error("it is no key of the algorithm")]
    Kind,
}

/// A key as the algorithm needs it.
pub struct Key(pub(super) Zeroizing<Vec<u8>>);

impl Key {
    /// A secret of Standard Webhooks (`whsec_…`), to sign with.
    pub fn standard(secret: &Sensitive) -> Result<Self, KeyError> {
        let text = secret.expose().trim();
        let bytes = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text));
        let bytes = Zeroizing::new(bytes.map_err(|_| KeyError::Encoding { form: "base64" })?);
        if bytes.len() < SHORTEST { Err(KeyError::Short) } else { Ok(Self(bytes)) }
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Decodes what stands in a Secret.
    pub fn decode(secret: &Sensitive, scheme: &Scheme) -> Result<Self, KeyError> {
        let text = secret.expose().trim();
        let encoded = |form| move |_| KeyError::Encoding { form };
        let base64 = |text: &str| BASE64.decode(text).map_err(encoded("base64"));
        let bytes = match scheme.key_encoding {
            KeyEncoding::Text => text.as_bytes().to_vec(),
            KeyEncoding::Hex => hex(text).ok_or(KeyError::Encoding { form: "hexadecimal digits" })?,
            KeyEncoding::Whsec => {
                base64(text.strip_prefix("whsec_").or_else(|| text.strip_prefix("whpk_")).unwrap_or(text))?
            }
            KeyEncoding::Spki if text.starts_with("-----") => SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
                .map_err(|_| KeyError::Encoding { form: "a public key in PEM" })?
                .as_ref()
                .to_vec(),
            KeyEncoding::Base64 | KeyEncoding::Spki => base64(text)?,
        };
        let bytes = Zeroizing::new(bytes);
        let spki = scheme.key_encoding == KeyEncoding::Spki;
        let fits = |prefix: &[u8], length: usize| match bytes.strip_prefix(prefix) {
            Some(key) if spki && key.len() == length => Ok(Self(Zeroizing::new(key.to_vec()))),
            None if !spki && bytes.len() == length => Ok(Self(bytes.clone())),
            _ => Err(KeyError::Kind),
        };
        match scheme.algorithm {
            Algorithm::EcdsaP256 => fits(&P256, 65),
            Algorithm::Ed25519 => fits(&ED25519, 32),
            _ if bytes.len() < SHORTEST => Err(KeyError::Short),
            _ => Ok(Self(bytes)),
        }
    }
}

/// Bytes of hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    if digits.len().is_multiple_of(2) { digits.chunks_exact(2).map(pair).collect() } else { None }
}
