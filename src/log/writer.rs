//! The one writer of a node's log: a thread that drains a bounded queue and commits what it finds, first what changes nothing
//! and then the changes. The disk is the clock: while one batch is being written the next one gathers, and under load it lingers
//! a moment. It never answers before the commit, never repeats a commit of which it does not know that it failed, and never lets
//! a record that fails alone take others with it.

use super::desk::{Round, Ticket};
use super::door::{End, Limits, Message, Opening, Publish, Waiting};
use super::draft::Draft;
use super::link::Link;
use super::measures;
use super::note::VerifierKey;
use super::own::first_head;
use super::queue::Queue;
use super::record::{AppendError, Record};
use super::tree::{Head, Tree};
use crate::clock::{Clock, Stopwatch};
use crate::domain::Timestamp;
use crate::store::lease::Lease;
use crate::store::log::LogNumber;
use crate::store::{self, Store, StoreError};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// After a batch of this many records the writer lingers before it takes the next one: as many clients are waiting.
const LINGER_RECORDS_MIN: usize = 8;
/// The longer the more are waiting, since they wait for each other anyway.
const LINGER_PER_RECORD: Duration = Duration::from_micros(15);
const LINGER_MAX: Duration = Duration::from_millis(1);
/// What the database does between two transactions waits until nobody waits for a commit, but not for more batches than these.
const BATCHES_BEFORE_REST_MAX: u32 = 8;
/// Between attempts to reach a database that is gone.
const RECONNECT_EVERY: Duration = Duration::from_millis(200);
/// A batch that the database keeps undoing is given up after this long; its requests end soon after.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    link: Link,
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
    /// Batches that followed at once on the one before.
    without_rest: u32,
    limits: Limits,
    publish: Box<dyn Publish>,
    queue: Queue,
    depth: Arc<AtomicUsize>,
    /// The database cannot be reached for now.
    gone: Arc<AtomicBool>,
    /// Nothing follows what is in the queue.
    closing: bool,
    round: Round,
}

impl Writer {
    /// A writer that goes on where the log in the store ends. A log that is new, or has a new key, first says so.
    pub(super) fn open(
        store: Arc<dyn Store>,
        opening: Opening,
        publish: Box<dyn Publish>,
        messages: Receiver<Message>,
    ) -> Result<Self, StoreError> {
        let mut link = Link::open(store, opening.node)?;
        let log = link.log();
        let mut tree = Tree::open(link.connection(), log, Arc::new(opening.signers))?;
        let head = first_head(&mut link, &mut tree, opening.clock.as_ref())?;
        let (next_index, latest) = store::log::end(link.connection(), log)?;
        Ok(Self {
            link,
            node: opening.node,
            next_index,
            latest,
            tree,
            head: Arc::new(ArcSwap::from_pointee(head)),
            clock: opening.clock,
            last_size: 0,
            without_rest: 0,
            limits: opening.limits,
            publish,
            queue: messages.into(),
            depth: Arc::default(),
            gone: Arc::default(),
            closing: false,
            round: Round::default(),
        })
    }

    pub(super) fn head(&self) -> Arc<ArcSwap<Head>> {
        Arc::clone(&self.head)
    }

