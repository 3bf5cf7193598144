//! From a provider's description to requests and back: building blocks that know no Kubernetes.
//!
//! Everything here works on plain values. [`outbound`] is the only way a request leaves for a provider; [`gate`] says
//! whether it may leave now; [`discovery`] finds endpoints; [`template`] and [`expression`] read what a description
//! says; [`catalogue`] holds the descriptions built in.

pub mod catalogue;
pub mod discovery;
pub mod expression;
pub mod gate;
pub mod outbound;
pub mod template;
