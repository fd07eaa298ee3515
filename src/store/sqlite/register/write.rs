//! Writing the officers' view: page after page of versions in the order of their changes, each page with how far it goes in one
//! transaction.

use super::Writer;
use super::unsynced::Unsynced;
use crate::clock::Stopwatch;
use crate::domain::folding::{folded, grams, numbers};
use crate::domain::{Flag, FlagId, FlagMove, LogPosition, Timestamp};
use crate::store::sqlite::SqliteConnection;
use crate::store::{Connection, StoreError, Value};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::time::Duration;

/// Versions whose text can be told apart; those after it find by the text they had before.
pub(super) const VERSIONS_MAX: u32 = (1 << 20) - 1;
/// As many pages are committed together: the more, the less is written in all.
const OPEN_PAGES_MAX: u32 = 16;
/// After much was put in: by then the system has brought most of it to the disk, in its own time.
const SYNCED_AFTER: Duration = Duration::from_secs(60);
/// Words that are known to be in the table; a longer list starts anew.
const WORDS_KNOWN_MAX: usize = 65_536;

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
    version: u32,
    reviewed_at: u64,
    content: i64,
}

/// Words that need not be stored again.
#[derive(Default)]
pub(super) struct KnownWords(HashSet<String>);

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
    pub(super) fn of(connection: SqliteConnection, unsynced: Unsynced) -> Result<Self, StoreError> {
        let mut writer =
            Self { connection, open_pages: 0, words: KnownWords::default(), unsynced, hurried: Stopwatch::start() };
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
        if page.goes_on == GoesOn::Yes {
            self.hurried = Stopwatch::start();
        }
        if self.open_pages == 0 {
            if page.goes_on == GoesOn::Yes && !self.unsynced.is_marked() && self.unsynced.mark()? {
                self.choose_sync()?;
            }
            self.connection.begin()?;
        }
        self.open_pages += 1;
        for version in page.versions {
            put(&mut self.connection, version, &mut self.words)?;
        }
        page.covered.update(&mut self.connection)?;
        let ends = page.goes_on == GoesOn::No || self.open_pages >= OPEN_PAGES_MAX;
        if ends {
            self.commit()?;
        }
        Ok(ends)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.open_pages = 0;
        self.connection.commit()
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

fn put(connection: &mut SqliteConnection, version: &Version, words: &mut KnownWords) -> Result<(), StoreError> {
    let (flag, known) = (&version.flag, known(connection, version.flag.id)?);
    if known.as_ref().is_some_and(|known| known.version >= flag.version) {
        return Ok(());
    }
    let text = flag.searched_text();
    let numbers = all_grams(flag);
    let content = content(&text, &numbers);
    let reviewed_at = match (flag.step().what, &known) {
        (FlagMove::Raise | FlagMove::Approve | FlagMove::Renew | FlagMove::Amend | FlagMove::Merge, _) | (_, None) => {
            flag.step().at.as_ms()
        }
        (FlagMove::Reject | FlagMove::Lift | FlagMove::Transfer, Some(known)) => known.reviewed_at,
    };
    let place = upsert(connection, version, reviewed_at, content)?;
    relate(connection, flag, place, known.as_ref())?;
    if known.is_none_or(|known| known.content != content) && flag.version <= VERSIONS_MAX {
        let row = Value::Int(place.saturating_mul(i64::from(VERSIONS_MAX) + 1).saturating_add(flag.version.into()));
        connection.execute("INSERT INTO flag_text (rowid, words) VALUES ($1, $2)", &[row, Value::Text(&text)])?;
        connection.execute("INSERT INTO flag_number (rowid, grams) VALUES ($1, $2)", &[row, Value::Text(&numbers)])?;
        words.add(connection, &text)?;
    }
    Ok(())
}

fn known(connection: &mut SqliteConnection, id: FlagId) -> Result<Option<Known>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT version, reviewed_at, content FROM flag WHERE id = $1",
        &[Value::Blob(id.as_bytes())],
        &mut |row| {
            let version = u32::try_from(row.int(0)?).map_err(|_| StoreError::Corrupt("a version over 2^32"))?;
            found = Some(Known { version, reviewed_at: row.count(1)?, content: row.int(2)? });
            Ok(())
        },
    )?;
    Ok(found)
}

