//! Archives of logs in PostgreSQL: of one node among others, and of a log that was moved there.

use crate::registry::{Registry, assert_says, grow};
use crate::support::postgres::{Postgres, query};

/// How many entries of a node's log are in the database.
fn entries(url: &str, number: i64) -> i64 {
    let sql = "SELECT COALESCE(SUM(size), 0)::BIGINT FROM log_batch WHERE place / 1099511627776 = $1";
    query(url, sql, &[&number])[0].get(0)
}

#[tokio::test]
async fn each_node_s_log_is_archived_alone_and_verified_with_its_archive() {
    let url = Postgres::shared().create_database();
    let place = Registry(tempfile::tempdir().unwrap());
    place.canhbao(&["init", "a", "--store", &url, "--node", "a", "--self-signed", "127.0.0.1"]).done();
    place.canhbao(&["init", "b", "--node", "b", "--join", "a", "--self-signed", "127.0.0.1"]).done();
    let mut between = Vec::new();
    for node in ["a", "b"] {
        between.push(grow(&place.path(node), 600).await);
        grow(&place.path(node), 300).await;
    }
    let archive = |node: &str, before: &str| {
        let file = format!("archive-{node}");
        place.canhbao(&["log", "archive", "--data", node, "--before", before, "--to", &file]).done()
    };
    let verify = |node: &str, more: &[&str]| {
        let key = format!("{node}/keys/log-keys.txt");
        place.canhbao(&[&["log", "verify", node, "--node", node, "--key", &key][..], more].concat()).done()
    };
    let (before, other) = (entries(&url, 0), entries(&url, 1));
    assert!(before > 900 && other > 900);
    archive("a", &between[0]);
    assert!((300..before - 500).contains(&entries(&url, 0)), "{}", entries(&url, 0));
    assert_eq!(entries(&url, 1), other, "the other node's entries are all there");
    assert_says(&verify("a", &["--archive", "archive-a"]), &["entries: 0 to before"]);
    verify("a", &[]);
    verify("b", &[]);
    archive("b", &between[1]);
    grow(&place.path("b"), 10).await;
    for node in ["a", "b"] {
        let file = format!("archive-{node}");
        assert_says(&verify(node, &["--archive", &file]), &["entries: 0 to before"]);
        let receipt = place.canhbao(&["receipt", "make", "--archive", &file, "--entry", "5"]).done();
        assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
    }
}

#[tokio::test]
async fn a_log_with_an_archive_is_moved_and_goes_on() {
    let url = Postgres::shared().create_database();
    let (registry, between) = Registry::with(600, 300).await;
    registry.archive(&between, "archive").done();
    registry.canhbao(&["migrate", "--from", "data", "--to", &url, "--into", "new"]).done();
    let verify = |more: &[&str]| {
        let key = ["log", "verify", "new", "--key", "data/keys/log-keys.txt"];
        registry.canhbao(&[&key[..], more].concat()).done()
    };
    assert_says(&verify(&["--archive", "archive"]), &["entries: 0 to before"]);
    verify(&[]);
    let later = grow(&registry.path("new"), 600).await;
    grow(&registry.path("new"), 10).await;
    registry.canhbao(&["log", "archive", "--data", "new", "--before", &later, "--to", "second"]).done();
    let both = verify(&["--archive", "archive", "--archive", "second"]);
    assert_says(&both, &["entries: 0 to before"]);
}
