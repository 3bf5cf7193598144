//! Integrations and grants as the caches hold them: packed, because there may be a hundred thousand of them, and most of
//! them are looked at once an hour. What every event or every walk through a cache asks for lies open.

mod grant;
mod integration;
mod packed;

pub use grant::WatchedGrant;
pub use integration::{Facts, Watched};
