//! The HTTP API of the real binary over real TLS; modules mirror the handlers. Each answer is held to openapi.yaml, and
//! each test ends with the whole log verified.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod batch;
mod checks;
mod cleaning;
mod edge;
mod flags;
mod imports;
mod imports_kept;
mod imports_listed;
mod life;
mod limits;
mod log;
mod log_stream;
mod merging;
mod objections;
mod outcomes;
mod proofs;
mod proofs_kept;
mod search;
mod several;
mod sheets;
mod statistics;
mod tokens;
mod units;

use serde_json::{Value, json};

/// An account at the sandbox's bank.
fn account(number: &str) -> Value {
    json!({ "kind": "account", "bank": "970436", "number": number })
}

/// A question about one subject.
fn about(subject: Value) -> Value {
    json!({ "subjects": [subject] })
}

/// The value with one more member.
fn with(mut value: Value, name: &str, member: impl Into<Value>) -> Value {
    value.as_object_mut().unwrap().insert(name.to_owned(), member.into());
    value
}
