//! The one writer of a node's log: a thread that drains a bounded queue and commits what it finds as one batch. The disk
//! is the clock: while one batch is being written the next one gathers, and under load it lingers a moment. It never
//! answers before the commit, never retries a failed commit, and never lets a record that fails alone take others with it.

use super::desk::Round;
use super::door::{End, Limits, Message, Opening, Publish, Waiting};
use super::merkle::Hash;
use super::note::VerifierKey;
use super::record::{AppendError, Changing, Kind, Record, Refusal};
use super::tree::{Head, Tree};
use super::{Act, Entry, SKEW_MS_MAX, measures};
use crate::clock::{Clock, Stopwatch};
use crate::domain::party::{ClientId, PartyId};
use crate::domain::{Change, LogPosition, RequestId, Timestamp};
use crate::entropy;
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, Store, StoreError};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

/// After a batch of this many records the writer lingers before it takes the next one: as many clients are waiting.
const LINGER_RECORDS_MIN: usize = 8;
/// The longer the more are waiting, since they wait for each other anyway.
const LINGER_PER_RECORD: Duration = Duration::from_micros(15);
const LINGER_MAX: Duration = Duration::from_millis(1);

pub(super) struct Writer {
    connection: Box<dyn Connection + Send>,
    log: LogNumber,
    node: &'static str,
    next_index: u64,
    /// Latest time of an entry in the log.
    latest: Timestamp,
    tree: Tree,
    /// Where the last signed tree is shown.
    head: Arc<ArcSwap<Head>>,
    clock: Arc<dyn Clock>,
    /// Records in the last batch.
    last_size: usize,
    limits: Limits,
    publish: Box<dyn Publish>,
    messages: Receiver<Message>,
    depth: Arc<AtomicUsize>,
    round: Round,
}

/// What a committed batch leads to.
struct Outcome {
    results: Vec<Result<LogPosition, AppendError>>,
    changes: Vec<(u64, Change)>,
}

impl Writer {
    /// A writer that goes on where the log in the store ends. A log that is new, or has a new key, first says so.
    pub(super) fn open(
        store: &dyn Store,
        opening: Opening,
        publish: Box<dyn Publish>,
        messages: Receiver<Message>,
        depth: Arc<AtomicUsize>,
    ) -> Result<Self, StoreError> {
        let mut connection = store.writer()?;
        let log = store::log::find_or_create(connection.as_mut(), opening.node)?;
        let mut tree = Tree::open(connection.as_mut(), log, opening.signers)?;
        let head = first_head(connection.as_mut(), log, &mut tree, opening.clock.as_ref())?;
        let (next_index, latest) = store::log::end(connection.as_mut(), log)?;
        Ok(Self {
            connection,
            log,
            node: opening.node,
            next_index,
            latest,
            tree,
            head: Arc::new(ArcSwap::from_pointee(head)),
            clock: opening.clock,
            last_size: 0,
            limits: opening.limits,
            publish,
            messages,
            depth,
            round: Round::default(),
        })
    }

    pub(super) fn head(&self) -> Arc<ArcSwap<Head>> {
        Arc::clone(&self.head)
    }

    pub(super) fn log(&self) -> LogNumber {
        self.log
    }

    pub(super) fn key(&self) -> Result<VerifierKey, StoreError> {
        self.tree.key()
    }

    pub(super) fn run(mut self) -> End {
        loop {
            let (batch, closed) = self.next_batch();
            if !batch.is_empty() && self.write(batch).is_err() {
                return End::Failed;
            }
            let due = self.tree.due_in().is_some_and(|wait| closed || wait.is_zero());
            if due && let Err(error) = self.write_checkpoint() {
                tracing::error!(%error, "a checkpoint failed; the log takes no more");
                return End::Failed;
            }
            if closed {
                if let Err(error) = self.connection.settle() {
                    tracing::warn!(%error, "the database was not settled; nothing is lost");
                }
                return End::Clean;
            }
        }
    }

    /// A checkpoint in a transaction of its own.
    fn write_checkpoint(&mut self) -> Result<(), StoreError> {
        self.connection.begin()?;
        let head = self.tree.sign(self.connection.as_mut(), self.clock.now(), self.latest)?;
        self.connection.commit()?;
        self.head.store(Arc::new(head));
        Ok(())
    }

