//! What archives hold is gone for all who read, and is dropped from PostgreSQL afterwards: months as a whole, the rest in steps.

use super::postgres::query;
use super::server::registry;
use super::{at, batch, batches, committed};
use canhbao::domain::AnsweredParties;
use canhbao::store::archive::{self, Archive};
use canhbao::store::log::{self, LogNumber};
use canhbao::store::postgres::{Address, PostgresStore};
use canhbao::store::{Connection, Store, StoreError, tree};

const DAY_MS: u64 = 86_400_000;
const NOVEMBER: &str = "log_batch_2026_11";

fn sealed(size: u64) -> Archive {
    let (at_max, sealed_at) = (at(1), at(2));
    Archive { first_index: 0, size, at_max, sealed_at, file_name: "a".to_owned(), digest: [9; 32] }
}

fn seal(writer: &mut dyn Connection, log: LogNumber, size: u64) {
    committed(writer, |writer| archive::seal(writer, log, &sealed(size), &AnsweredParties::new()).unwrap());
}

fn has_november(url: &str) -> bool {
    let sql = "SELECT 1 FROM pg_class WHERE relname = $1";
    !query(url, sql, &[&NOVEMBER]).is_empty()
}

fn rows(url: &str) -> i64 {
    query(url, "SELECT COUNT(*) FROM log_batch", &[])[0].get(0)
}

/// Two logs with a batch in November and one in December each.
fn two_logs() -> (String, PostgresStore, Box<dyn Connection + Send>, [LogNumber; 2]) {
    let (url, store) = registry();
    let mut writer = store.writer().unwrap();
    let logs = ["a", "b"].map(|node| log::find_or_create(writer.as_mut(), node).unwrap());
    committed(writer.as_mut(), |writer| {
        for log in logs {
            log::append(writer, log, &batch(0, 256, 1)).unwrap();
            log::append(writer, log, &batch(256, 10, 10 * DAY_MS)).unwrap();
            tree::insert_checkpoint(writer, log, 256, at(1), "note").unwrap();
        }
    });
    (url, store, writer, logs)
}

#[test]
fn a_month_goes_when_no_node_has_an_entry_of_it_outside_an_archive() {
    let (url, store, mut writer, [a, b]) = two_logs();
    let later = at(60 * DAY_MS);
    store.drop_archived(later).unwrap();
    assert!(has_november(&url) && rows(&url) == 4, "nothing is archived");
    seal(writer.as_mut(), a, 256);
    assert_eq!(rows(&url), 4, "the transaction of the archive drops nothing");
    assert_eq!(log::first_index(writer.as_mut(), a).unwrap(), 256);
    assert_eq!(log::batch_at(writer.as_mut(), a, 255).unwrap(), None);
    assert_eq!(log::end(writer.as_mut(), a).unwrap(), (266, at(10 * DAY_MS)));
    for from in [0, 100, 256] {
        assert_eq!(batches(&store, a, from, 9).iter().map(|batch| batch.0).collect::<Vec<_>>(), [256], "{from}");
    }
    assert_eq!(batches(&store, b, 0, 9).len(), 2, "the other log has no archive");
    // Whoever was interrupted here is followed by another.
    drop(store);
    let store = PostgresStore::open(&Address::parse(&url).unwrap(), at(0)).unwrap();
    store.drop_archived(later).unwrap();
    assert!(has_november(&url) && rows(&url) == 3, "the other node's entries keep the month");
    seal(writer.as_mut(), b, 256);
    store.drop_archived(at(6 * DAY_MS)).unwrap();
    assert!(has_november(&url), "the month is not over");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| store.drop_archived(later).unwrap());
        }
    });
    assert!(!has_november(&url) && rows(&url) == 2);
    store.drop_archived(later).unwrap();
    for log in [a, b] {
        assert_eq!(batches(&store, log, 0, 9), [(256, 10, vec![5; 40])]);
    }
    // What comes with an old time all the same is kept.
    committed(writer.as_mut(), |writer| log::append(writer, a, &batch(266, 1, 2)).unwrap());
    store.drop_archived(later).unwrap();
    assert_eq!(query(&url, "SELECT 1 FROM log_batch_other", &[]).len(), 1);
}

#[test]
fn a_month_stays_for_who_reads_since_before_its_archive() {
    let (url, store, mut writer, [a, b]) = two_logs();
    seal(writer.as_mut(), a, 256);
    let later = at(60 * DAY_MS);
    let writer = std::cell::RefCell::new(writer);
    let reading: &dyn Store = &store;
    let found = reading.find(|connection| {
        // It has a moment, and no lock on the log's table yet.
        log::find(connection, "b")?;
        seal(writer.borrow_mut().as_mut(), b, 256);
        let refused = store.drop_archived(later);
        assert!(matches!(refused, Err(StoreError::Undone(_))), "{refused:?}");
        // Nobody waited for it.
        committed(writer.borrow_mut().as_mut(), |writer| log::append(writer, a, &batch(266, 1, 10 * DAY_MS)).unwrap());
        log::batch_at(connection, b, 0)
    });
    assert_eq!(found.unwrap().map(|batch| batch.size), Some(256), "as it was at that moment");
    assert!(has_november(&url));
    store.drop_archived(later).unwrap();
    assert!(!has_november(&url) && rows(&url) == 3);
}

#[test]
fn what_lies_among_others_is_deleted_in_steps() {
    const ROWS: u64 = 1_100;
    let (url, store) = registry();
    let mut writer = store.writer().unwrap();
    let log = log::find_or_create(writer.as_mut(), "a").unwrap();
    committed(writer.as_mut(), |writer| {
        (0..ROWS).for_each(|index| log::append(writer, log, &batch(index, 1, 1)).unwrap());
        tree::insert_checkpoint(writer, log, ROWS - 10, at(1), "note").unwrap();
    });
    seal(writer.as_mut(), log, ROWS - 10);
    store.drop_archived(at(1)).unwrap();
    assert!(has_november(&url) && rows(&url) == 10);
    let live = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL \
                AND pid <> pg_backend_pid()";
    assert!(query(&url, live, &[]).is_empty(), "no transaction is left open");
}