/// The row of a flag in its newest version; returns its place.
fn upsert(
    connection: &mut SqliteConnection,
    version: &Version,
    reviewed_at: u64,
    content: i64,
) -> Result<i64, StoreError> {
    let (flag, at) = (&version.flag, Value::count(version.at.as_ms())?);
    let time = |time: Option<Timestamp>| time.map_or(Ok(Value::Null), |time| Value::count(time.as_ms()));
    let case_key = folded(&flag.case);
    let mut place = None;
    connection.query(
        "INSERT INTO flag (kind, institution, source, raised_at, first_at, id, state, verdict, category, unit, coordinated, \
         expires_at, changed_at, reviewed_at, version_at, alone, officer, case_key, lacks, version, change, \
         content) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
         ON CONFLICT (id) DO UPDATE SET first_at = MIN(first_at, excluded.first_at), state = excluded.state, \
         verdict = excluded.verdict, category = excluded.category, \
         unit = excluded.unit, coordinated = excluded.coordinated, expires_at = excluded.expires_at, \
         changed_at = excluded.changed_at, reviewed_at = excluded.reviewed_at, version_at = excluded.version_at, \
         alone = excluded.alone, officer = excluded.officer, case_key = excluded.case_key, lacks = excluded.lacks, \
         version = excluded.version, change = excluded.change, content = excluded.content RETURNING place",
        &[
            Value::Text(flag.subject.kind().as_str()),
            Value::Text(flag.subject.institution().unwrap_or_default()),
            Value::Text(flag.source.kind.as_str()),
            Value::count(flag.raised_at.as_ms())?,
            at,
            Value::Blob(flag.id.as_bytes()),
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
        ],
        &mut |row| {
            place = Some(row.int(0)?);
            Ok(())
        },
    )?;
    place.ok_or(StoreError::Corrupt("a flag without a place"))
}

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
        connection.execute(
            "INSERT INTO crowd (subject, place) SELECT subject, MIN(place) FROM flag_subject \
             WHERE subject = $1 AND role = 'own' GROUP BY subject ON CONFLICT (subject) DO NOTHING",
            &[Value::Text(&flag.subject.canonical())],
        )?;
    }
    let own = known.is_none().then_some((&flag.subject, "own"));
    for (subject, role) in own.into_iter().chain(flag.linked.iter().map(|linked| (linked, "linked"))) {
        connection.execute(
            "INSERT INTO flag_subject (subject, place, role) VALUES ($1, $2, $3) \
             ON CONFLICT (subject, place) DO UPDATE SET role = excluded.role WHERE role <> 'own'",
            &[Value::Text(&subject.canonical()), place, Value::Text(role)],
        )?;
    }
    Ok(())
}

fn all_grams(flag: &Flag) -> String {
    let mut all = String::new();
    for number in [&flag.subject].into_iter().chain(&flag.linked).flat_map(numbers) {
        for gram in grams(&number) {
            all.push_str(gram);
            all.push(' ');
        }
    }
    all
}

fn content(text: &str, numbers: &str) -> i64 {
    let digest: [u8; 32] = Sha256::new().chain_update(text).chain_update("\n").chain_update(numbers).finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl KnownWords {
    fn add(&mut self, connection: &mut SqliteConnection, text: &str) -> Result<(), StoreError> {
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if self.0.contains(word) {
                continue;
            }
            connection
                .execute("INSERT INTO word (text) VALUES ($1) ON CONFLICT (text) DO NOTHING", &[Value::Text(word)])?;
            if self.0.len() >= WORDS_KNOWN_MAX {
                self.0.clear();
            }
            self.0.insert(word.to_owned());
        }
        Ok(())
    }
}
