//! Statements over corrections: which flags should never have been there, and who must be told. What stands here once is
//! never taken back; completing only adds.

use super::flags::read_id;
use super::{Connection, StoreError, Value};
use crate::domain::party::PartyId;
use crate::domain::{Correction, Findings, FlagId, LogPosition, LogPositions, Timestamp, Told};

/// Opens or completes a correction; false if it is complete already. What is open stays as it was opened: a merged flag is
/// found wrong by itself and with the one that was kept, in either order, and is told once.
pub fn apply(connection: &mut dyn Connection, correction: &Correction, change: u64) -> Result<bool, StoreError> {
    let (flag, findings, rows) = match correction {
        Correction::Open { flag, node, due_at, findings } => {
            let rows = connection.execute(
                "INSERT INTO correction (flag, node, due_at, log_from, log_to, change) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (flag) DO NOTHING",
                &[
                    Value::Blob(flag.as_bytes()),
                    Value::Text(node),
                    Value::count(due_at.as_ms())?,
                    Value::Text(&findings.from.to_string()),
                    Value::Text(&findings.to.to_string()),
                    Value::count(change)?,
                ],
            )?;
            (flag, findings, rows)
        }
        Correction::Complete { flag, at, findings } => {
            let rows = connection.execute(
                "UPDATE correction SET completed_at = $1, log_from = $2, log_to = $3, change = $4 \
                 WHERE flag = $5 AND completed_at IS NULL",
                &[
                    Value::count(at.as_ms())?,
                    Value::Text(&findings.from.to_string()),
                    Value::Text(&findings.to.to_string()),
                    Value::count(change)?,
                    Value::Blob(flag.as_bytes()),
                ],
            )?;
            (flag, findings, rows)
        }
    };
    if rows == 1 {
        for told in &findings.parties {
            tell(connection, *flag, told, change)?;
        }
    }
    Ok(rows == 1 || matches!(correction, Correction::Open { .. }))
}

fn tell(connection: &mut dyn Connection, flag: FlagId, told: &Told, change: u64) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO correction_party (party, flag, checks, first_at, last_at, change) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (flag, party) DO UPDATE SET checks = excluded.checks, first_at = excluded.first_at, \
         last_at = excluded.last_at",
        &[
            Value::Text(told.party.as_str()),
            Value::Blob(flag.as_bytes()),
            Value::count(told.checks)?,
            Value::count(told.first_at.as_ms())?,
            Value::count(told.last_at.as_ms())?,
            Value::count(change)?,
        ],
    )?;
    Ok(())
}

/// A correction as it stands.
pub struct Kept {
    pub completed_at: Option<Timestamp>,
    pub findings: Findings,
}

pub fn find(connection: &mut dyn Connection, flag: FlagId) -> Result<Option<Kept>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT completed_at, log_from, log_to FROM correction WHERE flag = $1",
        &[Value::Blob(flag.as_bytes())],
        &mut |row| {
            let completed_at = row.optional_int(0)?.map(|_| row.count(0)).transpose()?.map(Timestamp::from_ms);
            let (from, to) = (read_positions(row.text(1)?)?, read_positions(row.text(2)?)?);
            found = Some(Kept { completed_at, findings: Findings { parties: Vec::new(), from, to } });
            Ok(())
        },
    )?;
    let Some(mut kept) = found else { return Ok(None) };
    connection.query(
        "SELECT party, checks, first_at, last_at FROM correction_party WHERE flag = $1 ORDER BY party",
        &[Value::Blob(flag.as_bytes())],
        &mut |row| {
            kept.findings.parties.push(Told {
                party: PartyId::parse(row.text(0)?).ok_or(StoreError::Corrupt("a party that is none"))?,
                checks: row.count(1)?,
                first_at: Timestamp::from_ms(row.count(2)?),
                last_at: Timestamp::from_ms(row.count(3)?),
            });
            Ok(())
        },
    )?;
    Ok(Some(kept))
}

/// The flags whose correction can be completed: the node's own from `due_at` on, those of other nodes from `of_others` on.
pub fn due(
    connection: &mut dyn Connection,
    node: &str,
    now: Timestamp,
    of_others: Timestamp,
    rows_max: u32,
) -> Result<Vec<FlagId>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT flag FROM correction WHERE completed_at IS NULL AND due_at <= $1 AND (node = $2 OR due_at <= $3) \
         ORDER BY due_at LIMIT $4",
        &[Value::count(now.as_ms())?, Value::Text(node), Value::count(of_others.as_ms())?, Value::Int(rows_max.into())],
        &mut |row| {
            found.push(read_id(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

fn read_positions(text: &str) -> Result<LogPositions, StoreError> {
    let read = |text: &str| {
        let (node, index) = text.rsplit_once('/')?;
        Some(LogPosition { node: node.to_owned().into(), index: index.parse().ok()? })
    };
    let positions: Option<Vec<_>> = text.split_terminator(',').map(read).collect();
    positions.and_then(LogPositions::new).ok_or(StoreError::Corrupt("a place in a log that cannot be read"))
}
