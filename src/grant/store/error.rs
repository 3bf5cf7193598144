//! What can go wrong with a grant Secret.

use super::MAX_SIZE;
use crate::grant::record::ViewError;
use crate::seal::SealError;

/// A grant could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server refused, or could not be reached.
    #[error("cannot {operation} grant {grant}")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// The Secret.
        grant: String,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody wrote in between.
    #[error("grant {grant} was changed in between")]
    Conflict {
        /// The Secret.
        grant: String,
    },
    /// There is no such grant.
    #[error("grant {grant} does not exist")]
    Missing {
        /// The Secret.
        grant: String,
    },
    /// Its annotations cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Its data cannot be read, or the grant cannot be written as data.
    #[error("the data of grant {grant} cannot be decoded or encoded")]
    Codec {
        /// The Secret.
        grant: String,
        /// The codec's word.
        #[source]
        source: serde_json::Error,
    },
    /// It is sealed and does not open, or could not be sealed.
    #[error("grant {grant} cannot be opened")]
    Sealed {
        /// The Secret.
        grant: String,
        /// Why, and what helps.
        #[source]
        source: SealError,
    },
    /// It holds more than a Secret should.
    #[error("grant {grant} would take {size} bytes; {MAX_SIZE} are allowed")]
    TooLarge {
        /// The Secret.
        grant: String,
        /// Its size in bytes.
        size: usize,
    },
}

impl StoreError {
    /// The API server refused, or could not be reached.
    pub(super) fn api(operation: &'static str, grant: &str, source: kube::Error) -> Self {
        Self::Api { operation, grant: grant.to_owned(), source: Box::new(source) }
    }

    /// Whether trying again with a fresh read may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether the grant is there and its data cannot be read: a new one may take its place, and nothing else can be done
    /// with it.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Sealed { .. } | Self::Codec { .. })
    }

    /// Whether the grant is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}