    /// Waits for a record and takes all that are there, up to a batch; none if a checkpoint is due before. The flag tells
    /// that nothing will follow.
    fn next_batch(&mut self) -> (Vec<Waiting>, bool) {
        let mut batch = Vec::with_capacity(self.last_size);
        let mut next = match self.tree.due_in() {
            None => self.messages.recv().ok(),
            Some(wait) => match self.messages.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => return (batch, false),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        };
        if self.last_size >= LINGER_RECORDS_MIN {
            // Under load a commit costs the processor more than the wait costs the clients: let more gather.
            let records = u32::try_from(self.last_size).unwrap_or(u32::MAX);
            std::thread::sleep(LINGER_PER_RECORD.saturating_mul(records).min(LINGER_MAX));
        }
        let closed = loop {
            match next {
                None => break true,
                Some(Message::Append(waiting)) => batch.push(waiting),
                Some(Message::Close) => {
                    batch.extend(self.messages.try_iter().filter_map(|message| match message {
                        Message::Append(waiting) => Some(waiting),
                        Message::Close => None,
                    }));
                    break true;
                }
            }
            if batch.len() >= self.limits.batch_records_max {
                break false;
            }
            next = match self.messages.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => None,
            };
        };
        self.depth.store(batch.len(), Ordering::Relaxed);
        self.last_size = batch.len();
        (batch, closed)
    }

    /// Commits a batch and answers it. An error is final: everybody in it is told, and the writer must end.
    fn write(&mut self, batch: Vec<Waiting>) -> Result<(), StoreError> {
        let started = Stopwatch::start();
        let (records, tickets): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.record, waiting.ticket)).unzip();
        let size = records.len();
        match self.commit(records) {
            Ok(outcome) => {
                measures::committed(size, started.elapsed());
                self.publish.publish(&outcome.changes);
                self.depth.store(0, Ordering::Relaxed);
                for (ticket, result) in tickets.into_iter().zip(outcome.results) {
                    self.round.put(ticket, result);
                }
                self.round.leave();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, records = size, "commit failed; the log takes no more");
                for ticket in tickets {
                    self.round.put(ticket, Err(AppendError::CommitFailed));
                }
                self.round.leave();
                Err(error)
            }
        }
    }

    fn commit(&mut self, records: Vec<Record>) -> Result<Outcome, StoreError> {
        self.connection.begin()?;
        let mut batch = LogBatch {
            first_index: self.next_index,
            size: 0,
            at_min: Timestamp::from_ms(u64::MAX),
            at_max: self.latest,
            entries: Vec::new(),
        };
        let mut changes = Vec::new();
        let mut results = Vec::with_capacity(records.len());
        // What is dropped must be vouched for by the time it is gone.
        let seals = records.iter().any(|record| matches!(record.0, Kind::Sealing(_)));
        for record in records {
            let at = record.at();
            let written = self.write_record(record, &mut batch, &mut changes)?;
            results.push(written.map(|(position, leaf)| {
                self.tree.push(leaf);
                batch.size += 1;
                batch.at_min = batch.at_min.min(at);
                batch.at_max = batch.at_max.max(at);
                position
            }));
        }
        if batch.size == 0 {
            self.connection.rollback()?;
            return Ok(Outcome { results, changes });
        }
        store::log::append(self.connection.as_mut(), self.log, &batch)?;
        self.tree.keep(self.connection.as_mut())?;
        let is_due = self.tree.due_in().is_some_and(|wait| wait.is_zero()) || self.tree.is_too_late(batch.at_max);
        let (connection, now) = (self.connection.as_mut(), self.clock.now());
        let head = (seals || is_due).then(|| self.tree.sign(connection, now, batch.at_max)).transpose()?;
        self.connection.commit()?;
        head.into_iter().for_each(|head| self.head.store(Arc::new(head)));
        self.next_index += batch.size;
        self.latest = batch.at_max;
        Ok(Outcome { results, changes })
    }

    /// Adds one record to the open transaction. The outer error ends the batch, the inner one only this record.
    fn write_record(
        &mut self,
        record: Record,
        batch: &mut LogBatch,
        changes: &mut Vec<(u64, Change)>,
    ) -> Result<Result<(LogPosition, Hash), AppendError>, StoreError> {
        let position = LogPosition { node: self.node.into(), index: batch.first_index + batch.size };
        if record.at().ms_since(Timestamp::EPOCH) + SKEW_MS_MAX < batch.at_max.ms_since(Timestamp::EPOCH) {
            return Ok(Err(AppendError::TooLate));
        }
        match record.0 {
            Kind::Reading { bundle, leaf, .. } => {
                batch.entries.extend_from_slice(&bundle);
                Ok(Ok((position, leaf)))
            }
            Kind::Changing(changing) => {
                self.connection.begin_part()?;
                let written = self.write_change(*changing, &position, batch, changes)?;
                match written {
                    Ok(_) => self.connection.keep_part()?,
                    Err(_) => self.connection.undo_part()?,
                }
                Ok(written.map(|leaf| (position, leaf)))
            }
            Kind::Sealing(sealing) => {
                let Ok(leaf) = sealing.entry.encode(&mut batch.entries) else {
                    return Ok(Err(AppendError::TooLarge));
                };
                store::archive::seal(self.connection.as_mut(), self.log, &sealing.archive)?;
                Ok(Ok((position, leaf)))
            }
        }
    }

    fn write_change(
        &mut self,
        changing: Changing,
        position: &LogPosition,
        batch: &mut LogBatch,
        changes: &mut Vec<(u64, Change)>,
    ) -> Result<Result<Hash, AppendError>, StoreError> {
        let Changing { mut entry, change, keep } = changing;
        let connection = self.connection.as_mut();
        if let Some(answer) = &keep
            && !store::answers::insert(connection, answer, position)?
        {
            return Ok(Err(AppendError::Refused(Refusal::KeyUsed)));
        }
        let number = store::changes::next_number(connection)?;
        if !store::changes::apply(connection, &change, number, entry.at, position)? {
            return Ok(Err(AppendError::Refused(Refusal::Precondition)));
        }
        entry.list_version = number;
        let Ok(leaf) = entry.encode(&mut batch.entries) else {
            return Ok(Err(AppendError::TooLarge));
        };
        changes.push((number, change));
        Ok(Ok(leaf))
    }
}

