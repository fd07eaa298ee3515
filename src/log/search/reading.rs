//! Reading a log from one place to another through a filter, in pieces. Each piece is a few short reads, so that nothing
//! holds up the database; what was read before a piece ended is never read again.

use super::super::entries_of;
use super::super::view::EntryView;
use super::builder::Covered;
use super::filter::LogFilter;
use super::segment::{SEGMENT_ENTRIES, bucket_of, may_hold, offsets};
use crate::domain::Timestamp;
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, StoreError};
use std::collections::VecDeque;

/// Read ahead while scanning; about as many entries are held at once.
const AHEAD_ENTRIES: u64 = 4096;
const AHEAD_BATCHES_MAX: u64 = 64;
/// A term in more entries of a segment than this is found faster by reading the segment through.
const OFFSETS_MAX: usize = 4096;
/// What looking into the index for one segment costs, in entries looked at.
const SEGMENT_COST: u64 = 256;

/// How much one piece may be.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub found_max: usize,
    /// Entries that are looked at, found or not.
    pub looked_max: u64,
}

/// An entry that matches, as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub index: u64,
    pub at: Timestamp,
    pub bytes: Vec<u8>,
}

/// A reading on its way.
pub struct Reading {
    log: LogNumber,
    filter: LogFilter,
    next: u64,
    end: u64,
    batches: Batches,
}

/// How to get through one segment.
enum Plan {
    Skip,
    Scan,
    /// Only at these offsets.
    Look(Vec<u16>),
}

impl Reading {
    /// Of the entries after `after` and before `end`, or before the end that the log has now. `None` if the node has no log.
    pub fn open(
        connection: &mut dyn Connection,
        node: &str,
        filter: LogFilter,
        after: Option<u64>,
        end: Option<u64>,
    ) -> Result<Option<Self>, StoreError> {
        match store::log::find(connection, node)? {
            Some(log) => Self::of(connection, log, filter, after, end).map(Some),
            None => Ok(None),
        }
    }

    /// As `open`, of a log that is known.
    pub(super) fn of(
        connection: &mut dyn Connection,
        log: LogNumber,
        filter: LogFilter,
        after: Option<u64>,
        end: Option<u64>,
    ) -> Result<Self, StoreError> {
        let (now, _) = store::log::end(connection, log)?;
        let (first, end) = filter.range(connection, log, end.map_or(now, |end| end.min(now)))?;
        let next = first.max(after.map_or(0, |after| after.saturating_add(1)));
        Ok(Self { log, filter, next, end, batches: Batches::default() })
    }

