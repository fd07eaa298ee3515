//! Statements over flags: the current list (`flag`) and every version (`flag_version`). They are found by `sqlite::register`.

use super::{Connection, Row, Statement, StoreError, Value};
use crate::domain::{Category, Flag, FlagId, ListedFlag, Subject, Timestamp, Verdict};
use std::borrow::Cow;
use std::sync::LazyLock;

/// A version of a flag as it is stored.
pub struct Version<'a> {
    pub flag: &'a Flag,
    /// Its JSON.
    pub body: Cow<'a, str>,
}

impl<'a> Version<'a> {
    fn of(flag: &'a Flag) -> Result<Self, StoreError> {
        let body = serde_json::to_string(flag).map_err(|_| StoreError::Corrupt("a flag that JSON cannot hold"))?;
        Ok(Self { flag, body: body.into() })
    }

    pub fn of_all(flags: &'a [Flag]) -> Result<Vec<Self>, StoreError> {
        flags.iter().map(Self::of).collect()
    }
}

/// Stores a new flag; false if the id is taken.
pub fn insert(connection: &mut dyn Connection, flag: &Flag, change: u64) -> Result<bool, StoreError> {
    insert_all(connection, vec![Version::of(flag)?], change)
}

/// Flags of one statement where it has a way to go: an import brings a million. Nearby a row has a statement of its own, since
/// SQLite copies the pages that a statement of many rows changes, to undo it if it fails half way.
const BULK_ROWS: usize = 16;
const FLAG_COLUMNS: usize = 12;
const VERSION_COLUMNS: usize = 4;
const INSERT_FLAG: &str = "INSERT INTO flag (id, subject, verdict, category, case_ref, state, version, since, \
     expires_at, document, linked, unit)";
const INSERT_VERSION: &str = "INSERT INTO flag_version (flag, version, change, body)";

static INSERT_ONE: LazyLock<String> =
    LazyLock::new(|| format!("{} ON CONFLICT (id) DO NOTHING", with_rows(INSERT_FLAG, FLAG_COLUMNS, 1)));
static INSERT_BULK: LazyLock<String> =
    LazyLock::new(|| format!("{} ON CONFLICT (id) DO NOTHING", with_rows(INSERT_FLAG, FLAG_COLUMNS, BULK_ROWS)));
// A version that is there already is no error of the statement, so that the transaction it is part of can go on.
static INSERT_VERSION_ONE: LazyLock<String> = LazyLock::new(|| {
    format!("{} ON CONFLICT (flag, version) DO NOTHING", with_rows(INSERT_VERSION, VERSION_COLUMNS, 1))
});
static INSERT_VERSION_BULK: LazyLock<String> = LazyLock::new(|| {
    format!("{} ON CONFLICT (flag, version) DO NOTHING", with_rows(INSERT_VERSION, VERSION_COLUMNS, BULK_ROWS))
});

/// A statement with `rows` rows of parameters.
pub(super) fn with_rows(insert: &str, columns: usize, rows: usize) -> String {
    let row = |row: usize| {
        let parameters: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", parameters.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("{insert} VALUES {}", rows.join(", "))
}

/// Stores new flags; false if one of the ids is taken, and then the caller undoes the part. They go in by their ids, so that
/// each is put behind the one before, and pages fill up.
pub fn insert_all(
    connection: &mut dyn Connection,
    mut versions: Vec<Version<'_>>,
    change: u64,
) -> Result<bool, StoreError> {
    versions.sort_by_key(|version| version.flag.id);
    let texts: Vec<(String, Option<String>)> =
        versions.iter().map(|version| (version.flag.subject.canonical(), linked_text(version.flag))).collect();
    let all: Vec<(&Flag, &(String, Option<String>))> =
        versions.iter().map(|version| version.flag).zip(&texts).collect();
    let mut statements = Vec::new();
    for (sql, part) in by_statement(connection.is_far(), &all, &INSERT_ONE, &INSERT_BULK) {
        let mut values = Vec::with_capacity(part.len() * FLAG_COLUMNS);
        for (flag, (subject, linked)) in part {
            values.extend([
                Value::Blob(flag.id.as_bytes()),
                Value::Text(subject),
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
            ]);
        }
        statements.push(Statement { sql, values });
    }
    write(connection, statements, &versions, change)
}

/// The rows of each statement, with one for one row and one for many.
fn by_statement<'a, T>(
    is_far: bool,
    rows: &'a [T],
    one: &'static str,
    bulk: &'static str,
) -> impl Iterator<Item = (&'static str, &'a [T])> {
    let (bulks, rest) = if is_far { rows.as_chunks::<BULK_ROWS>() } else { (&[][..], rows) };
    let bulks = bulks.iter().map(move |part| (bulk, part.as_slice()));
    bulks.chain(rest.chunks(1).map(move |part| (one, part)))
}

