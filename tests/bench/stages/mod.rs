//! What is measured, one file each.

pub mod callbacks;
pub mod drain;
pub mod floor;
pub mod hold;
pub mod refresh;
pub mod relay;
pub mod writes;
