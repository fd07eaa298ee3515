//! The log's writer over a store that can be stopped and broken: nothing is lost, doubled or answered too early.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

#[path = "support/log.rs"]
#[allow(dead_code)]
mod log_support;

use canhbao::domain::{Change, FlagId, KeptAnswer, Replaces, RequestId, Timestamp};
use canhbao::log::{Act, AppendError, End, Entry, Limits, Log, Record, Refusal, entries_of};
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::{self, Connection, Row, Store, StoreError, Value};
use log_support::{Published, actor, entry, flag, raising, reading};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const LIMITS: Limits = Limits { queue_records_max: 64, batch_records_max: 32 };
const WAITED_MAX: Duration = Duration::from_secs(10);

/// A place that the writer passes while it is open.
struct Gate(Mutex<Passing>, Condvar);

struct Passing {
    is_open: bool,
    /// The writer stands before it.
    waits: bool,
}

impl Gate {
    fn open() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Passing { is_open: true, waits: false }), Condvar::new()))
    }

    fn set(&self, open: bool) {
        self.0.lock().unwrap().is_open = open;
        self.1.notify_all();
    }

    fn pass(&self) {
        let mut passing = self.0.lock().unwrap();
        passing.waits = true;
        self.1.notify_all();
        passing = self.1.wait_while(passing, |passing| !passing.is_open).unwrap();
        passing.waits = false;
    }

    fn until_the_writer_waits(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |passing| !passing.waits).unwrap());
    }
}

/// SQLite, with a gate before each commit and one after the statements of each change, and a switch that makes commits fail.
#[derive(Clone)]
struct Broken {
    inner: Arc<SqliteStore>,
    gate: Arc<Gate>,
    change_gate: Arc<Gate>,
    fails: Arc<AtomicBool>,
}

impl Broken {
    fn new() -> (tempfile::TempDir, Self) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("registry.db");
        SqliteStore::create(&path, "test.example", Timestamp::from_ms(1)).unwrap();
        let inner = Arc::new(SqliteStore::open(&path, Timestamp::from_ms(1)).unwrap());
        (home, Self { inner, gate: Gate::open(), change_gate: Gate::open(), fails: Arc::default() })
    }

    fn set_gate(&self, open: bool) {
        self.gate.set(open);
    }
}

impl Store for Broken {
    fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        Ok(Box::new(BrokenConnection { inner: self.inner.writer()?, store: self.clone() }))
    }

    fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        self.inner.search_writer()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
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

struct BrokenConnection {
    inner: Box<dyn Connection + Send>,
    store: Broken,
}

impl Connection for BrokenConnection {
    fn now(&mut self) -> Result<Timestamp, StoreError> {
        self.inner.now()
    }
    fn begin(&mut self) -> Result<(), StoreError> {
        self.inner.begin()
    }
    fn commit(&mut self) -> Result<(), StoreError> {
        self.store.gate.pass();
        if self.store.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Engine("the disk is broken".to_owned()));
        }
        self.inner.commit()
    }
    fn rollback(&mut self) -> Result<(), StoreError> {
        self.inner.rollback()
    }
    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.inner.begin_part()
    }
    fn keep_part(&mut self) -> Result<(), StoreError> {
        self.store.change_gate.pass();
        self.inner.keep_part()
    }
    fn undo_part(&mut self) -> Result<(), StoreError> {
        self.store.change_gate.pass();
        self.inner.undo_part()
    }
    fn is_far(&self) -> bool {
        self.inner.is_far()
    }
    fn hold_log(&mut self, number: u64, epoch: u64) -> Result<bool, StoreError> {
        self.inner.hold_log(number, epoch)
    }
    fn settle(&mut self) -> Result<(), StoreError> {
        self.inner.settle()
    }
    fn drops_later(&self) -> bool {
        self.inner.drops_later()
    }
    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.inner.execute(sql, values)
    }
    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.query(sql, values, each)
    }
}

fn start(store: &Broken) -> (Log, Published) {
    let published = Published::default();
    (Log::start(Arc::new(store.clone()), log_support::opening(LIMITS), Box::new(published.clone())).unwrap(), published)
}

fn kept(key: &str) -> KeptAnswer {
    KeptAnswer {
        client: actor().client,
        key: key.to_owned(),
        request: [1; 32],
        at: Timestamp::from_ms(1_000),
        status: 201,
        location: String::new(),
        etag: String::new(),
        body: b"{}".to_vec(),
    }
}

