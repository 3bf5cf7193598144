//! From a provider's description to requests and back: building blocks that know no Kubernetes.
//!
//! Everything here works on plain values. [`outbound`] is the only way a request leaves for a provider.

pub mod outbound;
