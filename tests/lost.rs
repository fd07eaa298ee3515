//! The log's writer over a database that others share, and that can be lost in the middle of a commit: exactly one entry for
//! each answer, and no log with two writers.
#![allow(clippy::unwrap_used)]

#[path = "support/log.rs"]
#[allow(dead_code)]
mod log_support;

use canhbao::clock::{Clock, ManualClock};
use canhbao::domain::Timestamp;
use canhbao::log::{Act, AppendError, End, Entry, Limits, Log, Opening, SKEW_MS_MAX, entries_of};
use canhbao::store::lease::{self, Asked, LEASE_MS};
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::{self, Connection, Row, Store, StoreError, Value};
use log_support::{Published, flag, raising, reading};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMITS: Limits = Limits { queue_records_max: 64, batch_records_max: 32 };

/// What happens to the next commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It is made, and the connection dies before it is told.
    KeptAndLost,
    /// The connection dies before it is made.
    Lost,
    /// The database undoes it because of another transaction.
    Undone,
    /// The process is stopped for longer than the declared skew, and the connection is dead when it goes on.
    Stopped,
}

/// SQLite that behaves like a database behind a network. Every process has a store of its own over the same file.
#[derive(Clone)]
struct Shared {
    inner: Arc<SqliteStore>,
    fate: Arc<Mutex<Vec<Fate>>>,
    is_down: Arc<Mutex<bool>>,
    clock: Arc<ManualClock>,
    /// Who holds it keeps transactions from being begun.
    gate: Arc<Mutex<()>>,
    /// Transactions that were begun or wait at the gate.
    begun: Arc<AtomicUsize>,
    /// How many statements of the writer are answered before its connection dies; None: it lives.
    answered: Arc<Mutex<Option<u64>>>,
}

impl Shared {
    fn new() -> (tempfile::TempDir, Self) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("registry.db");
        SqliteStore::create(&path, "test.example", Timestamp::from_ms(1)).unwrap();
        let inner = Arc::new(SqliteStore::open(&path, Timestamp::from_ms(1)).unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(1)));
        let (fate, is_down, gate, begun, answered) = Default::default();
        (home, Self { inner, fate, is_down, clock, gate, begun, answered })
    }

    fn lose_after(&self, statements: u64) {
        *self.answered.lock().unwrap() = Some(statements);
    }

    /// Lets connections live; false if one died meanwhile.
    fn all_lived(&self) -> bool {
        self.answered.lock().unwrap().take().is_some()
    }

    /// The fates of the commits to come, the last first; after them all are kept.
    fn set_fates(&self, fates: &[Fate]) {
        *self.fate.lock().unwrap() = fates.iter().rev().copied().collect();
    }

    fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }

    fn reached<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if *self.is_down.lock().unwrap() { Err(StoreError::Lost("unplugged".to_owned())) } else { done }
    }

    fn start(&self) -> (Log, Published) {
        let published = Published::default();
        let store = Arc::new(self.clone());
        let opening = Opening { clock: self.clock.clone(), ..log_support::opening(LIMITS) };
        (Log::start(store, opening, Box::new(published.clone())).unwrap(), published)
    }

    /// Every entry of the log after the one that announces its key, checked to be contiguous from 0.
    fn log(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let read = self.inner.read(&mut |connection| {
            let log = store::log::find(connection, "main")?.unwrap();
            store::log::stream(connection, log, 0, u32::MAX, &mut |batch| {
                assert_eq!(usize::try_from(batch.first_index), Ok(entries.len()));
                entries.extend(entries_of(&batch.entries).map(|bytes| Entry::decode(bytes.unwrap()).unwrap()));
                Ok(())
            })
        });
        read.unwrap();
        assert_eq!(entries.remove(0).act, Act::LogKey);
        entries
    }
}

impl Store for Shared {
    fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        self.reached(Ok(()))?;
        Ok(Box::new(SharedConnection { inner: self.inner.writer()?, store: self.clone(), is_dead: false }))
    }

    fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        self.inner.search_writer()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn keep_up(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.keep_up(now)
    }

    fn drop_archived(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.drop_archived(now)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.inner.read(work)
    }
}

struct SharedConnection {
    inner: Box<dyn Connection + Send>,
    store: Shared,
    is_dead: bool,
}

impl SharedConnection {
    /// Before each statement: the connection may be dead, or die now, and with it the open transaction.
    fn lives(&mut self) -> Result<(), StoreError> {
        let mut answered = self.store.answered.lock().unwrap();
        match *answered {
            _ if self.is_dead => {}
            None => return Ok(()),
            Some(0) => {
                *answered = None;
                self.is_dead = true;
                // There may be none.
                let _rolled_back = self.inner.rollback();
            }
            Some(left) => {
                *answered = Some(left - 1);
                return Ok(());
            }
        }
        Err(StoreError::Lost("cut".to_owned()))
    }
}