/// Every entry of the log after the one that announces its key, checked to be contiguous from 0.
fn log_of(store: &Broken) -> Vec<Entry> {
    let mut entries = Vec::new();
    let read = store.inner.read(&mut |connection| {
        let log = store::log::find(connection, "main")?.unwrap();
        store::log::stream(connection, log, 0, u32::MAX, &mut |batch| {
            assert_eq!(batch.first_index, entries.len() as u64);
            entries.extend(entries_of(&batch.entries).map(|bytes| Entry::decode(bytes.unwrap()).unwrap()));
            assert_eq!(batch.first_index + batch.size, entries.len() as u64);
            Ok(())
        })
    });
    read.unwrap();
    assert_eq!(entries.remove(0).act, Act::LogKey);
    entries
}

#[tokio::test]
async fn every_record_gets_a_place_of_its_own_and_is_there_when_it_is_answered() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    let mut places = HashSet::new();
    for round in 0..20_u128 {
        let pending: Vec<_> = (0..50).map(|n| log.submit(reading(1_000, round * 50 + n)).unwrap()).collect();
        for pending in pending {
            assert!(places.insert(pending.durable().await.unwrap().index));
        }
        assert_eq!(log_of(&store).len(), places.len());
    }
    assert_eq!(places, (1..=1_000).collect());
    assert_eq!(log.close().await, End::Clean);
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once_and_what_was_accepted_is_kept() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    store.set_gate(false);
    let mut accepted = Vec::new();
    let refused = loop {
        match log.submit(reading(1_000, accepted.len() as u128)) {
            Ok(pending) => accepted.push(pending),
            Err(error) => break error,
        }
        assert!(accepted.len() <= LIMITS.queue_records_max + LIMITS.batch_records_max + 1);
    };
    assert_eq!(refused, AppendError::QueueFull);
    assert!(accepted.len() >= LIMITS.queue_records_max);
    store.set_gate(true);
    let count = accepted.len();
    for pending in accepted {
        pending.durable().await.unwrap();
    }
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(log_of(&store).len(), count);
}

#[tokio::test]
async fn a_failed_commit_fails_every_waiter_and_nothing_is_taken_after_it() {
    let (_home, store) = Broken::new();
    let (log, published) = start(&store);
    log.submit(reading(1_000, 0)).unwrap().durable().await.unwrap();
    store.set_gate(false);
    store.fails.store(true, Ordering::SeqCst);
    let mut pending: Vec<_> = (1..40).map(|number| log.submit(reading(1_000, number)).unwrap()).collect();
    pending.push(log.submit(raising(200, None)).unwrap());
    store.set_gate(true);
    for pending in pending {
        let error = pending.durable().await.unwrap_err();
        assert!(matches!(error, AppendError::CommitFailed | AppendError::Closed), "{error:?}");
    }
    let mut end = log.end();
    assert_eq!(*end.wait_for(|end| *end != End::Running).await.unwrap(), End::Failed);
    store.fails.store(false, Ordering::SeqCst);
    let later = match log.submit(reading(1_000, 99)) {
        Ok(pending) => pending.durable().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(later, AppendError::Closed);
    assert!(published.0.lock().unwrap().is_empty());
    assert_eq!(log.close().await, End::Failed);
}

#[tokio::test]
async fn after_a_restart_the_log_goes_on_where_the_disk_says_it_ended() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    for number in 0..3 {
        log.submit(reading(5_000, number)).unwrap().durable().await.unwrap();
    }
    assert_eq!(log.close().await, End::Clean);
    let (log, _) = start(&store);
    assert_eq!(log.submit(reading(5_000, 3)).unwrap().durable().await.unwrap().index, 4);
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(log_of(&store).len(), 4);
}

/// How many entries each commit took in after the one that announced the log's key.
fn batches(store: &Broken) -> Vec<u64> {
    let mut sizes = Vec::new();
    let read = store.inner.read(&mut |connection| {
        connection.query("SELECT size FROM log_batch ORDER BY place", &[], &mut |row| {
            sizes.push(row.count(0)?);
            Ok(())
        })
    });
    read.unwrap();
    sizes.split_off(1)
}

