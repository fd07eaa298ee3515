//! Statements over objections.

use super::{Connection, Row, StoreError, Value, units};
use crate::domain::party::PartyId;
use crate::domain::{FlagId, LogPosition, Objection, ObjectionId, ObjectionState, Timestamp};
use std::collections::HashMap;

/// Stores a new objection; false if the party has an open one to this flag.
pub fn insert(connection: &mut dyn Connection, objection: &Objection, change: u64) -> Result<bool, StoreError> {
    let body = body(objection)?;
    let rows = connection.execute(
        "INSERT INTO objection (id, flag, party, state, deadline, version, filed, change, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        &[
            Value::Blob(objection.id.as_bytes()),
            Value::Blob(objection.flag.as_bytes()),
            Value::Text(objection.filed_by.party.as_str()),
            Value::Text(objection.state.as_str()),
            Value::count(objection.deadline.as_ms())?,
            Value::Int(objection.version.into()),
            Value::count(change)?,
            Value::count(change)?,
            Value::Text(&body),
        ],
    )?;
    Ok(rows == 1)
}

/// Replaces the version `replaces`; false if that is not the version stored.
pub fn update(
    connection: &mut dyn Connection,
    objection: &Objection,
    replaces: u32,
    change: u64,
) -> Result<bool, StoreError> {
    let body = body(objection)?;
    let rows = connection.execute(
        "UPDATE objection SET state = $1, version = $2, change = $3, body = $4 WHERE id = $5 AND version = $6",
        &[
            Value::Text(objection.state.as_str()),
            Value::Int(objection.version.into()),
            Value::count(change)?,
            Value::Text(&body),
            Value::Blob(objection.id.as_bytes()),
            Value::Int(replaces.into()),
        ],
    )?;
    Ok(rows == 1)
}

pub fn find(connection: &mut dyn Connection, id: ObjectionId) -> Result<Option<Objection>, StoreError> {
    let mut found = None;
    connection.query("SELECT body FROM objection WHERE id = $1", &[Value::Blob(id.as_bytes())], &mut |row| {
        found = Some(read(row, 0)?);
        Ok(())
    })?;
    Ok(found)
}