impl Connection for SharedConnection {
    fn now(&mut self) -> Result<Timestamp, StoreError> {
        self.inner.now()
    }
    fn begin(&mut self) -> Result<(), StoreError> {
        self.store.begun.fetch_add(1, Ordering::SeqCst);
        drop(self.store.gate.lock().unwrap());
        self.store.reached(Ok(()))?;
        self.lives()?;
        self.inner.begin()
    }
    fn commit(&mut self) -> Result<(), StoreError> {
        self.lives()?;
        let fate = self.store.fate.lock().unwrap().pop().unwrap_or(Fate::Kept);
        match fate {
            Fate::Kept => {}
            Fate::KeptAndLost => {
                self.inner.commit()?;
                return Err(StoreError::Lost("cut after the commit".to_owned()));
            }
            Fate::Lost => {
                self.inner.rollback()?;
                return Err(StoreError::Lost("cut before the commit".to_owned()));
            }
            Fate::Stopped => {
                self.store.clock.advance_ms(SKEW_MS_MAX + 1_000);
                self.inner.rollback()?;
                return Err(StoreError::Lost("cut while stopped".to_owned()));
            }
            Fate::Undone => {
                self.inner.rollback()?;
                return Err(StoreError::Undone("another one was first".to_owned()));
            }
        }
        if let Err(error) = self.store.reached(Ok(())) {
            self.inner.rollback()?;
            return Err(error);
        }
        self.inner.commit()
    }
    fn rollback(&mut self) -> Result<(), StoreError> {
        self.lives()?;
        self.inner.rollback()
    }
    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.lives()?;
        self.inner.begin_part()
    }
    fn keep_part(&mut self) -> Result<(), StoreError> {
        self.lives()?;
        self.inner.keep_part()
    }
    fn undo_part(&mut self) -> Result<(), StoreError> {
        self.lives()?;
        self.inner.undo_part()
    }
    fn is_far(&self) -> bool {
        self.inner.is_far()
    }
    fn hold_log(&mut self, number: u64, epoch: u64) -> Result<bool, StoreError> {
        self.lives()?;
        self.inner.hold_log(number, epoch)
    }
    fn settle(&mut self) -> Result<(), StoreError> {
        self.inner.settle()
    }
    fn drops_later(&self) -> bool {
        self.inner.drops_later()
    }
    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.lives()?;
        self.inner.execute(sql, values)
    }
    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.lives()?;
        self.inner.query(sql, values, each)
    }
}

#[tokio::test]
async fn a_lost_or_undone_commit_leaves_exactly_one_entry_for_each_answer() {
    for fates in [
        &[Fate::KeptAndLost][..],
        &[Fate::Lost],
        &[Fate::Undone],
        // What a new connection finds is committed too before it counts.
        &[Fate::Undone, Fate::Kept, Fate::Lost, Fate::Kept, Fate::Undone, Fate::Kept, Fate::KeptAndLost],
        &[Fate::Lost, Fate::Kept, Fate::Lost, Fate::Kept, Fate::Lost],
    ] {
        let (_home, store) = Shared::new();
        let (log, published) = store.start();
        log.submit(reading(1_000, 0)).unwrap().durable().await.unwrap();
        store.set_fates(fates);
        let mut pending: Vec<_> = (1..10).map(|number| log.submit(reading(1_000, number)).unwrap()).collect();
        pending.push(log.submit(raising(200, None)).unwrap());
        let mut places = Vec::new();
        for pending in pending {
            places.push(pending.durable().await.unwrap().index);
        }
        assert!(places.is_sorted());
        assert_eq!(places, (2..=11).collect::<Vec<_>>());
        assert_eq!(*published.0.lock().unwrap(), [1]);
        assert_eq!(log.close().await, End::Clean);
        let ids: Vec<_> = store.log().iter().map(|entry| entry.request_id).collect();
        assert_eq!(ids.len(), 11, "one entry for each, none doubled");
        let (again, _) = store.start();
        assert_eq!(again.submit(reading(1_000, 99)).unwrap().durable().await.unwrap().index, 12);
        assert_eq!(again.close().await, End::Clean);
    }
}

const TILE_ENTRIES: u64 = 256;
/// An entry that is so much later than those before it is signed in its own transaction.
const LONG_MS: u64 = 1_000_000;

