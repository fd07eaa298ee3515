//! What is done to a registry that is not being served, or beside one that is: its log opened alone, its log's key changed,
//! its files copied. No step leaves the log without a key, or a copy that looks whole and is not.

use super::database::Database;
use super::files::{copy_private, digest, rename, sync};
use super::home::{
    DATABASE_FILE, Home, HomeError, IMPORTS_DIRECTORY, KEYS_DIRECTORY, LOG_KEY_FILE, PREVIOUS_LOG_KEY_FILE,
    UNFINISHED_FILE, failed, make_private_directory,
};
use super::{LogKey, ServeError, figures, key_list};
use crate::auth::key_file::{create_private, read_private};
use crate::auth::keys::SigningKey;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, FILE};
use crate::domain::{ImportId, Made, Timestamp};
use crate::log::note::{Checkpoint, VerifierKey};
use crate::log::{Log, Opening, Publish, Reach};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Store};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

const NEXT_LOG_KEY_FILE: &str = "log-signing.next.pem";
const LOG_KEY_COPY_FILE: &str = "log-signing.copy.pem";

const SHARED: &str = "this node's registry is in a PostgreSQL database: back that up with pg_dump or as its operator does, and keep a \
    copy of the data directory's keys and canhbao.toml beside it";

/// A node's log without the registry around it.
pub struct OpenLog {
    pub store: Arc<dyn Store>,
    pub log: Log,
    pub clock: Arc<dyn Clock>,
}

/// Nothing is changed while the log is open alone.
struct Nobody;

impl Publish for Nobody {
    fn known(&self) -> u64 {
        u64::MAX
    }

    fn publish(&mut self, _: Vec<Made>, _: u64) {}
}

impl OpenLog {
    /// Waits for the database: never to be called where others wait for this thread.
    pub fn open(home: &Home, config: &Config) -> Result<Self, ServeError> {
        let store = Database::of(home.path(), config)?.open(SystemClock::new(Timestamp::EPOCH).now())?;
        let latest = home.latest_entry(store.as_ref(), &config.node)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(latest));
        let signers = home.signers(store.as_ref(), &config.node)?;
        // Once in the life of the process.
        let node: &'static str = Box::leak(config.node.clone().into_boxed_str());
        let opening = Opening { node, signers, clock: Arc::clone(&clock), limits: config.log_limits() };
        let log = Log::start(Arc::clone(&store), opening, Box::new(Nobody));
        let log = log.map_err(|error| ServeError::Start(error.to_string()))?;
        Ok(Self { store, log, clock })
    }
}

/// The keys in a data directory, or in a backup of one, that verify the checkpoints of a node's log: the current one first, and
/// those it had before.
pub fn log_keys(data: &Path, node: &str) -> Result<Vec<VerifierKey>, HomeError> {
    let registry = SqliteStore::open_copy(&data.join(DATABASE_FILE))?;
    log_keys_of(data, &format!("{}/{node}", store::registry::name(registry.reader()?.as_mut())?))
}

/// As `log_keys`, for the log with this name.
pub fn log_keys_of(data: &Path, origin: &str) -> Result<Vec<VerifierKey>, HomeError> {
    let (directory, mut keys) = (data.join(KEYS_DIRECTORY), Vec::new());
    for file in [LOG_KEY_FILE, PREVIOUS_LOG_KEY_FILE] {
        match LogKey::load(&directory.join(file), origin) {
            Err(error) if error.is_not_found() => {}
            key => keys.extend(key?.verifier()),
        }
    }
    let listed = key_list::read(&directory, origin)?;
    let older: Vec<_> = listed.into_iter().filter(|key| !keys.contains(key)).collect();
    keys.extend(older);
    Ok(keys)
}

impl Home {
    /// Makes a new key for a node's log; the one before stays, to vouch for it at the next start. At each moment there is a
    /// current key, and what a crash leaves half done is finished by the next call.
    pub fn rotate_log_key(&self, config: &Config, now: Timestamp) -> Result<VerifierKey, HomeError> {
        let keys = self.path().join(KEYS_DIRECTORY);
        let [current, previous, next, copy] =
            [LOG_KEY_FILE, PREVIOUS_LOG_KEY_FILE, NEXT_LOG_KEY_FILE, LOG_KEY_COPY_FILE].map(|name| keys.join(name));
        let origin = self.signed_by_current(config, now)?;
        if LogKey::load(&next, &origin).is_err() {
            remove_if_there(&next)?;
            create_private(&next, &SigningKey::generate_pem()?)?;
        }
        remove_if_there(&copy)?;
        create_private(&copy, &read_private(&current)?)?;
        rename(&copy, &previous)?;
        rename(&next, &current)?;
        LogKey::load(&current, &origin)?.verifier().ok_or(HomeError::Refused("the registry's name cannot name a log"))
    }

    /// The name of the log, if its current key needs nobody any more to vouch for it.
    fn signed_by_current(&self, config: &Config, now: Timestamp) -> Result<String, HomeError> {
        const UNUSED: HomeError =
            HomeError::Refused("the log's current key is not announced yet: start the server once, then rotate");
        let (store, node) = (Database::of(self.path(), config)?.open(now)?, config.node.as_str());
        let (registry, note) = store.find(|connection| {
            let registry = store::registry::name(connection)?;
            let note = match store::log::find(connection, node)? {
                None => None,
                Some(log) => store::tree::last_checkpoint(connection, log)?,
            };
            Ok((registry, note))
        })?;
        let origin = format!("{registry}/{node}");
        let key = match LogKey::load(&self.path().join(KEYS_DIRECTORY).join(LOG_KEY_FILE), &origin) {
            Err(error) if error.is_not_found() => return Err(UNUSED),
            key => key?.verifier().ok_or(UNUSED)?,
        };
        let signed = note.is_some_and(|note| Checkpoint::parse_signed(&note, &[key]).is_ok());
        if signed { Ok(origin) } else { Err(UNUSED) }
    }
}

