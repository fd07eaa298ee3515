//! Statements over what archived checks were answered with. It is written in the transaction that records the archive, and
//! never changed.

use super::flags::with_rows;
use super::log::{self, LogNumber};
use super::{Connection, StoreError, Value};
use crate::domain::party::PartyId;
use crate::domain::{AnsweredParties, Answers, FlagId, Timestamp};
use std::sync::LazyLock;

/// Rows of one statement: an archive of years has hundreds of thousands, and each statement is a journey to the server.
const BULK_ROWS: usize = 256;
const COLUMNS: usize = 6;
const INSERT: &str = "INSERT INTO archived_answer (flag, party, place, checks, first_at, last_at)";
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| with_rows(INSERT, COLUMNS, 1));
static INSERT_BULK: LazyLock<String> = LazyLock::new(|| with_rows(INSERT, COLUMNS, BULK_ROWS));

/// What the checks of the archive that begins at an entry were answered with.
pub fn insert_all(
    connection: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
    answered: &AnsweredParties,
) -> Result<(), StoreError> {
    let place = log.place(first_index)?;
    let all: Vec<_> = answered.iter().collect();
    let (bulks, rest) = all.as_chunks::<BULK_ROWS>();
    let parts = bulks.iter().map(|bulk| (INSERT_BULK.as_str(), bulk.as_slice()));
    for (sql, part) in parts.chain(rest.chunks(1).map(|one| (INSERT_ONE.as_str(), one))) {
        let mut values = Vec::with_capacity(part.len() * COLUMNS);
        for ((flag, party), answers) in part {
            values.extend([
                Value::Blob(flag.as_bytes()),
                Value::Text(party.as_str()),
                place,
                Value::count(answers.checks)?,
                Value::count(answers.first_at.as_ms())?,
                Value::count(answers.last_at.as_ms())?,
            ]);
        }
        connection.execute(sql, &values)?;
    }
    Ok(())
}

/// What is kept of the archives of all logs, as it is at one moment.
pub struct Archived {
    /// In the order of the logs' numbers.
    pub logs: Vec<ArchivedLog>,
    /// A party comes once for each archive.
    pub parties: Vec<(PartyId, Answers)>,
}

/// How far a log is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedLog {
    pub node: String,
    /// Where its last archive ends; 0 without one.
    pub end: u64,
    /// From here on it is kept what archived checks were answered with.
    pub answered_from: u64,
}

/// Who was answered with a flag by archived checks.
pub fn archived(connection: &mut dyn Connection, flag: FlagId) -> Result<Archived, StoreError> {
    let mut logs = Vec::new();
    for (node, log) in log::all(connection)? {
        logs.push(archived_log(connection, node, log)?);
    }
    let mut parties = Vec::new();
    connection.query(
        "SELECT party, checks, first_at, last_at FROM archived_answer WHERE flag = $1",
        &[Value::Blob(flag.as_bytes())],
        &mut |row| {
            let party = PartyId::parse(row.text(0)?).ok_or(StoreError::Corrupt("a party that is none"))?;
            let time = |column| row.count(column).map(Timestamp::from_ms);
            parties.push((party, Answers { checks: row.count(1)?, first_at: time(2)?, last_at: time(3)? }));
            Ok(())
        },
    )?;
    Ok(Archived { logs, parties })
}

fn archived_log(connection: &mut dyn Connection, node: String, log: LogNumber) -> Result<ArchivedLog, StoreError> {
    let mut archived = ArchivedLog { node, end: 0, answered_from: 0 };
    connection.query(
        "SELECT place, size, answers FROM log_archive WHERE place >= $1 AND place <= $2 ORDER BY place",
        &[log.place(0)?, log.last_place()?],
        &mut |row| {
            archived.end = log.index(row.count(0)?)?.saturating_add(row.count(1)?);
            if row.optional_int(2)?.is_none() {
                archived.answered_from = archived.end;
            }
            Ok(())
        },
    )?;
    Ok(archived)
}
