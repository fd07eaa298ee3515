//! Statements over imports: their states, and the parts of their files that have been dealt with.

use super::{Connection, Row, StoreError, Value, flags, lease, units};
use crate::domain::import::{Import, ImportPart, ImportState, ImportStep};
use crate::domain::party::PartyId;
use crate::domain::{FlagId, ImportId};
use std::collections::HashSet;

/// Stores a step with its part and its flags; false if another step came first, or the file was handed in before, or a
/// flag is no longer as the step found it.
pub fn apply(connection: &mut dyn Connection, step: &ImportStep, change: u64) -> Result<bool, StoreError> {
    let is_stored = match step.follows {
        None => insert(connection, step)?,
        Some(follows) => update(connection, step, follows)?,
    };
    if !is_stored {
        return Ok(false);
    }
    if let Some(part) = &step.part {
        insert_part(connection, step.import().id, part)?;
    }
    let versions = step.flags_with_json().map(|(flag, json)| flags::Version { flag, body: json.into() });
    let (new, moved): (Vec<_>, Vec<_>) = versions.partition(|version| version.flag.version == 1);
    Ok(flags::insert_all(connection, new, change)? && flags::update_all(connection, &moved, change)?)
}

fn insert(connection: &mut dyn Connection, step: &ImportStep) -> Result<bool, StoreError> {
    let (import, body) = (step.import(), step.import_json());
    let once = once(import);
    let rows = connection.execute(
        "INSERT INTO import (id, unit, node, state, once, step, body) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT DO NOTHING",
        &[
            Value::Blob(import.id.as_bytes()),
            Value::Text(import.received_by.party.as_str()),
            Value::Text(&step.node),
            Value::Text(import.state.as_str()),
            once.as_deref().map_or(Value::Null, Value::Text),
            Value::count(import.step)?,
            Value::Text(body),
        ],
    )?;
    Ok(rows == 1)
}

fn update(connection: &mut dyn Connection, step: &ImportStep, follows: u64) -> Result<bool, StoreError> {
    let (import, body) = (step.import(), step.import_json());
    // What was once given up stays so: the file may have come again meanwhile.
    let sql = if import.state == ImportState::Failed {
        "UPDATE import SET node = $1, state = $2, once = NULL, step = $3, body = $4 WHERE id = $5 AND step = $6"
    } else {
        "UPDATE import SET node = $1, state = $2, step = $3, body = $4 WHERE id = $5 AND step = $6"
    };
    let rows = connection.execute(
        sql,
        &[
            Value::Text(&step.node),
            Value::Text(import.state.as_str()),
            Value::count(import.step)?,
            Value::Text(body),
            Value::Blob(import.id.as_bytes()),
            Value::count(follows)?,
        ],
    )?;
    Ok(rows == 1)
}

/// What no second import of the unit may have. A dry run may come again.
fn once(import: &Import) -> Option<String> {
    (!import.dry_run).then(|| import.fingerprint())
}

fn insert_part(connection: &mut dyn Connection, import: ImportId, part: &ImportPart) -> Result<(), StoreError> {
    let flags: Vec<u8> = part.flags.iter().flat_map(FlagId::as_bytes).copied().collect();
    connection.execute(
        "INSERT INTO import_part (import, first_row, last_row, flags, report) VALUES ($1, $2, $3, $4, $5)",
        &[
            Value::Blob(import.as_bytes()),
            Value::count(part.first_row)?,
            Value::count(part.last_row)?,
            Value::Blob(&flags),
            Value::Text(&part.report),
        ],
    )?;
    Ok(())
}

/// An import and the node that works on it.
pub fn find(connection: &mut dyn Connection, id: ImportId) -> Result<Option<(Import, String)>, StoreError> {
    let mut found = None;
    connection.query("SELECT body, node FROM import WHERE id = $1", &[Value::Blob(id.as_bytes())], &mut |row| {
        found = Some((read_import(row, 0)?, row.text(1)?.to_owned()));
        Ok(())
    })?;
    Ok(found)
}