/// The first tree to show: of a log that has announced its key, and with every entry under a checkpoint.
fn first_head(
    connection: &mut dyn Connection,
    log: LogNumber,
    tree: &mut Tree,
    clock: &dyn Clock,
) -> Result<Head, StoreError> {
    let new_key = tree.new_key()?;
    if new_key.is_none()
        && let Some(head) = tree.head(connection)?
    {
        return Ok(head);
    }
    connection.begin()?;
    if let Some(key) = new_key {
        let (first_index, latest) = store::log::end(connection, log)?;
        let at = clock.now().max(latest);
        let mut batch = LogBatch { first_index, size: 1, at_min: at, at_max: at, entries: Vec::new() };
        let leaf = announcement(at, &key)?.encode(&mut batch.entries);
        tree.push(leaf.map_err(|error| StoreError::Engine(error.to_string()))?);
        store::log::append(connection, log, &batch)?;
        tree.keep(connection)?;
    }
    let (_, latest) = store::log::end(connection, log)?;
    let head = tree.sign(connection, clock.now(), latest)?;
    connection.commit()?;
    Ok(head)
}

/// The entry with which a log says what key its checkpoints are signed with from here on.
fn announcement(at: Timestamp, key: &VerifierKey) -> Result<Entry, StoreError> {
    own_entry(Act::LogKey, at, key.to_string())
}

/// An entry of what a node does by itself.
pub(super) fn own_entry(act: Act, at: Timestamp, reference: String) -> Result<Entry, StoreError> {
    let random = entropy::bytes16().map_err(|error| StoreError::Engine(error.to_string()))?;
    let ids = PartyId::parse("registry").zip(ClientId::parse("node"));
    let (party, client) = ids.ok_or(StoreError::Corrupt("an id that is none"))?;
    let mut entry = Entry::new(act, at, RequestId::mint(at, random), party, client);
    entry.reference = Some(reference);
    Ok(entry)
}
