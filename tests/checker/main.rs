//! The checker in Python, which shares no code with the registry: its own tests, and what it says of a real log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod http;

use std::process::Command;

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checker"));
    command
}

#[test]
fn the_checker_holds_to_the_vectors_of_the_rfcs_and_finds_each_fault_in_logs_of_its_own() {
    let output = python().args(["-W", "error", "-m", "unittest", "test_check_log"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
