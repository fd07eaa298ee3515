//! `log archive` and `receipt make`. Entries are dropped from the database only when the file that holds them is on the disk,
//! has its name, and was verified.

use super::audit::{progress_bar, unreadable};
use super::stored::{verify_database, verify_node};
use super::{Failure, StoreArgs};
use crate::config::Config;
use crate::domain::{AnsweredParties, CheckId, Timestamp};
use crate::log::archive::{Part, receipt, sealing, write};
use crate::log::note::{Checkpoint, VerifierKey};
use crate::log::receipt::Receipt;
use crate::log::verify::{Kept, Report};
use crate::log::{Act, End, Resource, find, sum_up};
use crate::server::{self, DATABASE_FILE, Home, HomeError, OpenLog};
use crate::store::archive::Archive;
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Connection, StoreError};
use actix_web::rt::SystemRunner;
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct ArchiveArgs {
    /// The data directory.
    #[arg(long, env = "CANHBAO_DATA")]
    data: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Entries older than this: a day (from its beginning, UTC) or an RFC 3339 time.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    before: Timestamp,
    /// The archive to make. A finished one that an interrupted call has left is taken up; any other file is refused.
    #[arg(long = "to", value_name = "FILE")]
    file: PathBuf,
}

fn parse_date(text: &str) -> Result<Timestamp, String> {
    let time = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    Timestamp::parse(&time).ok_or_else(|| "expected a day such as 2026-01-31, or an RFC 3339 time".to_owned())
}

pub fn archive(args: &ArchiveArgs, system: &SystemRunner) -> Result<(), Failure> {
    let config = args.store.over(Config::read(&args.data)?).checked()?;
    let home = Home::open(&args.data)?;
    let open = OpenLog::open(&home, &config)?;
    let sealed = seal(args, &config, &open, system);
    let end = system.block_on(open.log.close());
    let (archive, keys) = sealed?;
    if end != End::Clean {
        return Err(Failure::CommitFailed("the log did not end well; the archive is recorded".to_owned()));
    }
    println!("archived: entries {} to before {}", archive.first_index, archive.end());
    println!("made before: {}", archive.at_max.plus_ms(1));
    println!("file: {}", args.file.display());
    println!("sha256: {}", archive.digest.map(|byte| format!("{byte:02x}")).concat());
    for key in keys {
        println!("key: {key}");
    }
    drop_sealed(&open);
    Ok(())
}

/// The archive is recorded, and what it holds is gone for all who read. What cannot be dropped now, the nodes drop later.
fn drop_sealed(open: &OpenLog) {
    if let Err(error) = open.store.drop_archived(open.clock.now()) {
        eprintln!("canhbao: what was archived still takes up room; a node that runs will drop it: {error}");
    }
}

fn seal(
    args: &ArchiveArgs,
    config: &Config,
    open: &OpenLog,
    system: &SystemRunner,
) -> Result<(Archive, Vec<String>), Failure> {
    if args.file.file_name().is_some_and(|name| name == DATABASE_FILE) {
        return Err(Failure::Usage(format!(
            "{DATABASE_FILE} is the name of a registry's database, never of an archive"
        )));
    }
    let log = open.log.number();
    let due = open.store.find(|connection| Part::due(connection, log, args.before)).map_err(of_store)?;
    let due = due.ok_or_else(|| {
        let words = "a whole tile (256 entries) of older ones, under a checkpoint of their own, is needed";
        Failure::Said(format!("there is nothing to archive: {words}"))
    })?;
    // The keys that vouch for all of it, also those of before a rotation.
    let report = verify_own(args, config, open)?;
    let keys: Vec<VerifierKey> = report.keys.iter().filter_map(|key| VerifierKey::parse(key)).collect();
    let part = if args.file.exists() {
        recognise(args, open, &keys, &due)?
    } else {
        make(args, &config.node, open, &keys, &due)?;
        due
    };
    let archive = Archive {
        first_index: part.first_index,
        size: part.end - part.first_index,
        at_max: part.at_max,
        sealed_at: open.clock.now(),
        file_name: args.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        digest: server::digest(&args.file)?,
    };
    let answered = answered(&args.file, &config.node, &part)?;
    let record = sealing(archive.clone(), answered).map_err(of_store)?;
    let failed = |error: crate::log::AppendError| Failure::CommitFailed(error.to_string());
    system.block_on(open.log.submit(record).map_err(failed)?.durable()).map_err(failed)?;
    Ok((archive, report.keys))
}

/// Verifies the whole log of this node.
fn verify_own(args: &ArchiveArgs, config: &Config, open: &OpenLog) -> Result<Report, Failure> {
    match config.address()? {
        None => {
            let keys = server::log_keys(&args.data, &config.node)?;
            verify_database(&args.data.join(DATABASE_FILE), &[], &keys, Kept::default())
        }
        Some(address) => {
            let keys = server::log_keys_of(&args.data, &format!("{}/{}", config.registry, config.node))?;
            verify_node(open.store.as_ref(), &address, &[], &keys, Kept::default())
        }
    }
}

