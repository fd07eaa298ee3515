//! Adding up what is counted of all logs: of each segment what is stored if it is sound, else what is counted here and
//! remembered. Of what was archived before it was counted nothing is known, and the answer says from where on it is whole.

use super::super::SEGMENT_ENTRIES;
use super::count::{Known, count};
use super::{Rules, stored};
use crate::domain::{Amount, Days, Key, LogPosition, LogPositions, Tally};
use crate::store::log::LogNumber;
use crate::store::tally::Head;
use crate::store::{self, Connection, StoreError};
use std::collections::BTreeMap;

/// Entries that one request counts at most; the thread counts the others.
const COUNTED_AT_ONCE_MAX: u64 = 524_288;

/// What was read.
pub enum Read {
    /// The figures are those of the entries of each log from the one at `from` to the one at `to`.
    Whole { from: LogPositions, to: LogPositions },
    /// So many entries are not counted yet.
    Behind(u64),
}

/// What is counted of segments that are not stored: those at the ends of the logs, and those that are not sound.
#[derive(Default)]
pub struct Counts {
    parts: BTreeMap<(LogNumber, u64), Part>,
    known: Known,
}

/// What is counted of a segment, from its beginning or from the first entry that is still there.
struct Part {
    from: u64,
    next: u64,
    tally: Tally,
}

impl Counts {
    /// Hands what was counted on these days to `each`, of all logs up to their ends.
    pub fn read(
        &mut self,
        connection: &mut dyn Connection,
        days: Days,
        each: &mut dyn FnMut(&Key, &Amount),
    ) -> Result<Read, StoreError> {
        let (mut from, mut to, mut behind, mut plans) = (Vec::new(), Vec::new(), 0, Vec::new());
        for (node, log) in store::log::all(connection)? {
            let (first, end) = (store::log::first_index(connection, log)?, store::log::end(connection, log)?.0);
            let heads = store::tally::heads(connection, log, 0)?;
            let heads: BTreeMap<u64, Head> = heads.into_iter().map(|head| (head.first_index, head)).collect();
            let begin = begin(&heads, first);
            behind += self.uncounted(log, begin, first, end, &heads);
            from.push(LogPosition { node: node.clone().into(), index: begin });
            let last = end.checked_sub(1);
            to.extend(last.map(|index| LogPosition { node: node.into(), index }));
            plans.push((log, begin, first, end, heads));
        }
        if behind > COUNTED_AT_ONCE_MAX {
            return Ok(Read::Behind(behind));
        }
        for (log, begin, first, end, heads) in &plans {
            let mut segment = begin - begin % SEGMENT_ENTRIES;
            while segment < *end {
                self.segment(connection, *log, segment, *first, *end, heads.get(&segment), days, each)?;
                segment += SEGMENT_ENTRIES;
            }
        }
        let once = |places| LogPositions::new(places).ok_or(StoreError::Corrupt("a log twice"));
        Ok(Read::Whole { from: once(from)?, to: once(to)? })
    }

    /// Entries that must be counted before an answer.
    fn uncounted(&self, log: LogNumber, begin: u64, first: u64, end: u64, heads: &BTreeMap<u64, Head>) -> u64 {
        let mut uncounted = 0;
        let mut segment = begin - begin % SEGMENT_ENTRIES;
        while segment < end {
            if !heads.contains_key(&segment) {
                let next = self.parts.get(&(log, segment)).map_or(segment.max(first), |part| part.next);
                uncounted += (segment + SEGMENT_ENTRIES).min(end).saturating_sub(next);
            }
            segment += SEGMENT_ENTRIES;
        }
        uncounted
    }

    #[allow(clippy::too_many_arguments)]
    fn segment(
        &mut self,
        connection: &mut dyn Connection,
        log: LogNumber,
        segment: u64,
        first: u64,
        end: u64,
        head: Option<&Head>,
        days: Days,
        each: &mut dyn FnMut(&Key, &Amount),
    ) -> Result<(), StoreError> {
        if head.is_some_and(|head| head.first_day > days.to() || head.last_day < days.from()) {
            return Ok(());
        }
        let of_days = |tally: &Tally, each: &mut dyn FnMut(&Key, &Amount)| {
            tally.iter().filter(|(key, _)| days.contains(key.day)).for_each(|(key, amount)| each(key, amount));
        };
        if let Some(head) = head {
            match stored(connection, log, head)? {
                Some((tally, rules)) if rules == Rules::Current || segment < first => {
                    of_days(&tally, each);
                    // Another node may have stored what was counted here too.
                    self.forget(log, segment);
                    return Ok(());
                }
                Some(_) => {}
                None if segment < first => {
                    return Err(StoreError::Corrupt("a tally of archived entries that is not sound"));
                }
                None if self.parts.contains_key(&(log, segment)) => {}
                None => tracing::warn!(segment, "a tally is not sound; the log is counted"),
            }
        }
        let from = segment.max(first);
        let part = self.parts.entry((log, segment)).or_insert_with(|| Part::new(from));
        if part.from < from {
            // Its older entries were archived before all of it was counted: the figures begin where the log does.
            *part = Part::new(from);
        }
        part.count(connection, log, (segment + SEGMENT_ENTRIES).min(end), &mut self.known)?;
        of_days(&part.tally, each);
        Ok(())
    }

    /// Counts on in a segment, `entries_max` at most, and stores it when all of it is counted. True if it is whole.
    pub(super) fn advance(
        &mut self,
        connection: &mut dyn Connection,
        log: LogNumber,
        segment: u64,
        end: u64,
        entries_max: u64,
    ) -> Result<bool, StoreError> {
        let part = self.parts.entry((log, segment)).or_insert_with(|| Part::new(segment));
        let segment_end = segment + SEGMENT_ENTRIES;
        part.count(connection, log, (part.next + entries_max).min(end).min(segment_end), &mut self.known)?;
        Ok(part.next == segment_end && part.from == segment)
    }

    /// What is counted of a segment that is whole.
    pub(super) fn tally(&self, log: LogNumber, segment: u64) -> Option<&Tally> {
        self.parts.get(&(log, segment)).map(|part| &part.tally)
    }

    /// Up to where a segment is counted.
    pub(super) fn next(&self, log: LogNumber, segment: u64) -> Option<u64> {
        self.parts.get(&(log, segment)).map(|part| part.next)
    }

    /// Forgets a segment that is stored now.
    pub(super) fn forget(&mut self, log: LogNumber, segment: u64) {
        self.parts.remove(&(log, segment));
    }
}

impl Part {
    fn new(from: u64) -> Self {
        Self { from, next: from, tally: Tally::default() }
    }

    /// What fails leaves nothing half counted.
    fn count(
        &mut self,
        connection: &mut dyn Connection,
        log: LogNumber,
        end: u64,
        known: &mut Known,
    ) -> Result<(), StoreError> {
        if end > self.next {
            let mut more = Tally::default();
            count(connection, log, self.next, end, known, &mut more)?;
            more.iter().for_each(|(key, amount)| self.tally.add(key.clone(), amount));
            self.next = end;
        }
        Ok(())
    }
}

/// The first entry from which on all are counted or can be: what is archived counts as far back as its segments are stored.
pub(super) fn begin(heads: &BTreeMap<u64, Head>, first: u64) -> u64 {
    let mut segment = first - first % SEGMENT_ENTRIES;
    let mut begin = if heads.contains_key(&segment) { segment } else { first };
    while begin == segment
        && let Some(before) = segment.checked_sub(SEGMENT_ENTRIES)
        && heads.contains_key(&before)
    {
        (segment, begin) = (before, before);
    }
    begin
}
