//! What of the flags needs care, as far as columns tell. It names candidates, which are shown only after a look at the store.

use super::Reader;
use crate::domain::party::PartyId;
use crate::domain::{Directory, FlagId, Subject, Timestamp};
use crate::store::{Connection, Row, StoreError, Value};
use std::collections::BTreeMap;

/// Flags of one subject that are looked at.
const OF_SUBJECT_MAX: i64 = 1_000;
/// Candidates of a list that are kept at once, the newest.
const CANDIDATES_MAX: usize = 5_000;

/// A proposal, or an active flag that has not ended.
macro_rules! live {
    ($now:literal) => {
        concat!("(flag.state = 'proposed' OR (flag.state = 'active' AND flag.expires_at > ", $now, "))")
    };
}

macro_rules! seen {
    ($units:literal) => {
        concat!(
            "(flag.unit IN (SELECT value FROM json_each(",
            $units,
            ")) OR (flag.coordinated = 1 AND EXISTS (SELECT 1 FROM flag_coordinating \
             WHERE flag_coordinating.place = flag.place \
             AND flag_coordinating.unit IN (SELECT value FROM json_each(",
            $units,
            ")))))"
        )
    };
}

pub(super) use {live, seen};

/// What a caller sees at a moment.
pub struct Seen {
    /// A JSON array.
    pub(super) units: String,
    at: Timestamp,
}

impl Seen {
    pub fn by(units: &[PartyId], at: Timestamp) -> Result<Self, StoreError> {
        let units = serde_json::to_string(units).map_err(|_| StoreError::Corrupt("units that JSON cannot hold"))?;
        Ok(Self { units, at })
    }

    pub(super) fn at(&self) -> Result<Value<'static>, StoreError> {
        Value::count(self.at.as_ms())
    }
}

/// A subject of several flags, whatever has become of them.
pub struct Crowded {
    pub subject: String,
    /// Of the first of them.
    pub place: u64,
}

/// A flag that is live and seen.
pub struct Live {
    pub id: FlagId,
    pub unit: PartyId,
    /// Its case in the form in which cases are compared.
    pub case: String,
}

/// Moments that tell what is stale.
#[derive(Clone, Copy)]
pub struct Moments {
    /// What was reviewed before needs a review.
    pub reviewed: Timestamp,
    /// What ends until then ends soon.
    pub ends: Timestamp,
}

pub struct StaleFlag {
    pub place: u64,
    pub id: FlagId,
    pub reviewed_at: Timestamp,
}

/// Candidates, the newest first.
pub struct Candidates {
    pub found: Vec<(u64, FlagId)>,
    /// Older ones than this place were left out; `None`: these are all.
    pub cut_at: Option<u64>,
}

/// A live and seen flag that names a subject to which nothing leads.
pub(super) struct Lost {
    pub(super) place: u64,
    id: FlagId,
    pub(super) unit: PartyId,
}

