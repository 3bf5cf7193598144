//! The OAuth servers and the browser of the other tests, tried without the operator.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

#[path = "servers/checks/mod.rs"]
mod checks;
mod servers;