/// Runs what makes these versions the newest, and keeps them; false if not each of them was made the newest.
fn write(
    connection: &mut dyn Connection,
    newest: Vec<Statement<'_>>,
    versions: &[Version<'_>],
    change: u64,
) -> Result<bool, StoreError> {
    let made = newest.len();
    let mut statements = newest;
    for (sql, part) in by_statement(connection.is_far(), versions, &INSERT_VERSION_ONE, &INSERT_VERSION_BULK) {
        let mut values = Vec::with_capacity(part.len() * VERSION_COLUMNS);
        for Version { flag, body } in part {
            let version = Value::Int(flag.version.into());
            values.extend([Value::Blob(flag.id.as_bytes()), version, Value::count(change)?, Value::Text(body)]);
        }
        statements.push(Statement { sql, values });
    }
    let touched = connection.execute_all(&statements)?;
    let (made, kept) = touched.split_at_checked(made).ok_or(StoreError::Corrupt("fewer answers than statements"))?;
    let is_all = |touched: &[u64]| usize::try_from(touched.iter().sum::<u64>()) == Ok(versions.len());
    Ok(is_all(made) && is_all(kept))
}

/// The values of the statement below before the ids.
const MOVE_VALUES: usize = 5;
static MOVE_BULK: LazyLock<String> = LazyLock::new(|| {
    let ids: Vec<String> = (1..=BULK_ROWS).map(|place| format!("${}", MOVE_VALUES + place)).collect();
    format!(
        "UPDATE flag SET state = $1, version = $2, since = $3, expires_at = $4 WHERE version = $5 AND id IN ({})",
        ids.join(", ")
    )
});

/// Replaces each flag's last version with the next, in which it moved to another state and nothing else; false if one is no
/// longer in that version, and then the caller undoes the part.
pub fn update_all(connection: &mut dyn Connection, versions: &[Version<'_>], change: u64) -> Result<bool, StoreError> {
    let alike = |flag: &Flag| (flag.state.as_str(), flag.version, flag.since, flag.expires_at);
    let mut sorted: Vec<&Flag> = versions.iter().map(|version| version.flag).collect();
    sorted.sort_by_key(|flag| (alike(flag), flag.id));
    let mut statements = Vec::new();
    for group in sorted.chunk_by(|a, b| alike(a) == alike(b)) {
        for part in group.chunks(BULK_ROWS) {
            let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
            let mut values = vec![
                Value::Text(first.state.as_str()),
                Value::Int(first.version.into()),
                optional_time(first.since)?,
                optional_time(first.expires_at)?,
                Value::Int(i64::from(first.version) - 1),
            ];
            // An id that is named again changes nothing.
            let ids = part.iter().chain(std::iter::repeat(last)).take(BULK_ROWS);
            values.extend(ids.map(|flag| Value::Blob(flag.id.as_bytes())));
            statements.push(Statement { sql: MOVE_BULK.as_str(), values });
        }
    }
    write(connection, statements, versions, change)
}

/// Replaces the version `replaces` with a newer one; false if that is not the version stored.
pub fn update(connection: &mut dyn Connection, flag: &Flag, replaces: u32, change: u64) -> Result<bool, StoreError> {
    let linked = linked_text(flag);
    let values = vec![
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
    ];
    let sql = "UPDATE flag SET verdict = $1, category = $2, case_ref = $3, state = $4, version = $5, since = $6, \
               expires_at = $7, document = $8, linked = $9, unit = $10 WHERE id = $11 AND version = $12";
    write(connection, vec![Statement { sql, values }], &[Version::of(flag)?], change)
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

/// The newest versions of several flags, in the order of their ids.
pub fn find_all(connection: &mut dyn Connection, first: FlagId, last: FlagId) -> Result<Vec<Flag>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT flag_version.body FROM flag JOIN flag_version \
         ON flag_version.flag = flag.id AND flag_version.version = flag.version \
         WHERE flag.id >= $1 AND flag.id <= $2 ORDER BY flag.id",
        &[Value::Blob(first.as_bytes()), Value::Blob(last.as_bytes())],
        &mut |row| {
            found.push(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The newest versions of flags after an id, in the order of ids, whatever their state.
pub fn all_after(
    connection: &mut dyn Connection,
    after: Option<FlagId>,
    rows_max: u32,
) -> Result<Vec<Flag>, StoreError> {
    let after = after.map_or([0; 16], |id| *id.as_bytes());
    let mut found = Vec::new();
    connection.query(
        "SELECT flag_version.body FROM flag JOIN flag_version \
         ON flag_version.flag = flag.id AND flag_version.version = flag.version \
         WHERE flag.id > $1 ORDER BY flag.id LIMIT $2",
        &[Value::Blob(&after), Value::Int(rows_max.into())],
        &mut |row| {
            found.push(read_flag(row, 0)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// A flag by what tells duplicates.
pub struct SubjectOf<'a> {
    pub id: FlagId,
    pub subject: &'a str,
    pub case: &'a str,
    pub unit: &'a str,
}

/// What tells duplicates of each flag that is proposed or answers at a moment, in the order of ids, some at a time; returns
/// the last id that was looked at.
pub fn subjects_after(
    connection: &mut dyn Connection,
    after: Option<FlagId>,
    now: Timestamp,
    rows_max: u32,
    each: &mut dyn FnMut(SubjectOf<'_>),
) -> Result<Option<FlagId>, StoreError> {
    let after = after.map_or([0; 16], |id| *id.as_bytes());
    let mut last = None;
    connection.query(
        "SELECT id, subject, case_ref, state, expires_at, unit FROM flag WHERE id > $1 ORDER BY id LIMIT $2",
        &[Value::Blob(&after), Value::Int(rows_max.into())],
        &mut |row| {
            let id = read_id(row, 0)?;
            last = Some(id);
            let answers = || -> Result<bool, StoreError> {
                Ok(row.optional_int(4)?.is_none_or(|end| u64::try_from(end).is_ok_and(|end| end > now.as_ms())))
            };
            let is_listed = match row.text(3)? {
                "proposed" => true,
                "active" => answers()?,
                _ => false,
            };
            if is_listed {
                each(SubjectOf { id, subject: row.text(1)?, case: row.text(2)?, unit: row.text(5)? });
            }
            Ok(())
        },
    )?;
    Ok(last)
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
