//! Statements over the row that says which registry a database is. A mark that is there is never replaced.

use super::{Connection, StoreError, Value};

/// The name of the registry, the first part of every log's origin.
pub fn name(connection: &mut dyn Connection) -> Result<String, StoreError> {
    let mut found = None;
    connection.query("SELECT name FROM registry WHERE id = 1", &[], &mut |row| {
        found = Some(row.text(0)?.to_owned());
        Ok(())
    })?;
    found.ok_or(StoreError::Corrupt("no registry"))
}

/// The keyed hash of the name, if a node has set it.
pub fn pepper_mark(connection: &mut dyn Connection) -> Result<Option<Vec<u8>>, StoreError> {
    let mut found = None;
    connection.query("SELECT pepper FROM registry WHERE id = 1 AND pepper IS NOT NULL", &[], &mut |row| {
        found = Some(row.blob(0)?.to_vec());
        Ok(())
    })?;
    Ok(found)
}

/// Sets the mark unless there is one: of nodes that start at the same time the first one's stays.
pub fn set_pepper_mark(connection: &mut dyn Connection, mark: &[u8; 32]) -> Result<(), StoreError> {
    connection.begin()?;
    connection.execute("UPDATE registry SET pepper = $1 WHERE id = 1 AND pepper IS NULL", &[Value::Blob(mark)])?;
    connection.commit()
}
