//! Pages of flags as one unit sees them, newest first. A few units are asked for one by one; the flags of many, which own
//! most of what is there, are found by looking through all.

use super::flags::read_id;
use super::{Connection, StoreError, Value};
use crate::domain::party::PartyId;
use crate::domain::{FlagId, FlagState, Subject, Timestamp};
use std::collections::{BTreeSet, HashSet};

/// As many units are asked for one by one.
const FEW_UNITS_MAX: usize = 64;
/// Rows that are looked through at once.
const ROWS_AT_ONCE: u32 = 1000;

pub struct FlagPage {
    /// Whose flags are seen, owned or coordinated.
    pub units: Vec<PartyId>,
    pub state: Option<FlagState>,
    /// The last id of the page before.
    pub before: Option<FlagId>,
    pub now: Timestamp,
    pub rows_max: u32,
}

/// The ids of a page, the newest first.
pub fn ids(connection: &mut dyn Connection, page: &FlagPage) -> Result<Vec<FlagId>, StoreError> {
    let rows_max = usize::try_from(page.rows_max).unwrap_or(usize::MAX);
    if page.units.len() > FEW_UNITS_MAX {
        return look_through(connection, page, rows_max);
    }
    let mut found = BTreeSet::new();
    for unit in &page.units {
        of_unit(connection, page, unit, &mut found)?;
    }
    Ok(found.into_iter().rev().take(rows_max).collect())
}

/// What a state means in columns: the stored state, and between which moments the flag ends.
struct Wanted {
    state: &'static str,
    ends_after: Value<'static>,
    ends_until: Value<'static>,
}

impl Wanted {
    fn of(page: &FlagPage) -> Result<Self, StoreError> {
        let now = Value::count(page.now.as_ms())?;
        let (never, always) = (Value::Int(-1), Value::Int(i64::MAX));
        let (state, ends_after, ends_until) = match page.state {
            None => ("", never, always),
            Some(FlagState::Active) => (FlagState::Active.as_str(), now, always),
            Some(FlagState::Expired) => (FlagState::Active.as_str(), never, now),
            Some(state @ (FlagState::Proposed | FlagState::Rejected | FlagState::Lifted)) => {
                (state.as_str(), never, always)
            }
        };
        Ok(Self { state, ends_after, ends_until })
    }
}

fn before(page: &FlagPage) -> [u8; 16] {
    page.before.map_or([0xff; 16], |id| *id.as_bytes())
}

fn of_unit(
    connection: &mut dyn Connection,
    page: &FlagPage,
    unit: &PartyId,
    found: &mut BTreeSet<FlagId>,
) -> Result<(), StoreError> {
    let (wanted, before) = (Wanted::of(page)?, before(page));
    let values = [
        Value::Text(unit.as_str()),
        Value::Blob(&before),
        Value::Text(wanted.state),
        Value::Text(wanted.state),
        wanted.ends_after,
        wanted.ends_until,
        Value::Int(page.rows_max.into()),
    ];
    for sql in [
        "SELECT id FROM flag WHERE unit = $1 AND id < $2 AND ($3 = '' OR state = $4) \
         AND COALESCE(expires_at, 0) > $5 AND COALESCE(expires_at, 0) <= $6 ORDER BY id DESC LIMIT $7",
        "SELECT flag.id FROM flag_coordinating JOIN flag ON flag.id = flag_coordinating.flag \
         WHERE flag_coordinating.unit = $1 AND flag_coordinating.flag < $2 AND ($3 = '' OR flag.state = $4) \
         AND COALESCE(flag.expires_at, 0) > $5 AND COALESCE(flag.expires_at, 0) <= $6 \
         ORDER BY flag_coordinating.flag DESC LIMIT $7",
    ] {
        connection.query(sql, &values, &mut |row| {
            found.insert(read_id(row, 0)?);
            Ok(())
        })?;
    }
    Ok(())
}

fn look_through(connection: &mut dyn Connection, page: &FlagPage, rows_max: usize) -> Result<Vec<FlagId>, StoreError> {
    let units: HashSet<&str> = page.units.iter().map(PartyId::as_str).collect();
    let wanted = Wanted::of(page)?;
    let (mut found, mut before) = (Vec::new(), before(page));
    let mut coordinated: Option<HashSet<FlagId>> = None;
    loop {
        let mut rows = Vec::new();
        let mut each = |row: &dyn super::Row| -> Result<(), StoreError> {
            rows.push((read_id(row, 0)?, units.contains(row.text(1)?)));
            Ok(())
        };
        let (ends_after, ends_until) = (wanted.ends_after, wanted.ends_until);
        let (before_value, at_once) = (Value::Blob(&before), Value::Int(ROWS_AT_ONCE.into()));
        if page.state.is_none() {
            connection.query(
                "SELECT id, unit FROM flag WHERE id < $1 ORDER BY id DESC LIMIT $2",
                &[before_value, at_once],
                &mut each,
            )?;
        } else {
            connection.query(
                "SELECT id, unit FROM flag WHERE state = $1 AND id < $2 AND COALESCE(expires_at, 0) > $3 \
                 AND COALESCE(expires_at, 0) <= $4 ORDER BY id DESC LIMIT $5",
                &[Value::Text(wanted.state), before_value, ends_after, ends_until, at_once],
                &mut each,
            )?;
        }
        let Some((last, _)) = rows.last() else { return Ok(found) };
        before = *last.as_bytes();
        for (id, owned) in rows {
            if owned || coordinated_by(connection, page, &mut coordinated)?.contains(&id) {
                found.push(id);
            }
            if found.len() == rows_max {
                return Ok(found);
            }
        }
    }
}

/// The flags that any of the units coordinates, read when they are first asked for.
fn coordinated_by<'a>(
    connection: &mut dyn Connection,
    page: &FlagPage,
    known: &'a mut Option<HashSet<FlagId>>,
) -> Result<&'a HashSet<FlagId>, StoreError> {
    let read = match known.take() {
        Some(read) => read,
        None => {
            let mut read = HashSet::new();
            for unit in &page.units {
                connection.query(
                    "SELECT flag FROM flag_coordinating WHERE unit = $1",
                    &[Value::Text(unit.as_str())],
                    &mut |row| {
                        read.insert(read_id(row, 0)?);
                        Ok(())
                    },
                )?;
            }
            read
        }
    };
    Ok(known.insert(read))
}

/// The flags that name a subject or ever did, as their own or by link, the newest first.
pub fn of_subject(connection: &mut dyn Connection, subject: &Subject) -> Result<Vec<FlagId>, StoreError> {
    let canonical = subject.canonical();
    let mut found = BTreeSet::new();
    for sql in ["SELECT id FROM flag WHERE subject = $1", "SELECT flag FROM flag_link WHERE subject = $1"] {
        connection.query(sql, &[Value::Text(&canonical)], &mut |row| {
            found.insert(read_id(row, 0)?);
            Ok(())
        })?;
    }
    Ok(found.into_iter().rev().collect())
}
