//! Reading several logs as one, through one filter: always the entry next that is the earliest of those that come next in
//! each log, of several of one time that of the log with the lowest number. So the entries are in the order of their times,
//! within a log always in that of their indices (neighbours there may stand out of order by the skew), and what comes next
//! follows from nothing but how far each log was read. What is appended meanwhile is neither skipped nor doubled, though it
//! may be of an earlier time than what was read of another log before.

use super::builder::Covered;
use super::filter::LogFilter;
use super::reading::{Found, Piece, Reading};
use crate::domain::{LogPosition, LogPositions};
use crate::store::{self, Connection, StoreError};
use std::collections::VecDeque;
use std::sync::Arc;

/// An entry that matches, and whose log it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundIn {
    pub node: Arc<str>,
    pub found: Found,
}

/// A reading of several logs on its way.
pub struct Merged {
    /// In the order of the logs' numbers.
    logs: Vec<Part>,
}

/// The reading of one of the logs.
struct Part {
    node: Arc<str>,
    reading: Reading,
    /// Found, and not yet given out.
    ahead: VecDeque<Found>,
    /// The last that was given out.
    given: Option<u64>,
}

impl Part {
    /// It is not known what comes next in it, nor that nothing does.
    fn is_waiting(&self) -> bool {
        self.ahead.is_empty() && !self.reading.is_done()
    }
}

impl Merged {
    /// Of all logs, or of that of `node`: in each the entries after its place in `after`, from its beginning where that names
    /// none, and before the end that it has now. The log that `before` names ends there. `None` if a node that is named
    /// has no log.
    pub fn open(
        connection: &mut dyn Connection,
        filter: &LogFilter,
        node: Option<&str>,
        after: &LogPositions,
        before: Option<&LogPosition>,
    ) -> Result<Option<Self>, StoreError> {
        let known = store::log::all(connection)?;
        if !after.nodes().chain(node).all(|named| known.iter().any(|(known, _)| known == named)) {
            return Ok(None);
        }
        let mut logs = Vec::new();
        for (name, log) in known.into_iter().filter(|(name, _)| node.is_none_or(|node| node == name)) {
            let end = before.filter(|before| before.node == name).map(|before| before.index);
            let reading = Reading::of(connection, log, filter.clone(), after.of(&name), end)?;
            logs.push(Part { node: name.into(), reading, ahead: VecDeque::new(), given: None });
        }
        Ok(Some(Self { logs }))
    }

    pub fn is_done(&self) -> bool {
        self.logs.iter().all(|part| part.ahead.is_empty() && part.reading.is_done())
    }

    /// The nodes whose logs are read.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.logs.iter().map(|part| part.node.as_ref())
    }

    /// The last entry before the end of each log, if it has one.
    pub fn ends(&self) -> LogPositions {
        self.positions_by(|part| part.reading.end().checked_sub(1))
    }

    /// Up to where each log was read and given out: a reading that is opened after these goes on where this one stands.
    pub fn positions(&self) -> LogPositions {
        self.positions_by(|part| match part.ahead.front() {
            None => part.reading.looked_at(),
            Some(next) => part.given.or(next.index.checked_sub(1)),
        })
    }

    fn positions_by(&self, index: impl Fn(&Part) -> Option<u64>) -> LogPositions {
        let place = |part| index(part).map(|index| LogPosition { node: part.node.to_string().into(), index });
        // A database has one log of a node.
        LogPositions::new(self.logs.iter().filter_map(place).collect()).unwrap_or_default()
    }

    /// The readings one by one, where the order of time does not matter.
    pub fn into_readings(self) -> impl Iterator<Item = Reading> {
        self.logs.into_iter().map(|part| part.reading)
    }

    /// Reads on until the piece is full or all is read.
    pub fn read(
        &mut self,
        connection: &mut dyn Connection,
        covered: &Covered,
        piece: Piece,
    ) -> Result<Vec<FoundIn>, StoreError> {
        self.read_on(connection, covered, piece, &mut 0)
    }

    /// As `read`, and looks whether anything follows: where it cannot tell within the piece, the reading is not done.
    pub fn page(
        &mut self,
        connection: &mut dyn Connection,
        covered: &Covered,
        piece: Piece,
    ) -> Result<Vec<FoundIn>, StoreError> {
        let mut looked = 0;
        let found = self.read_on(connection, covered, piece, &mut looked)?;
        self.next(connection, covered, Piece { found_max: 1, ..piece }, &mut looked)?;
        Ok(found)
    }

    fn read_on(
        &mut self,
        connection: &mut dyn Connection,
        covered: &Covered,
        piece: Piece,
        looked: &mut u64,
    ) -> Result<Vec<FoundIn>, StoreError> {
        let mut all = Vec::new();
        while all.len() < piece.found_max {
            let rest = Piece { found_max: piece.found_max - all.len(), ..piece };
            let Some(part) = self.next(connection, covered, rest, looked)? else { break };
            let Some(found) = part.ahead.pop_front() else { break };
            part.given = Some(found.index);
            all.push(FoundIn { node: Arc::clone(&part.node), found });
        }
        Ok(all)
    }

    /// The log whose entry comes next. None before each log has one or is at its end, since it might be earlier.
    fn next(
        &mut self,
        connection: &mut dyn Connection,
        covered: &Covered,
        piece: Piece,
        looked: &mut u64,
    ) -> Result<Option<&mut Part>, StoreError> {
        loop {
            let waiting = u64::try_from(self.logs.iter().filter(|part| part.is_waiting()).count()).unwrap_or(u64::MAX);
            let rest = piece.looked_max.saturating_sub(*looked);
            if waiting == 0 {
                break;
            }
            if rest == 0 {
                return Ok(None);
            }
            // Each has its share, so that each piece brings on every log that holds up the others.
            let share = Piece { looked_max: rest.div_ceil(waiting), ..piece };
            for part in self.logs.iter_mut().filter(|part| part.is_waiting()) {
                let mut own = 0;
                part.ahead = part.reading.read_on(connection, covered, share, &mut own)?.into();
                *looked = looked.saturating_add(own);
            }
        }
        let with_next = self.logs.iter_mut().filter(|part| !part.ahead.is_empty());
        // Of equal ones the first.
        Ok(with_next.min_by_key(|part| part.ahead.front().map(|next| next.at)))
    }
}
