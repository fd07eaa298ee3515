//! What `canhbao log verify` says of a copy of a data directory, with what an auditor has: a key and kept checkpoints.

use super::process::BINARY;
use std::path::Path;
use std::process::Command;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    /// With what is told, which names the first bad index.
    Tampered(String),
    Unreadable(String),
}

/// Of the database in this folder.
pub fn of(folder: &Path, key: &str, kept: &[String]) -> Verdict {
    let notes = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["log", "verify"]).arg(folder).args(["--key", key]);
    for (number, note) in kept.iter().enumerate() {
        let file = notes.path().join(number.to_string());
        std::fs::write(&file, note).unwrap();
        command.arg("--checkpoint").arg(file);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    match output.status.code() {
        Some(0) => Verdict::Sound,
        Some(1) => {
            assert!(names_an_index(&told), "no index is named: {told}");
            Verdict::Tampered(told)
        }
        Some(3) => Verdict::Unreadable(told),
        _ => panic!("{}: {told}", output.status),
    }
}

fn names_an_index(told: &str) -> bool {
    let named = told.split("entry ").nth(1).unwrap_or_default();
    named.starts_with(|first: char| first.is_ascii_digit())
}
