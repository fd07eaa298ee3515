//! A wall clock of a server's own, by libfaketime: what takes days is tried in a second.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The command under a wall clock whose distance from the real one stands in a file; the monotonic clock is left alone.
pub fn with_clock(mut command: Command, file: &Path) -> Command {
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    command
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketimeMT.so.1: the package faketime is needed")
}

/// Replaced as a whole, so that no half of it is ever read.
pub fn set(file: &Path, distance: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, distance).unwrap();
    std::fs::rename(new, file).unwrap();
}
