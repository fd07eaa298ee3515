//! While much goes into the view it is not brought to the disk commit by commit, since the log's own commits would wait behind
//! that. A mark beside the file tells in which run of the system this began. As long as that goes on the file has all that was
//! written, whatever becomes of the process. After another start of the system it may be torn, and is made anew.

use super::failed;
use crate::store::StoreError;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const OWNER_READS_AND_WRITES: u32 = 0o600;
const EXTENSION: &str = "unsynced";
/// Names the run of the system, for as long as what is written is in its memory.
const RUN_FILE: &str = "/proc/sys/kernel/random/boot_id";

pub(super) struct Unsynced {
    file: PathBuf,
    is_marked: bool,
}

impl Unsynced {
    /// Of a file that is not marked.
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.to_path_buf(), is_marked: false }
    }

    /// What the mark beside a file says; `None` if the file may be torn.
    pub(super) fn beside(file: &Path) -> Result<Option<Self>, StoreError> {
        let mark = match fs::read_to_string(file.with_extension(EXTENSION)) {
            Ok(run) => Some(run),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&error)),
        };
        let is_whole = mark.is_none() || mark == run_of_system();
        Ok(is_whole.then(|| Self { is_marked: mark.is_some(), ..Self::of(file) }))
    }

    pub(super) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Marks the file before something is left to the system; false where nothing tells one run of it from another.
    pub(super) fn mark(&mut self) -> Result<bool, StoreError> {
        if let Some(run) = run_of_system().filter(|_| !self.is_marked) {
            let mark = self.file.with_extension(EXTENSION);
            write(&mark, &run).map_err(|error| failed(&error))?;
            let directory = mark.parent().unwrap_or(Path::new("."));
            sync(directory).map_err(|error| failed(&error))?;
            self.is_marked = true;
        }
        Ok(self.is_marked)
    }

    /// Takes the mark away, from a file that is whole or no more there.
    pub(super) fn unmark(&mut self) -> Result<(), StoreError> {
        match fs::remove_file(self.file.with_extension(EXTENSION)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&error)),
            Ok(()) | Err(_) => {}
        }
        self.is_marked = false;
        Ok(())
    }
}

fn run_of_system() -> Option<String> {
    fs::read_to_string(RUN_FILE).ok()
}

fn write(path: &Path, run: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(OWNER_READS_AND_WRITES).open(path)?;
    file.write_all(run.as_bytes())?;
    file.sync_all()
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
