//! One suite for both drivers: what the contract of `Store` promises holds on each, and what PostgreSQL alone promises is
//! tried on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/postgres.rs"]
mod postgres;

use canhbao::domain::Timestamp;
use canhbao::store::Store;
use canhbao::store::log::{self, LogBatch};
use canhbao::store::postgres::{Address, PostgresStore};
use postgres::Postgres;

const NOW: Timestamp = Timestamp::EPOCH;

#[test]
fn smoke() {
    let url = Postgres::shared().create_database();
    let address = Address::parse(&url).unwrap();
    assert!(PostgresStore::is_empty(&address).unwrap());
    PostgresStore::create(&address, "registry.example", NOW).unwrap();
    let store = PostgresStore::open(&address, NOW).unwrap();
    let mut writer = store.writer().unwrap();
    let number = log::find_or_create(writer.as_mut(), "a").unwrap();
    writer.begin().unwrap();
    let batch = LogBatch { first_index: 0, size: 1, at_min: NOW, at_max: NOW, entries: vec![0, 1, 7] };
    log::append(writer.as_mut(), number, &batch).unwrap();
    writer.commit().unwrap();
    let store: &dyn Store = &store;
    assert_eq!(store.find(|connection| log::end(connection, number)).unwrap(), (1, NOW));
}
