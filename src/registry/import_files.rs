//! The private directory in which files that are handed in lie until their rows are taken, and workbooks until they are sent.
//! It must never grow without a limit, nor keep what nobody needs.

use super::Error;
use super::places::{NoPlace, Place, Places};
use crate::domain::import::FILE_BYTES_MAX;
use crate::domain::party::ClientId;
use crate::domain::{ImportId, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files that come in at once.
const UPLOADS_MAX: usize = 2;
/// Of them, those of one client: it may send slowly for minutes.
const UPLOADS_OF_A_CLIENT_MAX: usize = 1;
/// Files that lie there at once, and their bytes.
const FILES_MAX: usize = 64;
const FILES_BYTES_MAX: u64 = 10 * FILE_BYTES_MAX;
/// What is coming in or going out is done with long before.
const UNFINISHED_AGE_MS_MAX: u64 = 3_600_000;
/// So much of a file is written to the disk at once: a commit, which a check waits for, may have to wait for that.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;
const COMING_IN: &str = "new";
const GOING_OUT: &str = "export";

pub(super) struct ImportFiles {
    directory: PathBuf,
    uploads: Places,
}

impl ImportFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, uploads: Places::new(UPLOADS_MAX, UPLOADS_OF_A_CLIENT_MAX) }
    }

    pub(super) fn of(&self, id: ImportId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// A workbook that is being made, and the directory for what it takes meanwhile.
    pub(super) fn going_out(&self, id: ImportId) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{id}.{GOING_OUT}")), self.directory.clone())
    }

    /// Opens a private file for what is coming in.
    pub(super) fn begin(&self, id: ImportId, client: &ClientId) -> Result<Upload, Error> {
        let place = self.uploads.take(client).map_err(|no_place| match no_place {
            NoPlace::OfAll => Error::Unavailable("Too many files are coming in at once."),
            NoPlace::OfThisClient => Error::Unavailable("Another file of this client is still coming in."),
        })?;
        make(&self.directory).map_err(failed)?;
        let (files, bytes) = self.lying()?;
        if files >= FILES_MAX || bytes > FILES_BYTES_MAX - FILE_BYTES_MAX {
            return Err(Error::Unavailable("Too many files wait for their turn."));
        }
        let path = self.directory.join(format!("{id}.{COMING_IN}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        Ok(Upload {
            path,
            file,
            sha256: Sha256::new(),
            bytes: 0,
            unsynced_bytes: 0,
            fate: Fate::Removed,
            _place: place,
        })
    }

    fn lying(&self) -> Result<(usize, u64), Error> {
        let (mut files, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            match entry.and_then(|entry| entry.metadata()) {
                Ok(metadata) => (files, bytes) = (files + 1, bytes + metadata.len()),
                // It was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((files, bytes))
    }

    /// Removes what no import in `needed` is to be read from, and what was coming in or going out when a process ended. What
    /// is younger than `age_ms_max` may be somebody's who is at work.
    pub(super) fn sweep(&self, needed: &HashSet<ImportId>, now: Timestamp, age_ms_max: u64) -> std::io::Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let (id, is_unfinished) = match name.split_once('.') {
                Some((id, COMING_IN | GOING_OUT)) => (id, true),
                Some(_) => continue,
                None => (name, false),
            };
            let Some(id) = ImportId::parse(id) else { continue };
            let is_needed = !is_unfinished && needed.contains(&id);
            if !is_needed && id.minted_at().plus_ms(age_ms_max) <= now {
                remove(&self.directory.join(name));
                tracing::info!(file = name, "a file that nobody needs was removed");
            }
        }
        Ok(())
    }

    /// As `sweep`, while others may be at work.
    pub(super) fn sweep_old(&self, needed: &HashSet<ImportId>, now: Timestamp) -> std::io::Result<()> {
        self.sweep(needed, now, UNFINISHED_AGE_MS_MAX)
    }
}

