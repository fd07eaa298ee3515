//! The door to a node's log. A record that is refused here is refused at once; one that is let in is committed by the
//! writer, or the log has failed for good.

use super::desk::{Pending, Ticket};
use super::note::VerifierKey;
use super::record::{AppendError, Record};
use super::tree::{Head, Signers};
use super::writer::Writer;
use crate::clock::Clock;
use crate::domain::Made;
use crate::store::lease::Lease;
use crate::store::log::LogNumber;
use crate::store::{Store, StoreError};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tokio::sync::watch;

/// Who is told of changes once they are durable, in order, before anybody is answered.
pub trait Publish: Send {
    /// The number of the last change that it was told.
    fn known(&self) -> u64;

    /// All changes up to `version` that it may not know; where other nodes make changes too, theirs are among them.
    fn publish(&mut self, changes: Vec<Made>, version: u64);
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub queue_records_max: usize,
    pub batch_records_max: usize,
}

/// What a log is opened with.
pub struct Opening {
    pub node: &'static str,
    pub signers: Signers,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
}

pub(super) struct Waiting {
    pub(super) record: Record,
    pub(super) ticket: Ticket,
}

pub(super) enum Message {
    Append(Waiting),
    /// Commit what is queued, then end.
    Close,
}

/// The door to the log of one node.
pub struct Log {
    queue: SyncSender<Message>,
    depth: Arc<AtomicUsize>,
    closing: AtomicBool,
    /// The database cannot be reached for now.
    gone: Arc<AtomicBool>,
    end: watch::Receiver<End>,
    head: Arc<ArcSwap<Head>>,
    number: LogNumber,
    lease: Option<Lease>,
    key: VerifierKey,
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
    /// Starts the writer of a node where its log in the store ends. A log that is new, or has a new key, first says so.
    pub fn start(store: Arc<dyn Store>, opening: Opening, publish: Box<dyn Publish>) -> Result<Self, StoreError> {
        let (queue, messages) = sync_channel(opening.limits.queue_records_max);
        let writer = Writer::open(store, opening, publish, messages)?;
        let (depth, gone, lease) = (writer.depth(), writer.gone(), writer.lease());
        let (head, number, key) = (writer.head(), writer.log(), writer.key()?);
        let (ended, end) = watch::channel(End::Running);
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                let guard = FailedUnlessTold(ended);
                let end = writer.run();
                guard.tell(end);
            })
            .map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { queue, depth, closing: AtomicBool::new(false), gone, end, head, number, lease, key })
    }

    /// The last signed tree.
    pub fn head(&self) -> Arc<Head> {
        self.head.load_full()
    }

    /// What verifies this log's checkpoints.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// This log in the store.
    pub fn number(&self) -> LogNumber {
        self.number
    }

    /// The right to write it, where other processes reach the same database.
    pub fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// Whether the database cannot be reached for now.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Hands a record to the writer. A full queue, or a database that is gone, is told at once.
    pub fn submit(&self, record: Record) -> Result<Pending, AppendError> {
        if self.is_gone() {
            return Err(AppendError::Gone);
        }
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