#[tokio::test]
async fn a_connection_that_dies_at_any_statement_of_a_batch_and_its_checkpoint_costs_no_entry() {
    let (_home, store) = Shared::new();
    let (log, _) = store.start();
    let mut statements = 0;
    loop {
        // The tree is signed one entry before a tile is full, and then with that entry: the tile is read to compare both.
        let end = (statements + 1) * TILE_ENTRIES;
        for size in log.head().checkpoint.size + 1..end {
            let at = if size == end - 1 { end * LONG_MS } else { (end - 1) * LONG_MS };
            log.submit(reading(at, size.into())).unwrap().durable().await.unwrap();
        }
        assert_eq!(log.head().checkpoint.size, end - 1);
        store.lose_after(statements);
        let place = log.submit(reading((end + 1) * LONG_MS, end.into())).unwrap().durable().await.unwrap();
        assert_eq!((place.index, log.head().checkpoint.size), (end - 1, end), "after {statements} statements");
        if store.all_lived() {
            break;
        }
        statements += 1;
    }
    assert!(statements > 6, "a batch and a checkpoint have {statements} statements");
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(store.log().len(), usize::try_from((statements + 1) * TILE_ENTRIES - 1).unwrap());
}

#[tokio::test]
async fn what_was_not_kept_when_the_process_was_stopped_comes_into_no_log_afterwards() {
    let (_home, store) = Shared::new();
    let (log, _) = store.start();
    log.submit(reading(1_000, 0)).unwrap().durable().await.unwrap();
    store.set_fates(&[Fate::Stopped]);
    let old = log.submit(reading(1_000, 1)).unwrap();
    assert_eq!(old.durable().await.unwrap_err(), AppendError::TooLate);
    let now = store.clock.now().as_ms();
    assert_eq!(log.submit(reading(now, 2)).unwrap().durable().await.unwrap().index, 2);
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(store.log().len(), 2);
}

#[tokio::test]
async fn a_check_waits_for_no_change_that_came_before_it() {
    let (_home, store) = Shared::new();
    let (log, published) = store.start();
    let gate = store.gate.lock().unwrap();
    let begun = store.begun.load(Ordering::SeqCst);
    let first = log.submit(reading(1_000, 0)).unwrap();
    while store.begun.load(Ordering::SeqCst) == begun {
        std::thread::yield_now();
    }
    let raised = log.submit(raising(1, None)).unwrap();
    let check = log.submit(reading(1_000, 1)).unwrap();
    let raised_too = log.submit(raising(2, None)).unwrap();
    let check_too = log.submit(reading(1_000, 2)).unwrap();
    // What changes something is lost with its transaction; the checks are not.
    store.set_fates(&[Fate::Kept, Fate::Kept, Fate::Stopped]);
    drop(gate);
    assert_eq!(first.durable().await.unwrap().index, 1);
    assert_eq!(check.durable().await.unwrap().index, 2);
    assert_eq!(check_too.durable().await.unwrap().index, 3);
    assert_eq!(raised.durable().await.unwrap_err(), AppendError::TooLate);
    assert_eq!(raised_too.durable().await.unwrap_err(), AppendError::TooLate);
    assert!(published.0.lock().unwrap().is_empty());
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(store.log().len(), 3);
}

#[tokio::test]
async fn a_checkpoint_that_is_lost_is_signed_again() {
    let (_home, store) = Shared::new();
    let (log, _) = store.start();
    let place = log.submit(reading(1_000, 1)).unwrap().durable().await.unwrap();
    store.set_fates(&[Fate::Lost, Fate::KeptAndLost]);
    let covered = async {
        while log.head().checkpoint.size <= place.index {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), covered).await.unwrap();
    assert_eq!(log.close().await, End::Clean);
}

#[tokio::test]
async fn while_the_database_is_gone_everybody_is_refused_at_once_and_afterwards_it_goes_on() {
    let (_home, store) = Shared::new();
    let (log, _) = store.start();
    log.submit(reading(1_000, 0)).unwrap().durable().await.unwrap();
    store.set_down(true);
    let error = log.submit(reading(1_000, 1)).unwrap().durable().await.unwrap_err();
    assert_eq!(error, AppendError::Gone);
    while !log.is_gone() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(log.submit(reading(1_000, 2)), Err(AppendError::Gone)));
    store.set_down(false);
    let back = async {
        while log.is_gone() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), back).await.unwrap();
    assert_eq!(log.submit(reading(1_000, 3)).unwrap().durable().await.unwrap().index, 2);
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(store.log().len(), 2);
}

