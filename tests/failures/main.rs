//! What goes wrong: crashes, full and slow disks, wrong files, wrong clocks. The real binary over real TLS; each test ends
//! with the whole log verified against every answer that a client holds. Times are short and random ones are seeded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod damage;
mod drain;
mod files;
mod overload;
mod reload;
mod tools;

use support::load::{SANDBOX, about, proposal};
use support::{chance, load};

/// Generated flags of a server here: none of these tests is about the list.
const FLAGS: u64 = 20;
