//! What goes wrong: crashes, full and slow disks, wrong files, wrong clocks. The real binary over real TLS; each test ends
//! with the whole log verified against every answer that a client holds. Times are short and random ones are seeded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod crash;
mod disk;
mod drain;
mod files;
mod load;
mod overload;
mod reload;
mod tools;

use serde_json::{Value, json};

/// Generated flags of a server here: none of these tests is about the list.
const FLAGS: u64 = 20;
/// What the demo's sandbox subjects answer.
const SANDBOX: [(&str, &str); 4] =
    [("9000000000000", "clear"), ("9000000000001", "warn"), ("9000000000002", "hold"), ("9000000000003", "block")];

/// A question about an account at the sandbox's bank.
fn about(number: &str) -> Value {
    json!({ "subjects": [{ "kind": "account", "bank": "970436", "number": number }] })
}

/// A flag that differs from every other with another number.
fn proposal(number: u64) -> Value {
    json!({ "subject": { "kind": "account", "bank": "970415", "number": format!("8{number:012}") },
        "verdict": "warn", "category": "mule", "case": "T-1", "reason": "Test" })
}
