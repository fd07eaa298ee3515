//! The one writer of a node's log: a thread that drains a bounded queue and commits what it finds as one batch. The disk
//! is the clock: while one batch is being written the next one gathers, and under load it lingers a moment. It never answers before the commit, never retries
//! a failed commit, and never lets a record that fails alone take others with it.

use super::desk::{Pending, Round, Ticket};
use super::record::{AppendError, Changing, Kind, Record, Refusal};
use super::{SKEW_MS_MAX, measures};
use crate::clock::Stopwatch;
use crate::domain::{Change, LogPosition, Timestamp};
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::watch;

/// After a batch of this many records the writer lingers before it takes the next one: as many clients are waiting.
const LINGER_RECORDS_MIN: usize = 8;
/// The longer the more are waiting, since they wait for each other anyway.
const LINGER_PER_RECORD: Duration = Duration::from_micros(15);
const LINGER_MAX: Duration = Duration::from_millis(1);

/// Who is told of changes once they are durable, in order, before anybody is answered.
pub trait Publish: Send {
    fn publish(&mut self, changes: &[(u64, Change)]);
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub queue_records_max: usize,
    pub batch_records_max: usize,
}

struct Waiting {
    record: Record,
    ticket: Ticket,
}

enum Message {
    Append(Waiting),
    /// Commit what is queued, then end.
    Close,
}

/// The door to the log of one node.
pub struct Log {
    queue: SyncSender<Message>,
    depth: Arc<AtomicUsize>,
    closing: AtomicBool,
    end: watch::Receiver<End>,
}

/// How the writer's thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Running,
    /// It was closed, and everything it accepted is committed.
    Clean,
    /// A commit failed. Nothing may be appended any more; the process must end and start anew.
    Failed,
}

impl Log {
    /// Starts the writer of `node` where its log in the store ends.
    pub fn start(
        store: &dyn Store,
        node: &'static str,
        limits: Limits,
        publish: Box<dyn Publish>,
    ) -> Result<Self, StoreError> {
        let mut connection = store.writer()?;
        let log = store::log::find_or_create(connection.as_mut(), node)?;
        let (next_index, latest) = store::log::end(connection.as_mut(), log)?;
        let (queue, messages) = sync_channel(limits.queue_records_max);
        let (ended, end) = watch::channel(End::Running);
        let depth = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            connection,
            log,
            node,
            next_index,
            latest,
            last_size: 0,
            limits,
            publish,
            messages,
            depth: Arc::clone(&depth),
            round: Round::default(),
        };
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                let guard = FailedUnlessTold(ended);
                let end = writer.run();
                guard.tell(end);
            })
            .map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { queue, depth, closing: AtomicBool::new(false), end })
    }

    /// Hands a record to the writer. A full queue is refused at once.
    pub fn submit(&self, record: Record) -> Result<Pending, AppendError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        let (pending, ticket) = Pending::open();
        let (refused, error) = match self.queue.try_send(Message::Append(Waiting { record, ticket })) {
            Ok(()) => return Ok(pending),
            Err(TrySendError::Full(message)) => (message, AppendError::QueueFull),
            Err(TrySendError::Disconnected(message)) => (message, AppendError::Closed),
        };
        if let Message::Append(waiting) = refused {
            pending.cancel(waiting.ticket);
        }
        Err(error)
    }

    /// Records that the writer has taken and not yet committed.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// How the writer stands, to be watched.
    pub fn end(&self) -> watch::Receiver<End> {
        self.end.clone()
    }

    /// Refuses new records, commits those accepted, and returns how the writer ended.
    pub async fn close(&self) -> End {
        self.closing.store(true, Ordering::Release);
        let mut end = self.end();
        let mut message = Message::Close;
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            message = back;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        match end.wait_for(|end| *end != End::Running).await {
            Ok(end) => *end,
            Err(_) => End::Failed,
        }
    }
}

/// A writer that panics has failed; nobody may wait for it for ever.
struct FailedUnlessTold(watch::Sender<End>);

impl FailedUnlessTold {
    fn tell(self, end: End) {
        self.0.send_replace(end);
    }
}

impl Drop for FailedUnlessTold {
    fn drop(&mut self) {
        self.0.send_if_modified(|end| {
            let running = *end == End::Running;
            if running {
                *end = End::Failed;
            }
            running
        });
    }
}

struct Writer {
    connection: Box<dyn Connection + Send>,
    log: LogNumber,
    node: &'static str,
    next_index: u64,
    /// Latest time of an entry in the log.
    latest: Timestamp,
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
    fn run(mut self) -> End {
        loop {
            let (batch, closed) = self.next_batch();
            if !batch.is_empty() && self.write(batch).is_err() {
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

    /// Waits for a record and takes all that are there, up to a batch. The flag tells that nothing will follow.
    fn next_batch(&mut self) -> (Vec<Waiting>, bool) {
        let mut batch = Vec::with_capacity(self.last_size);
        let mut next = self.messages.recv().ok();
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
        for record in records {
            let at = record.at();
            let written = self.write_record(record, &mut batch, &mut changes)?;
            if written.is_ok() {
                batch.size += 1;
                batch.at_min = batch.at_min.min(at);
                batch.at_max = batch.at_max.max(at);
            }
            results.push(written);
        }
        if batch.size == 0 {
            self.connection.rollback()?;
            return Ok(Outcome { results, changes });
        }
        store::log::append(self.connection.as_mut(), self.log, &batch)?;
        self.connection.commit()?;
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
    ) -> Result<Result<LogPosition, AppendError>, StoreError> {
        let position = LogPosition { node: self.node.into(), index: batch.first_index + batch.size };
        if record.at().ms_since(Timestamp::EPOCH) + SKEW_MS_MAX < batch.at_max.ms_since(Timestamp::EPOCH) {
            return Ok(Err(AppendError::TooLate));
        }
        match record.0 {
            Kind::Reading { bundle, .. } => {
                batch.entries.extend_from_slice(&bundle);
                Ok(Ok(position))
            }
            Kind::Changing(changing) => {
                self.connection.begin_part()?;
                let written = self.write_change(*changing, &position, batch, changes)?;
                match written {
                    Ok(()) => self.connection.keep_part()?,
                    Err(_) => self.connection.undo_part()?,
                }
                Ok(written.map(|()| position))
            }
        }
    }

    fn write_change(
        &mut self,
        changing: Changing,
        position: &LogPosition,
        batch: &mut LogBatch,
        changes: &mut Vec<(u64, Change)>,
    ) -> Result<Result<(), AppendError>, StoreError> {
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
        if entry.encode(&mut batch.entries).is_err() {
            return Ok(Err(AppendError::TooLarge));
        }
        changes.push((number, change));
        Ok(Ok(()))
    }
}
