//! Numbering changes and storing what they carry. The numbering row is the only thing that writers of different nodes
//! ever wait for.

use super::{Connection, StoreError, Value, access, corrections, flags, imports, objections};
use crate::domain::{Change, LogPosition, Replaces, Timestamp};

/// The number of the last change.
pub fn head(connection: &mut dyn Connection) -> Result<u64, StoreError> {
    let mut number = None;
    connection.query("SELECT number FROM change_head WHERE id = 1", &[], &mut |row| {
        number = Some(row.count(0)?);
        Ok(())
    })?;
    number.ok_or(StoreError::Corrupt("no change_head row"))
}

/// The entry of the act that made a change.
pub fn entry(connection: &mut dyn Connection, number: u64) -> Result<Option<LogPosition>, StoreError> {
    let mut found = None;
    connection.query("SELECT node, log_index FROM change WHERE number = $1", &[Value::count(number)?], &mut |row| {
        found = Some(LogPosition { node: row.text(0)?.to_owned().into(), index: row.count(1)? });
        Ok(())
    })?;
    Ok(found)
}

/// Takes the numbering row until the open transaction ends; returns the number of the last change, which is final.
pub fn hold(connection: &mut dyn Connection) -> Result<u64, StoreError> {
    let mut number = None;
    connection.query("UPDATE change_head SET number = number WHERE id = 1 RETURNING number", &[], &mut |row| {
        number = Some(row.count(0)?);
        Ok(())
    })?;
    number.ok_or(StoreError::Corrupt("no change_head row"))
}

/// The changes after `known` up to `last`, to be put into memory once more: first the access, then the flags in order. A
/// party or a client is given in its newest version alone, with the change that wrote it. To be called in one transaction
/// with what told `last`, so that nothing newer hides what is asked for.
pub fn since(connection: &mut dyn Connection, known: u64, last: u64) -> Result<Vec<(u64, Change)>, StoreError> {
    let replaces = Replaces::Nothing;
    let mut found = Vec::new();
    for (number, party) in access::changed_parties(connection, known, last)? {
        found.push((number, Change::Party { replaces, party }));
    }
    for (number, client) in access::changed_clients(connection, known, last)? {
        found.push((number, Change::Client { replaces, client: Box::new(client) }));
    }
    for (number, flags) in flags::changed(connection, known, last)? {
        found.push((number, Change::Flags(flags)));
    }
    Ok(found)
}

/// Takes the next number, and with it the numbering row until the transaction ends.
pub fn next_number(connection: &mut dyn Connection) -> Result<u64, StoreError> {
    let mut number = None;
    connection.query("UPDATE change_head SET number = number + 1 WHERE id = 1 RETURNING number", &[], &mut |row| {
        number = Some(row.count(0)?);
        Ok(())
    })?;
    number.ok_or(StoreError::Corrupt("no change_head row"))
}

/// Stores a change under its number; false if its precondition fails, and then the caller undoes the part.
pub fn apply(
    connection: &mut dyn Connection,
    change: &Change,
    number: u64,
    at: Timestamp,
    entry: &LogPosition,
) -> Result<bool, StoreError> {
    connection.execute(
        "INSERT INTO change (number, at, node, log_index, kind) VALUES ($1, $2, $3, $4, $5)",
        &[
            Value::count(number)?,
            Value::count(at.as_ms())?,
            Value::Text(&entry.node),
            Value::count(entry.index)?,
            Value::Text(change.kind()),
        ],
    )?;
    for part in change.parts() {
        if !apply_part(connection, part, number)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn apply_part(connection: &mut dyn Connection, change: &Change, number: u64) -> Result<bool, StoreError> {
    match change {
        Change::Flag { replaces: Replaces::Nothing, flag } => flags::insert(connection, flag, number),
        Change::Flag { replaces: Replaces::Version(version), flag } => {
            flags::update(connection, flag, *version, number)
        }
        Change::Flags(new) => flags::insert_all(connection, flags::Version::of_all(new)?, number),
        Change::Import(step) => imports::apply(connection, step, number),
        Change::Party { replaces: Replaces::Nothing, party } => access::insert_party(connection, party, number),
        Change::Party { replaces: Replaces::Version(version), party } => {
            access::update_party(connection, party, *version, number)
        }
        Change::Client { replaces: Replaces::Nothing, client } => access::insert_client(connection, client, number),
        Change::Client { replaces: Replaces::Version(version), client } => {
            access::update_client(connection, client, *version, number)
        }
        Change::Objection { replaces: Replaces::Nothing, objection } => {
            objections::insert(connection, objection, number)
        }
        Change::Objection { replaces: Replaces::Version(version), objection } => {
            objections::update(connection, objection, *version, number)
        }
        Change::Correction(correction) => corrections::apply(connection, correction, number),
        Change::Together(_) => Err(StoreError::Corrupt("a change of changes of changes")),
    }
}
