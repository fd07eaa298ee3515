//! Files that hold a secret: made with mode 0600 and never over an old one, refused when others can read them.
//! An error names the path, never the content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::entropy::EntropyError;

pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

const OWNER_ONLY: u32 = 0o600;
const GROUP_AND_OTHERS: u32 = 0o077;

#[derive(Debug, Error)]
pub enum KeyError {
    #[error("key file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("key file {} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("key file {} is open to group or others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("key file {} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("key file {} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("key file {} does not hold {expected}", path.display())]
    Garbled { path: PathBuf, expected: &'static str },
    #[error("key file {} holds the same key as the current one", path.display())]
    SameKey { path: PathBuf },
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    #[error("the cryptographic library refused to make or use a key")]
    Library,
}

impl KeyError {
    pub(super) fn garbled(path: &Path, expected: &'static str) -> Self {
        Self::Garbled { path: path.to_owned(), expected }
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes a new file that its owner alone can read; when it returns, the file and its name are on disk.
/// An existing file is never touched.
pub fn create_private(path: &Path, contents: &str) -> Result<(), KeyError> {
    let failed = |source| KeyError::Write { path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path).map_err(failed)?;
    if let Err(source) = write_durably(file, path, contents) {
        // Half a key must not be left to be loaded; should the removal fail too, loading finds it garbled.
        let _best_effort = fs::remove_file(path);
        return Err(failed(source));
    }
    Ok(())
}

fn write_durably(mut file: File, path: &Path, contents: &str) -> io::Result<()> {
    file.write_all(contents.as_bytes())?;
    file.sync_all()?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Reads a file that its owner alone can read. A symbolic link is followed and its target is what counts.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(KeyError::Mode { path: path.to_owned(), mode });
    }
    if metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyError::garbled(path, "a key: it is longer than 16 KiB"));
    }
    let capacity = usize::try_from(metadata.len()).unwrap_or_default();
    // The full capacity is taken at once, so that no half-grown copy of the key is left behind in memory.
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    match file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if text.trim().is_empty() => Err(KeyError::Empty { path: path.to_owned() }),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyError::garbled(path, "text")),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::tempdir;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_file_has_mode_0600_and_its_contents() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("k");
        create_private(&path, "secret text").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        assert_eq!(*read_private(&path).unwrap(), "secret text");
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("k");
        create_private(&path, "first").unwrap();
        assert!(matches!(create_private(&path, "second"), Err(KeyError::Write { .. })));
        assert_eq!(*read_private(&path).unwrap(), "first");
    }

    #[test]
    fn a_dangling_link_is_not_written_through() {
        let dir = tempdir().unwrap();
        let link = dir.path().join("k");
        symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(create_private(&link, "x").is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_file_open_to_group_or_others_is_refused_with_the_command_to_run() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("k");
        create_private(&path, "secret text").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644] {
            set_mode(&path, mode);
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, KeyError::Mode { .. }));
            let message = error.to_string();
            assert!(message.contains(&format!("chmod 600 {}", path.display())));
            assert!(message.contains(&format!("{mode:04o}")));
            assert!(!message.contains("secret text"));
        }
        set_mode(&path, 0o400);
        assert!(read_private(&path).is_ok());
    }

    #[test]
    fn the_target_of_a_link_is_what_counts() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("k");
        let link = dir.path().join("link");
        create_private(&path, "x").unwrap();
        symlink(&path, &link).unwrap();
        assert_eq!(*read_private(&link).unwrap(), "x");
        set_mode(&path, 0o644);
        assert!(matches!(read_private(&link), Err(KeyError::Mode { .. })));
    }

    #[test]
    fn empty_long_binary_and_missing_files_are_told_apart() {
        let dir = tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_private(&at("empty"), " \n").unwrap();
        create_private(&at("long"), &"a".repeat(16 * 1024 + 1)).unwrap();
        create_private(&at("binary"), "x").unwrap();
        fs::write(at("binary"), [0xff, 0xfe]).unwrap();
        assert!(matches!(read_private(&at("empty")), Err(KeyError::Empty { .. })));
        for name in ["long", "binary"] {
            assert!(matches!(read_private(&at(name)), Err(KeyError::Garbled { .. })));
        }
        assert!(matches!(read_private(dir.path()), Err(KeyError::NotAFile { .. })));
        assert!(read_private(&at("missing")).unwrap_err().is_not_found());
    }
}
