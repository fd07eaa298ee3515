//! Finding flags that may be asked for, the newest first. Conditions that few flags meet are looked up by their indexes, the
//! others are compared flag by flag; a budget of time bounds how far one look goes, never what it finds.

use super::Reader;
use super::clauses::{Clauses, Condition, Matched};
use super::write::{Covered, VERSIONS_MAX};
use crate::clock::Stopwatch;
use crate::domain::party::PartyId;
use crate::domain::{FlagConditions, FlagId, Timestamp};
use crate::store::StoreError;
use rusqlite::types::Value;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

/// Flags that are looked up one by one between two looks at the clock.
const WINDOW_LISTED: usize = 1_000;

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
    /// Flags that are compared between two looks at the clock.
    pub window_places: i64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { time_max: Duration::from_millis(120), few_max: 20_000, window_places: 50_000 }
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

    /// Flags that may be asked for, from the newest on: all that are, and perhaps some that are not.
    pub fn look(&mut self, asked: &Asked<'_>, budget: &Budget) -> Result<Piece, StoreError> {
        let Clauses { mut compared, sources } = Clauses::of(self, asked)?;
        let mut few: Option<HashSet<i64>> = None;
        let mut stream = None;
        for source in sources {
            match self.few(&source.places, budget.effort.few_max)? {
                Some(places) => few = Some(few.map_or_else(|| places.clone(), |others| &others & &places)),
                None => match source.matched {
                    Some(matched) if stream.is_none() => stream = Some(matched),
                    other => compared.extend(other.map(|matched| matched.compared()).or(source.otherwise)),
                },
            }
        }
        let end = match asked.before {
            Some(before) => i64::try_from(before).map_err(|_| StoreError::Corrupt("a place over 2^63"))?,
            None => i64::MAX,
        };
        let mut look = Look { reader: self, asked, budget, found: Vec::new() };
        let next = match few {
            Some(places) => {
                compared.extend(stream.map(|matched| matched.compared()));
                look.among(places, end, &compared)?
            }
            None => look.through(end, stream.as_ref(), &compared)?,
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
    fn among(&mut self, places: HashSet<i64>, end: i64, compared: &[Condition]) -> Result<Option<i64>, StoreError> {
        let mut places: Vec<i64> = places.into_iter().filter(|place| *place < end).collect();
        places.sort_unstable_by_key(|place| std::cmp::Reverse(*place));
        let wanted = "json_each(?) AS wanted CROSS JOIN flag NOT INDEXED ON flag.place = wanted.value";
        let (tail, values) = conjunction(compared);
        let sql = format!("SELECT flag.place, flag.id FROM {wanted} WHERE TRUE{tail}");
        for window in places.chunks(WINDOW_LISTED) {
            if window.first() != places.first() && self.budget.is_spent() {
                return Ok(window.first().map(|place| place.saturating_add(1)));
            }
            let list: Vec<String> = window.iter().map(i64::to_string).collect();
            let list = Value::Text(format!("[{}]", list.join(",")));
            let all: Vec<Value> = [list].into_iter().chain(values.iter().cloned()).collect();
            let mut found = Vec::new();
            self.reader.rows(&sql, &all, &mut |row| {
                found.push(read_found(row)?);
                Ok(ControlFlow::Continue(()))
            })?;
            found.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
            for (place, id) in found {
                if self.keep(place, id) {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }

    /// Compares all flags before a place, or those that a stream of hits names.
    fn through(
        &mut self,
        end: i64,
        stream: Option<&Matched>,
        compared: &[Condition],
    ) -> Result<Option<i64>, StoreError> {
        let mut end = end.min(self.last_place()?.saturating_add(1));
        let (tail, values) = conjunction(compared);
        let sql = match stream {
            Some(Matched { table, .. }) => format!(
                "SELECT flag.place, flag.id FROM {table} CROSS JOIN flag NOT INDEXED ON flag.place = {table}.rowid / ? \
                 WHERE {table} MATCH ? AND {table}.rowid >= ? AND {table}.rowid < ?{tail} ORDER BY {table}.rowid DESC"
            ),
            None => format!(
                "SELECT place, id FROM flag NOT INDEXED WHERE place >= ? AND place < ?{tail} ORDER BY place DESC"
            ),
        };
        while end > 1 {
            let start = match stream {
                Some(matched) if matched.is_whole => 1,
                Some(_) | None => end.saturating_sub(self.budget.effort.window_places).max(1),
            };
            let mut all = match stream {
                Some(matched) => vec![
                    Value::Integer(ROWS_OF_FLAG),
                    Value::Text(matched.query.clone()),
                    Value::Integer(start.saturating_mul(ROWS_OF_FLAG)),
                    Value::Integer(end.saturating_mul(ROWS_OF_FLAG)),
                ],
                None => vec![Value::Integer(start), Value::Integer(end)],
            };
            all.extend(values.iter().cloned());
            if let Some(last) = self.window(&sql, &all)? {
                return Ok(Some(last));
            }
            end = start;
            if end > 1 && self.budget.is_spent() {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The place of the last one, if enough are found.
    fn window(&mut self, sql: &str, values: &[Value]) -> Result<Option<i64>, StoreError> {
        let (found, found_max) = (&mut self.found, self.asked.found_max);
        let mut last = None;
        self.reader.rows(sql, values, &mut |row| {
            let (place, id) = read_found(row)?;
            last = keep(found, found_max, place, id).then_some(place);
            Ok(if last.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(last)
    }

    fn keep(&mut self, place: i64, id: FlagId) -> bool {
        keep(&mut self.found, self.asked.found_max, place, id)
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

/// True if enough are found. A flag with several hits is found once: they stand beside each other.
fn keep(found: &mut Vec<(u64, FlagId)>, found_max: usize, place: i64, id: FlagId) -> bool {
    if found.last().is_none_or(|(_, last)| *last != id) {
        found.push((u64::try_from(place).unwrap_or_default(), id));
    }
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