#[tokio::test]
async fn what_changes_nothing_does_not_wait_for_the_statements_of_a_change() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    store.set_gate(false);
    let first = log.submit(reading(1_000, 1)).unwrap();
    store.gate.until_the_writer_waits();
    let change = log.submit(raising(7, None)).unwrap();
    let read = log.submit(reading(1_000, 2)).unwrap();
    store.change_gate.set(false);
    store.set_gate(true);
    assert_eq!(first.durable().await.unwrap().index, 1);
    let read = tokio::time::timeout(WAITED_MAX, read.durable()).await;
    store.change_gate.set(true);
    assert_eq!(read.unwrap().unwrap().index, 2);
    assert_eq!(change.durable().await.unwrap().index, 3);
    assert_eq!(batches(&store), [1, 1, 1]);
    assert_eq!(log.close().await, End::Clean);
}

#[tokio::test]
async fn what_comes_while_the_statements_of_a_change_run_is_committed_with_it_up_to_the_next_change() {
    let (_home, store) = Broken::new();
    let (log, published) = start(&store);
    store.change_gate.set(false);
    let change = log.submit(raising(7, None)).unwrap();
    store.change_gate.until_the_writer_waits();
    let joins = [1, 2].map(|number| log.submit(reading(1_000, number)).unwrap());
    let next = log.submit(raising(8, None)).unwrap();
    let after = log.submit(reading(1_000, 3)).unwrap();
    store.change_gate.set(true);
    let mut places = vec![change.durable().await.unwrap().index];
    for pending in joins {
        places.push(pending.durable().await.unwrap().index);
    }
    assert_eq!(places, [1, 2, 3]);
    // What changes nothing goes first.
    assert_eq!(after.durable().await.unwrap().index, 4);
    assert_eq!(next.durable().await.unwrap().index, 5);
    assert_eq!(batches(&store), [3, 1, 1]);
    assert_eq!(published.0.lock().unwrap().len(), 2);
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(log_of(&store).len(), 5);
}

#[tokio::test]
async fn when_the_commit_of_a_change_fails_nobody_who_joined_it_is_told_otherwise() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    store.change_gate.set(false);
    let change = log.submit(raising(7, None)).unwrap();
    store.change_gate.until_the_writer_waits();
    let joins = log.submit(reading(1_000, 1)).unwrap();
    store.fails.store(true, Ordering::SeqCst);
    store.change_gate.set(true);
    assert_eq!(change.durable().await.unwrap_err(), AppendError::CommitFailed);
    assert_eq!(joins.durable().await.unwrap_err(), AppendError::CommitFailed);
    assert_eq!(log.close().await, End::Failed);
    assert!(log_of(&store).is_empty());
}

#[tokio::test]
async fn who_joins_a_change_that_is_refused_is_committed_alone() {
    let (_home, store) = Broken::new();
    let (log, published) = start(&store);
    store.change_gate.set(false);
    let stale = Change::Flag { replaces: Replaces::Version(9), flag: Box::new(flag(7)) };
    let stale = log.submit(Record::changing(entry(1_000, 2), stale, None)).unwrap();
    store.change_gate.until_the_writer_waits();
    let read = log.submit(reading(1_000, 1)).unwrap();
    let next = log.submit(raising(8, None)).unwrap();
    store.change_gate.set(true);
    assert_eq!(stale.durable().await.unwrap_err(), AppendError::Refused(Refusal::Precondition));
    assert_eq!(read.durable().await.unwrap().index, 1);
    assert_eq!(next.durable().await.unwrap().index, 2);
    assert_eq!(batches(&store), [1, 1]);
    assert_eq!(*published.0.lock().unwrap(), [1]);
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(log_of(&store).len(), 2);
}

#[tokio::test]
async fn a_change_whose_precondition_fails_fails_alone() {
    let (_home, store) = Broken::new();
    let (log, published) = start(&store);
    store.set_gate(false);
    let before = log.submit(reading(1_000, 1)).unwrap();
    store.gate.until_the_writer_waits();
    let first = log.submit(raising(7, None)).unwrap();
    let again = log.submit(raising(7, None)).unwrap();
    let stale = Change::Flag { replaces: Replaces::Version(9), flag: Box::new(flag(7)) };
    let stale = log.submit(Record::changing(entry(1_000, 2), stale, None)).unwrap();
    let second = log.submit(raising(8, None)).unwrap();
    let after = log.submit(reading(1_000, 3)).unwrap();
    store.set_gate(true);
    let places: Vec<u64> = [
        before.durable().await.unwrap().index,
        after.durable().await.unwrap().index,
        first.durable().await.unwrap().index,
        second.durable().await.unwrap().index,
    ]
    .into();
    assert_eq!(places, [1, 2, 3, 4]);
    assert_eq!(again.durable().await.unwrap_err(), AppendError::Refused(Refusal::Precondition));
    assert_eq!(stale.durable().await.unwrap_err(), AppendError::Refused(Refusal::Precondition));
    assert_eq!(*published.0.lock().unwrap(), [1, 2]);
    assert_eq!(log.close().await, End::Clean);
    let versions: Vec<u64> = log_of(&store).iter().map(|entry| entry.list_version).collect();
    assert_eq!(versions, [0, 0, 1, 2]);
    let dyn_store: &dyn Store = store.inner.as_ref();
    assert_eq!(dyn_store.find(|connection| store::changes::head(connection)).unwrap(), 2);
}