/// Writes the file under another name, verifies it, and only then gives it its own.
fn make(args: &ArchiveArgs, node: &str, open: &OpenLog, keys: &[VerifierKey], due: &Part) -> Result<(), Failure> {
    let mut unfinished = args.file.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    if unfinished.exists() {
        fs::remove_file(&unfinished).map_err(|error| unreadable(&unfinished, &error))?;
    }
    let log = open.log.number();
    let mut target = SqliteStore::create_archive(&unfinished).map_err(of_store)?;
    let bar = progress_bar(due.end - due.first_index, "{human_pos} of {human_len} entries");
    let written = open.store.read(&mut |connection| {
        let mut progress = |next: u64| bar.set_position(next - due.first_index);
        write(connection, target.as_mut(), node, log, due, &mut progress)
    });
    bar.finish_and_clear();
    written.map_err(of_store)?;
    drop(target);
    server::sync(&unfinished)?;
    if !holds(&verify_database(&unfinished, &[], keys, Kept::default())?, due) {
        return Err(Failure::Said(format!("{}: not what was written", unfinished.display())));
    }
    Ok(server::rename(&unfinished, &args.file)?)
}

fn holds(report: &Report, part: &Part) -> bool {
    (report.start, report.size, report.covered) == (part.first_index, part.end, part.end)
}

/// A finished archive whose entries are still in the database: a call before this one was interrupted.
fn recognise(args: &ArchiveArgs, open: &OpenLog, keys: &[VerifierKey], due: &Part) -> Result<Part, Failure> {
    let refused = || {
        let path = args.file.display();
        Failure::Said(format!(
            "{path} exists already, and is no archive of the entries that are due; it is left as it is"
        ))
    };
    let report = verify_database(&args.file, &[], keys, Kept::default()).map_err(|_| refused())?;
    let (log, end) = (open.log.number(), report.size);
    let found = open.store.find(|connection| {
        let part = Part::ending(connection, log, due.first_index, end)?;
        Ok(part.zip(store::archive::checkpoint_before(connection, log, end)?))
    });
    let (part, row) = found.map_err(of_store)?.ok_or_else(refused)?;
    let checkpoint = Checkpoint::parse_signed(&row.note, keys).ok().map(|(checkpoint, _)| checkpoint);
    let is_same = checkpoint.is_some_and(|checkpoint| checkpoint.size == end && checkpoint.root == report.root);
    let is_due = part.end <= due.end && holds(&report, &part) && is_archive(&args.file);
    if is_same && is_due { Ok(part) } else { Err(refused()) }
}

/// What the checks were answered with that a finished archive holds, also one that was taken up.
fn answered(path: &Path, node: &str, part: &Part) -> Result<AnsweredParties, Failure> {
    let read = SqliteStore::open_copy(path).and_then(|store| sum_up(store.reader()?.as_mut(), node, part));
    read.map_err(|error| unreadable(path, &error))
}

/// Whether a file says that it is an archive.
pub fn is_archive(path: &Path) -> bool {
    SqliteStore::open_copy(path).is_ok_and(|store| store.is_archive().unwrap_or_default())
}

/// Prints the receipt of a check, or of any entry, from an archive.
pub fn make_receipt(path: &Path, check: Option<&str>, entry: Option<u64>) -> Result<(), Failure> {
    let check = check.map(|text| CheckId::parse(text).ok_or_else(|| Failure::Usage("no id of a check".to_owned())));
    let check = check.transpose()?;
    let store = SqliteStore::open_copy(path).map_err(|error| unreadable(path, &error))?;
    let made = store.reader().and_then(|mut connection| read_receipt(connection.as_mut(), check, entry));
    let receipt = made.map_err(|error| unreadable(path, &error))?;
    print!("{}", receipt.ok_or_else(|| Failure::Said(format!("{}: it is not in this archive", path.display())))?);
    Ok(())
}

fn read_receipt(
    connection: &mut dyn Connection,
    check: Option<CheckId>,
    entry: Option<u64>,
) -> Result<Option<Receipt>, StoreError> {
    let node = store::archive::node(connection)?.ok_or(StoreError::Corrupt("no log"))?;
    let log = store::log::find(connection, &node)?.ok_or(StoreError::Corrupt("no log"))?;
    let index = match check {
        None => entry,
        Some(id) => find(connection, &node, id.minted_at(), |entry| {
            entry.act == Act::Check && entry.resource == Some(Resource::Check(id))
        })?
        .map(|(index, _)| index),
    };
    index.map_or(Ok(None), |index| receipt(connection, log, index))
}

fn of_store(error: StoreError) -> Failure {
    Failure::from(HomeError::from(error))
}
