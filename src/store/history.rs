//! Statements over the versions that a flag has had, and which entry of which log tells of each.

use super::flags::read_flag;
use super::{Connection, StoreError, Value};
use crate::domain::{Flag, FlagId, LogPosition, Timestamp};

/// One version of a flag with the entry of the act that made it.
pub struct Version {
    pub flag: Flag,
    pub entry: LogPosition,
}

/// Versions of a flag, the oldest first, after version `after`.
pub fn versions(
    connection: &mut dyn Connection,
    id: FlagId,
    after: u32,
    rows_max: u32,
) -> Result<Vec<Version>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT flag_version.body, change.node, change.log_index FROM flag_version \
         JOIN change ON change.number = flag_version.change \
         WHERE flag_version.flag = $1 AND flag_version.version > $2 ORDER BY flag_version.version LIMIT $3",
        &[Value::Blob(id.as_bytes()), Value::Int(after.into()), Value::Int(rows_max.into())],
        &mut |row| {
            let entry = LogPosition { node: row.text(1)?.to_owned().into(), index: row.count(2)? };
            found.push(Version { flag: read_flag(row, 0)?, entry });
            Ok(())
        },
    )?;
    Ok(found)
}

/// The version that a flag had at a moment; `None` if it was not there yet.
pub fn version_at(connection: &mut dyn Connection, id: FlagId, at: Timestamp) -> Result<Option<Flag>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT flag_version.body FROM flag_version JOIN change ON change.number = flag_version.change \
         WHERE flag_version.flag = $1 AND change.at <= $2 ORDER BY flag_version.version DESC LIMIT 1",
        &[Value::Blob(id.as_bytes()), Value::count(at.as_ms())?],
        &mut |row| {
            found = Some(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}