#[tokio::test]
async fn a_process_whose_log_was_taken_commits_nothing_more() {
    let (_home, store) = Shared::new();
    let (paused, _) = store.start();
    paused.submit(reading(1_000, 0)).unwrap().durable().await.unwrap();
    assert!(matches!(ask(&store), Asked::Held { heard_ms_ago } if heard_ms_ago < LEASE_MS));
    forget_heartbeat(&store);
    let (second, _) = store.start();
    let error = paused.submit(reading(1_000, 1)).unwrap().durable().await.unwrap_err();
    assert_eq!(error, AppendError::CommitFailed);
    assert_eq!(paused.close().await, End::Failed);
    assert_eq!(second.submit(reading(1_000, 2)).unwrap().durable().await.unwrap().index, 2);
    assert_eq!(second.close().await, End::Clean);
    assert!(matches!(ask(&store), Asked::Granted(_)), "a process that ends gives its log free");
}

#[test]
fn a_process_that_was_heard_by_a_clock_that_was_set_back_since_keeps_nobody_out() {
    let (_home, store) = Shared::new();
    assert!(matches!(ask(&store), Asked::Granted(_)));
    let mut connection = store.writer().unwrap();
    assert_eq!(lease::live(connection.as_mut()).unwrap(), 1);
    connection.execute("UPDATE log SET heard_at = heard_at + 3600000", &[]).unwrap();
    assert_eq!(lease::live(connection.as_mut()).unwrap(), 0);
    assert!(matches!(ask(&store), Asked::Granted(_)));
    assert!(matches!(ask(&store), Asked::Held { .. }));
}

#[tokio::test]
async fn changes_of_other_nodes_are_told_before_those_that_follow_on_them() {
    let (_home, store) = Shared::new();
    let (log, published) = store.start();
    log.submit(raising(1, None)).unwrap().durable().await.unwrap();
    let mut other = store.inner.writer().unwrap();
    other.begin().unwrap();
    for id in [2, 3] {
        let number = store::changes::next_number(other.as_mut()).unwrap();
        assert!(store::flags::insert(other.as_mut(), &flag(id), number).unwrap());
    }
    other.commit().unwrap();
    log.submit(raising(4, None)).unwrap().durable().await.unwrap();
    assert_eq!(*published.0.lock().unwrap(), [1, 2, 3, 4]);
    assert_eq!(log.close().await, End::Clean);
}

fn ask(store: &Shared) -> Asked {
    lease::take(store.writer().unwrap().as_mut(), "main").unwrap()
}

/// As if the process that has the log had not been heard for long.
fn forget_heartbeat(store: &Shared) {
    store.inner.writer().unwrap().execute("UPDATE log SET heard_at = 1", &[]).unwrap();
}

#[tokio::test]
async fn a_database_that_lost_what_was_answered_is_not_written_to() {
    for is_signed in [false, true] {
        let (_home, store) = Shared::new();
        let (log, _) = store.start();
        for number in 0..3 {
            log.submit(reading(1_000, number)).unwrap().durable().await.unwrap();
        }
        if is_signed {
            let covered = async {
                while log.head().checkpoint.size < 4 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), covered).await.unwrap();
        }
        store.set_down(true);
        let error = log.submit(reading(1_000, 4)).unwrap().durable().await.unwrap_err();
        assert_eq!(error, AppendError::Gone);
        fail_over(&store, is_signed);
        store.set_down(false);
        let mut end = log.end();
        let ended = end.wait_for(|end| *end != End::Running);
        assert_eq!(*tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap(), End::Failed);
        assert!(log.submit(reading(1_000, 5)).is_err());
        assert!(!store.log().iter().any(|entry| entry.request_id == log_support::entry(1_000, 5).request_id));
    }
}

/// As if another server had taken over that never got the last entry, and perhaps another one in its place.
fn fail_over(store: &Shared, is_replaced: bool) {
    let mut connection = store.inner.writer().unwrap();
    for sql in [
        "DROP TRIGGER log_batch_is_never_deleted",
        "DROP TRIGGER log_checkpoint_is_never_deleted",
        "DELETE FROM log_checkpoint WHERE place > 1",
        "DELETE FROM log_batch WHERE place = 3",
    ] {
        connection.execute(sql, &[]).unwrap();
    }
    if is_replaced {
        let log = store::log::find(connection.as_mut(), "main").unwrap().unwrap();
        let mut entries = Vec::new();
        log_support::entry(1_000, 77).encode(&mut entries).unwrap();
        let at = Timestamp::from_ms(1_000);
        let batch = store::log::LogBatch { first_index: 3, size: 1, at_min: at, at_max: at, entries };
        store::log::append(connection.as_mut(), log, &batch).unwrap();
    }
}
