//! A log is kept for years: old entries are sealed into archives, the registry is backed up and restored, the log's key
//! changes. Through the binary; a crash between any two steps leaves all of it or is finished by the same command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod answered;
mod archive;
mod backup;
mod crash;
mod export;
mod key;
mod nodes;
mod proofs;
mod registry;
mod served;
