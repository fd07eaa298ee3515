//! The part of canhbao that reads what clients send: its domain and its sheets, from the same files. The whole crate would
//! bring the server, SQLite and the cryptography with it, and all of that would have to be built for the fuzzer.

#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/sheet/mod.rs"]
pub mod sheet;
