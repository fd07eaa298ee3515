//! Writing the officers' view: page after page of versions in the order of their changes, each page with how far it goes in one
//! transaction.

use super::texts::{Text, Texts};
use super::unsynced::Unsynced;
use super::{Writer, failed};
use crate::clock::Stopwatch;
use crate::domain::folding::folded;
use crate::domain::{Flag, FlagId, FlagMove, LogPosition, Timestamp};
use crate::store::sqlite::SqliteConnection;
use crate::store::{Connection, StoreError, Value};
use std::fs::File;
use std::time::Duration;

/// Versions whose text can be told apart; those after it find by the text they had before.
pub(super) const VERSIONS_MAX: u32 = (1 << 20) - 1;
/// As many pages are committed together: the more, the less is written in all.
const OPEN_PAGES_MAX: u32 = 32;
/// The commits of so many at once are left to the system, which need not bring them to the disk one by one.
const MUCH_VERSIONS: usize = 100;
/// After much was put in: by then nothing of it is left that the disk would be busy with for long.
const SYNCED_AFTER: Duration = Duration::from_secs(60);

/// Of which registry the view is, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    pub registry: String,
    pub created_at: Timestamp,
    /// All changes up to this number are in.
    pub change: u64,
    /// The entry of that change; none of change 0.
    pub entry: LogPosition,
    /// Of the next change that is partly in: its number and its last flag that is in.
    pub part: Option<(u64, FlagId)>,
}

/// A version of a flag as a change wrote it.
pub struct Version {
    pub flag: Flag,
    pub change: u64,
    pub at: Timestamp,
}

/// What the view holds of a flag already.
struct Known {
    place: i64,
    version: u32,
    reviewed_at: u64,
    content: i64,
}

impl Covered {
    /// The mark of a view that holds nothing yet.
    pub fn nothing(registry: String, created_at: Timestamp) -> Self {
        let entry = LogPosition { node: String::new().into(), index: 0 };
        Self { registry, created_at, change: 0, entry, part: None }
    }

    pub(super) fn insert(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        connection.execute(
            "INSERT INTO covered (id, registry, created_at, change, change_node, change_index, part_change, part_flag) \
             VALUES (1, $1, $2, 0, '', 0, 0, X'')",
            &[Value::Text(&self.registry), Value::count(self.created_at.as_ms())?],
        )?;
        Ok(())
    }

    pub(super) fn read(connection: &mut dyn Connection) -> Result<Self, StoreError> {
        let mut found = None;
        connection.query(
            "SELECT registry, created_at, change, change_node, change_index, part_change, part_flag FROM covered WHERE id = 1",
            &[],
            &mut |row| {
                let part = <[u8; 16]>::try_from(row.blob(6)?).ok().map(FlagId::from_bytes);
                found = Some(Self {
                    registry: row.text(0)?.to_owned(),
                    created_at: Timestamp::from_ms(row.count(1)?),
                    change: row.count(2)?,
                    entry: LogPosition { node: row.text(3)?.to_owned().into(), index: row.count(4)? },
                    part: part.map(|flag| Ok::<_, StoreError>((row.count(5)?, flag))).transpose()?,
                });
                Ok(())
            },
        )?;
        found.ok_or(StoreError::Corrupt("a register without its mark"))
    }

    fn update(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let (part_change, part_flag) =
            self.part.as_ref().map_or((0, &[][..]), |(change, flag)| (*change, flag.as_bytes()));
        connection.execute(
            "UPDATE covered SET change = $1, change_node = $2, change_index = $3, part_change = $4, part_flag = $5 WHERE id = 1",
            &[
                Value::count(self.change)?,
                Value::Text(&self.entry.node),
                Value::count(self.entry.index)?,
                Value::count(part_change)?,
                Value::Blob(part_flag),
            ],
        )?;
        Ok(())
    }
}

/// What is put in at once.
pub struct WrittenPage<'a> {
    pub versions: &'a [Version],
    /// What is covered with it.
    pub covered: &'a Covered,
    /// Whether more follow at once. Then it is committed with some of those, and seen by nobody before.
    pub goes_on: GoesOn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum GoesOn {
    Yes,
    No,
}

impl Writer {
    pub(super) fn of(connection: SqliteConnection, unsynced: Unsynced, main: File) -> Result<Self, StoreError> {
        let mut writer =
            Self { connection, open_pages: 0, texts: Texts::default(), unsynced, hurried: Stopwatch::start(), main };
        writer.choose_sync()?;
        Ok(writer)
    }

    /// Leaves to the system what is written, while that is marked; else the WAL is on the disk before it goes into the file.
    fn choose_sync(&mut self) -> Result<(), StoreError> {
        let synchronous = if self.unsynced.is_marked() { "OFF" } else { "NORMAL" };
        Ok(self.connection.inner.pragma_update(None, "synchronous", synchronous)?)
    }

    /// With what is not yet committed.
    pub fn covered(&mut self) -> Result<Covered, StoreError> {
        Covered::read(&mut self.connection)
    }

