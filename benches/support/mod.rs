//! What the benches share: servers as processes, a client over TLS, a load, and figures.
#![allow(dead_code, reason = "each bench uses another part of it")]

pub mod figures;
pub mod http;
pub mod load;
pub mod probe;
pub mod process;
pub mod registry;

/// Any failure ends the run with its message: there is nothing to recover in a measurement.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
