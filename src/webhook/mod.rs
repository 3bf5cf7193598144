//! Webhooks: what apps send by themselves, proved before anything of it is believed.
//!
//! [`verify`] is pure: it takes the raw bytes of a request, the keys and the time, and says whether the app sent it.
//! [`incoming`] is a request as expressions of the description see it, [`handshake`] what is answered without anybody hearing
//! of it. [`desk`] puts it together with what there is in the cluster, and hands an [`event`] on to its [`sink`].

pub mod desk;
pub mod event;
pub mod handshake;
pub mod incoming;
pub mod index;
pub mod issuer;
pub mod jwt;
pub mod key;
pub mod lookup;
pub mod parking;
mod proved;
pub mod sink;
pub mod verify;

#[cfg(test)]
mod tests;