    pub fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// The index of the last entry that needs no more looking at.
    pub fn looked_at(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Where the reading ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Reads on until the piece is full or the reading is done.
    pub fn read(
        &mut self,
        connection: &mut dyn Connection,
        covered: &Covered,
        piece: Piece,
    ) -> Result<Vec<Found>, StoreError> {
        self.read_on(connection, covered, piece, &mut 0)
    }

    /// As `read`, of a piece of which `looked` entries have been looked at already, also in other logs.
    pub(super) fn read_on(
        &mut self,
        connection: &mut dyn Connection,
        covered: &Covered,
        piece: Piece,
        looked: &mut u64,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        while self.next < self.end && found.len() < piece.found_max && *looked < piece.looked_max {
            let segment = self.next - self.next % SEGMENT_ENTRIES;
            let segment_end = self.end.min(segment + SEGMENT_ENTRIES);
            match self.plan(connection, covered, segment) {
                Plan::Skip => {
                    self.next = segment_end;
                    *looked += SEGMENT_COST;
                }
                Plan::Scan => self.scan(connection, segment_end, piece, &mut found, looked)?,
                Plan::Look(places) => {
                    *looked += SEGMENT_COST;
                    let places = places.into_iter().map(|offset| segment + u64::from(offset));
                    self.look(connection, places, segment_end, piece, &mut found, looked)?;
                }
            }
        }
        Ok(found)
    }

    /// The index failing is no reason not to answer.
    fn plan(&self, connection: &mut dyn Connection, covered: &Covered, segment: u64) -> Plan {
        if !covered.holds(self.log, segment) {
            return Plan::Scan;
        }
        self.planned(connection, segment).unwrap_or_else(|error| {
            tracing::warn!(%error, "the search index cannot be read; the log is read instead");
            Plan::Scan
        })
    }

    fn planned(&self, connection: &mut dyn Connection, segment: u64) -> Result<Plan, StoreError> {
        let filter = &self.filter;
        let is_summed_up = filter.party.is_some() || filter.act.is_some() || filter.verdict.is_some();
        if is_summed_up
            && let Some(summary) = store::search::summary(connection, self.log, segment)?
            && !may_hold(&summary, filter)
        {
            return Ok(Plan::Skip);
        }
        let Some(term) = filter.term() else { return Ok(Plan::Scan) };
        let mut found = None;
        store::search::postings(connection, self.log, segment, bucket_of(term), &mut |postings| {
            found = Some(offsets(postings, term));
        })?;
        Ok(match found {
            None => Plan::Scan,
            Some(offsets) if offsets.is_empty() => Plan::Skip,
            Some(offsets) if offsets.len() > OFFSETS_MAX => Plan::Scan,
            Some(offsets) => Plan::Look(offsets),
        })
    }

    fn scan(
        &mut self,
        connection: &mut dyn Connection,
        segment_end: u64,
        piece: Piece,
        found: &mut Vec<Found>,
        looked: &mut u64,
    ) -> Result<(), StoreError> {
        while self.next < segment_end && found.len() < piece.found_max && *looked < piece.looked_max {
            let Some(batch) = self.batches.at(connection, self.log, self.next, AHEAD_BATCHES_MAX)? else {
                self.next = self.end;
                return Ok(());
            };
            for (index, bytes) in (batch.first_index..segment_end).zip(entries_of(&batch.entries)) {
                if index < self.next {
                    continue;
                }
                let bytes = bytes.ok_or(UNREADABLE)?;
                *looked += 1;
                self.next = index + 1;
                let entry = EntryView::read(bytes).ok_or(UNREADABLE)?;
                if self.filter.matches(&entry) {
                    found.push(Found { index, at: entry.at, bytes: bytes.to_vec() });
                    if found.len() >= piece.found_max {
                        return Ok(());
                    }
                }
            }
            self.next = self.next.max(segment_end.min(batch.first_index + batch.size));
        }
        Ok(())
    }

    fn look(
        &mut self,
        connection: &mut dyn Connection,
        places: impl Iterator<Item = u64>,
        segment_end: u64,
        piece: Piece,
        found: &mut Vec<Found>,
        looked: &mut u64,
    ) -> Result<(), StoreError> {
        let first = self.next;
        for index in places.filter(|index| (first..segment_end).contains(index)) {
            if found.len() >= piece.found_max || *looked >= piece.looked_max {
                return Ok(());
            }
            *looked += 1;
            self.next = index + 1;
            let Some(batch) = self.batches.at(connection, self.log, index, 1)? else { continue };
            let Some(offset) = index.checked_sub(batch.first_index) else { continue };
            let bytes = entries_of(&batch.entries).nth(usize::try_from(offset).unwrap_or(usize::MAX));
            let Some(bytes) = bytes else { continue };
            let bytes = bytes.ok_or(UNREADABLE)?;
            let entry = EntryView::read(bytes).ok_or(UNREADABLE)?;
            if self.filter.matches(&entry) {
                found.push(Found { index, at: entry.at, bytes: bytes.to_vec() });
            }
        }
        self.next = segment_end;
        Ok(())
    }
}

const UNREADABLE: StoreError = StoreError::Corrupt("an entry that cannot be read");

/// The batches around where a reading stands.
#[derive(Default)]
struct Batches(VecDeque<LogBatch>);

impl Batches {
    /// The batch that holds `index`, or the first one after it where older entries are gone. Indices never go back.
    fn at(
        &mut self,
        connection: &mut dyn Connection,
        log: LogNumber,
        index: u64,
        at_once_max: u64,
    ) -> Result<Option<&LogBatch>, StoreError> {
        let (mut ended_here, mut size) = (false, 1);
        while let Some(batch) = self.0.pop_front_if(|batch| batch.first_index + batch.size <= index) {
            ended_here = batch.first_index + batch.size == index;
            size = batch.size.max(1);
        }
        if self.0.is_empty() {
            let start = if ended_here { None } else { store::log::batch_at(connection, log, index)? };
            let start = start.filter(|batch| batch.first_index + batch.size > index);
            let start = start.map_or(index, |batch| batch.first_index);
            let at_once = if ended_here { (AHEAD_ENTRIES / size).clamp(1, at_once_max) } else { 1 };
            let at_once = u32::try_from(at_once).unwrap_or(1);
            store::log::stream(connection, log, start, at_once, &mut |batch| {
                self.0.push_back(batch);
                Ok(())
            })?;
        }
        Ok(self.0.front())
    }
}
