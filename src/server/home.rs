//! The data directory: its lock, its keys, its configuration. One process at a time; keys that others can read are refused.

use super::database::Database;
use super::files::{copy_private, parent};
use super::key_list;
use super::log_key::LogKey;
use super::moving::moved_to;
use crate::auth::Authority;
use crate::auth::key_file::{KeyError, create_private, read_private};
use crate::auth::keys::{KeyRing, PREVIOUS_SIGNING_KEY_FILE, SIGNING_KEY_FILE, SigningKey};
use crate::auth::pepper::Pepper;
use crate::config::{Config, ConfigError, FILE};
use crate::domain::banks::BankDirectory;
use crate::domain::{Directory, SubjectHasher, Timestamp};
use crate::log::Signers;
use crate::log::note::Signer;
use crate::store::{self, Store, StoreError};
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub const DATABASE_FILE: &str = "registry.db";
const LOCK_FILE: &str = "lock";
pub(super) const UNFINISHED_FILE: &str = "unfinished";
pub(super) const IMPORTS_DIRECTORY: &str = "imports";
pub(super) const TLS_DIRECTORY: &str = "tls";
pub(super) const KEYS_DIRECTORY: &str = "keys";
pub const LOG_KEY_FILE: &str = "log-signing.pem";
pub const PREVIOUS_LOG_KEY_FILE: &str = "log-signing.previous.pem";
const PEPPER_FILE: &str = "pepper.hex";
/// Where a copy of the database's password is kept.
pub const PASSWORD_FILE: &str = "keys/postgres.password";
const OWNER_ONLY: u32 = 0o700;
const CONFIG_HEAD: &str =
    "# canhbao: what is not here has its default; `canhbao serve --print-config` shows everything.\n";

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("{}: {reason}", path.display())]
    Path { path: PathBuf, reason: String },
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("{} has a registry already", .0.display())]
    Taken(PathBuf),
    #[error("{} has no registry: make one with `canhbao init {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    #[error("{}: this registry was moved to {to}", path.display())]
    Moved { path: PathBuf, to: String },
    #[error("{} is not empty, and nothing is ever overwritten", .0.display())]
    NotEmpty(PathBuf),
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the database: {0}")]
    Store(#[from] StoreError),
    #[error("{address}: {reason}")]
    NotReached { address: String, reason: String },
    #[error("the database holds the registry {held}, and the configuration is of {wanted}")]
    OtherRegistry { held: String, wanted: String },
    #[error(
        "the database has a registry already: for one more node of it give `--join DIR`, with the data directory of a node; \
         a new registry needs an empty database"
    )]
    DatabaseTaken,
    #[error("the database is empty: make a registry in it with `canhbao init DIR --store URL --node NAME`")]
    DatabaseEmpty,
    #[error("the registry has a node {0} already: choose another name, or go on with the data directory of that node")]
    NodeTaken(String),
    #[error("the registry in the database has another pepper than {}: a node has the keys of its registry", .0.display())]
    OtherPepper(PathBuf),
    #[error("tokens: {0}")]
    Tokens(#[from] crate::auth::IssueError),
}

/// An opened data directory; the lock lasts as long as this does.
pub struct Home {
    path: PathBuf,
    sign_uncovered: bool,
    _lock: File,
}

impl Home {
    /// Whether a whole registry is there.
    pub fn exists(path: &Path) -> bool {
        path.join(FILE).exists() && !path.join(UNFINISHED_FILE).exists()
    }

    /// Makes the directory with its keys, and the database of a new registry. Until `finish`, a mark says that it is only
    /// half made; what such a mark stands beside is cleared away, and without a mark nothing is ever touched.
    pub fn create(path: &Path, config: &Config, password: Option<&Path>, now: Timestamp) -> Result<Self, HomeError> {
        let home = Self::begin(path)?;
        let keys = path.join(KEYS_DIRECTORY);
        create_private(&keys.join(SIGNING_KEY_FILE), &SigningKey::generate_pem()?)?;
        create_private(&keys.join(LOG_KEY_FILE), &SigningKey::generate_pem()?)?;
        create_private(&keys.join(PEPPER_FILE), &Pepper::generate_text()?)?;
        home.take_password(config, password)?;
        Database::of(path, config)?.create(&config.registry, now)?;
        Ok(home)
    }