impl Reader {
    /// The flag at a place.
    pub fn id_at(&mut self, place: u64) -> Result<Option<FlagId>, StoreError> {
        let mut found = None;
        self.0.query("SELECT id FROM flag WHERE place = $1", &[Value::count(place)?], &mut |row| {
            found = Some(read_id(row, 0)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Subjects after a canonical text, in the order of these texts.
    pub fn crowded(&mut self, after: &str, rows_max: u32) -> Result<Vec<Crowded>, StoreError> {
        let mut found = Vec::new();
        self.0.query(
            "SELECT subject, place FROM crowd WHERE subject > $1 ORDER BY subject LIMIT $2",
            &[Value::Text(after), Value::Int(rows_max.into())],
            &mut |row| {
                found.push(Crowded { subject: row.text(0)?.to_owned(), place: row.count(1)? });
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// The flags whose own subject it is, in the order of raising.
    pub fn of_subject(&mut self, subject: &str, seen: &Seen) -> Result<Vec<Live>, StoreError> {
        let mut found = Vec::new();
        self.0.query(
            concat!(
                "SELECT flag.id, flag.unit, flag.case_key FROM flag_subject \
                 CROSS JOIN flag ON flag.place = flag_subject.place \
                 WHERE flag_subject.subject = $1 AND flag_subject.role = 'own' AND ",
                live!("$2"),
                " AND ",
                seen!("$3"),
                " ORDER BY flag.place LIMIT $4"
            ),
            &[Value::Text(subject), seen.at()?, Value::Text(&seen.units), Value::Int(OF_SUBJECT_MAX)],
            &mut |row| {
                let (id, unit, case) = (read_id(row, 0)?, read_unit(row, 1)?, row.text(2)?.to_owned());
                found.push(Live { id, unit, case });
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// Active flags that are stale, the newest first.
    pub fn stale(
        &mut self,
        seen: &Seen,
        moments: Moments,
        before: Option<u64>,
        rows_max: u32,
    ) -> Result<Vec<StaleFlag>, StoreError> {
        let mut found = Vec::new();
        self.0.query(
            concat!(
                "SELECT flag.place, flag.id, flag.reviewed_at FROM flag INDEXED BY flag_by_state \
                 WHERE flag.state = 'active' AND flag.place < $1 AND flag.expires_at > $2 \
                 AND (flag.reviewed_at < $3 OR flag.expires_at <= $4) AND ",
                seen!("$5"),
                " ORDER BY flag.place DESC LIMIT $6"
            ),
            &[
                before.map_or(Ok(Value::Int(i64::MAX)), Value::count)?,
                seen.at()?,
                Value::count(moments.reviewed.as_ms())?,
                Value::count(moments.ends.as_ms())?,
                Value::Text(&seen.units),
                Value::Int(rows_max.into()),
            ],
            &mut |row| {
                let reviewed_at = Timestamp::from_ms(row.count(2)?);
                found.push(StaleFlag { place: row.count(0)?, id: read_id(row, 1)?, reviewed_at });
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// Live flags that name a subject to which the directory does not lead.
    pub fn not_led_to(
        &mut self,
        seen: &Seen,
        directory: &Directory,
        before: Option<u64>,
    ) -> Result<Candidates, StoreError> {
        let (mut places, mut cut_at) = (BTreeMap::new(), None);
        self.each_not_led_to(seen, directory, &mut |lost| {
            if before.is_none_or(|before| lost.place < before) {
                places.insert(lost.place, lost.id);
            }
            if places.len() > CANDIDATES_MAX {
                places.pop_first();
                cut_at = places.first_key_value().map(|(place, _)| *place);
            }
        })?;
        Ok(Candidates { found: places.into_iter().rev().collect(), cut_at })
    }

    /// Calls with each live and seen flag once for each subject that it names and the directory does not lead to. Only the
    /// subjects of banks and providers of which that may hold are looked at.
    pub(super) fn each_not_led_to(
        &mut self,
        seen: &Seen,
        directory: &Directory,
        each: &mut dyn FnMut(Lost),
    ) -> Result<(), StoreError> {
        let mut from = String::new();
        while let Some((subject, text)) = self.subject_from(&from)? {
            let end = end_of_group(&text);
            if !directory.leads_to_all_of(&subject) {
                self.0.query(
                    concat!(
                        "SELECT flag_subject.subject, flag.place, flag.id, flag.unit FROM flag_subject \
                         CROSS JOIN flag ON flag.place = flag_subject.place WHERE flag_subject.subject >= $1 \
                         AND flag_subject.subject < $2 AND flag_subject.role <> 'unlinked' AND ",
                        live!("$3"),
                        " AND ",
                        seen!("$4")
                    ),
                    &[Value::Text(&from), Value::Text(&end), seen.at()?, Value::Text(&seen.units)],
                    &mut |row| {
                        if !directory.leads_to(&read_subject(row, 0)?) {
                            each(Lost { place: row.count(1)?, id: read_id(row, 2)?, unit: read_unit(row, 3)? });
                        }
                        Ok(())
                    },
                )?;
            }
            from = end;
        }
        Ok(())
    }

    /// The first subject that is not before this text.
    fn subject_from(&mut self, text: &str) -> Result<Option<(Subject, String)>, StoreError> {
        let mut found = None;
        self.0.query(
            "SELECT subject FROM flag_subject WHERE subject >= $1 ORDER BY subject LIMIT 1",
            &[Value::Text(text)],
            &mut |row| {
                found = Some((read_subject(row, 0)?, row.text(0)?.to_owned()));
                Ok(())
            },
        )?;
        Ok(found)
    }
}

/// After all canonical texts that have the kind of this one, and its bank or provider.
fn end_of_group(text: &str) -> String {
    let parts =
        if Subject::from_canonical(text).is_some_and(|subject| subject.institution().is_some()) { 2 } else { 1 };
    let head: Vec<&str> = text.split(':').take(parts).collect();
    // The character after the colon.
    [&head.join(":"), ";"].concat()
}

pub(super) fn read_id(row: &dyn Row, column: usize) -> Result<FlagId, StoreError> {
    let bytes = row.blob(column)?.try_into();
    bytes.map(FlagId::from_bytes).map_err(|_| StoreError::Corrupt("an id that is not 16 bytes"))
}

pub(super) fn read_unit(row: &dyn Row, column: usize) -> Result<PartyId, StoreError> {
    PartyId::parse(row.text(column)?).ok_or(StoreError::Corrupt("a unit that is none"))
}

fn read_subject(row: &dyn Row, column: usize) -> Result<Subject, StoreError> {
    Subject::from_canonical(row.text(column)?).ok_or(StoreError::Corrupt("a subject that is none"))
}
