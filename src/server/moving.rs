//! The data directories of a registry that goes into a shared database: a new one for its node, and the old one, which must
//! never be served again.

use super::HomeError;
use super::files::rename;
use super::home::{Home, KEYS_DIRECTORY, TLS_DIRECTORY, UNFINISHED_FILE, failed};
use super::keeping::Copy;
use crate::auth::key_file::create_private;
use crate::config::Config;
use std::fs;
use std::path::{Path, PathBuf};

const MOVED_FILE: &str = "moved";
const NEXT_MOVED_FILE: &str = "moved.next";

/// Where the registry of a data directory was moved to, if it was.
pub fn moved_to(data: &Path) -> Result<Option<String>, HomeError> {
    let path = data.join(MOVED_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path, &error)),
    }
}

impl Home {
    /// Makes a directory of the same node with another configuration; returns it with the files that lie elsewhere and are
    /// not in it. It has all keys of this one.
    pub fn settle(
        &self,
        into: &Path,
        config: &Config,
        password: Option<&Path>,
    ) -> Result<(Home, Vec<PathBuf>), HomeError> {
        let home = Self::begin(into)?;
        let mut copy = Copy::of(into);
        for directory in [KEYS_DIRECTORY, TLS_DIRECTORY] {
            let path = self.path().join(directory);
            if !path.exists() {
                continue;
            }
            for found in fs::read_dir(&path).map_err(|error| failed(&path, &error))? {
                let name = found.map_err(|error| failed(&path, &error))?.file_name();
                copy.take(self.path(), &Path::new(directory).join(name))?;
            }
        }
        for file in [&config.tls.certificate, &config.tls.key].into_iter().chain(&config.bank_directory) {
            copy.take(self.path(), file)?;
        }
        copy.take_imports(self.path())?;
        for file in ["operator.json", "demo.json"].map(Path::new) {
            if self.path().join(file).exists() {
                copy.take(self.path(), file)?;
            }
        }
        home.take_password(config, password)?;
        Ok((home, copy.elsewhere))
    }

    /// Whether `into` is what `settle` and `finish` have made of this directory.
    pub fn is_settled(&self, into: &Path, config: &Config) -> Result<bool, HomeError> {
        if !Self::exists(into) || into.join(UNFINISHED_FILE).exists() {
            return Ok(false);
        }
        let same_log = |name: &str| {
            let [own, other] = [self.path(), into].map(|path| fs::read(path.join(KEYS_DIRECTORY).join(name)));
            own.is_ok_and(|own| other.is_ok_and(|other| own == other))
        };
        Ok(Config::read(into)? == *config && same_log(super::LOG_KEY_FILE))
    }

    /// From here on this directory is refused by whoever would serve it.
    pub fn mark_moved(&self, to: &str) -> Result<(), HomeError> {
        let next = self.path().join(NEXT_MOVED_FILE);
        if next.exists() {
            fs::remove_file(&next).map_err(|error| failed(&next, &error))?;
        }
        create_private(&next, &format!("{to}\n"))?;
        rename(&next, &self.path().join(MOVED_FILE))
    }
}
