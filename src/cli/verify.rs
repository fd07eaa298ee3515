//! `log verify`: each log in a database, an archive or an export is read from its beginning and verified under its own keys.
//! What is called sound was read whole; a log of which no key was given is never passed over in silence.

use super::audit::{read_keys, read_start, read_text, unreadable};
use super::run::now;
use super::stored::{failed, node, origin, verify_database, verify_export, verify_node};
use super::{Failure, archive};
use crate::config::{Config, FILE};
use crate::log::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::log::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::log::verify::{Kept, Report, VerifyError};
use crate::server::{DATABASE_FILE, open_shared, with_password};
use crate::store::postgres::Address;
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DATABASE_START: &[u8] = b"SQLite format 3\0";
const EXPORT_START: &[u8] = b"{";

#[derive(Args)]
pub struct LogVerifyArgs {
    /// A copy of a data directory or of its database (with its -wal file, if it has one), an archive, or an export (NDJSON). A
    /// data directory whose database is shared stands for the logs of all nodes in it.
    #[arg(required_unless_present = "store")]
    path: Option<PathBuf>,
    /// The logs of all nodes in this PostgreSQL database.
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    store: Option<String>,
    /// A file with the database's password, mode 0600.
    #[arg(long, value_name = "FILE", requires = "store")]
    password_file: Option<PathBuf>,
    /// An archive of older entries of the same log. With all of them the log is verified from its first entry on.
    #[arg(long = "archive", value_name = "FILE")]
    archives: Vec<PathBuf>,
    /// A verifier key of a log, or a file with one a line: of each log that is in PATH.
    #[arg(long = "key", value_name = "VKEY|FILE", required = true)]
    keys: Vec<String>,
    /// Verify the log of this node alone, though others are in PATH.
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// A checkpoint that was kept elsewhere: the log must still meet it.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// A receipt: its entry must stand in the log.
    #[arg(long = "receipt", value_name = "FILE")]
    receipts: Vec<PathBuf>,
}

/// What was given of one log.
struct Given {
    keys: Vec<VerifierKey>,
    kept: Kept,
    archives: Vec<PathBuf>,
}

/// Where the logs lie.
enum Source {
    Database(PathBuf),
    Export(PathBuf),
    Shared(Address, Arc<dyn Store>),
}

pub fn verify_log(args: &LogVerifyArgs) -> Result<(), Failure> {
    let given = Given::sorted(args)?;
    let nodes: Vec<String> = given.iter().map(|log| node(&log.keys).to_owned()).collect();
    if let Some(unknown) = args.nodes.iter().find(|name| !nodes.contains(name)) {
        return Err(Failure::Usage(format!("no key of the log of {unknown} was given")));
    }
    let source = Source::of(args)?;
    if args.nodes.is_empty() {
        source.refuse_unnamed_logs(&nodes)?;
    }
    let is_alone = given.len() == 1;
    let mut tampered = Vec::new();
    for log in given {
        let (origin, node) = (origin(&log.keys).to_owned(), node(&log.keys).to_owned());
        if !args.nodes.is_empty() && !args.nodes.contains(&node) {
            continue;
        }
        let others: Vec<String> = nodes.iter().filter(|other| **other != node).cloned().collect();
        match source.verify(log, &others) {
            Ok(report) => print(&origin, &report),
            Err(Failure::Tampered(words)) if !is_alone => tampered.push(format!("{origin}: {words}")),
            Err(failure) => return Err(failure),
        }
    }
    if !tampered.is_empty() {
        return Err(Failure::Tampered(tampered.join("\n")));
    }
    if let Source::Database(path) = &source
        && archive::is_archive(path)
    {
        println!("this is an archive: that the log goes on from it, or names it, was not looked at");
    }
    Ok(())
}

impl Source {
    fn of(args: &LogVerifyArgs) -> Result<Self, Failure> {
        if let Some(address) = shared(args)? {
            let store = open_shared(&address, now()).map_err(|error| Failure::Unreadable(error.to_string()))?;
            return Ok(Self::Shared(address, store));
        }
        let path = args.path.clone().unwrap_or_default();
        let path = if path.is_dir() { path.join(DATABASE_FILE) } else { path };
        let start = read_start(&path, DATABASE_START.len())?;
        if start == DATABASE_START {
            Ok(Self::Database(path))
        } else if start.starts_with(EXPORT_START) {
            Ok(Self::Export(path))
        } else {
            Err(unreadable(&path, &"neither a database nor an export"))
        }
    }

