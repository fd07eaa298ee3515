//! `log verify`: each log in a database, an archive or an export is read from its beginning and verified under its own keys.
//! What is called sound was read whole; a log of which no key was given is never passed over in silence.

use super::audit::{progress_bar, read_keys, read_start, read_text, unreadable};
use super::{Failure, archive};
use crate::log::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::log::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::log::verify::{
    Chain, Continued, Database, Export, Fault, Kept, Report, Seal, Start, Verifier, VerifyError, first_of_export,
};
use crate::server::{self, DATABASE_FILE};
use crate::store::archive::Archive;
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Connection};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

const READ_BYTES_AT_ONCE: usize = 1024 * 1024;
const DATABASE_START: &[u8] = b"SQLite format 3\0";
const EXPORT_START: &[u8] = b"{";

#[derive(Args)]
pub struct LogVerifyArgs {
    /// A copy of a data directory or of its database (with its -wal file, if it has one), an archive, or an export (NDJSON).
    path: PathBuf,
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

pub fn verify_log(args: &LogVerifyArgs) -> Result<(), Failure> {
    let given = Given::sorted(args)?;
    let nodes: Vec<String> = given.iter().map(|log| node(&log.keys).to_owned()).collect();
    if let Some(unknown) = args.nodes.iter().find(|name| !nodes.contains(name)) {
        return Err(Failure::Usage(format!("no key of the log of {unknown} was given")));
    }
    let path = if args.path.is_dir() { args.path.join(DATABASE_FILE) } else { args.path.clone() };
    let start = read_start(&path, DATABASE_START.len())?;
    let is_database = start == DATABASE_START;
    if !is_database && !start.starts_with(EXPORT_START) {
        return Err(unreadable(&path, &"neither a database nor an export"));
    }
    if is_database && args.nodes.is_empty() {
        refuse_unnamed_logs(&path, &nodes)?;
    }
    let is_alone = given.len() == 1;
    let mut tampered = Vec::new();
    for log in given {
        let Given { keys, kept, archives } = log;
        let (origin, node) = (origin(&keys), node(&keys));
        if !args.nodes.is_empty() && !args.nodes.iter().any(|name| name == node) {
            continue;
        }
        let verified = if is_database {
            verify_database(&path, &archives, &keys, kept)
        } else {
            let others: Vec<String> = nodes.iter().filter(|other| *other != node).cloned().collect();
            verify_export(&path, &archives, &keys, kept, &others)
        };
        match verified {
            Ok(report) => print(origin, &report),
            Err(Failure::Tampered(words)) if !is_alone => tampered.push(format!("{origin}: {words}")),
            Err(failure) => return Err(failure),
        }
    }
    if !tampered.is_empty() {
        return Err(Failure::Tampered(tampered.join("\n")));
    }
    if is_database && archive::is_archive(&path) {
        println!("this is an archive: that the log goes on from it, or names it, was not looked at");
    }
    Ok(())
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

/// A log that nobody looks at must not hide behind one that is sound.
fn refuse_unnamed_logs(path: &Path, nodes: &[String]) -> Result<(), Failure> {
    let of_store = |error| failed(path, VerifyError::of_store(error, 0));
    let store = SqliteStore::open_copy(path).map_err(of_store)?;
    let mut connection = store.reader().map_err(of_store)?;
    let logs = store::log::all(connection.as_mut()).map_err(of_store)?;
    // Without any of them it is for the verification to say what is missing.
    let is_known = logs.iter().any(|(name, _)| nodes.contains(name));
    match logs.iter().find(|(name, _)| is_known && !nodes.contains(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::Usage(format!(
            "{}: it also holds the log of {name}, of which no key was given; --node names those to verify",
            path.display()
        ))),
    }
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

/// An export, which begins with the first entry of the log or where the last of the archives ends. Entries of the `others`
/// stand among those of the log.
fn verify_export(
    path: &Path,
    archives: &[PathBuf],
    keys: &[VerifierKey],
    kept: Kept,
    others: &[String],
) -> Result<Report, Failure> {
    let open = || File::open(path).map_err(|error| unreadable(path, &error));
    let first = first_of_export(BufReader::new(open()?), others).map_err(|error| failed(path, error))?;
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
    let export = Export::new(BufReader::with_capacity(READ_BYTES_AT_ONCE, bar.wrap_read(file)), node(keys), others);
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