#[tokio::test]
async fn an_idempotency_key_is_used_once_even_when_two_requests_race() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    store.set_gate(false);
    let first = log.submit(raising(1, Some(kept("key")))).unwrap();
    let second = log.submit(raising(2, Some(kept("key")))).unwrap();
    store.set_gate(true);
    let position = first.durable().await.unwrap();
    assert_eq!(second.durable().await.unwrap_err(), AppendError::Refused(Refusal::KeyUsed));
    let dyn_store: &dyn Store = store.inner.as_ref();
    let client = actor().client;
    let (_, kept_at) = dyn_store.find(|c| store::answers::find(c, &client, "key")).unwrap().unwrap();
    assert_eq!(kept_at, position);
    assert!(dyn_store.find(|c| store::flags::find(c, FlagId::from_bytes([2; 16]))).unwrap().is_none());
    assert_eq!(log.close().await, End::Clean);
}

#[tokio::test]
async fn a_record_from_before_the_declared_skew_is_refused_alone() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    log.submit(reading(60_000, 0)).unwrap().durable().await.unwrap();
    let too_late = log.submit(reading(49_999, 1)).unwrap();
    assert_eq!(too_late.durable().await.unwrap_err(), AppendError::TooLate);
    log.submit(reading(50_000, 2)).unwrap().durable().await.unwrap();
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(log_of(&store).len(), 2);
}

#[tokio::test]
async fn an_entry_is_found_by_its_time_wherever_it_stands() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    // Times that run forward with neighbours out of order by up to the skew.
    let at = |number: u64| 100_000 + number * 200 - (number * 7_919 % 9_000);
    for number in 0..500_u64 {
        log.submit(reading(at(number), number.into())).unwrap().durable().await.unwrap();
    }
    assert_eq!(log.close().await, End::Clean);
    let dyn_store: &dyn Store = store.inner.as_ref();
    for number in (0..500_u64).step_by(7) {
        let id = RequestId::from_bytes(u128::from(number).to_be_bytes());
        let found = dyn_store
            .find(|c| canhbao::log::find(c, "main", Timestamp::from_ms(at(number)), |entry| entry.request_id == id));
        assert_eq!(found.unwrap().unwrap().0, number + 1);
    }
    let none = dyn_store.find(|c| canhbao::log::find(c, "main", Timestamp::from_ms(123), |_| true));
    assert!(none.unwrap().is_none());
}

#[test]
fn rows_of_the_log_refuse_update_and_delete() {
    let (home, store) = Broken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (log, _) = start(&store);
        log.submit(reading(1_000, 0)).unwrap().durable().await.unwrap();
        log.submit(raising(1, None)).unwrap().durable().await.unwrap();
        assert_eq!(log.close().await, End::Clean);
    });
    let database = rusqlite::Connection::open(home.path().join("registry.db")).unwrap();
    for table in ["log_batch", "change", "flag_version"] {
        for sql in [format!("DELETE FROM {table}"), format!("UPDATE {table} SET rowid = rowid")] {
            let sql = if sql.contains("rowid") && table != "change" {
                format!("UPDATE {table} SET {}", if table == "log_batch" { "size = 0" } else { "body = ''" })
            } else {
                sql.replace("rowid = rowid", "kind = ''")
            };
            let error = database.execute(&sql, []).unwrap_err().to_string();
            assert!(error.contains("append-only"), "{sql}: {error}");
        }
    }
}

/// Polls a future once, with a waker that does nothing.
fn poll_once(pending: &mut canhbao::log::Pending) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::future::Future::poll(std::pin::Pin::new(pending), &mut context).is_ready()
}