    fn verify(&self, given: Given, others: &[String]) -> Result<Report, Failure> {
        let Given { keys, kept, archives } = given;
        match self {
            Self::Database(path) => verify_database(path, &archives, &keys, kept),
            Self::Export(path) => verify_export(path, &archives, &keys, kept, others),
            Self::Shared(address, store) => verify_node(store.as_ref(), address, &archives, &keys, kept),
        }
    }

    /// A log that nobody looks at must not hide behind one that is sound.
    fn refuse_unnamed_logs(&self, nodes: &[String]) -> Result<(), Failure> {
        let (label, logs) = match self {
            Self::Export(_) => return Ok(()),
            Self::Database(path) => (path.clone(), logs_in(path)),
            Self::Shared(address, store) => {
                (PathBuf::from(address.to_string()), store.find(|connection| store::log::all(connection)).map(names))
            }
        };
        let logs = logs.map_err(|error| failed(&label, VerifyError::of_store(error, 0)))?;
        // Without any of them it is for the verification to say what is missing.
        let is_known = logs.iter().any(|name| nodes.contains(name));
        match logs.iter().find(|name| is_known && !nodes.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::Usage(format!(
                "{}: it also holds the log of {name}, of which no key was given; --node names those to verify",
                label.display()
            ))),
        }
    }
}

fn logs_in(path: &Path) -> Result<Vec<String>, StoreError> {
    let mut connection = SqliteStore::open_copy(path)?.reader()?;
    store::log::all(connection.as_mut()).map(names)
}

fn names(logs: Vec<(String, store::log::LogNumber)>) -> Vec<String> {
    logs.into_iter().map(|(name, _)| name).collect()
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

impl Given {
    /// Keys, checkpoints, receipts and archives, each with those of the same log, in the order of the keys.
    fn sorted(args: &LogVerifyArgs) -> Result<Vec<Self>, Failure> {
        let mut logs: Vec<Self> = Vec::new();
        for key in read_keys(&args.keys)? {
            match logs.iter_mut().find(|log| origin(&log.keys) == key.name()) {
                Some(log) => log.keys.push(key),
                None => logs.push(Self { keys: vec![key], kept: Kept::default(), archives: Vec::new() }),
            }
        }
        let registry = |log: &Self| origin(&log.keys).rsplit_once('/').map(|(registry, _)| registry.to_owned());
        if logs.iter().any(|log| registry(log) != logs.first().and_then(registry)) {
            return Err(Failure::Usage("keys of logs of several registries were given".to_owned()));
        }
        for note in read_kept(&args.checkpoints)?.checkpoints {
            Self::of_note(&mut logs, &note)?.kept.checkpoints.push(note);
        }
        for path in &args.receipts {
            let receipt = Receipt::parse(&read_text(path, RECEIPT_BYTES_MAX)?);
            let receipt = receipt.map_err(|fault| unreadable(path, &fault))?;
            Self::of_note(&mut logs, &receipt.checkpoint)?.kept.receipts.push(receipt);
        }
        for path in &args.archives {
            Self::of_archive(&mut logs, path)?.archives.push(path.clone());
        }
        Ok(logs)
    }

    /// The log that a signed note names. Where there is one log alone, it is that one which must tell.
    fn of_note<'a>(logs: &'a mut [Self], note: &str) -> Result<&'a mut Self, Failure> {
        let named = note.lines().next().unwrap_or_default();
        let is_alone = logs.len() == 1;
        let log = logs.iter_mut().find(|log| is_alone || origin(&log.keys) == named);
        log.ok_or_else(|| {
            Failure::Usage(
                "a checkpoint or receipt of a log of which no key was given, or something that is none".to_owned(),
            )
        })
    }

    fn of_archive<'a>(logs: &'a mut [Self], path: &Path) -> Result<&'a mut Self, Failure> {
        let is_alone = logs.len() == 1;
        let of_store = |error| failed(path, VerifyError::of_store(error, 0));
        let named = if is_alone {
            None
        } else {
            let store = SqliteStore::open_copy(path).map_err(of_store)?;
            let mut connection = store.reader().map_err(of_store)?;
            store::archive::node(connection.as_mut()).map_err(of_store)?
        };
        let log = logs.iter_mut().find(|log| is_alone || named.as_deref() == Some(node(&log.keys)));
        log.ok_or_else(|| Failure::Usage(format!("{}: of a log of which no key was given", path.display())))
    }
}

pub fn read_kept(checkpoints: &[PathBuf]) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    for path in checkpoints {
        kept.checkpoints.push(read_text(path, NOTE_BYTES_MAX)?);
    }
    Ok(kept)
}

fn print(origin: &str, report: &Report) {
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
