//! Commands of the operator's binary that run no operator: they read files and the catalogue, or ask one that runs, answer
//! on standard output and end.

pub mod probe;
pub mod providers;