    pub(super) fn depth(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.depth)
    }

    pub(super) fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }

    pub(super) fn log(&self) -> LogNumber {
        self.link.log()
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        self.link.lease()
    }

    pub(super) fn key(&self) -> Result<VerifierKey, StoreError> {
        self.tree.key()
    }

    pub(super) fn run(mut self) -> End {
        loop {
            let (batch, closed) = self.next_batch();
            if self.write(batch).is_err() {
                return End::Failed;
            }
            let due = self.tree.due_in().is_some_and(|wait| closed || wait.is_zero());
            if due && let Err(error) = self.write_checkpoint() {
                tracing::error!(%error, "a checkpoint failed; the log takes no more");
                return End::Failed;
            }
            if closed {
                if let Err(error) = self.link.close() {
                    tracing::warn!(%error, "the database was not settled; nothing is lost");
                }
                return End::Clean;
            }
        }
    }

    /// A checkpoint in a transaction of its own. One that was lost on the way is due again.
    fn write_checkpoint(&mut self) -> Result<(), StoreError> {
        match self.sign() {
            Ok(head) => {
                self.head.store(Arc::new(head));
                Ok(())
            }
            Err(error) => self.regain(error, None),
        }
    }

    fn sign(&mut self) -> Result<Head, StoreError> {
        self.link.begin()?;
        let head = self.tree.sign(self.link.connection(), self.clock.now(), self.latest)?;
        self.link.connection().commit()?;
        Ok(head)
    }

    /// Waits for a record and takes all that are there, up to a batch; none if a checkpoint is due before. The flag tells
    /// that nothing will follow.
    fn next_batch(&mut self) -> (Vec<Waiting>, bool) {
        let mut batch = Vec::with_capacity(self.last_size);
        if self.closing {
            return (batch, true);
        }
        let next = match self.next_message() {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => return (batch, false),
            Err(RecvTimeoutError::Disconnected) => None,
        };
        if self.last_size >= LINGER_RECORDS_MIN {
            // Under load a commit costs the processor more than the wait costs the clients: let more gather.
            let records = u32::try_from(self.last_size).unwrap_or(u32::MAX);
            std::thread::sleep(LINGER_PER_RECORD.saturating_mul(records).min(LINGER_MAX));
        }
        let closed = self.queue.fill(&mut batch, next, self.limits.batch_records_max);
        self.depth.store(batch.len(), Ordering::Relaxed);
        self.last_size = batch.len();
        (batch, closed)
    }

    /// What waits already, or what comes before a checkpoint is due.
    fn next_message(&mut self) -> Result<Message, RecvTimeoutError> {
        let waiting = self.queue.next_waiting();
        self.without_rest = if waiting.is_ok() { self.without_rest + 1 } else { BATCHES_BEFORE_REST_MAX };
        if self.without_rest >= BATCHES_BEFORE_REST_MAX {
            self.without_rest = 0;
            self.link.connection().rest();
        }
        match waiting {
            Ok(message) => Ok(message),
            Err(_) => self.queue.next(self.tree.due_in()),
        }
    }

    /// Commits a batch and answers it. An error is final: everybody in it is told, and the writer must end. What changes
    /// nothing goes first and alone: it waits neither for the statements of a change nor for the numbering of changes, which
    /// another node may hold.
    fn write(&mut self, batch: Vec<Waiting>) -> Result<(), StoreError> {
        let (changing, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|waiting| waiting.record.changes());
        let written = self.write_at_once(rest, changing.len());
        match written {
            Ok(()) => self.write_at_once(changing, 0),
            Err(_) => {
                self.answer_all(changing.into_iter().map(|waiting| waiting.ticket), AppendError::CommitFailed);
                written
            }
        }
    }

    /// Commits and answers a part of a batch, after which `left` records are left of it.
    fn write_at_once(&mut self, part: Vec<Waiting>, left: usize) -> Result<(), StoreError> {
        if part.is_empty() {
            return Ok(());
        }
        let started = Stopwatch::start();
        let (mut records, mut tickets): (Vec<_>, Vec<_>) =
            part.into_iter().map(|waiting| (waiting.record, waiting.ticket)).unzip();
        match self.commit(&mut records, &mut tickets, &started) {
            Ok(Some(mut draft)) => {
                measures::committed(records.len(), started.elapsed());
                let version = draft.version;
                self.publish.publish(draft.changes(records), version);
                self.depth.store(left, Ordering::Relaxed);
                for (ticket, result) in tickets.into_iter().zip(draft.results) {
                    self.round.put(ticket, result);
                }
                self.round.leave();
                Ok(())
            }
            Ok(None) => {
                self.depth.store(left, Ordering::Relaxed);
                self.answer_all(tickets, AppendError::Gone);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, records = records.len(), "commit failed; the log takes no more");
                self.answer_all(tickets, AppendError::CommitFailed);
                Err(error)
            }
        }
    }

    fn answer_all(&mut self, tickets: impl IntoIterator<Item = Ticket>, error: AppendError) {
        for ticket in tickets {
            self.round.put(ticket, Err(error));
        }
        self.round.leave();
    }

    /// Commits records and those that join them. What the database surely did not keep is tried again for a while; `None` if it
    /// was given up.
    fn commit(
        &mut self,
        records: &mut Vec<Record>,
        tickets: &mut Vec<Ticket>,
        started: &Stopwatch,
    ) -> Result<Option<Draft>, StoreError> {
        loop {
            let mut draft = match self.draft(records, tickets) {
                Ok(draft) => draft,
                Err(error) => {
                    self.regain(error, Some(tickets))?;
                    if tickets.is_empty() || started.elapsed() > COMMIT_TIME_MAX {
                        return Ok(None);
                    }
                    continue;
                }
            };
            if draft.batch.size == 0 {
                if let Err(error) = self.link.connection().rollback() {
                    self.regain(error, None)?;
                }
                return Ok(Some(draft));
            }
            let Err(error) = self.link.connection().commit() else {
                draft.head.take().into_iter().for_each(|head| self.head.store(Arc::new(head)));
                (self.next_index, self.latest) = (draft.end(), draft.batch.at_max);
                return Ok(Some(draft));
            };
            // It may be kept: nobody is told anything before that is known.
            self.regain(error, None)?;
            if self.next_index == draft.end() {
                return Ok(Some(draft));
            }
            if self.next_index != draft.batch.first_index {
                return Err(StoreError::Corrupt("a log that ends where its only writer did not end it"));
            }
        }
    }

    /// Writes records in a transaction that is left open. Who came while the statements of a change ran, and changes nothing,
    /// joins them and need not wait for another commit.
    fn draft(&mut self, records: &mut Vec<Record>, tickets: &mut Vec<Ticket>) -> Result<Draft, StoreError> {
        self.link.begin()?;
        let mut draft = Draft::after(self.next_index, self.latest, self.clock.now(), records.len());
        let (log, is_shared) = (self.link.log(), self.link.is_shared());
        let connection = self.link.connection();
        let changes = records.iter().any(Record::changes);
        if is_shared && changes {
            draft.catch_up(connection, self.publish.as_ref())?;
        }
        for record in records.iter() {
            draft.add(connection, log, self.node, &mut self.tree, record)?;
        }
        if changes {
            let known = records.len();
            self.queue.join(records, tickets, self.limits.batch_records_max);
            for record in records.iter().skip(known) {
                draft.add(connection, log, self.node, &mut self.tree, record)?;
            }
        }
        if draft.batch.size == 0 {
            return Ok(draft);
        }
        store::log::append(connection, log, &draft.batch)?;
        self.tree.keep(connection)?;
        // What is dropped must be vouched for by the time it is gone.
        let seals = records.iter().any(Record::seals);
        let latest = draft.batch.at_max;
        if seals || self.tree.due_in().is_some_and(|wait| wait.is_zero()) || self.tree.is_too_late(latest) {
            draft.head = Some(self.tree.sign(connection, self.clock.now(), latest)?);
        }
        Ok(draft)
    }

    /// Gets the log back after a transaction that was lost or undone: afterwards the writer stands where the log in the
    /// database ends. While that cannot be reached everybody is refused, and `surely_undone` with them. An error is final.
    fn regain(&mut self, error: StoreError, mut surely_undone: Option<&mut Vec<Ticket>>) -> Result<(), StoreError> {
        if !self.link.can_regain(&error) {
            return Err(error);
        }
        tracing::warn!(%error, "a transaction did not end well");
        loop {
            let error = match self.take_up() {
                Ok(()) => break,
                Err(error) => error,
            };
            if self.closing || !self.link.can_regain(&error) {
                self.gone.store(false, Ordering::Release);
                return Err(error);
            }
            if !self.gone.swap(true, Ordering::AcqRel) {
                tracing::error!(%error, "the database is gone; everything is refused until it is back");
            }
            if let Some(tickets) = surely_undone.as_deref_mut() {
                let tickets = std::mem::take(tickets);
                self.answer_all(tickets, AppendError::Gone);
            }
            self.refuse_waiting();
            std::thread::sleep(RECONNECT_EVERY);
        }
        if self.gone.swap(false, Ordering::AcqRel) {
            tracing::info!("the database is back");
        }
        Ok(())
    }

    /// What was answered must still be there: a database that has taken over may never have got it, and a log that went on
    /// without it would be another one under the same name.
    fn take_up(&mut self) -> Result<(), StoreError> {
        let (next_index, latest) = self.link.reconnect()?;
        if next_index < self.next_index {
            return Err(StoreError::Corrupt("a log without entries that were committed to it"));
        }
        self.tree.reopen(self.link.connection())?;
        self.tree.continues(self.link.connection(), &self.head.load().checkpoint)?;
        (self.next_index, self.latest) = (next_index, latest);
        if let Some(head) = self.tree.head(self.link.connection())? {
            self.head.store(Arc::new(head));
        }
        Ok(())
    }

    /// Refuses all that wait in the queue.
    fn refuse_waiting(&mut self) {
        let mut tickets = Vec::new();
        while let Ok(message) = self.queue.next_waiting() {
            match message {
                Message::Append(waiting) => tickets.push(waiting.ticket),
                Message::Close => self.closing = true,
            }
        }
        self.answer_all(tickets, AppendError::Gone);
    }
}