    /// Writes a page, in the order given; true if it is committed, whole, with those before it. After an error the writer is of
    /// no more use, and what was not committed is undone.
    pub fn write(&mut self, page: &WrittenPage<'_>) -> Result<bool, StoreError> {
        let is_much = page.goes_on == GoesOn::Yes || page.versions.len() >= MUCH_VERSIONS;
        if is_much {
            self.hurried = Stopwatch::start();
        }
        if self.open_pages == 0 {
            if is_much && !self.unsynced.is_marked() && self.unsynced.mark()? {
                self.choose_sync()?;
            }
            self.connection.begin()?;
        }
        self.open_pages += 1;
        let mut texts = Vec::new();
        for version in page.versions {
            texts.extend(put(&mut self.connection, version)?);
        }
        page.covered.update(&mut self.connection)?;
        self.texts.put(&mut self.connection, texts)?;
        let ends = page.goes_on == GoesOn::No || self.open_pages >= OPEN_PAGES_MAX;
        if ends {
            self.commit()?;
        }
        Ok(ends)
    }

    /// What has gone into the main file is brought to the disk bit by bit even where commits are not: the system would do it all
    /// at once when it is half a minute old, and keep the log's commits waiting.
    fn commit(&mut self) -> Result<(), StoreError> {
        self.open_pages = 0;
        self.connection.commit()?;
        if self.unsynced.is_marked() && self.connection.is_folded()? {
            self.main.sync_data().map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Brings to the disk what was left to the system, once that has had its time. To be called when nothing goes on.
    pub fn rest(&mut self) -> Result<(), StoreError> {
        if self.unsynced.is_marked() && self.hurried.elapsed() >= SYNCED_AFTER { self.sync() } else { Ok(()) }
    }

    /// By SQLite's own hand: who closes the file elsewhere in the process takes away its locks. The file is on the disk, with
    /// all that was written to it before, when everything has come into it from the WAL; where a reader is in the way it stays
    /// marked.
    fn sync(&mut self) -> Result<(), StoreError> {
        self.connection.inner.pragma_update(None, "synchronous", "NORMAL")?;
        // Without anything in the WAL the file would not be looked at.
        self.connection.begin()?;
        self.connection.execute("UPDATE covered SET change_node = change_node || '.' WHERE id = 1", &[])?;
        self.connection.execute(
            "UPDATE covered SET change_node = substr(change_node, 1, length(change_node) - 1) WHERE id = 1",
            &[],
        )?;
        self.connection.commit()?;
        let mut is_whole = false;
        self.connection.query("PRAGMA wal_checkpoint(PASSIVE)", &[], &mut |row| {
            is_whole = row.int(0)? == 0 && row.int(1)? == row.int(2)?;
            Ok(())
        })?;
        if is_whole {
            self.unsynced.unmark()?;
        }
        self.choose_sync()
    }

    /// Brings everything into the main file, for a clean end.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.open_pages > 0 {
            self.commit()?;
        }
        if self.unsynced.is_marked() {
            self.sync()?;
        }
        self.connection.settle()
    }
}

/// A version's text with its row, if it is new.
fn put(connection: &mut SqliteConnection, version: &Version) -> Result<Option<(i64, Text)>, StoreError> {
    let flag = &version.flag;
    let known = if flag.version == 1 { None } else { known(connection, flag.id)? };
    if known.as_ref().is_some_and(|known| known.version >= flag.version) {
        return Ok(None);
    }
    let text = Text::of(flag);
    let content = text.hash();
    let reviewed_at = match (flag.step().what, &known) {
        (FlagMove::Raise | FlagMove::Approve | FlagMove::Renew | FlagMove::Amend | FlagMove::Merge, _) | (_, None) => {
            flag.step().at.as_ms()
        }
        (FlagMove::Reject | FlagMove::Lift | FlagMove::Transfer, Some(known)) => known.reviewed_at,
    };
    let Some(place) = write_row(connection, version, known.as_ref(), reviewed_at, content)? else {
        return Ok(None);
    };
    relate(connection, flag, place, known.as_ref())?;
    let is_new = known.is_none_or(|known| known.content != content) && flag.version <= VERSIONS_MAX;
    let row = place.saturating_mul(i64::from(VERSIONS_MAX) + 1).saturating_add(flag.version.into());
    Ok(is_new.then_some((row, text)))
}

fn known(connection: &mut SqliteConnection, id: FlagId) -> Result<Option<Known>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT place, version, reviewed_at, content FROM flag WHERE id = $1",
        &[Value::Blob(id.as_bytes())],
        &mut |row| {
            let version = u32::try_from(row.int(1)?).map_err(|_| StoreError::Corrupt("a version over 2^32"))?;
            found = Some(Known { place: row.int(0)?, version, reviewed_at: row.count(2)?, content: row.int(3)? });
            Ok(())
        },
    )?;
    Ok(found)
}