/// The oldest open objection to a flag.
pub fn open_to(connection: &mut dyn Connection, flag: FlagId) -> Result<Option<ObjectionId>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT id FROM objection WHERE flag = $1 AND state = 'open' ORDER BY id LIMIT 1",
        &[Value::Blob(flag.as_bytes())],
        &mut |row| {
            found = Some(id(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// How many open objections to its flags each unit has, and how many of them are overdue.
pub fn open_of_units(
    connection: &mut dyn Connection,
    now: Timestamp,
) -> Result<HashMap<PartyId, (u64, u64)>, StoreError> {
    let mut found = HashMap::new();
    connection.query(
        "SELECT flag.unit, COUNT(*), COUNT(CASE WHEN objection.deadline < $1 THEN 1 END) FROM objection \
         JOIN flag ON flag.id = objection.flag WHERE objection.state = 'open' GROUP BY flag.unit",
        &[Value::count(now.as_ms())?],
        &mut |row| {
            let unit = PartyId::parse(row.text(0)?).ok_or(StoreError::Corrupt("a unit that is none"))?;
            found.insert(unit, (row.count(1)?, row.count(2)?));
            Ok(())
        },
    )?;
    Ok(found)
}

/// An objection with the entries of the acts that filed and decided it.
pub struct Told {
    pub objection: Objection,
    pub filed: LogPosition,
    pub decided: Option<LogPosition>,
}

/// The newest objections to a flag, the oldest of them first.
pub fn of_flag(connection: &mut dyn Connection, flag: FlagId, rows_max: u32) -> Result<Vec<Told>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT objection.body, filed.node, filed.log_index, decided.node, decided.log_index FROM objection \
         JOIN change AS filed ON filed.number = objection.filed \
         JOIN change AS decided ON decided.number = objection.change \
         WHERE objection.flag = $1 ORDER BY objection.id DESC LIMIT $2",
        &[Value::Blob(flag.as_bytes()), Value::Int(rows_max.into())],
        &mut |row| {
            let entry = |node, index| -> Result<LogPosition, StoreError> {
                Ok(LogPosition { node: row.text(node)?.to_owned().into(), index: row.count(index)? })
            };
            let objection = read(row, 0)?;
            let decided = (objection.state != ObjectionState::Open).then(|| entry(3, 4)).transpose()?;
            found.push(Told { objection, filed: entry(1, 2)?, decided });
            Ok(())
        },
    )?;
    found.reverse();
    Ok(found)
}

/// Which objections are looked for, the newest first.
#[derive(Clone, Copy)]
pub struct ObjectionPage {
    pub state: Option<ObjectionState>,
    /// Only those whose deadline lies before this moment.
    pub overdue_at: Option<Timestamp>,
    pub before: Option<ObjectionId>,
    pub rows_max: u32,
}

/// A page of objections that a party filed, and after which one the next page begins.
pub fn of_party(
    connection: &mut dyn Connection,
    party: &PartyId,
    page: &ObjectionPage,
) -> Result<(Vec<Objection>, Option<ObjectionId>), StoreError> {
    let (before, state) = (before(page), state(page));
    let mut found = Vec::new();
    connection.query(
        "SELECT body FROM objection WHERE party = $1 AND id < $2 AND ($3 = '' OR state = $4) AND deadline < $5 \
         ORDER BY id DESC LIMIT $6",
        &[
            Value::Text(party.as_str()),
            Value::Blob(&before),
            Value::Text(state),
            Value::Text(state),
            deadline(page)?,
            // One more than is shown tells whether there is more.
            Value::Int(i64::from(page.rows_max).saturating_add(1)),
        ],
        &mut |row| {
            found.push(read(row, 0)?);
            Ok(())
        },
    )?;
    let shown = usize::try_from(page.rows_max).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    let last = found.last().filter(|_| more).map(|objection: &Objection| objection.id);
    Ok((found, last))
}

/// A page of objections to flags of these units, and after which one the next page begins: those of all units are looked
/// through, `looked_max` for a page.
pub fn of_units(
    connection: &mut dyn Connection,
    units: &[PartyId],
    page: &ObjectionPage,
    looked_max: usize,
) -> Result<(Vec<Objection>, Option<ObjectionId>), StoreError> {
    units::page(page.before, page.rows_max, looked_max, &mut |before| {
        of_all(connection, units, &ObjectionPage { before, rows_max: units::ROWS_AT_ONCE, ..*page })
    })
}

/// Objections of all parties, each only if one of the units answers it.
fn of_all(
    connection: &mut dyn Connection,
    units: &[PartyId],
    page: &ObjectionPage,
) -> Result<units::Rows<ObjectionId, Objection>, StoreError> {
    let before = before(page);
    let (before, deadline, rows_max) = (Value::Blob(&before), deadline(page)?, Value::Int(page.rows_max.into()));
    let mut found = Vec::new();
    let mut each = |row: &dyn Row| -> Result<(), StoreError> {
        let unit = row.text(0)?;
        let is_theirs = units.iter().any(|own| own.as_str() == unit);
        found.push((id(row, 1)?, is_theirs.then(|| read(row, 2)).transpose()?));
        Ok(())
    };
    match page.state {
        None => connection.query(
            "SELECT flag.unit, objection.id, objection.body FROM objection JOIN flag ON flag.id = objection.flag \
             WHERE objection.id < $1 AND objection.deadline < $2 ORDER BY objection.id DESC LIMIT $3",
            &[before, deadline, rows_max],
            &mut each,
        )?,
        Some(state) => connection.query(
            "SELECT flag.unit, objection.id, objection.body FROM objection JOIN flag ON flag.id = objection.flag \
             WHERE objection.state = $1 AND objection.id < $2 AND objection.deadline < $3 \
             ORDER BY objection.id DESC LIMIT $4",
            &[Value::Text(state.as_str()), before, deadline, rows_max],
            &mut each,
        )?,
    }
    Ok(found)
}

fn before(page: &ObjectionPage) -> [u8; 16] {
    page.before.map_or([0xff; 16], |id| *id.as_bytes())
}

fn state(page: &ObjectionPage) -> &'static str {
    page.state.map_or("", ObjectionState::as_str)
}

fn deadline(page: &ObjectionPage) -> Result<Value<'static>, StoreError> {
    page.overdue_at.map_or(Ok(Value::Int(i64::MAX)), |at| Value::count(at.as_ms()))
}

fn body(objection: &Objection) -> Result<String, StoreError> {
    serde_json::to_string(objection).map_err(|_| StoreError::Corrupt("an objection that JSON cannot hold"))
}

fn id(row: &dyn Row, column: usize) -> Result<ObjectionId, StoreError> {
    let bytes = row.blob(column)?.try_into();
    bytes.map(ObjectionId::from_bytes).map_err(|_| StoreError::Corrupt("an id that is not 16 bytes"))
}

fn read(row: &dyn Row, column: usize) -> Result<Objection, StoreError> {
    serde_json::from_str(row.text(column)?).map_err(|_| StoreError::Corrupt("an objection that cannot be read"))
}
