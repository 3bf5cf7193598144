//! The protocol: authorization attempts, token requests, introspection, identity and revocation.
//!
//! These functions turn what is held into one request and its answer into a value. They retry nothing and decide
//! nothing about the grant; that is the planner's and the driver's work.

pub mod account;
pub mod answer;
pub mod attempt;
pub mod authorize;
pub mod call;
pub mod client;
pub mod identity;
pub mod introspect;
pub mod revoke;
pub mod token;

#[cfg(test)]
mod tests;
