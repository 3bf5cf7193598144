//! Webhooks: what apps send by themselves, proved before anything of it is believed.
//!
//! [`verify`] is pure: it takes the raw bytes of a request, the keys and the time, and says whether the app sent it.
//! [`incoming`] is a request as expressions of the description see it, [`handshake`] what is answered without anybody hearing
//! of it.

pub mod handshake;
pub mod incoming;
pub mod jwt;
pub mod key;
pub mod verify;

#[cfg(test)]
mod tests;
