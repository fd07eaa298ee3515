//! Which database a data directory belongs to, and that it is the right one. A password is read from its file alone, and
//! never shown.

use super::HomeError;
use super::home::DATABASE_FILE;
use crate::auth::key_file::read_private;
use crate::config::Config;
use crate::domain::Timestamp;
use crate::store::postgres::{Address, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Store};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The database of one registry.
pub enum Database {
    /// In the data directory.
    Embedded(PathBuf),
    /// One that several nodes share, and the name of the registry that must be in it.
    Shared(Address, String),
}

impl Database {
    /// As the configuration of a data directory says.
    pub fn of(data: &Path, config: &Config) -> Result<Self, HomeError> {
        let Some(address) = config.address()? else { return Ok(Self::Embedded(data.join(DATABASE_FILE))) };
        let password = config.store_password_file.as_ref().map(|file| data.join(file));
        Ok(Self::Shared(with_password(address, password.as_deref())?, config.registry.clone()))
    }

    /// Makes a registry where there is none.
    pub fn create(&self, registry: &str, now: Timestamp) -> Result<(), HomeError> {
        match self {
            Self::Embedded(path) => SqliteStore::create(path, registry, now)?,
            Self::Shared(address, _) => {
                if !is_empty(address)? {
                    return Err(HomeError::DatabaseTaken);
                }
                PostgresStore::create(address, registry, now)?;
            }
        }
        Ok(())
    }

    /// Waits for the database; never to be called where others wait for this thread.
    pub fn open(&self, now: Timestamp) -> Result<Arc<dyn Store>, HomeError> {
        match self {
            Self::Embedded(path) => Ok(Arc::new(SqliteStore::open(path, now)?)),
            Self::Shared(address, wanted) => {
                let store = open_shared(address, now)?;
                let held = store.find(|connection| store::registry::name(connection))?;
                if held == *wanted { Ok(store) } else { Err(HomeError::OtherRegistry { held, wanted: wanted.clone() }) }
            }
        }
    }
}

/// The registry in a shared database, whichever it is.
pub fn open_shared(address: &Address, now: Timestamp) -> Result<Arc<dyn Store>, HomeError> {
    if is_empty(address)? {
        return Err(HomeError::DatabaseEmpty);
    }
    Ok(Arc::new(PostgresStore::open(address, now)?))
}

/// The first question to a database, so that one that cannot be asked is told apart from what it answers.
pub fn is_empty(address: &Address) -> Result<bool, HomeError> {
    PostgresStore::is_empty(address)
        .map_err(|error| HomeError::NotReached { address: address.to_string(), reason: error.to_string() })
}

/// With the password in a file that its owner alone can read.
pub fn with_password(address: Address, file: Option<&Path>) -> Result<Address, HomeError> {
    let Some(file) = file else { return Ok(address) };
    let text = read_private(file)?;
    Ok(address.with_password(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())))
}