/// Puts a flag's row into its newest version; returns its place, or nothing if it is there and was not known. Two statements,
/// since one for both would keep a journal.
fn write_row(
    connection: &mut SqliteConnection,
    version: &Version,
    known: Option<&Known>,
    reviewed_at: u64,
    content: i64,
) -> Result<Option<i64>, StoreError> {
    let (flag, at) = (&version.flag, Value::count(version.at.as_ms())?);
    let time = |time: Option<Timestamp>| time.map_or(Ok(Value::Null), |time| Value::count(time.as_ms()));
    let case_key = folded(&flag.case);
    let newest = [
        Value::Text(flag.state.as_str()),
        Value::Text(flag.verdict.as_str()),
        Value::Text(flag.category.as_str()),
        Value::Text(flag.unit().as_str()),
        Value::Int((!flag.coordinating.is_empty()).into()),
        time(flag.expires_at)?,
        Value::count(flag.step().at.as_ms())?,
        Value::count(reviewed_at)?,
        at,
        Value::Int(flag.is_urgent_alone().into()),
        Value::Text(flag.officer().as_str()),
        Value::Text(&case_key),
        Value::Int(i64::from(flag.legal_basis.is_none()) + 2 * i64::from(case_key.is_empty())),
        Value::Int(flag.version.into()),
        Value::count(version.change)?,
        Value::Int(content),
    ];
    let (sql, rest) = match known {
        Some(known) => (UPDATE_FLAG, vec![Value::Int(known.place)]),
        None => {
            let id = Value::Blob(flag.id.as_bytes());
            let kind = Value::Text(flag.subject.kind().as_str());
            let institution = Value::Text(flag.subject.institution().unwrap_or_default());
            let source = Value::Text(flag.source.kind.as_str());
            (INSERT_FLAG, vec![id, kind, institution, source, Value::count(flag.raised_at.as_ms())?])
        }
    };
    let written = connection.execute(sql, &[newest.as_slice(), &rest].concat())?;
    let place = known.map_or_else(|| connection.inner.last_insert_rowid(), |known| known.place);
    Ok((written > 0).then_some(place))
}

const UPDATE_FLAG: &str = "UPDATE flag SET state = $1, verdict = $2, category = $3, unit = $4, coordinated = $5, \
     expires_at = $6, changed_at = $7, reviewed_at = $8, first_at = MIN(first_at, $9), version_at = $9, alone = $10, \
     officer = $11, case_key = $12, lacks = $13, version = $14, change = $15, content = $16 WHERE place = $17";
const INSERT_FLAG: &str = "INSERT INTO flag (state, verdict, category, unit, coordinated, expires_at, changed_at, \
     reviewed_at, first_at, version_at, alone, officer, case_key, lacks, version, change, content, id, kind, institution, \
     source, raised_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
     $20, $21) ON CONFLICT (id) DO NOTHING";

/// The subjects and the units that a flag names beside its own.
fn relate(connection: &mut SqliteConnection, flag: &Flag, place: i64, known: Option<&Known>) -> Result<(), StoreError> {
    let place = Value::Int(place);
    if known.is_some() {
        connection.execute("UPDATE flag_subject SET role = 'unlinked' WHERE place = $1 AND role <> 'own'", &[place])?;
        connection.execute("DELETE FROM flag_coordinating WHERE place = $1", &[place])?;
    }
    for unit in &flag.coordinating {
        connection.execute(
            "INSERT INTO flag_coordinating (unit, place) VALUES ($1, $2) ON CONFLICT (unit, place) DO NOTHING",
            &[Value::Text(unit.as_str()), place],
        )?;
    }
    if known.is_none() {
        let subject = flag.subject.canonical();
        crowd(connection, &subject)?;
        connection.execute(
            "INSERT INTO flag_subject (subject, place, role) VALUES ($1, $2, 'own')",
            &[Value::Text(&subject), place],
        )?;
    }
    for linked in &flag.linked {
        connection.execute(
            "INSERT INTO flag_subject (subject, place, role) VALUES ($1, $2, 'linked') \
             ON CONFLICT (subject, place) DO UPDATE SET role = excluded.role WHERE role <> 'own'",
            &[Value::Text(&linked.canonical()), place],
        )?;
    }
    Ok(())
}

/// Notes a subject that is the own one of a flag already.
fn crowd(connection: &mut SqliteConnection, subject: &str) -> Result<(), StoreError> {
    let subject = Value::Text(subject);
    let mut first = None;
    connection.query(
        "SELECT place FROM flag_subject WHERE subject = $1 AND role = 'own' ORDER BY place LIMIT 1",
        &[subject],
        &mut |row| {
            first = Some(row.int(0)?);
            Ok(())
        },
    )?;
    if let Some(place) = first {
        connection.execute(
            "INSERT INTO crowd (subject, place) VALUES ($1, $2) ON CONFLICT (subject) DO NOTHING",
            &[subject, Value::Int(place)],
        )?;
    }
    Ok(())
}
