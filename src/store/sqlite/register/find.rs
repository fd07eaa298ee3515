//! Finding flags that may be asked for, the newest first. Conditions that few flags meet are looked up by their indexes, the
//! others are compared flag by flag; a budget of time bounds how far one look goes, never what it finds.

use super::Reader;
use super::clauses::{Clauses, Condition, Matched};
use super::write::{Covered, VERSIONS_MAX};
use crate::clock::Stopwatch;
use crate::domain::party::PartyId;
use crate::domain::{FlagConditions, FlagId, Subject, Timestamp};
use crate::store::StoreError;
use rusqlite::types::Value;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

/// Flags of a list that are compared at once.
const LISTED_AT_ONCE: usize = 1_000;
const ONE_BY_ONE_AT_ONCE: usize = 64;
/// Flags of the first window in which words are looked for: most pages are full after it.
const FIRST_WINDOW_PLACES: i64 = 2_000;

/// What is looked for.
pub struct Asked<'a> {
    pub conditions: &'a FlagConditions,
    /// Only flags that one of these units owns or coordinates.
    pub seen_by: &'a [PartyId],
    /// The moment that states are told for.
    pub at: Timestamp,
    pub version: Moment,
    /// Only flags before this place; `None`: all.
    pub before: Option<u64>,
    pub found_max: usize,
}

/// In which version flags are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Newest,
    /// The one that they had at the moment asked for.
    Past,
}

/// How much work a look does in which way; it changes no answer.
#[derive(Clone, Copy)]
pub struct Effort {
    /// After this long a look ends where it has come to.
    pub time_max: Duration,
    /// A condition that at most so many flags meet is looked up by its index.
    pub few_max: usize,
    /// Of so few flags it is asked one by one whether words occur; of more, where the words occur.
    pub one_by_one_max: usize,
    /// Flags that are compared between two looks at the clock.
    pub window_places: i64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { time_max: Duration::from_millis(120), few_max: 20_000, one_by_one_max: 256, window_places: 50_000 }
    }
}

/// What is left of an effort.
pub struct Budget {
    watch: Stopwatch,
    effort: Effort,
}

impl Budget {
    pub fn of(effort: Effort) -> Self {
        Self { watch: Stopwatch::start(), effort }
    }

    pub fn is_spent(&self) -> bool {
        self.watch.elapsed() >= self.effort.time_max
    }
}

/// What one look found.
pub struct Piece {
    /// Places and ids, the newest first.
    pub found: Vec<(u64, FlagId)>,
    /// Before which place to look on; `None`: nothing is left.
    pub next: Option<u64>,
}

impl Reader {
    /// How far the view has come.
    pub fn covered(&mut self) -> Result<Covered, StoreError> {
        Covered::read(&mut self.0)
    }

