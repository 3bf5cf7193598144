//! From a provider's description to requests and back: what a flow, a refresh and a check need to know of an app.
//!
//! [`outbound`] is the only way a request leaves for a provider, and [`gate`] says whether it may leave now;
//! [`discovery`] finds endpoints; [`template`], [`form`] and [`expression`] read what a description says; [`catalogue`] holds the
//! descriptions built in. [`resolved`] puts them together, and [`registry`], which alone knows a cluster, looks them up.

pub mod action;
pub mod api_base;
pub mod api_key;
pub mod call;
pub mod catalogue;
pub mod connection;
pub mod credentials;
pub mod describe;
pub mod diff;
pub mod discovery;
pub mod endpoints;
pub mod expression;
pub mod form;
pub mod gate;
pub mod lint;
pub mod lookup;
pub mod outbound;
pub mod registry;
pub mod resolved;
pub mod template;
pub mod webhook;
