//! Several nodes on one PostgreSQL: what one of them was told the others know in time, their logs never fork, and neither a
//! node's end nor the database's costs an answer its entry. Chance is seeded; `CANHBAO_TESTS=whole` runs all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod database;
mod network;
