//! Files that must not be lost or half made: synced with their directories, never written over an old one.

use super::HomeError;
use super::home::failed;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const OWNER_READS_AND_WRITES: u32 = 0o600;
const READ_BYTES_AT_ONCE: usize = 256 * 1024;

/// Brings a file, or the names in a directory, onto the disk.
pub fn sync(path: &Path) -> Result<(), HomeError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| failed(path, &error))
}

/// The directory that a file's name stands in.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Gives a finished file its name. What had that name before is replaced whole.
pub fn rename(from: &Path, to: &Path) -> Result<(), HomeError> {
    fs::rename(from, to).map_err(|error| failed(from, &error))?;
    sync(&parent(to))
}

/// Copies a file into a new one that its owner alone can read.
pub fn copy_private(from: &Path, to: &Path) -> Result<(), HomeError> {
    let mut source = File::open(from).map_err(|error| failed(from, &error))?;
    let target = File::options().write(true).create_new(true).mode(OWNER_READS_AND_WRITES).open(to);
    let mut target = target.map_err(|error| failed(to, &error))?;
    std::io::copy(&mut source, &mut target).map_err(|error| failed(to, &error))?;
    target.flush().and_then(|()| target.sync_all()).map_err(|error| failed(to, &error))
}

/// SHA-256 of a file.
pub fn digest(path: &Path) -> Result<[u8; 32], HomeError> {
    let mut file = File::open(path).map_err(|error| failed(path, &error))?;
    let (mut digest, mut bytes) = (Sha256::new(), vec![0; READ_BYTES_AT_ONCE]);
    loop {
        let read = file.read(&mut bytes).map_err(|error| failed(path, &error))?;
        if read == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(bytes.get(..read).unwrap_or_default());
    }
}
