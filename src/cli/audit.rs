//! `log verify` and `receipt verify`: what somebody with a copy and a public key runs, offline. A copy is only ever read.

use super::Failure;
use crate::log::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::log::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::log::verify::{Database, Export, Kept, Report, Start, Verifier, VerifyError};
use crate::server::DATABASE_FILE;
use crate::store::sqlite::SqliteStore;
use crate::store::{Connection, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

const KEY_FILE_BYTES_MAX: usize = 64 * 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const READ_BYTES_AT_ONCE: usize = 1024 * 1024;
const DATABASE_START: &[u8] = b"SQLite format 3\0";
const EXPORT_START: &[u8] = b"{";

#[derive(Subcommand)]
pub enum LogCommand {
    /// Verify a log offline. Ends with 0 if it is sound, 1 if it was tampered with (the first bad index is named), 3 if
    /// it cannot be read.
    Verify(LogVerifyArgs),
}

#[derive(Args)]
pub struct LogVerifyArgs {
    /// A copy of a data directory or of its database (with its -wal file, if it has one), or an export (NDJSON).
    path: PathBuf,
    /// A verifier key of the log, or a file with one a line.
    #[arg(long = "key", value_name = "VKEY|FILE", required = true)]
    keys: Vec<String>,
    /// A checkpoint that was kept elsewhere: the log must still meet it.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// A receipt: its entry must stand in the log.
    #[arg(long = "receipt", value_name = "FILE")]
    receipts: Vec<PathBuf>,
}

#[derive(Subcommand)]
pub enum ReceiptCommand {
    /// Verify offline that a kept answer is what the log says was answered. Ends with 0 if so, 1 if not, 3 if a file
    /// cannot be read.
    Verify(ReceiptVerifyArgs),
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

pub fn log(command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Verify(args) => verify_log(args),
    }
}

pub fn receipt(command: &ReceiptCommand) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Verify(args) => verify_receipt(args),
    }
}

fn verify_log(args: &LogVerifyArgs) -> Result<(), Failure> {
    let keys = read_keys(&args.keys)?;
    let mut kept = Kept::default();
    for path in &args.checkpoints {
        kept.checkpoints.push(read_text(path, NOTE_BYTES_MAX)?);
    }
    for path in &args.receipts {
        let receipt = Receipt::parse(&read_text(path, RECEIPT_BYTES_MAX)?).map_err(|fault| unreadable(path, &fault))?;
        kept.receipts.push(receipt);
    }
    let origin = keys.first().map(|key| key.name().to_owned()).unwrap_or_default();
    let verifier = Verifier::new(Start::default(), &keys, kept);
    let verifier = verifier.ok_or_else(|| {
        Failure::Usage("keys of several logs were given, or something as a checkpoint that is none".to_owned())
    })?;
    let node = origin.rsplit('/').next().unwrap_or_default();
    let path = if args.path.is_dir() { args.path.join(DATABASE_FILE) } else { args.path.clone() };
    let start = read_start(&path, DATABASE_START.len())?;
    let report = if start == DATABASE_START {
        verify_database(&path, node, verifier)?
    } else if start.starts_with(EXPORT_START) {
        verify_export(&path, node, verifier)?
    } else {
        return Err(unreadable(&path, &"neither a database nor an export"));
    };
    print(&origin, &report);
    Ok(())
}

fn verify_database(path: &Path, node: &str, verifier: Verifier) -> Result<Report, Failure> {
    let store = SqliteStore::open_copy(path).map_err(|error| failed(path, VerifyError::of_store(error, 0)))?;
    let (mut verifier, mut report) = (Some(verifier), None);
    let verify = |connection: &mut dyn Connection, verifier: Verifier| {
        let mut source = Database::open(connection, node)?;
        let bar = progress_bar(source.length()?, "{human_pos} of {human_len} entries");
        let verified = verifier.run(&mut source, &mut |size| bar.set_position(size));
        bar.finish_and_clear();
        verified
    };
    let read = store.read(&mut |connection| {
        report = verifier.take().map(|verifier| verify(connection, verifier));
        Ok(())
    });
    read.map_err(|error| failed(path, VerifyError::of_store(error, 0)))?;
    report.ok_or_else(|| unreadable(path, &"no reader ran"))?.map_err(|error| failed(path, error))
}

fn verify_export(path: &Path, node: &str, verifier: Verifier) -> Result<Report, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    let bar = progress_bar(metadata.len(), "{bytes} of {total_bytes}");
    let lines = BufReader::with_capacity(READ_BYTES_AT_ONCE, bar.wrap_read(file));
    let verified = verifier.run(&mut Export::new(lines, node), &mut |_| {});
    bar.finish_and_clear();
    verified.map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: VerifyError) -> Failure {
    match error {
        VerifyError::Tampered(finding) => Failure::Tampered(format!("tampered with: {finding}")),
        VerifyError::Unreadable(why) => unreadable(path, &why),
    }
}

/// Drawn on a terminal only.
fn progress_bar(length: u64, figures: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{percent}}% {figures}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

fn print(origin: &str, report: &Report) {
    println!("sound: {origin}");
    println!("entries: {} to before {}", report.start, report.size);
    if let (Some(earliest), Some(latest)) = (report.earliest, report.latest) {
        println!("made: {earliest} to {latest}");
    }
    println!("root: {}", BASE64.encode(report.root));
    println!("checkpoints: {} of the log, {} given", report.checkpoints, report.kept);
    println!("receipts: {}", report.receipts);
    for key in &report.keys {
        println!("key: {key}");
    }
    println!("not yet covered by a checkpoint: {} entries", report.size.saturating_sub(report.covered));
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
fn read_keys(given: &[String]) -> Result<Vec<VerifierKey>, Failure> {
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
fn read_start(path: &Path, length: usize) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut start = Vec::new();
    let limit = u64::try_from(length).unwrap_or_default();
    file.take(limit).read_to_end(&mut start).map_err(|error| unreadable(path, &error))?;
    Ok(start)
}

fn read_text(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    String::from_utf8(read(path, bytes_max)?).map_err(|_| unreadable(path, &"not UTF-8"))
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Unreadable(format!("{}: {why}", path.display()))
}
