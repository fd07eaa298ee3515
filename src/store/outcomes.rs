//! Statements over what became of checks. A row is written in the transaction of the entry that tells it, without a change:
//! it may come as often as checks do.

use super::{Connection, StoreError, Value};
use crate::domain::{CheckId, LogPosition, Outcome, Timestamp};

/// What was told of a check, when, and by which entry.
pub struct Told {
    pub outcome: Outcome,
    pub at: Timestamp,
    pub entry: LogPosition,
}

/// Keeps an outcome; false if one was told before.
pub fn insert(
    connection: &mut dyn Connection,
    check: CheckId,
    outcome: &Outcome,
    at: Timestamp,
    entry: &LogPosition,
) -> Result<bool, StoreError> {
    let rows = connection.execute(
        "INSERT INTO check_outcome (check_id, at, node, log_index, told) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (check_id) DO NOTHING",
        &[
            Value::Blob(check.as_bytes()),
            Value::count(at.as_ms())?,
            Value::Text(&entry.node),
            Value::count(entry.index)?,
            Value::Text(&outcome.to_string()),
        ],
    )?;
    Ok(rows == 1)
}

pub fn find(connection: &mut dyn Connection, check: CheckId) -> Result<Option<Told>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT at, node, log_index, told FROM check_outcome WHERE check_id = $1",
        &[Value::Blob(check.as_bytes())],
        &mut |row| {
            let outcome = Outcome::parse(row.text(3)?).ok_or(StoreError::Corrupt("an outcome that is none"))?;
            let entry = LogPosition { node: row.text(1)?.to_owned().into(), index: row.count(2)? };
            found = Some(Told { outcome, at: Timestamp::from_ms(row.count(0)?), entry });
            Ok(())
        },
    )?;
    Ok(found)
}
