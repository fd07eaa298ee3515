//! Statements over flags: the current list (`flag`) and every version (`flag_version`). They are found by `sqlite::register`.

use super::{Connection, Row, StoreError, Value};
use crate::domain::{Category, Flag, FlagId, ListedFlag, Subject, Timestamp, Verdict};

/// Stores a new flag; false if the id is taken.
pub fn insert(connection: &mut dyn Connection, flag: &Flag, change: u64) -> Result<bool, StoreError> {
    let linked = linked_text(flag);
    let rows = connection.execute(
        "INSERT INTO flag (id, subject, verdict, category, case_ref, state, version, since, expires_at, document, linked, \
         unit) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING",
        &[
            Value::Blob(flag.id.as_bytes()),
            Value::Text(&flag.subject.canonical()),
            Value::Text(flag.verdict.as_str()),
            Value::Text(flag.category.as_str()),
            Value::Text(&flag.case),
            Value::Text(flag.state.as_str()),
            Value::Int(flag.version.into()),
            optional_time(flag.since)?,
            optional_time(flag.expires_at)?,
            flag.legal_basis.as_ref().map_or(Value::Null, |basis| Value::Text(&basis.document)),
            linked.as_deref().map_or(Value::Null, Value::Text),
            Value::Text(flag.unit().as_str()),
        ],
    )?;
    if rows == 1 {
        insert_version(connection, flag, change)?;
    }
    Ok(rows == 1)
}

/// Replaces the version `replaces` with a newer one; false if that is not the version stored.
pub fn update(connection: &mut dyn Connection, flag: &Flag, replaces: u32, change: u64) -> Result<bool, StoreError> {
    let linked = linked_text(flag);
    let rows = connection.execute(
        "UPDATE flag SET verdict = $1, category = $2, case_ref = $3, state = $4, version = $5, since = $6, \
         expires_at = $7, document = $8, linked = $9, unit = $10 WHERE id = $11 AND version = $12",
        &[
            Value::Text(flag.verdict.as_str()),
            Value::Text(flag.category.as_str()),
            Value::Text(&flag.case),
            Value::Text(flag.state.as_str()),
            Value::Int(flag.version.into()),
            optional_time(flag.since)?,
            optional_time(flag.expires_at)?,
            flag.legal_basis.as_ref().map_or(Value::Null, |basis| Value::Text(&basis.document)),
            linked.as_deref().map_or(Value::Null, Value::Text),
            Value::Text(flag.unit().as_str()),
            Value::Blob(flag.id.as_bytes()),
            Value::Int(replaces.into()),
        ],
    )?;
    if rows == 1 {
        insert_version(connection, flag, change)?;
    }
    Ok(rows == 1)
}

fn insert_version(connection: &mut dyn Connection, flag: &Flag, change: u64) -> Result<(), StoreError> {
    let body = serde_json::to_string(flag).map_err(|_| StoreError::Corrupt("a flag that JSON cannot hold"))?;
    connection.execute(
        "INSERT INTO flag_version (flag, version, change, body) VALUES ($1, $2, $3, $4)",
        &[Value::Blob(flag.id.as_bytes()), Value::Int(flag.version.into()), Value::count(change)?, Value::Text(&body)],
    )?;
    Ok(())
}

fn linked_text(flag: &Flag) -> Option<String> {
    let lines: Vec<String> = flag.linked.iter().map(Subject::canonical).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn optional_time(time: Option<Timestamp>) -> Result<Value<'static>, StoreError> {
    time.map_or(Ok(Value::Null), |time| Value::count(time.as_ms()))
}

/// The versions that the changes after `known` up to `last` wrote, by change.
pub fn changed(connection: &mut dyn Connection, known: u64, last: u64) -> Result<Vec<(u64, Vec<Flag>)>, StoreError> {
    let mut found: Vec<(u64, Vec<Flag>)> = Vec::new();
    connection.query(
        "SELECT change, body FROM flag_version WHERE change > $1 AND change <= $2 ORDER BY change, flag",
        &[Value::count(known)?, Value::count(last)?],
        &mut |row| {
            let (number, flag) = (row.count(0)?, read_flag(row, 1)?);
            match found.last_mut() {
                Some((last, flags)) if *last == number => flags.push(flag),
                _ => found.push((number, vec![flag])),
            }
            Ok(())
        },
    )?;
    Ok(found)
}

/// The newest version of one flag.
pub fn find(connection: &mut dyn Connection, id: FlagId) -> Result<Option<Flag>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT flag_version.body FROM flag JOIN flag_version \
         ON flag_version.flag = flag.id AND flag_version.version = flag.version WHERE flag.id = $1",
        &[Value::Blob(id.as_bytes())],
        &mut |row| {
            found = Some(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

pub(super) fn read_flag(row: &dyn Row, column: usize) -> Result<Flag, StoreError> {
    serde_json::from_str(row.text(column)?).map_err(|_| StoreError::Corrupt("a flag version that cannot be read"))
}

/// Streams every active flag with an id in `first..=last`, in the form that answers need.
pub fn load_listed(
    connection: &mut dyn Connection,
    first: FlagId,
    last: FlagId,
    each: &mut dyn FnMut(ListedFlag<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    connection.query(
        "SELECT id, subject, verdict, category, case_ref, version, since, expires_at, document, linked \
         FROM flag WHERE id >= $1 AND id <= $2 AND state = 'active' ORDER BY id",
        &[Value::Blob(first.as_bytes()), Value::Blob(last.as_bytes())],
        &mut |row| each(read_listed(row)?),
    )
}

/// The lowest and the highest id of all flags.
pub fn id_range(connection: &mut dyn Connection) -> Result<Option<(FlagId, FlagId)>, StoreError> {
    let mut ends = Vec::new();
    for sql in ["SELECT id FROM flag ORDER BY id LIMIT 1", "SELECT id FROM flag ORDER BY id DESC LIMIT 1"] {
        connection.query(sql, &[], &mut |row| {
            ends.push(read_id(row, 0)?);
            Ok(())
        })?;
    }
    Ok(match ends.as_slice() {
        [first, last] => Some((*first, *last)),
        _ => None,
    })
}

fn read_listed(row: &dyn Row) -> Result<ListedFlag<'_>, StoreError> {
    let time = |column| -> Result<Timestamp, StoreError> { row.count(column).map(Timestamp::from_ms) };
    Ok(ListedFlag {
        id: read_id(row, 0)?,
        subject: row.text(1)?.into(),
        verdict: Verdict::parse(row.text(2)?).ok_or(StoreError::Corrupt("an unknown verdict"))?,
        category: Category::parse(row.text(3)?).ok_or(StoreError::Corrupt("an unknown category"))?,
        case: row.text(4)?.into(),
        version: u32::try_from(row.int(5)?).map_err(|_| StoreError::Corrupt("a version over 2^32"))?,
        since: time(6)?,
        expires_at: time(7)?,
        document: row.optional_text(8)?.map(Into::into),
        linked: row.optional_text(9)?.map_or_else(Vec::new, |lines| lines.split('\n').map(Into::into).collect()),
    })
}

pub(super) fn read_id(row: &dyn Row, column: usize) -> Result<FlagId, StoreError> {
    let bytes = row.blob(column)?.try_into();
    bytes.map(FlagId::from_bytes).map_err(|_| StoreError::Corrupt("an id that is not 16 bytes"))
}