    /// Makes the directory of one more node of a registry: the keys that all nodes have come from the directory of another
    /// one, that of the log is its own.
    pub fn join(
        path: &Path,
        other: &Path,
        config: &Config,
        password: Option<&Path>,
        now: Timestamp,
    ) -> Result<Self, HomeError> {
        if !Self::exists(other) {
            return Err(HomeError::Missing(other.to_owned()));
        }
        let home = Self::begin(path)?;
        let [keys, others] = [path, other].map(|path| path.join(KEYS_DIRECTORY));
        for file in [SIGNING_KEY_FILE, PREVIOUS_SIGNING_KEY_FILE, PEPPER_FILE] {
            match read_private(&others.join(file)) {
                Err(error) if error.is_not_found() && file == PREVIOUS_SIGNING_KEY_FILE => {}
                text => create_private(&keys.join(file), &text?)?,
            }
        }
        create_private(&keys.join(LOG_KEY_FILE), &SigningKey::generate_pem()?)?;
        if let Some(file) = &config.bank_directory
            && file.is_relative()
        {
            copy_private(&other.join(file), &path.join(file))?;
        }
        let given = config.store_password_file.as_ref().map(|file| other.join(file));
        home.take_password(config, password.or(given.as_deref()))?;
        let store = Database::of(path, config)?.open(now)?;
        home.check_pepper(store.as_ref())?;
        if store.find(|connection| store::log::find(connection, &config.node))?.is_some() {
            return Err(HomeError::NodeTaken(config.node.clone()));
        }
        Ok(home)
    }

    /// An empty directory under its mark.
    pub(super) fn begin(path: &Path) -> Result<Self, HomeError> {
        let keys = path.join(KEYS_DIRECTORY);
        make_private_directory(path)?;
        let home = Self::locked(path)?;
        let mark = path.join(UNFINISHED_FILE);
        if mark.exists() {
            home.clear()?;
        } else if Self::exists(path) || keys.exists() || path.join(DATABASE_FILE).exists() {
            return Err(HomeError::Taken(path.to_owned()));
        } else {
            create_private(&mark, "This directory is only half made.\n")?;
        }
        make_private_directory(&keys)?;
        Ok(home)
    }