/// The directory, if it is not there yet.
fn make(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// A file that is not there need not be removed.
pub(super) fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "a file that nobody needs could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A full disk is the operator's to see to, and no fault of the program.
fn failed(error: std::io::Error) -> Error {
    #[allow(clippy::wildcard_enum_match_arm)] // The system's own list, which grows.
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            tracing::error!(%error, "no room for a file that was handed in");
            Error::Unavailable("There is no room for the file now.")
        }
        _ => Error::Internal(format!("imports: {error}")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Removed,
    Kept,
}

/// A file that is coming in. It goes when this is dropped, unless it may be an import's.
pub struct Upload {
    path: PathBuf,
    file: File,
    sha256: Sha256,
    bytes: u64,
    unsynced_bytes: u64,
    fate: Fate,
    _place: Place,
}

impl Upload {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(failed)?;
        self.sha256.update(bytes);
        let written = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes += written;
        self.unsynced_bytes += written;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.file.sync_data().map_err(failed)?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn digest(&self) -> [u8; 32] {
        self.sha256.clone().finalize().into()
    }

    /// Gives the file its name for good; both are on disk afterwards. From here on it stays, whatever becomes of the request:
    /// an import may be in the log though nobody waited for its answer. A sweep finds those that are not.
    pub(super) fn keep(&mut self, path: PathBuf) -> Result<(), Error> {
        self.file.sync_all().map_err(failed)?;
        std::fs::rename(&self.path, &path).map_err(failed)?;
        self.path = path;
        self.fate = Fate::Kept;
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    /// No import will be read from it.
    pub(super) fn give_up(&mut self) {
        self.fate = Fate::Removed;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.fate == Fate::Removed {
            remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> ImportId {
        ImportId::mint(Timestamp::from_ms(ms), [7; 16])
    }

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    fn names(files: &ImportFiles) -> Vec<String> {
        let entries = std::fs::read_dir(&files.directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_program() {
        assert!(matches!(failed(ErrorKind::StorageFull.into()), Error::Unavailable(_)));
        assert!(matches!(failed(ErrorKind::PermissionDenied.into()), Error::Internal(_)));
    }

    #[test]
    fn what_is_given_up_goes_and_what_is_kept_stays() {
        let directory = tempfile::tempdir().unwrap();
        let files = ImportFiles::new(directory.path().join("imports"));
        drop(files.begin(id(1), &client("one")).unwrap());
        assert!(names(&files).is_empty());
        let mut kept = files.begin(id(2), &client("one")).unwrap();
        kept.write(b"kind").unwrap();
        kept.keep(files.of(id(2))).unwrap();
        drop(kept);
        assert_eq!(names(&files), [id(2).to_string()]);
    }

    #[test]
    fn two_files_come_in_at_once_of_two_clients_and_a_third_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let files = ImportFiles::new(directory.path().to_owned());
        let first = files.begin(id(1), &client("one")).unwrap();
        assert!(matches!(files.begin(id(2), &client("one")), Err(Error::Unavailable(_))));
        let _second = files.begin(id(2), &client("two")).unwrap();
        assert!(matches!(files.begin(id(3), &client("three")), Err(Error::Unavailable(_))));
        drop(first);
        files.begin(id(3), &client("three")).unwrap();
    }

    #[test]
    fn no_file_comes_in_where_too_much_lies() {
        let directory = tempfile::tempdir().unwrap();
        let files = ImportFiles::new(directory.path().to_owned());
        let large = File::create(files.of(id(1))).unwrap();
        large.set_len(FILES_BYTES_MAX - FILE_BYTES_MAX).unwrap();
        files.begin(id(2), &client("one")).unwrap();
        large.set_len(FILES_BYTES_MAX - FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(files.begin(id(3), &client("one")), Err(Error::Unavailable(_))));
    }

    #[test]
    fn a_sweep_takes_what_is_old_and_needed_by_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let files = ImportFiles::new(directory.path().to_owned());
        let others = ["notes.txt".to_owned(), "import_x".to_owned()];
        let (old, needed, young) = (id(1), id(2), id(UNFINISHED_AGE_MS_MAX));
        let ours =
            [old.to_string(), needed.to_string(), young.to_string(), format!("{old}.new"), format!("{needed}.export")];
        for name in ours.iter().chain(&others) {
            File::create(directory.path().join(name)).unwrap();
        }
        let now = Timestamp::from_ms(UNFINISHED_AGE_MS_MAX + 10);
        files.sweep_old(&HashSet::from([needed]), now).unwrap();
        let mut left = vec![needed.to_string(), young.to_string()];
        left.extend(others.clone());
        left.sort();
        assert_eq!(names(&files), left);
        files.sweep(&HashSet::new(), now, 0).unwrap();
        assert_eq!(names(&files).len(), others.len());
    }
}
