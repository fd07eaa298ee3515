//! `log verify`, `receipt verify` and `receipt make`: what somebody with a copy and a public key runs, offline. A copy is only
//! ever read.

use super::{Failure, archive, backup};
use crate::log::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::log::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::log::verify::{
    Chain, Continued, Database, Export, Fault, Kept, Report, Seal, Start, Verifier, VerifyError, first_of_export,
};
use crate::server::{self, DATABASE_FILE};
use crate::store::Connection;
use crate::store::archive::Archive;
use crate::store::sqlite::SqliteStore;
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
    /// Seal the entries before a date into a file that `log verify` accepts alone, then drop them from the database. The
    /// server must be stopped: the data directory is locked meanwhile. The whole log is verified first.
    Archive(archive::ArchiveArgs),
    /// Make a new key for the log's checkpoints. The server must be stopped; its next start announces the key in the log, and
    /// the key before vouches for it.
    RotateKey(backup::RotateKeyArgs),
}

#[derive(Args)]
pub struct LogVerifyArgs {
    /// A copy of a data directory or of its database (with its -wal file, if it has one), an archive, or an export (NDJSON).
    path: PathBuf,
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

pub async fn log(command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Verify(args) => verify_log(args),
        LogCommand::Archive(args) => archive::archive(args).await,
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
    let path = if args.path.is_dir() { args.path.join(DATABASE_FILE) } else { args.path.clone() };
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

pub fn read_kept(checkpoints: &[PathBuf]) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    for path in checkpoints {
        kept.checkpoints.push(read_text(path, NOTE_BYTES_MAX)?);
    }
    Ok(kept)
}

fn origin(keys: &[VerifierKey]) -> &str {
    keys.first().map(VerifierKey::name).unwrap_or_default()
}

fn node(keys: &[VerifierKey]) -> &str {
    origin(keys).rsplit('/').next().unwrap_or_default()
}

fn verifier(start: Start, keys: &[VerifierKey], kept: Kept) -> Result<Verifier, Failure> {
    Verifier::new(start, keys, kept).ok_or_else(|| {
        Failure::Usage("keys of several logs were given, or something as a checkpoint that is none".to_owned())
    })
}

/// The log in a database, or in an archive, together with the archives of what is no longer in it.
pub fn verify_database(path: &Path, archives: &[PathBuf], keys: &[VerifierKey], kept: Kept) -> Result<Report, Failure> {
    let of_store = |path: &Path, error| failed(path, VerifyError::of_store(error, 0));
    let store = SqliteStore::open_copy(path).map_err(|error| of_store(path, error))?;
    let mut connection = store.reader().map_err(|error| of_store(path, error))?;
    let mut source = Database::open(connection.as_mut(), node(keys)).map_err(|error| failed(path, error))?;
    let mut start = source.start().map_err(|error| failed(path, error))?;
    let is_archive = store.is_archive().map_err(|error| of_store(path, error))?;
    if is_archive {
        // Only an archive needs no log that says what became of the entries before it, so a registry must not pass for one.
        if path.file_name().is_some_and(|name| name == DATABASE_FILE) {
            return Err(failed(path, Fault::Stored("a mark that it is an archive").at(0)));
        }
        // The log says so after the archive's end.
        start.seals.clear();
    }
    let length = source.length().map_err(|error| failed(path, error))?;
    let bar = progress_bar(length, "{human_pos} of {human_len} entries");
    let mut progress = |size| bar.set_position(size);
    let report = if archives.is_empty() {
        verifier(start, keys, kept)?.run(&mut source, &mut progress)
    } else {
        let named = source.archives().map_err(|error| failed(path, error))?;
        let seals = if is_archive { Vec::new() } else { named.iter().map(Seal::of).collect() };
        let verifier = verifier(Start { seals, ..Start::default() }, keys, kept)?;
        let mut connections = open_archives(archives, &named)?;
        let mut parts = Vec::new();
        for (path, connection) in &mut connections {
            parts.push(Database::open(connection.as_mut(), node(keys)).map_err(|error| failed(path, error))?);
        }
        verifier.run(&mut Chain::new(parts, source), &mut progress)
    };
    bar.finish_and_clear();
    report.map_err(|error| failed(path, error))
}

type Opened = Vec<(PathBuf, Box<dyn Connection + Send>)>;

/// The given archives in the order of the log. They must be all that the database names, each the very file that was sealed.
fn open_archives(given: &[PathBuf], named: &[Archive]) -> Result<Opened, Failure> {
    let (mut unknown, mut opened) = (Vec::new(), Vec::new());
    for path in given {
        unknown.push((path, server::digest(path).map_err(|error| Failure::Unreadable(error.to_string()))?));
    }
    for archive in named {
        let Some(place) = unknown.iter().position(|(_, digest)| *digest == archive.digest) else {
            if given.len() < named.len() {
                let (first, last) = (archive.first_index, archive.end());
                return Err(Failure::Usage(format!("the archive of entries {first} to before {last} was not given")));
            }
            return Err(Failure::Tampered(format!("tampered with: entry {}: {}", archive.first_index, Fault::Archive)));
        };
        let (path, _) = unknown.swap_remove(place);
        let store = SqliteStore::open_copy(path).and_then(|store| store.reader());
        opened.push((
            path.clone(),
            store.map_err(|error| failed(path, VerifyError::of_store(error, archive.first_index)))?,
        ));
    }
    match unknown.first() {
        None => Ok(opened),
        Some((path, _)) => Err(Failure::Usage(format!("{}: no archive that the log names", path.display()))),
    }
}

/// An export, which begins with the first entry of the log or where the last of the archives ends.
fn verify_export(path: &Path, archives: &[PathBuf], keys: &[VerifierKey], kept: Kept) -> Result<Report, Failure> {
    let open = || File::open(path).map_err(|error| unreadable(path, &error));
    let first = first_of_export(BufReader::new(open()?)).map_err(|error| failed(path, error))?;
    let mut connections = Vec::new();
    for path in archives {
        let store = SqliteStore::open_copy(path).and_then(|store| Ok((store.is_archive()?, store.reader()?)));
        let (is_archive, connection) = store.map_err(|error| failed(path, VerifyError::of_store(error, 0)))?;
        if !is_archive {
            return Err(Failure::Usage(format!("{}: no archive", path.display())));
        }
        connections.push((path, connection));
    }
    let mut parts = Vec::new();
    for (path, connection) in &mut connections {
        let part = Database::open(connection.as_mut(), node(keys));
        let part = part.and_then(|mut part| Ok((part.first_index()?, part.length()?, part)));
        parts.push(part.map_err(|error| failed(path, error))?);
    }
    parts.sort_by_key(|(first, _, _)| *first);
    let mut next = parts.first().map_or(0, |(first, _, _)| *first);
    for (first, end, _) in &parts {
        if *first != next {
            return Err(Failure::Usage(format!(
                "the archives do not follow each other: one of entry {next} is needed"
            )));
        }
        next = *end;
    }
    if first > next {
        let words = "give the archives of the entries before with --archive";
        return Err(unreadable(path, &format!("it begins with entry {first}, not with {next}; {words}")));
    }
    if first < next {
        return Err(Failure::Usage(format!("{} begins with entry {first}, before the archives end", path.display())));
    }
    let start = parts.first_mut().map_or(Ok(Start::default()), |(_, _, part)| part.start());
    // What comes before the first archive was sealed too, but the log need not say so before the export's end.
    let start = Start { seals: Vec::new(), ..start.map_err(|error| failed(path, error))? };
    let file = open()?;
    let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    let bar = progress_bar(length, "{bytes} of {total_bytes}");
    let export = Export::new(BufReader::with_capacity(READ_BYTES_AT_ONCE, bar.wrap_read(file)), node(keys));
    let parts: Vec<_> = parts.into_iter().map(|(_, _, part)| part).collect();
    let verified = verifier(start, keys, kept)?.run(&mut Continued::new(parts, export), &mut |_| {});
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
