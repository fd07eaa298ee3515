//! What one transaction of the writer holds: records become entries, changes get their numbers. Nothing of it is true before
//! the commit, and a record that fails alone leaves nothing behind.

use super::SKEW_MS_MAX;
use super::door::Publish;
use super::merkle::Hash;
use super::record::{AppendError, Changing, Kind, Record, Refusal};
use super::tree::{Head, Tree};
use crate::domain::{Change, LogPosition, Made, Timestamp};
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, StoreError};

pub(super) struct Draft {
    pub(super) batch: LogBatch,
    /// When it was begun.
    now: Timestamp,
    /// By record.
    pub(super) results: Vec<Result<LogPosition, AppendError>>,
    /// Changes of other nodes that precede those made here.
    others: Vec<(u64, Change)>,
    /// Changes made here: their numbers, and the records that brought them.
    made: Vec<(u64, usize)>,
    /// Number of the last of all these changes; 0 if there are none.
    pub(super) version: u64,
    /// The tree, if it was signed.
    pub(super) head: Option<Head>,
}

impl Draft {
    /// An empty one after the last entry of a log.
    pub(super) fn after(next_index: u64, latest: Timestamp, now: Timestamp, records: usize) -> Self {
        let at_min = Timestamp::from_ms(u64::MAX);
        Self {
            batch: LogBatch { first_index: next_index, size: 0, at_min, at_max: latest, entries: Vec::new() },
            now,
            results: Vec::with_capacity(records),
            others: Vec::new(),
            made: Vec::new(),
            version: 0,
            head: None,
        }
    }

    /// How many entries the log has with this.
    pub(super) fn end(&self) -> u64 {
        self.batch.first_index + self.batch.size
    }

    /// Takes the numbering of changes until the commit, and learns what other nodes changed before.
    pub(super) fn catch_up(
        &mut self,
        connection: &mut dyn Connection,
        publish: &dyn Publish,
    ) -> Result<(), StoreError> {
        let last = store::changes::hold(connection)?;
        let known = publish.known();
        if last > known {
            self.others = store::changes::since(connection, known, last)?;
            self.version = last;
        }
        Ok(())
    }

    /// Adds one record to the open transaction. An error ends the batch; a result that is none ends only the record.
    pub(super) fn add(
        &mut self,
        connection: &mut dyn Connection,
        log: LogNumber,
        node: &'static str,
        tree: &mut Tree,
        record: &Record,
    ) -> Result<(), StoreError> {
        let position = LogPosition { node: node.into(), index: self.end() };
        let (at, latest) = (record.at(), self.batch.at_max);
        // Late for the log, or for all who count on that nothing older can come into it: a process may have been stopped.
        let written = if at.plus_ms(SKEW_MS_MAX) < latest.max(self.now) {
            Err(AppendError::TooLate)
        } else {
            self.write(connection, log, &position, record)?
        };
        self.results.push(written.map(|leaf| {
            tree.push(leaf);
            self.batch.size += 1;
            self.batch.at_min = self.batch.at_min.min(at);
            self.batch.at_max = latest.max(at);
            position
        }));
        Ok(())
    }

    fn write(
        &mut self,
        connection: &mut dyn Connection,
        log: LogNumber,
        position: &LogPosition,
        record: &Record,
    ) -> Result<Result<Hash, AppendError>, StoreError> {
        match &record.0 {
            Kind::Reading { bundle, leaf, .. } => {
                self.batch.entries.extend_from_slice(bundle);
                Ok(Ok(*leaf))
            }
            Kind::Changing(changing) => {
                connection.begin_part()?;
                let written = self.write_change(connection, changing, position)?;
                match written {
                    Ok(_) => connection.keep_part()?,
                    Err(_) => connection.undo_part()?,
                }
                Ok(written)
            }
            Kind::Telling(telling) => {
                let before = self.batch.entries.len();
                let Ok(leaf) = telling.entry.encode(&mut self.batch.entries) else {
                    return Ok(Err(AppendError::TooLarge));
                };
                let (at, outcome) = (telling.entry.at, &telling.outcome);
                if store::outcomes::insert(connection, telling.check, outcome, at, position)? {
                    return Ok(Ok(leaf));
                }
                self.batch.entries.truncate(before);
                Ok(Err(AppendError::Refused(Refusal::Precondition)))
            }
            Kind::Sealing(sealing) => {
                let Ok(leaf) = sealing.entry.encode(&mut self.batch.entries) else {
                    return Ok(Err(AppendError::TooLarge));
                };
                store::archive::seal(connection, log, &sealing.archive, &sealing.answered)?;
                Ok(Ok(leaf))
            }
        }
    }

    fn write_change(
        &mut self,
        connection: &mut dyn Connection,
        changing: &Changing,
        position: &LogPosition,
    ) -> Result<Result<Hash, AppendError>, StoreError> {
        if let Some(answer) = &changing.keep
            && !store::answers::insert(connection, answer, position)?
        {
            return Ok(Err(AppendError::Refused(Refusal::KeyUsed)));
        }
        let number = store::changes::next_number(connection)?;
        if !store::changes::apply(connection, &changing.change, number, changing.entry.at, position)? {
            return Ok(Err(AppendError::Refused(Refusal::Precondition)));
        }
        let mut entry = changing.entry.clone();
        entry.list_version = number;
        let Ok(leaf) = entry.encode(&mut self.batch.entries) else {
            return Ok(Err(AppendError::TooLarge));
        };
        self.made.push((number, self.results.len()));
        self.version = number;
        Ok(Ok(leaf))
    }

    /// The changes that the commit has made true, in the order of their numbers.
    pub(super) fn changes(&mut self, records: Vec<Record>) -> Vec<Made> {
        let mut changes: Vec<Made> = std::mem::take(&mut self.others).into_iter().map(Made::elsewhere).collect();
        let mut made = self.made.iter().peekable();
        for (place, record) in records.into_iter().enumerate() {
            if let Kind::Changing(changing) = record.0
                && let Some((number, _)) = made.next_if(|(_, of)| *of == place)
            {
                let Changing { entry, change, .. } = *changing;
                let told = self.results.get(place).and_then(|result| result.as_ref().ok());
                changes.push(Made { number: *number, change, told: told.map(|position| (entry.at, position.clone())) });
            }
        }
        changes
    }
}
