//! What is written on a grant beside its data.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::StoreError;
use crate::grant::record::{ADOPT, HANDLED, INTENT, LEAVING, MISMATCH, ORPHANED, PUBLISHED, REFUSED, TRACE};
use crate::grant::{Handled, Intent, Published, Refusal};
use crate::shard;

/// What a write changes beside the data; `None` leaves an annotation as it is, `Some(None)` removes it.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The unfinished refreshes; an empty list removes the annotation.
    pub intents: Option<Vec<Intent>>,
    /// The Secret for workloads.
    pub published: Option<Option<Published>>,
    /// The requests that were handled.
    pub handled: Option<Handled>,
    /// Why the grant can no longer be used.
    pub refused: Option<Option<Refusal>>,
    /// When another account was offered.
    pub mismatch: Option<Option<jiff::Timestamp>>,
    /// When the integration was found to be gone.
    pub orphaned: Option<Option<jiff::Timestamp>>,
    /// When it was begun to revoke and forget the grant.
    pub leaving: Option<Option<jiff::Timestamp>>,
    /// The trace of the authorization.
    pub trace: Option<Option<String>>,
    /// A request to take the grant over is done with.
    pub adopted: bool,
    /// The shard of the integration, which is a label.
    pub shard: Option<Option<String>>,
}

impl Marks {
    /// As a merge patch wants them: `null` removes.
    pub(super) fn annotations(&self, grant: &str) -> Result<BTreeMap<&'static str, Value>, StoreError> {
        let mut annotations = BTreeMap::new();
        let mut mark = |key, value: Option<Result<Value, serde_json::Error>>| {
            if let Some(value) = value {
                let value = value.map_err(|source| StoreError::Codec { grant: grant.to_owned(), source })?;
                annotations.insert(key, value);
            }
            Ok::<_, StoreError>(())
        };
        mark(INTENT, self.intents.as_ref().map(|intents| optional((!intents.is_empty()).then_some(intents))))?;
        mark(PUBLISHED, self.published.as_ref().map(|value| optional(value.as_ref())))?;
        mark(HANDLED, self.handled.as_ref().map(text))?;
        mark(REFUSED, self.refused.as_ref().map(|value| optional(value.as_ref())))?;
        mark(MISMATCH, self.mismatch.as_ref().map(|value| optional(value.as_ref())))?;
        mark(ORPHANED, self.orphaned.as_ref().map(|value| optional(value.as_ref())))?;
        mark(LEAVING, self.leaving.as_ref().map(|value| optional(value.as_ref())))?;
        mark(TRACE, self.trace.clone().map(|value| Ok(value.map_or(Value::Null, Value::String))))?;
        mark(ADOPT, self.adopted.then_some(Ok(Value::Null)))?;
        Ok(annotations)
    }

    /// The labels likewise.
    pub(super) fn labels(&self) -> BTreeMap<&'static str, &Option<String>> {
        self.shard.iter().map(|shard| (shard::LABEL, shard)).collect()
    }
}

fn text<T: Serialize>(value: &T) -> Result<Value, serde_json::Error> {
    serde_json::to_string(value).map(Value::String)
}

fn optional<T: Serialize>(value: Option<&T>) -> Result<Value, serde_json::Error> {
    value.map_or(Ok(Value::Null), text)
}
