//! The proxy fails as it is told, and where: a COMMIT is done or not as each way of failing promises.

use crate::support::postgres::{Postgres, query, through, try_query};
use crate::support::proxy::{AtCommit, Proxy};
use std::time::Duration;
use tokio_postgres::NoTls;

const LATE: Duration = Duration::from_millis(300);

/// A transaction that writes to a log, as the statements of a node do; whether its COMMIT was answered in time.
async fn is_answered(url: &str, place: i64) -> bool {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO log_batch (place) VALUES ($1)", &[&place]).await.unwrap();
    matches!(tokio::time::timeout(3 * LATE, transaction.commit()).await, Ok(Ok(())))
}

fn is_kept(url: &str, place: i64) -> bool {
    !query(url, "SELECT place FROM log_batch WHERE place = $1", &[&place]).is_empty()
}

#[tokio::test]
async fn a_commit_is_cut_where_it_was_asked_for() {
    let postgres = Postgres::shared();
    let direct = postgres.create_database();
    query(&direct, "CREATE TABLE log_batch (place BIGINT NOT NULL)", &[]);
    let proxy = Proxy::start(postgres.port());
    let url = through(&direct, proxy.port());
    let cases = [
        (AtCommit::BeforeRequest, Some(false)),
        (AtCommit::BeforeAnswer, Some(true)),
        (AtCommit::Silence, Some(true)),
        (AtCommit::WithRequest, None),
        (AtCommit::Late(LATE), Some(false)),
    ];
    for (place, (what, kept)) in (0..).zip(cases) {
        proxy.at_next_commit(what);
        query(&url, "SELECT COUNT(*) FROM log_batch", &[]);
        assert_eq!(proxy.hits(), u64::try_from(place).unwrap(), "another transaction was hit");
        assert!(!is_answered(&url, place).await, "{what:?}");
        assert_eq!(proxy.hits(), u64::try_from(place).unwrap() + 1);
        if let Some(kept) = kept {
            assert_eq!(is_kept(&direct, place), kept, "{what:?}");
        }
        assert!(is_answered(&url, place + 100).await);
        assert!(is_kept(&direct, place + 100), "nothing more was to happen after {what:?}");
    }
    tokio::time::sleep(2 * LATE).await;
    assert!(is_kept(&direct, 4), "the late COMMIT never came");
}

#[test]
fn connections_are_cut_refused_and_silent_until_they_are_let_through_again() {
    let postgres = Postgres::shared();
    let proxy = Proxy::start(postgres.port());
    let url = through(&postgres.create_database(), proxy.port());
    proxy.refuse();
    assert!(try_query(&url, "SELECT 1", &[]).is_err());
    proxy.admit();
    query(&url, "SELECT 1", &[]);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| try_query(&url, "SELECT pg_sleep(60)", &[]));
        let is_asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        while query(&url, is_asked, &[]).is_empty() {}
        proxy.cut();
        assert!(asked.join().unwrap().is_err());
        proxy.fall_silent();
        let asked = scope.spawn(|| try_query(&url, "SELECT 1", &[]));
        std::thread::sleep(LATE);
        assert!(!asked.is_finished(), "an answer through a silent network");
        proxy.speak();
        asked.join().unwrap().unwrap();
    });
    let watch = canhbao::clock::Stopwatch::start();
    proxy.delay(LATE, Duration::ZERO);
    query(&url, "SELECT 1", &[]);
    assert!(watch.elapsed() > LATE);
}
