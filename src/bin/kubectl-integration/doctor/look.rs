//! Reading something that may be absent, or that whoever runs this may not read: neither is an end of the examination.

use kube::core::Status;

use crate::words::{chain, sentence};

/// What came of reading something.
#[derive(Debug)]
pub(crate) enum Look<T> {
    /// It is there.
    Found(T),
    /// It is not there.
    Absent,
    /// The right is missing; the API server's word.
    Denied(String),
    /// The API server failed; its word, or the client's.
    Failed(String),
}

impl<T> Look<T> {
    /// From a client's answer.
    pub(crate) fn of(answer: Result<T, kube::Error>) -> Self {
        match answer {
            Ok(found) => Self::Found(found),
            Err(kube::Error::Api(status)) => Self::refused(&status),
            Err(error) => Self::Failed(chain(&error)),
        }
    }

    fn refused(status: &Status) -> Self {
        match status {
            status if status.is_not_found() => Self::Absent,
            status if status.is_forbidden() => Self::Denied(sentence(&status.message)),
            status => Self::Failed(sentence(&status.message)),
        }
    }

    /// What was found.
    pub(crate) fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }
}
