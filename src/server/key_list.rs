//! The public keys that a node's log has ever had, beside the secret ones of now. An archive may hold the entry that announced a
//! key, while checkpoints signed by it stay in the database: no key is ever taken off this list.

use super::HomeError;
use super::files::rename;
use super::home::failed;
use crate::auth::key_file::create_private;
use crate::log::note::VerifierKey;
use std::fs;
use std::path::Path;

const LIST_FILE: &str = "log-keys.txt";
const NEXT_LIST_FILE: &str = "log-keys.next.txt";

/// The listed keys of a log, oldest first. A registry that was not started since there is a list has none.
pub(super) fn read(keys: &Path, origin: &str) -> Result<Vec<VerifierKey>, HomeError> {
    Ok(read_all(keys)?.into_iter().filter(|key| key.name() == origin).collect())
}

fn read_all(keys: &Path) -> Result<Vec<VerifierKey>, HomeError> {
    let path = keys.join(LIST_FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| failed(&path, &error))?,
    };
    let listed = text.lines().map(VerifierKey::parse).collect::<Option<_>>();
    listed.ok_or_else(|| failed(&path, &"holds a line that is no verifier key"))
}

/// Puts keys on the list, which is on the disk when this returns: before anything is signed by them.
pub(super) fn add(keys: &Path, new: &[VerifierKey]) -> Result<(), HomeError> {
    let mut listed = read_all(keys)?;
    let before = listed.len();
    for key in new {
        if !listed.contains(key) {
            listed.push(key.clone());
        }
    }
    if listed.len() == before {
        return Ok(());
    }
    let next = keys.join(NEXT_LIST_FILE);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&next, &error)),
        Ok(()) | Err(_) => {}
    }
    let lines: String = listed.iter().map(|key| format!("{key}\n")).collect();
    create_private(&next, &lines)?;
    rename(&next, &keys.join(LIST_FILE))
}
