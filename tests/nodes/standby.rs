//! What a database can do to its nodes without being gone: commits that no standby has, a server that took over without the
//! last of them, and a list that cannot be read.

use crate::support::eventually;
use crate::support::nodes::Nodes;
use crate::support::postgres::{Postgres, query};
use crate::{BACK_AFTER, FLAGS, FRESH_AFTER, about_nobody, check, raise, two_nodes};
use std::time::Duration;

/// A commit that failed, or may no longer be made.
const CODE: i32 = 70;
const A_MOMENT: Duration = Duration::from_millis(200);

/// As a server does that is told to end: who waits for a standby is cut off.
fn cut_off_who_waits(store: &str) {
    let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'canhbao/writer' AND wait_event = 'SyncRep'";
    query(store, sql, &[]);
}

#[tokio::test]
async fn what_no_standby_has_is_not_answered_though_the_database_shows_it() {
    let postgres = Postgres::start();
    let nodes = Nodes::start(&postgres, &["node-a"], FLAGS).await;
    {
        let (node, store) = (&nodes.handles[0], nodes.store());
        check(node, &about_nobody()).send().await.is(200);
        postgres.set("synchronous_standby_names = 'nobody'");
        let question = about_nobody();
        let asked = check(node, &question).send();
        tokio::pin!(asked);
        for _ in 0..20 {
            if let Ok(answer) = tokio::time::timeout(A_MOMENT, &mut asked).await {
                answer.refused(503, "unavailable");
                break;
            }
            cut_off_who_waits(store);
        }
        postgres.set("synchronous_standby_names = ''");
        eventually(BACK_AFTER, "checks are answered again", async || {
            check(node, &about_nobody()).send().await.status == 200
        })
        .await;
    }
    nodes.finish().await;
}

#[tokio::test]
async fn a_node_that_knows_more_changes_than_its_database_ends() {
    let mut nodes = two_nodes().await;
    raise(&nodes.handles[0], 1).await;
    tokio::time::sleep(FRESH_AFTER).await;
    query(nodes.store(), "UPDATE change_head SET number = number - 1", &[]);
    for place in 0..2 {
        let ended = tokio::time::timeout(BACK_AFTER, nodes.processes.ended(place)).await;
        assert_eq!(ended.expect("it goes on").code(), Some(CODE));
    }
    query(nodes.store(), "UPDATE change_head SET number = number + 1", &[]);
    nodes.finish().await;
}

#[tokio::test]
async fn who_cannot_read_what_others_changed_lets_nobody_in() {
    let nodes = two_nodes().await;
    let node = &nodes.handles[0];
    node.get("/v1/institutions").by("bank").send().await.is(200);
    let store = nodes.store().to_owned();
    let lock = std::thread::spawn(move || {
        let sql = "DO $$ BEGIN LOCK TABLE change_head IN ACCESS EXCLUSIVE MODE; PERFORM pg_sleep(4); END $$";
        query(&store, sql, &[]);
    });
    tokio::time::sleep(FRESH_AFTER + A_MOMENT).await;
    let bank = node.credential("bank");
    let grant = node.post("/oauth2/token").basic(&bank.id, &bank.secret).form(&[("grant_type", "client_credentials")]);
    grant.send().await.refused(503, "unavailable");
    node.get("/v1/institutions").by("bank").send().await.refused(503, "unavailable");
    check(node, &about_nobody()).send().await.refused(503, "unavailable");
    lock.join().unwrap();
    eventually(BACK_AFTER, "checks are answered again", async || {
        check(node, &about_nobody()).send().await.status == 200
    })
    .await;
    nodes.finish().await;
}
