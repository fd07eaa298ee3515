//! The figures that lie beside the database, in data directories and their backups. What is copied was found sound first.

use super::HomeError;
use super::files::sync;
use super::home::{DATABASE_FILE, failed};
use crate::log::{Reach, reach};
use crate::store;
use crate::store::sqlite::SqliteStore;
use std::path::Path;

/// How far back the figures reach in a data directory, or in a backup of one.
pub fn figures(data: &Path) -> Result<Vec<Reach>, HomeError> {
    let database = data.join(DATABASE_FILE);
    let mut registry = SqliteStore::open_copy(&database)?.reader()?;
    let read = SqliteStore::with_search(&database, |tallies| reach(registry.as_mut(), tallies, &mut |_, _, _| Ok(())));
    read.map_err(|error| failed(&SqliteStore::search_of(&database), &format!("the figures cannot be read: {error}")))
}

/// Copies what is sound of the figures beside a database that was copied before, and belongs to it. All of them, though most
/// could be counted again: an archive may be made of the copy before that is done.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Vec<Reach>, HomeError> {
    let [source, copied] = [from, to].map(|directory| directory.join(DATABASE_FILE));
    let mut registry = SqliteStore::open_copy(&copied)?.reader()?;
    let mut target = SqliteStore::create_search(&copied)?;
    target.begin()?;
    let read = SqliteStore::with_search(&source, |tallies| {
        reach(registry.as_mut(), tallies, &mut |log, head, body| {
            store::tally::replace(target.as_mut(), log, head, body)
        })
    });
    let cannot = |error| failed(&SqliteStore::search_of(&source), &format!("the figures cannot be copied: {error}"));
    let reaches = read.map_err(cannot)?;
    target.commit()?;
    drop(target);
    sync(&SqliteStore::search_of(&copied))?;
    Ok(reaches)
}