    /// The flags that name or named a subject, were raised at `from` or later, and have answered checks without an approval.
    pub fn answered_alone_for(&mut self, subject: &Subject, from: Timestamp) -> Result<Vec<FlagId>, StoreError> {
        let sql = "SELECT flag.place, flag.id FROM flag_subject JOIN flag ON flag.place = flag_subject.place \
                   WHERE flag_subject.subject = ? AND flag.raised_at >= ? AND flag.alone = 1 ORDER BY flag.place DESC";
        let from = i64::try_from(from.as_ms()).map_err(|_| StoreError::Corrupt("a time over 2^63"))?;
        let values = [Value::Text(subject.canonical()), Value::Integer(from)];
        let mut found = Vec::new();
        self.rows(sql, &values, &mut |row| {
            found.push(read_found(row)?.1);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Flags that may be asked for, from the newest on: all that are, and perhaps some that are not.
    pub fn look(&mut self, asked: &Asked<'_>, budget: &Budget) -> Result<Piece, StoreError> {
        let Clauses { mut compared, sources } = Clauses::of(self, asked)?;
        let mut few: Option<HashSet<i64>> = None;
        let mut streams = Vec::new();
        for source in sources {
            match self.few(&source.places, budget.effort.few_max)? {
                Some(places) => few = Some(few.map_or_else(|| places.clone(), |others| &others & &places)),
                None => {
                    streams.extend(source.matched);
                    compared.extend(source.otherwise);
                }
            }
        }
        let end = match asked.before {
            Some(before) => i64::try_from(before).map_err(|_| StoreError::Corrupt("a place over 2^63"))?,
            None => i64::MAX,
        };
        let mut look = Look { reader: self, asked, budget, found: Vec::new() };
        let next = match few {
            Some(places) => look.among(places, end, streams, compared)?,
            None if streams.is_empty() => look.through(end, &compared)?,
            None => look.along(end, &streams, &compared)?,
        };
        let next = next.map(|next| u64::try_from(next).map_err(|_| StoreError::Corrupt("a negative place")));
        Ok(Piece { found: look.found, next: next.transpose()? })
    }

    /// All that a source tells; `None` if these are many.
    fn few(&mut self, places: &Condition, few_max: usize) -> Result<Option<HashSet<i64>>, StoreError> {
        let mut found = HashSet::new();
        let mut rows = 0;
        self.rows(&places.sql, &places.values, &mut |row| {
            found.insert(row.get(0)?);
            rows += 1;
            Ok(if rows > few_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((rows <= few_max).then_some(found))
    }

    pub(super) fn rows(
        &mut self,
        sql: &str,
        values: &[Value],
        each: &mut dyn FnMut(&rusqlite::Row<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.inner.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if each(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

struct Look<'a> {
    reader: &'a mut Reader,
    asked: &'a Asked<'a>,
    budget: &'a Budget,
    found: Vec<(u64, FlagId)>,
}

impl Look<'_> {
    /// Compares the flags at some places.
    fn among(
        &mut self,
        places: HashSet<i64>,
        end: i64,
        mut streams: Vec<Matched>,
        mut compared: Vec<Condition>,
    ) -> Result<Option<i64>, StoreError> {
        let mut places: Vec<i64> = places.into_iter().filter(|place| *place < end).collect();
        places.sort_unstable_by_key(|place| std::cmp::Reverse(*place));
        let mut at_once = LISTED_AT_ONCE;
        if places.len() <= self.budget.effort.one_by_one_max {
            compared.extend(streams.drain(..).map(|matched| matched.compared()));
            at_once = ONE_BY_ONE_AT_ONCE;
        } else if streams.iter().any(|matched| matched.is_whole) {
            at_once = places.len();
        }
        for (number, window) in places.chunks(at_once).enumerate() {
            let (Some(first), Some(last)) = (window.first(), window.last()) else { continue };
            if number > 0 && self.budget.is_spent() {
                return Ok(Some(first.saturating_add(1)));
            }
            let hit = self.hit(window.to_vec(), (*last, first.saturating_add(1)), &streams)?;
            if let Some(last) = self.compare(&hit, &compared)? {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    /// Compares the flags before a place in which words occur that occur in many.
    fn along(&mut self, end: i64, streams: &[Matched], compared: &[Condition]) -> Result<Option<i64>, StoreError> {
        let Some((stream, others)) = streams.split_first() else { return Ok(None) };
        let mut end = end.min(self.last_place()?.saturating_add(1));
        let window_places_max = self.budget.effort.window_places;
        let mut window_places = FIRST_WINDOW_PLACES.min(window_places_max);
        while end > 1 {
            let start = match streams.iter().any(|matched| matched.is_whole) {
                true => 1,
                false => end.saturating_sub(window_places).max(1),
            };
            let places = self.hits(stream, (start, end))?;
            let places = self.hit(places, (start, end), others)?;
            if let Some(last) = self.compare(&places, compared)? {
                return Ok(Some(last));
            }
            (end, window_places) = (start, window_places.saturating_mul(4).min(window_places_max));
            if end > 1 && self.budget.is_spent() {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Compares all flags before a place.
    fn through(&mut self, end: i64, compared: &[Condition]) -> Result<Option<i64>, StoreError> {
        let mut end = end.min(self.last_place()?.saturating_add(1));
        let (tail, values) = conjunction(compared);
        let sql =
            format!("SELECT place, id FROM flag NOT INDEXED WHERE place >= ? AND place < ?{tail} ORDER BY place DESC");
        let (found_max, mut last) = (self.asked.found_max, None);
        while end > 1 {
            let start = end.saturating_sub(self.budget.effort.window_places).max(1);
            let mut all = vec![Value::Integer(start), Value::Integer(end)];
            all.extend(values.iter().cloned());
            let found = &mut self.found;
            self.reader.rows(&sql, &all, &mut |row| {
                let (place, id) = read_found(row)?;
                last = keep(found, found_max, place, id).then_some(place);
                Ok(if last.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if last.is_some() {
                return Ok(last);
            }
            end = start;
            if end > 1 && self.budget.is_spent() {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The places of a range at which words occur, the newest first.
    fn hits(&mut self, matched: &Matched, (start, end): (i64, i64)) -> Result<Vec<i64>, StoreError> {
        let Matched { table, query, .. } = matched;
        let sql = format!(
            "SELECT rowid / ? FROM {table} WHERE {table} MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC"
        );
        let row = |place: i64| Value::Integer(place.saturating_mul(ROWS_OF_FLAG));
        let values = [Value::Integer(ROWS_OF_FLAG), Value::Text(query.clone()), row(start), row(end)];
        let mut places = Vec::new();
        self.reader.rows(&sql, &values, &mut |row| {
            places.push(row.get(0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        places.dedup();
        Ok(places)
    }

    /// Those of some places of a range at which the words of all streams occur.
    fn hit(&mut self, mut places: Vec<i64>, range: (i64, i64), streams: &[Matched]) -> Result<Vec<i64>, StoreError> {
        for matched in streams {
            let hits: HashSet<i64> = self.hits(matched, range)?.into_iter().collect();
            places.retain(|place| hits.contains(place));
        }
        Ok(places)
    }

    /// Compares the flags at places that are in order; the place of the last one, if enough are found.
    fn compare(&mut self, places: &[i64], compared: &[Condition]) -> Result<Option<i64>, StoreError> {
        let wanted = "json_each(?) AS wanted CROSS JOIN flag NOT INDEXED ON flag.place = wanted.value";
        let (tail, values) = conjunction(compared);
        let sql = format!("SELECT flag.place, flag.id FROM {wanted} WHERE TRUE{tail}");
        for listed in places.chunks(LISTED_AT_ONCE) {
            let list: Vec<String> = listed.iter().map(i64::to_string).collect();
            let list = Value::Text(format!("[{}]", list.join(",")));
            let all: Vec<Value> = [list].into_iter().chain(values.iter().cloned()).collect();
            let mut found = Vec::new();
            self.reader.rows(&sql, &all, &mut |row| {
                found.push(read_found(row)?);
                Ok(ControlFlow::Continue(()))
            })?;
            found.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
            for (place, id) in found {
                if keep(&mut self.found, self.asked.found_max, place, id) {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }

    fn last_place(&mut self) -> Result<i64, StoreError> {
        let mut last = 0;
        self.reader.rows("SELECT COALESCE(MAX(place), 0) FROM flag", &[], &mut |row| {
            last = row.get(0)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(last)
    }
}

/// Rows of hits that belong to one place.
pub(super) const ROWS_OF_FLAG: i64 = 1 << 20;
const _: () = assert!(VERSIONS_MAX == (1 << 20) - 1, "a version is below the rows of a flag");

/// True if enough are found.
fn keep(found: &mut Vec<(u64, FlagId)>, found_max: usize, place: i64, id: FlagId) -> bool {
    found.push((u64::try_from(place).unwrap_or_default(), id));
    found.len() >= found_max
}

fn conjunction(compared: &[Condition]) -> (String, Vec<Value>) {
    let sql = compared.iter().map(|condition| format!(" AND {}", condition.sql)).collect();
    (sql, compared.iter().flat_map(|condition| condition.values.iter().cloned()).collect())
}

fn read_found(row: &rusqlite::Row<'_>) -> Result<(i64, FlagId), StoreError> {
    let bytes = row.get_ref(1)?.as_blob().ok().and_then(|bytes| bytes.try_into().ok());
    let id = bytes.map(FlagId::from_bytes).ok_or(StoreError::Corrupt("an id that is not 16 bytes"))?;
    Ok((row.get(0)?, id))
}
