//! Statements over tallies, which are derived data, and over what they need to know of flags.

use super::flags::read_flag;
use super::log::LogNumber;
use super::{Connection, Row, StoreError, Value};
use crate::domain::{Category, Day, Flag, FlagId, ObjectionId};

/// What is stored of a segment of 65,536 entries, without its figures.
pub struct Head {
    pub first_index: u64,
    pub seal: Vec<u8>,
    pub first_day: Day,
    pub last_day: Day,
}

/// The segments of a log that are counted, in order, from the one at `from` on.
pub fn heads(connection: &mut dyn Connection, log: LogNumber, from: u64) -> Result<Vec<Head>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT place, seal, first_day, last_day FROM tally WHERE place >= $1 AND place <= $2 ORDER BY place",
        &[log.place(from)?, log.last_place()?],
        &mut |row| {
            let first_index = log.index(row.count(0)?)?;
            let (first_day, last_day) = (day(row, 2)?, day(row, 3)?);
            found.push(Head { first_index, seal: row.blob(1)?.to_vec(), first_day, last_day });
            Ok(())
        },
    )?;
    Ok(found)
}

fn day(row: &dyn Row, column: usize) -> Result<Day, StoreError> {
    u32::try_from(row.int(column)?).map(Day::from_number).map_err(|_| StoreError::Corrupt("a day that is none"))
}

/// The figures of a segment.
pub fn body(connection: &mut dyn Connection, log: LogNumber, first_index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut found = None;
    connection.query("SELECT body FROM tally WHERE place = $1", &[log.place(first_index)?], &mut |row| {
        found = Some(row.blob(0)?.to_vec());
        Ok(())
    })?;
    Ok(found)
}

/// Stores a segment in place of what was there.
pub fn replace(connection: &mut dyn Connection, log: LogNumber, head: &Head, body: &[u8]) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO tally (place, seal, first_day, last_day, body) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (place) DO UPDATE SET seal = excluded.seal, first_day = excluded.first_day, \
         last_day = excluded.last_day, body = excluded.body",
        &[
            log.place(head.first_index)?,
            Value::Blob(&head.seal),
            Value::count(head.first_day.number().into())?,
            Value::count(head.last_day.number().into())?,
            Value::Blob(body),
        ],
    )?;
    Ok(())
}

/// Drops a segment.
pub fn remove(connection: &mut dyn Connection, log: LogNumber, first_index: u64) -> Result<(), StoreError> {
    connection.execute("DELETE FROM tally WHERE place = $1", &[log.place(first_index)?]).map(drop)
}

/// One version of a flag.
pub fn flag_version(connection: &mut dyn Connection, id: FlagId, version: u32) -> Result<Option<Flag>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT body FROM flag_version WHERE flag = $1 AND version = $2",
        &[Value::Blob(id.as_bytes()), Value::Int(version.into())],
        &mut |row| {
            found = Some(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The versions of flags that a change wrote, each with the one before it.
pub fn flags_of_change(
    connection: &mut dyn Connection,
    change: u64,
    each: &mut dyn FnMut(Flag, Option<Flag>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    connection.query(
        "SELECT made.body, earlier.body FROM flag_version made LEFT JOIN flag_version earlier \
         ON earlier.flag = made.flag AND earlier.version = made.version - 1 WHERE made.change = $1",
        &[Value::count(change)?],
        &mut |row| {
            let before = row.optional_text(1)?.is_some().then(|| read_flag(row, 1)).transpose()?;
            each(read_flag(row, 0)?, before)
        },
    )
}

/// A flag in the version that it had at a change.
pub fn flag_at(connection: &mut dyn Connection, id: FlagId, change: u64) -> Result<Option<Flag>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT body FROM flag_version WHERE flag = $1 AND change <= $2 ORDER BY version DESC LIMIT 1",
        &[Value::Blob(id.as_bytes()), Value::count(change)?],
        &mut |row| {
            found = Some(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The flag that an objection is about, in the version that it had at a change.
pub fn flag_of_objection(
    connection: &mut dyn Connection,
    objection: ObjectionId,
    change: u64,
) -> Result<Option<Flag>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT flag_version.body FROM objection JOIN flag_version ON flag_version.flag = objection.flag \
         WHERE objection.id = $1 AND flag_version.change <= $2 ORDER BY flag_version.version DESC LIMIT 1",
        &[Value::Blob(objection.as_bytes()), Value::count(change)?],
        &mut |row| {
            found = Some(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// Objections that are open: by the flag's unit and category, how many and how many whose deadline lies before `now_ms`.
pub fn open_objections(
    connection: &mut dyn Connection,
    now_ms: u64,
) -> Result<Vec<(String, Category, u64, u64)>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT flag.unit, flag.category, COUNT(*), SUM(CASE WHEN objection.deadline < $1 THEN 1 ELSE 0 END) \
         FROM objection JOIN flag ON flag.id = objection.flag WHERE objection.state = 'open' \
         GROUP BY flag.unit, flag.category ORDER BY flag.unit, flag.category",
        &[Value::count(now_ms)?],
        &mut |row| {
            let category = Category::parse(row.text(1)?).ok_or(StoreError::Corrupt("an unknown category"))?;
            found.push((row.text(0)?.to_owned(), category, row.count(2)?, row.count(3)?));
            Ok(())
        },
    )?;
    Ok(found)
}
