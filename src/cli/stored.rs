//! Verifying a log where it lies: in a database, its archives, an export, or among those of other nodes. What is verified is
//! only ever read.

use super::Failure;
use super::audit::{progress_bar, unreadable};
use crate::log::note::VerifierKey;
use crate::log::verify::{
    Chain, Continued, Database, Export, Fault, Kept, Report, Seal, Start, Verifier, VerifyError, first_of_export,
};
use crate::server::{self, DATABASE_FILE};
use crate::store::archive::Archive;
use crate::store::postgres::Address;
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Connection, Store};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

const READ_BYTES_AT_ONCE: usize = 1024 * 1024;

pub fn origin(keys: &[VerifierKey]) -> &str {
    keys.first().map(VerifierKey::name).unwrap_or_default()
}

pub fn node(keys: &[VerifierKey]) -> &str {
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
    let form = if store.is_archive().map_err(|error| of_store(path, error))? { Form::Archive } else { Form::Registry };
    if form == Form::Archive && path.file_name().is_some_and(|name| name == DATABASE_FILE) {
        // Only an archive needs no log that says what became of the entries before it, so a registry must not pass for one.
        return Err(failed(path, Fault::Stored("a mark that it is an archive").at(0)));
    }
    verify_stored(connection.as_mut(), path, form, archives, keys, kept)
}

/// What a log is read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Registry,
    Archive,
}

/// The log that the keys are of. `path` is what it is called in errors.
fn verify_stored(
    connection: &mut dyn Connection,
    path: &Path,
    form: Form,
    archives: &[PathBuf],
    keys: &[VerifierKey],
    kept: Kept,
) -> Result<Report, Failure> {
    let mut source = Database::open(connection, node(keys)).map_err(|error| failed(path, error))?;
    let mut start = source.start().map_err(|error| failed(path, error))?;
    if form == Form::Archive {
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
        let seals = match form {
            Form::Archive => Vec::new(),
            Form::Registry => named.iter().map(Seal::of).collect(),
        };
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

/// The log of one node in a shared database, as it is at one moment. The keys tell which.
pub fn verify_node(
    store: &dyn Store,
    address: &Address,
    archives: &[PathBuf],
    keys: &[VerifierKey],
    kept: Kept,
) -> Result<Report, Failure> {
    let label = PathBuf::from(address.to_string());
    let (mut kept, mut verified) = (Some(kept), None);
    let read = store.read(&mut |connection| {
        let kept = kept.take().unwrap_or_default();
        verified = Some(verify_stored(connection, &label, Form::Registry, archives, keys, kept));
        Ok(())
    });
    read.map_err(|error| failed(&label, VerifyError::of_store(error, 0)))?;
    verified.unwrap_or_else(|| Err(unreadable(&label, &"nothing was read")))
}

/// The logs of all nodes in a registry, of each with its name; `keys` tells the keys of a log.
pub fn verify_all(
    connection: &mut dyn Connection,
    label: &Path,
    keys: &dyn Fn(&str) -> Result<Vec<VerifierKey>, Failure>,
) -> Result<Vec<(String, Report)>, Failure> {
    let of_store = |error| failed(label, VerifyError::of_store(error, 0));
    let registry = store::registry::name(connection).map_err(of_store)?;
    let mut reports = Vec::new();
    for (node, _) in store::log::all(connection).map_err(of_store)? {
        let origin = format!("{registry}/{node}");
        let keys = keys(&origin)?;
        let report = verify_stored(connection, label, Form::Registry, &[], &keys, Kept::default())?;
        reports.push((origin, report));
    }
    Ok(reports)
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
pub fn verify_export(
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

pub fn failed(path: &Path, error: VerifyError) -> Failure {
    match error {
        VerifyError::Tampered(finding) => Failure::Tampered(format!("tampered with: {finding}")),
        VerifyError::Unreadable(why) => unreadable(path, &why),
    }
}