#[tokio::test]
async fn who_gives_up_takes_nobody_elses_answer_with_him() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    for round in 0..50_u128 {
        store.set_gate(false);
        let mut gives_up = log.submit(reading(1_000, round * 3)).unwrap();
        // He is the one that the writer will wake for all.
        assert!(!poll_once(&mut gives_up));
        let first = log.submit(reading(1_000, round * 3 + 1)).unwrap();
        let second = log.submit(reading(1_000, round * 3 + 2)).unwrap();
        let waiting = tokio::task::LocalSet::new();
        let waits =
            |pending: canhbao::log::Pending| waiting.spawn_local(async move { pending.durable().await.unwrap().index });
        let (first, second) = (waits(first), waits(second));
        waiting
            .run_until(async {
                tokio::task::yield_now().await;
                if round % 2 == 0 {
                    drop(gives_up);
                    store.set_gate(true);
                } else {
                    store.set_gate(true);
                    // The answers lie ready, and he was woken to fetch them.
                    while log.depth() > 0 {
                        std::thread::yield_now();
                    }
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    drop(gives_up);
                }
                let places = [first.await.unwrap(), second.await.unwrap()];
                assert_eq!(places[1] - places[0], 1);
            })
            .await;
    }
    assert_eq!(log.close().await, End::Clean);
    assert_eq!(log_of(&store).len(), 150);
}

#[test]
fn threads_that_wait_each_get_their_own_answers() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    let places = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for thread in 0..4_u128 {
            let (log, places) = (&log, &places);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..50 {
                    let number = thread * 1_000 + round * 4;
                    let pending: Vec<_> = (0..4).map(|n| log.submit(reading(1_000, number + n)).unwrap()).collect();
                    for pending in pending.into_iter().rev() {
                        let place = runtime.block_on(pending.durable()).unwrap().index;
                        assert!(places.lock().unwrap().insert(place));
                    }
                }
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(runtime.block_on(log.close()), End::Clean);
    assert_eq!(places.into_inner().unwrap(), (1..=800).collect());
}

#[tokio::test]
async fn every_entry_is_under_a_checkpoint_a_second_later_and_at_the_end() {
    let (_home, store) = Broken::new();
    let (log, _) = start(&store);
    assert_eq!(log.head().checkpoint.size, 1);
    let index = log.submit(reading(1_000, 1)).unwrap().durable().await.unwrap().index;
    let mut waited_ms = 0;
    while log.head().checkpoint.size <= index {
        assert!(waited_ms < 1_500, "no checkpoint");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        waited_ms += 10;
    }
    log.submit(reading(1_000, 2)).unwrap().durable().await.unwrap();
    assert_eq!(log.close().await, End::Clean);
    let head = log.head();
    assert_eq!(head.checkpoint.size, 3);
    let key = log_support::SeedKey::new(1).verifier();
    let (checkpoint, _) = canhbao::log::note::Checkpoint::parse_signed(&head.note, &[key]).unwrap();
    assert_eq!(checkpoint, head.checkpoint);
}

#[tokio::test]
async fn a_new_key_is_announced_and_vouched_for_by_the_old_one_and_a_strange_one_is_refused() {
    let (_home, store) = Broken::new();
    let (log, published) = start(&store);
    assert_eq!(log.close().await, End::Clean);
    let open = |seed, previous| {
        Log::start(
            Arc::new(store.clone()),
            log_support::opening_with(LIMITS, seed, previous),
            Box::new(published.clone()),
        )
    };
    assert!(open(2, None).is_err(), "a key that nobody vouches for");
    assert!(open(2, Some(3)).is_err(), "a key that a stranger vouches for");
    let rotated = open(2, Some(1)).unwrap();
    let keys = [1, 2].map(|seed| log_support::SeedKey::new(seed).verifier());
    let (checkpoint, signed_by) = canhbao::log::note::Checkpoint::parse_signed(&rotated.head().note, &keys).unwrap();
    assert_eq!((checkpoint.size, signed_by.len()), (2, 2));
    rotated.submit(reading(1_000, 1)).unwrap().durable().await.unwrap();
    assert_eq!(rotated.close().await, End::Clean);
    let (_, signed_by) = canhbao::log::note::Checkpoint::parse_signed(&rotated.head().note, &keys).unwrap();
    assert_eq!(signed_by, [1], "the new key signs alone");
    // Now the new key stands for itself.
    assert_eq!(open(2, None).unwrap().close().await, End::Clean);
    let entries = log_of(&store);
    assert_eq!(entries[0].reference, Some(keys[1].to_string()));
}

