//! The parts of the log's table, one a month of UTC. They are made in time; for a month that has none, or that began without
//! one, the last part takes all, so that no batch is ever refused for it.

use super::connection::PostgresConnection;
use crate::domain::Timestamp;
use crate::store::{Connection, StoreError, Value};
use jiff::civil::Date;
use jiff::tz::Offset;
use std::collections::BTreeSet;

/// With the month that is, these are made.
const MONTHS_AHEAD: usize = 2;
/// Held by whoever makes or drops parts, or what is in them.
const PARTS_LOCK: i64 = 0x70_61_72_74_73;

pub(super) struct Month(Date);

impl Month {
    fn of(time: Timestamp) -> Result<Self, StoreError> {
        let second = i64::try_from(time.as_s()).map_err(|_| impossible())?;
        let moment = jiff::Timestamp::from_second(second).map_err(|_| impossible())?;
        Ok(Self(Offset::UTC.to_datetime(moment).date().first_of_month()))
    }

    fn next(&self) -> Result<Self, StoreError> {
        self.0.last_of_month().tomorrow().map(Self).map_err(|_| impossible())
    }

    /// The month of which a table is a part of the log's, if it is one.
    fn of_table(table: &str) -> Option<Self> {
        let (year, month) = table.strip_prefix("log_batch_")?.split_once('_')?;
        let month = Self(Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?);
        (month.table() == table).then_some(month)
    }

    pub(super) fn table(&self) -> String {
        format!("log_batch_{:04}_{:02}", self.0.year(), self.0.month())
    }

    pub(super) fn end_ms(&self) -> Result<i64, StoreError> {
        self.next()?.start_ms()
    }

    pub(super) fn is_over(&self, at: Timestamp) -> Result<bool, StoreError> {
        Ok(u64::try_from(self.end_ms()?).is_ok_and(|end| end <= at.as_ms()))
    }

    pub(super) fn start_ms(&self) -> Result<i64, StoreError> {
        let start = Offset::UTC.to_timestamp(self.0.at(0, 0, 0, 0)).map_err(|_| impossible())?;
        Ok(start.as_millisecond())
    }
}

fn impossible() -> StoreError {
    StoreError::Corrupt("a month outside the calendar")
}

pub(super) fn keep_up(connection: &mut PostgresConnection, now: Timestamp) -> Result<(), StoreError> {
    let mut months = vec![Month::of(now)?];
    for _ in 0..MONTHS_AHEAD {
        let next = months.last().ok_or_else(impossible)?.next()?;
        months.push(next);
    }
    make(connection, &months)
}

impl PostgresConnection {
    /// Makes the parts of the log's table for the months from one moment to another, in the open transaction: for a log that
    /// comes from elsewhere.
    pub fn make_parts(&mut self, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
        let mut months = Vec::new();
        let mut month = Month::of(from)?;
        let end_ms = Month::of(to)?.start_ms()?;
        while month.start_ms()? <= end_ms {
            let next = month.next()?;
            months.push(month);
            month = next;
        }
        make_in_transaction(self, &months)
    }
}

fn make(connection: &mut PostgresConnection, months: &[Month]) -> Result<(), StoreError> {
    let parts = parts(connection)?;
    if months.iter().all(|month| parts.contains(&month.table())) {
        return Ok(());
    }
    connection.begin()?;
    make_in_transaction(connection, months)?;
    connection.commit()
}

fn make_in_transaction(connection: &mut PostgresConnection, months: &[Month]) -> Result<(), StoreError> {
    hold(connection)?;
    // Another node may have made them while this one waited.
    let parts = self::parts(connection)?;
    for month in months {
        let (start, end) = (month.start_ms()?, month.end_ms()?);
        if parts.contains(&month.table()) || has_begun_elsewhere(connection, start, end)? {
            continue;
        }
        connection.run(&part(&month.table(), start, end))?;
    }
    Ok(())
}

/// It is attached, not made as a part, since that would stop all who read and write the table.
fn part(table: &str, start: i64, end: i64) -> String {
    format!(
        "CREATE TABLE {table} (LIKE log_batch INCLUDING ALL); \
         ALTER TABLE {table} ADD PRIMARY KEY (place); \
         ALTER TABLE {table} ADD CHECK (at_max >= {start} AND at_max < {end}); \
         ALTER TABLE log_batch ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end}); \
         CREATE TRIGGER {table}_is_never_emptied BEFORE TRUNCATE ON {table} \
         FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the log is append-only');"
    )
}

/// Waits for whoever makes or drops parts; nobody else does until the transaction ends.
pub(super) fn hold(connection: &mut PostgresConnection) -> Result<(), StoreError> {
    connection.execute("SELECT pg_advisory_xact_lock($1)", &[Value::Int(PARTS_LOCK)]).map(drop)
}

/// The months that have a part, oldest first. The last part is of none.
pub(super) fn months(connection: &mut PostgresConnection) -> Result<Vec<Month>, StoreError> {
    Ok(parts(connection)?.iter().filter_map(|table| Month::of_table(table)).collect())
}

pub(super) fn is_part(connection: &mut PostgresConnection, month: &Month) -> Result<bool, StoreError> {
    Ok(parts(connection)?.contains(&month.table()))
}

fn parts(connection: &mut PostgresConnection) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    connection.query(
        "SELECT inhrelid::REGCLASS::TEXT FROM pg_catalog.pg_inherits WHERE inhparent = 'log_batch'::REGCLASS",
        &[],
        &mut |row| {
            found.insert(row.text(0)?.to_owned());
            Ok(())
        },
    )?;
    Ok(found)
}

/// Whether batches of a time lie in the last part already. What lies there stays there.
fn has_begun_elsewhere(connection: &mut PostgresConnection, start: i64, end: i64) -> Result<bool, StoreError> {
    let mut has = false;
    connection.query(
        "SELECT place FROM log_batch_other WHERE at_max >= $1 AND at_max < $2 LIMIT 1",
        &[Value::Int(start), Value::Int(end)],
        &mut |_| {
            has = true;
            Ok(())
        },
    )?;
    Ok(has)
}
