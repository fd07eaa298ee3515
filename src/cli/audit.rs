//! `log verify`, `receipt verify` and `receipt make`: what somebody with a copy and a public key runs, offline. A copy is only
//! ever read.

use super::verify::{origin, verify_database, verify_export, verify_shared};
use super::{Failure, archive, backup};
use crate::config::{Config, FILE};
use crate::log::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::log::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::log::verify::{Kept, Report};
use crate::server::{DATABASE_FILE, with_password};
use crate::store::postgres::Address;
use actix_web::rt::SystemRunner;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const KEY_FILE_BYTES_MAX: usize = 64 * 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const DATABASE_START: &[u8] = b"SQLite format 3\0";
const EXPORT_START: &[u8] = b"{";

#[derive(Subcommand)]
pub enum LogCommand {
    /// Verify a log offline. Ends with 0 if it is sound, 1 if it was tampered with (the first bad index is named), 3 if
    /// it cannot be read.
    Verify(LogVerifyArgs),
    /// Seal the entries before a date into a file that `log verify` accepts alone, then drop them from the database. The
    /// server must be stopped: the data directory is locked meanwhile. The whole log is verified first.
    Archive(archive::ArchiveArgs),
    /// Make a new key for the log's checkpoints. The server must be stopped; its next start announces the key in the log, and
    /// the key before vouches for it.
    RotateKey(backup::RotateKeyArgs),
}

#[derive(Args)]
pub struct LogVerifyArgs {
    /// A copy of a data directory or of its database (with its -wal file, if it has one), an archive, or an export (NDJSON). A
    /// data directory whose database is shared stands for the logs of all nodes in it.
    #[arg(required_unless_present = "store")]
    path: Option<PathBuf>,
    /// The logs of all nodes in this PostgreSQL database. Each needs its keys: --key several times.
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    store: Option<String>,
    /// A file with the database's password, mode 0600.
    #[arg(long, value_name = "FILE", requires = "store")]
    password_file: Option<PathBuf>,
    /// An archive of older entries of the same log. With all of them the log is verified from its first entry on.
    #[arg(long = "archive", value_name = "FILE")]
    archives: Vec<PathBuf>,
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

fn verify_log(args: &LogVerifyArgs) -> Result<(), Failure> {
    let keys = read_keys(&args.keys)?;
    let mut kept = read_kept(&args.checkpoints)?;
    for path in &args.receipts {
        let receipt = Receipt::parse(&read_text(path, RECEIPT_BYTES_MAX)?).map_err(|fault| unreadable(path, &fault))?;
        kept.receipts.push(receipt);
    }
    if let Some(address) = shared(args)? {
        for (origin, report) in verify_shared(&address, &args.archives, &keys, kept)? {
            print(&origin, &report);
        }
        return Ok(());
    }
    let path = args.path.clone().unwrap_or_default();
    let path = if path.is_dir() { path.join(DATABASE_FILE) } else { path };
    let start = read_start(&path, DATABASE_START.len())?;
    let report = if start == DATABASE_START {
        verify_database(&path, &args.archives, &keys, kept)?
    } else if start.starts_with(EXPORT_START) {
        verify_export(&path, &args.archives, &keys, kept)?
    } else {
        return Err(unreadable(&path, &"neither a database nor an export"));
    };
    print(origin(&keys), &report);
    if start == DATABASE_START && archive::is_archive(&path) {
        println!("this is an archive: that the log goes on from it, or names it, was not looked at");
    }
    Ok(())
}

/// The shared database that the arguments name, themselves or by a data directory.
fn shared(args: &LogVerifyArgs) -> Result<Option<Address>, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::Unreadable(error.to_string());
    if let Some(url) = &args.store {
        let address = Address::parse(url).map_err(|error| Failure::Usage(error.to_string()))?;
        return with_password(address, args.password_file.as_deref()).map(Some).map_err(|error| unreadable(&error));
    }
    match &args.path {
        Some(data) if data.join(FILE).exists() && !data.join(DATABASE_FILE).exists() => {
            let config = Config::read(data).map_err(|error| unreadable(&error))?;
            let Some(address) = config.address().map_err(|error| unreadable(&error))? else { return Ok(None) };
            let password = config.store_password_file.map(|file| data.join(file));
            with_password(address, password.as_deref()).map(Some).map_err(|error| unreadable(&error))
        }
        Some(_) | None => Ok(None),
    }
}

pub fn read_kept(checkpoints: &[PathBuf]) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    for path in checkpoints {
        kept.checkpoints.push(read_text(path, NOTE_BYTES_MAX)?);
    }
    Ok(kept)
}

/// Drawn on a terminal only.
pub fn progress_bar(length: u64, figures: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{percent}}% {figures}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

pub fn print(origin: &str, report: &Report) {
    println!("sound: {origin}");
    println!("entries: {} to before {}", report.start, report.size);
    if report.start > 0 {
        println!("entries before {} are in archives, which were not looked at", report.start);
    }
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

pub fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Unreadable(format!("{}: {why}", path.display()))
}