#[tokio::test]
async fn a_start_refuses_to_sign_what_no_server_leaves_without_a_checkpoint() {
    let (home, store) = Broken::new();
    let (log, published) = start(&store);
    for (number, at_ms) in [(0, 1_000), (1, 2_000), (2, 60_000), (3, 120_000)] {
        let index = log.submit(reading(at_ms, number)).unwrap().durable().await.unwrap().index;
        let covered = log.head().checkpoint.size;
        assert!(at_ms < 60_000 || covered == index + 1, "a crash would leave an entry that is a minute younger");
    }
    assert_eq!(log.close().await, End::Clean);
    let starts = |sign_uncovered| {
        let mut opening = log_support::opening(LIMITS);
        opening.signers.sign_uncovered = sign_uncovered;
        Log::start(Arc::new(store.clone()), opening, Box::new(published.clone()))
    };
    let attack = |sql: &str| {
        let connection = rusqlite::Connection::open(home.path().join("registry.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    attack("DROP TRIGGER log_checkpoint_is_never_updated; DROP TRIGGER log_checkpoint_is_never_deleted");
    attack("UPDATE log_checkpoint SET place = 100 WHERE place = 5");
    assert!(starts(false).err().unwrap().to_string().contains("wrong place"));
    // The times that the rows tell are believed no more than the entries.
    attack("DELETE FROM log_checkpoint WHERE place > 4");
    attack("DROP TRIGGER log_batch_is_never_updated; UPDATE log_batch SET at_min = 60000, at_max = 60000");
    assert!(starts(false).err().unwrap().to_string().contains("more entries"));
    attack("DELETE FROM log_checkpoint");
    assert!(starts(false).err().unwrap().to_string().contains("more entries"));
    assert_eq!(starts(true).unwrap().close().await, End::Clean);
    assert_eq!(starts(false).unwrap().close().await, End::Clean);
}

#[tokio::test]
async fn a_start_refuses_a_last_checkpoint_by_a_key_that_was_given_up() {
    let (home, store) = Broken::new();
    let (log, published) = start(&store);
    assert_eq!(log.close().await, End::Clean);
    let rotated = || {
        Log::start(Arc::new(store.clone()), log_support::opening_with(LIMITS, 2, Some(1)), Box::new(published.clone()))
    };
    for number in 0..3 {
        let log = rotated().unwrap();
        log.submit(reading(1_000, number)).unwrap().durable().await.unwrap();
        assert_eq!(log.close().await, End::Clean);
    }
    let last = rotated().unwrap();
    let forged = last.head().checkpoint.sign(&[&log_support::SeedKey::new(1)]).unwrap();
    assert_eq!(last.close().await, End::Clean);
    let connection = rusqlite::Connection::open(home.path().join("registry.db")).unwrap();
    connection.execute_batch("DROP TRIGGER log_checkpoint_is_never_updated").unwrap();
    let sql = "UPDATE log_checkpoint SET note = ?1 WHERE place = (SELECT MAX(place) FROM log_checkpoint)";
    connection.execute(sql, [forged]).unwrap();
    let error = rotated().err().unwrap().to_string();
    assert!(error.contains("given up"), "{error}");
}

#[tokio::test]
async fn a_start_refuses_a_log_that_does_not_continue_its_last_checkpoint() {
    let (home, store) = Broken::new();
    let (log, published) = start(&store);
    for number in 0..300 {
        log.submit(reading(1_000, number)).unwrap().durable().await.unwrap();
    }
    assert_eq!(log.close().await, End::Clean);
    let attack = |sql: &str| {
        let connection = rusqlite::Connection::open(home.path().join("registry.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let starts =
        || Log::start(Arc::new(store.clone()), log_support::opening(LIMITS), Box::new(published.clone())).is_ok();
    attack("DROP TRIGGER log_batch_is_never_deleted; DELETE FROM log_batch WHERE place > 280;");
    assert!(!starts(), "the end is missing");
    attack("DELETE FROM log_checkpoint WHERE place > 1000; DROP TRIGGER log_tile_is_never_updated;");
    attack("DROP TRIGGER log_checkpoint_is_never_deleted; DELETE FROM log_checkpoint WHERE place > 281;");
    attack("UPDATE log_tile SET root = zeroblob(32);");
    assert!(!starts(), "a tile is another");
}
