//! Commands of the operator's binary that run no operator: they read files and the catalogue, answer on standard output
//! and end.

pub mod providers;