/// The import of the same file by the same unit that keeps it from being taken again.
pub fn find_same(connection: &mut dyn Connection, import: &Import) -> Result<Option<Import>, StoreError> {
    let Some(once) = once(import) else { return Ok(None) };
    let unit: &PartyId = &import.received_by.party;
    let mut found = None;
    connection.query(
        "SELECT body FROM import WHERE unit = $1 AND once = $2",
        &[Value::Text(unit.as_str()), Value::Text(&once)],
        &mut |row| {
            found = Some(read_import(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The imports whose files a node has to read yet.
pub fn unread_of(connection: &mut dyn Connection, node: &str) -> Result<HashSet<ImportId>, StoreError> {
    let mut found = HashSet::new();
    connection.query(
        "SELECT id FROM import WHERE node = $1 AND state IN ('received', 'running')",
        &[Value::Text(node)],
        &mut |row| {
            found.insert(id(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// Whether an import's rows are not all taken, and the file lies on another node, which has fallen silent.
pub fn has_lost_its_file(connection: &mut dyn Connection, id: ImportId, node: &str) -> Result<bool, StoreError> {
    let (from, to) = lease::heard_within(connection)?;
    let mut has_lost = false;
    connection.query(
        "SELECT id FROM import WHERE id = $1 AND state IN ('received', 'running') AND node <> $2 AND NOT EXISTS \
         (SELECT 1 FROM log WHERE log.node = import.node AND heard_at > $3 AND heard_at <= $4)",
        &[Value::Blob(id.as_bytes()), Value::Text(node), Value::count(from)?, Value::count(to)?],
        &mut |_| {
            has_lost = true;
            Ok(())
        },
    )?;
    Ok(has_lost)
}

/// The oldest import that a node has to work on. Decisions need no file: any node carries out those of a node that has
/// fallen silent, and should that one wake up, its next step follows none that is there any more.
pub fn next_of(connection: &mut dyn Connection, node: &str) -> Result<Option<Import>, StoreError> {
    let (from, to) = lease::heard_within(connection)?;
    let mut found = None;
    connection.query(
        "SELECT body FROM import WHERE state IN ('received', 'running', 'approving', 'rejecting') AND (node = $1 \
         OR state IN ('approving', 'rejecting') AND NOT EXISTS \
         (SELECT 1 FROM log WHERE log.node = import.node AND heard_at > $2 AND heard_at <= $3)) ORDER BY id LIMIT 1",
        &[Value::Text(node), Value::count(from)?, Value::count(to)?],
        &mut |row| {
            found = Some(read_import(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// Which imports are looked for, the newest first.
#[derive(Clone, Copy)]
pub struct ImportPage {
    pub state: Option<ImportState>,
    pub before: Option<ImportId>,
    pub rows_max: u32,
}

/// A page of imports that these units handed in, and after which one the next page begins: those of all units are looked
/// through, `looked_max` for a page. The key has them in order, and the files of years are a few thousand, so that an index by
/// unit or state would spare next to nothing.
pub fn of_units(
    connection: &mut dyn Connection,
    units: &[PartyId],
    page: &ImportPage,
    looked_max: usize,
) -> Result<(Vec<Import>, Option<ImportId>), StoreError> {
    let state = page.state.map_or("", ImportState::as_str);
    units::page(page.before, page.rows_max, looked_max, &mut |before| {
        let before = before.map_or([0xff; 16], |id| *id.as_bytes());
        let mut found = Vec::new();
        connection.query(
            "SELECT id, unit, body FROM import WHERE id < $1 AND ($2 = '' OR state = $3) ORDER BY id DESC LIMIT $4",
            &[Value::Blob(&before), Value::Text(state), Value::Text(state), Value::Int(units::ROWS_AT_ONCE.into())],
            &mut |row| {
                let unit = row.text(1)?;
                let is_theirs = units.iter().any(|own| own.as_str() == unit);
                found.push((id(row, 0)?, is_theirs.then(|| read_import(row, 2)).transpose()?));
                Ok(())
            },
        )?;
        Ok(found)
    })
}

fn id(row: &dyn Row, column: usize) -> Result<ImportId, StoreError> {
    let bytes = row.blob(column)?.try_into();
    bytes.map(ImportId::from_bytes).map_err(|_| StoreError::Corrupt("an id that is not 16 bytes"))
}

fn read_import(row: &dyn Row, column: usize) -> Result<Import, StoreError> {
    serde_json::from_str(row.text(column)?).map_err(|_| StoreError::Corrupt("an import that cannot be read"))
}

/// The next part after a row.
pub fn part_after(
    connection: &mut dyn Connection,
    import: ImportId,
    row: u64,
) -> Result<Option<ImportPart>, StoreError> {
    Ok(parts_after(connection, import, row, 1)?.pop())
}

/// Some parts after a row, in order.
pub fn parts_after(
    connection: &mut dyn Connection,
    import: ImportId,
    row: u64,
    parts_max: u32,
) -> Result<Vec<ImportPart>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT first_row, last_row, flags, report FROM import_part WHERE import = $1 AND first_row > $2 \
         ORDER BY first_row LIMIT $3",
        &[Value::Blob(import.as_bytes()), Value::count(row)?, Value::Int(parts_max.into())],
        &mut |row| {
            let (ids, rest) = row.blob(2)?.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(StoreError::Corrupt("ids that are not 16 bytes each"));
            }
            found.push(ImportPart {
                first_row: row.count(0)?,
                last_row: row.count(1)?,
                flags: ids.iter().copied().map(FlagId::from_bytes).collect(),
                report: row.text(3)?.to_owned(),
            });
            Ok(())
        },
    )?;
    Ok(found)
}
