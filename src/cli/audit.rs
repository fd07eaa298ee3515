//! `log …`, `receipt verify` and `receipt make`: what somebody with a copy and a public key runs, offline, and how the files
//! that they are given are read. A copy is only ever read.

use super::verify::{LogVerifyArgs, verify_log};
use super::{Failure, archive, backup};
use crate::log::note::VerifierKey;
use crate::log::receipt::{RECEIPT_BYTES_MAX, Receipt};
use actix_web::rt::SystemRunner;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const KEY_FILE_BYTES_MAX: usize = 64 * 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Subcommand)]
pub enum LogCommand {
    /// Verify the logs in a file offline. Ends with 0 if they are sound, 1 if one was tampered with (the first bad index is
    /// named), 3 if one cannot be read.
    Verify(LogVerifyArgs),
    /// Seal the entries before a date into a file that `log verify` accepts alone, then drop them from the database. The
    /// server must be stopped: the data directory is locked meanwhile. The whole log is verified first.
    Archive(archive::ArchiveArgs),
    /// Make a new key for the log's checkpoints. The server must be stopped; its next start announces the key in the log, and
    /// the key before vouches for it.
    RotateKey(backup::RotateKeyArgs),
}

#[derive(Subcommand)]
pub enum ReceiptCommand {
    /// Verify offline that a kept answer is what the log says was answered. Ends with 0 if so, 1 if not, 3 if a file
    /// cannot be read.
    Verify(ReceiptVerifyArgs),
    /// Print the receipt of an entry in an archive.
    Make(ReceiptMakeArgs),
}

#[derive(Args)]
pub struct ReceiptMakeArgs {
    #[arg(long, value_name = "FILE")]
    archive: PathBuf,
    /// The id of a check.
    #[arg(long, value_name = "ID")]
    check: Option<String>,
    /// The index of an entry.
    #[arg(long, value_name = "N", conflicts_with = "check", required_unless_present = "check")]
    entry: Option<u64>,
}

#[derive(Args)]
pub struct ReceiptVerifyArgs {
    /// The body of the answer, to the byte.
    #[arg(long, value_name = "FILE")]
    answer: PathBuf,
    #[arg(long, value_name = "FILE")]
    receipt: PathBuf,
    /// A verifier key of the log, or a file with one a line.
    #[arg(long = "key", value_name = "VKEY|FILE", required = true)]
    keys: Vec<String>,
}

pub fn log(command: &LogCommand, system: &SystemRunner) -> Result<(), Failure> {
    match command {
        LogCommand::Verify(args) => verify_log(args),
        LogCommand::Archive(args) => archive::archive(args, system),
        LogCommand::RotateKey(args) => backup::rotate_key(args),
    }
}

pub fn receipt(command: &ReceiptCommand) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Verify(args) => verify_receipt(args),
        ReceiptCommand::Make(args) => archive::make_receipt(&args.archive, args.check.as_deref(), args.entry),
    }
}

/// Drawn on a terminal only.
pub fn progress_bar(length: u64, figures: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{percent}}% {figures}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

fn verify_receipt(args: &ReceiptVerifyArgs) -> Result<(), Failure> {
    let keys = read_keys(&args.keys)?;
    let answer = read(&args.answer, ANSWER_BYTES_MAX)?;
    let receipt = Receipt::parse(&read_text(&args.receipt, RECEIPT_BYTES_MAX)?);
    let verified = receipt.and_then(|receipt| receipt.verify(&answer, &keys));
    let verified = verified.map_err(|fault| Failure::Tampered(format!("not proved: {fault}")))?;
    let entry = &verified.entry;
    println!("proved: {} entry {}", verified.origin, verified.index);
    println!("answered: {} to {} at {}", entry.verdict.map_or("", |verdict| verdict.as_str()), entry.party, entry.at);
    println!("under a checkpoint of {} entries", verified.size);
    Ok(())
}

/// Each a key itself or a file of keys.
pub fn read_keys(given: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    let mut keys = Vec::new();
    for text in given {
        if let Some(key) = VerifierKey::parse(text) {
            keys.push(key);
            continue;
        }
        let path = Path::new(text);
        for line in read_text(path, KEY_FILE_BYTES_MAX)?.lines().filter(|line| !line.is_empty()) {
            keys.push(VerifierKey::parse(line).ok_or_else(|| unreadable(path, &"holds no verifier key"))?);
        }
    }
    if keys.is_empty() { Err(Failure::Usage("no key was given".to_owned())) } else { Ok(keys) }
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() > bytes_max { Err(unreadable(path, &"too large")) } else { Ok(bytes) }
}

/// What a file begins with, as far as it goes.
pub fn read_start(path: &Path, length: usize) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut start = Vec::new();
    let limit = u64::try_from(length).unwrap_or_default();
    file.take(limit).read_to_end(&mut start).map_err(|error| unreadable(path, &error))?;
    Ok(start)
}

pub fn read_text(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    String::from_utf8(read(path, bytes_max)?).map_err(|_| unreadable(path, &"not UTF-8"))
}

pub fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Unreadable(format!("{}: {why}", path.display()))
}