fn remove_if_there(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, &error)),
        _ => Ok(()),
    }
}

/// Name and digest of each file of keys, in the order of their names.
fn key_files(keys: &Path) -> Result<Vec<(OsString, [u8; 32])>, HomeError> {
    let mut files = Vec::new();
    for found in fs::read_dir(keys).map_err(|error| failed(keys, &error))? {
        let found = found.map_err(|error| failed(keys, &error))?;
        if found.path().is_file() {
            files.push((found.file_name(), digest(&found.path())?));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A copy of a registry that is not yet known to be sound. Until `finish`, a mark in it says so.
pub struct Copy {
    path: PathBuf,
    /// Files that the configuration names and that lie elsewhere: they are not in the copy.
    pub elsewhere: Vec<PathBuf>,
    /// What was found of the figures in the source.
    pub figures: Vec<Reach>,
}

impl Copy {
    /// Of nothing yet.
    pub(super) fn of(to: &Path) -> Self {
        Self { path: to.to_owned(), elsewhere: Vec::new(), figures: Vec::new() }
    }

    /// Copies the database, as it is at one moment, with the figures that belong to it, the keys, the configuration and what
    /// this names. A server may go on writing to `from`. Nothing in `to` is ever overwritten.
    pub fn make(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, HomeError> {
        if !Home::exists(from) {
            return Err(HomeError::Missing(from.to_owned()));
        }
        if fs::read_dir(to).is_ok_and(|mut found| found.next().is_some()) {
            return Err(HomeError::NotEmpty(to.to_owned()));
        }
        let config = Config::read(from)?;
        if config.address()?.is_some() {
            return Err(HomeError::Refused(SHARED));
        }
        make_private_directory(to)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(to, mode).map_err(|error| failed(to, &error))?;
        create_private(&to.join(UNFINISHED_FILE), "This copy is only half made.\n")?;
        let mut copy = Self::of(to);
        let keys = from.join(KEYS_DIRECTORY);
        for found in fs::read_dir(&keys).map_err(|error| failed(&keys, &error))? {
            let name = found.map_err(|error| failed(&keys, &error))?.file_name();
            copy.take(from, &Path::new(KEYS_DIRECTORY).join(name))?;
        }
        let tls = [&config.tls.certificate, &config.tls.key];
        for file in tls.into_iter().chain(&config.bank_directory) {
            copy.take(from, file)?;
        }
        copy.take(from, Path::new(FILE))?;
        // Those that were there before, and those that came while the database was copied: it may know of either.
        copy.take_imports(from)?;
        SqliteStore::back_up(&from.join(DATABASE_FILE), &to.join(DATABASE_FILE), progress)?;
        copy.take_imports(from)?;
        sync(&to.join(DATABASE_FILE))?;
        copy.figures = figures::copy(from, to)?;
        sync(to)?;
        // A key is changed in the files before it is in the database: equal now, they belong to what was copied.
        if key_files(&keys)? == key_files(&to.join(KEYS_DIRECTORY))? {
            Ok(copy)
        } else {
            Err(HomeError::Refused("the keys were changed meanwhile: remove the copy and make another"))
        }
    }

    /// Copies a file to the same place below the copy. What lies elsewhere, or is not there, is only noted.
    pub(super) fn take(&mut self, from: &Path, file: &Path) -> Result<(), HomeError> {
        let is_below = file.components().all(|part| matches!(part, Component::Normal(_)));
        let (source, target) = (from.join(file), self.path.join(file));
        if !is_below || !source.is_file() {
            self.elsewhere.push(source);
            return Ok(());
        }
        if target.exists() {
            return Ok(());
        }
        let directory = super::files::parent(&target);
        make_private_directory(&directory)?;
        copy_private(&source, &target)?;
        sync(&directory)
    }

    /// Copies the files that were handed in and wait until their rows are taken. One that goes meanwhile waits no more.
    pub(super) fn take_imports(&mut self, from: &Path) -> Result<(), HomeError> {
        let directory = from.join(IMPORTS_DIRECTORY);
        if !directory.exists() {
            return Ok(());
        }
        for found in fs::read_dir(&directory).map_err(|error| failed(&directory, &error))? {
            let found = found.map_err(|error| failed(&directory, &error))?;
            // What is still coming in has another name.
            if found.file_name().to_str().and_then(ImportId::parse).is_none() || !found.path().exists() {
                continue;
            }
            match self.take(from, &Path::new(IMPORTS_DIRECTORY).join(found.file_name())) {
                Err(_) if !found.path().exists() => {}
                taken => taken?,
            }
        }
        Ok(())
    }

    /// The copy is sound.
    pub fn finish(self) -> Result<(), HomeError> {
        let mark = self.path.join(UNFINISHED_FILE);
        fs::remove_file(&mark).map_err(|error| failed(&mark, &error))?;
        sync(&self.path)
    }
}