    /// Copies the database's password to where the configuration says that it is, unless that is outside of the directory.
    pub(super) fn take_password(&self, config: &Config, given: Option<&Path>) -> Result<(), HomeError> {
        match (&config.store_password_file, given) {
            (Some(file), Some(given)) if file.is_relative() => {
                let copy = self.path.join(file);
                make_private_directory(&parent(&copy))?;
                Ok(create_private(&copy, &read_private(given)?)?)
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Everything that belongs into a new registry is there.
    pub fn finish(&self, config: &Config) -> Result<(), HomeError> {
        create_private(&self.path.join(FILE), &format!("{CONFIG_HEAD}\n{}", config.to_toml()?))?;
        let mark = self.path.join(UNFINISHED_FILE);
        fs::remove_file(&mark).map_err(|error| failed(&mark, &error))
    }

    /// Removes what `create` and its callers have made, and nothing else.
    fn clear(&self) -> Result<(), HomeError> {
        for name in [KEYS_DIRECTORY, TLS_DIRECTORY, IMPORTS_DIRECTORY] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(|error| failed(&path, &error))?;
            }
        }
        let databases = ["registry.db", "registry.db-wal", "registry.db-shm"];
        let search = ["search.sqlite3", "search.sqlite3-wal", "search.sqlite3-shm"];
        let register = ["register.sqlite3", "register.sqlite3-wal", "register.sqlite3-shm", "register.unsynced"];
        let files = databases.into_iter().chain(search).chain(register).chain([FILE, "operator.json", "demo.json"]);
        for path in files.map(|name| self.path.join(name)) {
            if path.exists() {
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
            }
        }
        Ok(())
    }

    pub fn open(path: &Path) -> Result<Self, HomeError> {
        if !Self::exists(path) {
            return Err(HomeError::Missing(path.to_owned()));
        }
        let home = Self::locked(path)?;
        match moved_to(path)? {
            None => Ok(home),
            Some(to) => Err(HomeError::Moved { path: path.to_owned(), to }),
        }
    }

    fn locked(path: &Path) -> Result<Self, HomeError> {
        let file = path.join(LOCK_FILE);
        let lock = File::options().create(true).truncate(false).write(true).open(&file);
        let lock = lock.map_err(|error| failed(&file, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), sign_uncovered: false, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(HomeError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(failed(&file, &error)),
        }
    }

    /// The operator answers for entries that no server leaves without a checkpoint.
    pub fn signing_uncovered(self) -> Self {
        Self { sign_uncovered: true, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn authority(&self, url: String, lifetime_s: u32) -> Result<Authority, HomeError> {
        let keys = KeyRing::load(&self.path.join(KEYS_DIRECTORY))?;
        Ok(Authority::new(url, keys, lifetime_s)?)
    }

    /// The keys that sign the checkpoints of a node's log. A registry that is older than its log's key gets one.
    pub fn signers(&self, store: &dyn Store, node: &str) -> Result<Signers, HomeError> {
        let keys = self.path.join(KEYS_DIRECTORY);
        let registry = store.find(|connection| store::registry::name(connection))?;
        let origin = format!("{registry}/{node}");
        let key = |file: &str| LogKey::load(&keys.join(file), &origin);
        let current = match key(LOG_KEY_FILE) {
            Err(error) if error.is_not_found() => {
                create_private(&keys.join(LOG_KEY_FILE), &SigningKey::generate_pem()?)?;
                key(LOG_KEY_FILE)?
            }
            other => other?,
        };
        let previous = match key(PREVIOUS_LOG_KEY_FILE) {
            Err(error) if error.is_not_found() => None,
            other => Some(other?),
        };
        let known: Vec<_> = previous.iter().chain([&current]).filter_map(LogKey::verifier).collect();
        key_list::add(&keys, &known)?;
        let previous = previous.map(|key| -> Box<dyn Signer> { Box::new(key) });
        Ok(Signers { current: Box::new(current), previous, sign_uncovered: self.sign_uncovered })
    }

    pub fn hasher(&self) -> Result<SubjectHasher, HomeError> {
        Ok(SubjectHasher::new(Pepper::load(&self.pepper_path())?.expose()))
    }

    fn pepper_path(&self) -> PathBuf {
        self.path.join(KEYS_DIRECTORY).join(PEPPER_FILE)
    }

    /// Compares the pepper with the registry's mark. The first start of a registry sets it.
    pub fn check_pepper(&self, store: &dyn Store) -> Result<(), HomeError> {
        let find = || store.find(|connection| store::registry::pepper_mark(connection));
        let registry = store.find(|connection| store::registry::name(connection))?;
        let own = *self.hasher()?.hash(&registry).as_bytes();
        let mut mark = find()?;
        if mark.is_none() {
            store::registry::set_pepper_mark(store.writer()?.as_mut(), &own)?;
            mark = find()?;
        }
        if mark.as_deref() == Some(&own) { Ok(()) } else { Err(HomeError::OtherPepper(self.pepper_path())) }
    }

    /// The operator's bank directory, or the compiled-in one.
    pub fn directory(&self, config: &Config) -> Result<Directory, HomeError> {
        match &config.bank_directory {
            None => Directory::built_in().map_err(|error| failed(Path::new("banks.csv"), &error)),
            Some(file) => {
                let path = self.path.join(file);
                let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
                let banks = BankDirectory::parse(&text).map_err(|error| failed(&path, &error))?;
                Directory::with_banks(banks).map_err(|error| failed(&path, &error))
            }
        }
    }

    /// The time of the last entry in a node's log.
    pub fn latest_entry(&self, store: &dyn Store, node: &str) -> Result<Timestamp, HomeError> {
        let latest = store.find(|connection| match store::log::find(connection, node)? {
            None => Ok(Timestamp::EPOCH),
            Some(log) => Ok(store::log::end(connection, log)?.1),
        });
        Ok(latest?)
    }

    /// Where files that are handed in lie until their rows are taken.
    pub fn imports(&self) -> PathBuf {
        self.path.join(IMPORTS_DIRECTORY)
    }

    /// Certificate chain and private key.
    pub fn tls_files(&self, config: &Config) -> (PathBuf, PathBuf) {
        (self.path.join(&config.tls.certificate), self.path.join(&config.tls.key))
    }
}

pub(super) fn make_private_directory(path: &Path) -> Result<(), HomeError> {
    fs::DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path).map_err(|error| failed(path, &error))
}

pub(super) fn failed(path: &Path, error: &dyn std::fmt::Display) -> HomeError {
    HomeError::Path { path: path.to_owned(), reason: error.to_string() }
}
