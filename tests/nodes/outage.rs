//! The database is gone, or silent: nobody waits for it, nobody is sent there, and when it is back so are the nodes.

use crate::support::chance::amount;
use crate::support::load::together;
use crate::support::nodes::Nodes;
use crate::support::postgres::Postgres;
use crate::support::{Server, eventually};
use crate::{BACK_AFTER, FLAGS, about_nobody, check, is_ready, raise};
use canhbao::clock::Stopwatch;
use std::time::Duration;

/// Far less than any time-out, with room for a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(3);
/// A node that has not heard from its database for five seconds is not ready.
const RED_AFTER: Duration = Duration::from_secs(7);
const CLIENTS: usize = 16;

async fn is_refused_at_once(node: &Server) {
    let watch = Stopwatch::start();
    let refused = together((0..CLIENTS).map(|_| check(node, &about_nobody()).send())).await;
    for answer in refused {
        answer.refused(503, "unavailable").must("retry-after");
    }
    assert!(watch.elapsed() < AT_ONCE, "a refusal took {:?}", watch.elapsed());
}

/// Everything is answered again, by the processes that were there before.
async fn are_back(nodes: &Nodes) {
    let watch = Stopwatch::start();
    for node in &nodes.handles {
        eventually(BACK_AFTER, "checks are answered again", async || {
            check(node, &about_nobody()).send().await.status == 200
        })
        .await;
        eventually(BACK_AFTER, "the node is ready", async || is_ready(node).await).await;
    }
    assert!(watch.elapsed() < BACK_AFTER, "back after {:?}", watch.elapsed());
    println!("back after {:?}", watch.elapsed());
}

#[tokio::test]
async fn while_the_database_is_gone_all_is_refused_at_once_and_after_its_return_answered() {
    let postgres = Postgres::start();
    let nodes = Nodes::start(&postgres, &["node-a", "node-b"], FLAGS).await;
    for round in 0..amount(2, 10) {
        for node in &nodes.handles {
            check(node, &about_nobody()).send().await.is(200);
        }
        postgres.crash();
        for node in &nodes.handles {
            // The first one finds out.
            check(node, &about_nobody()).send().await.refused(503, "unavailable");
            is_refused_at_once(node).await;
        }
        for node in &nodes.handles {
            eventually(RED_AFTER, "the node is not ready", async || !is_ready(node).await).await;
            is_refused_at_once(node).await;
        }
        postgres.start_again();
        are_back(&nodes).await;
        raise(&nodes.handles[0], round).await;
    }
    nodes.finish().await;
}

#[tokio::test]
async fn while_the_database_is_silent_nobody_waits_for_long_and_then_all_is_answered() {
    let postgres = Postgres::start();
    let nodes = Nodes::start(&postgres, &["node-a", "node-b"], FLAGS).await;
    for node in &nodes.handles {
        check(node, &about_nobody()).send().await.is(200);
    }
    postgres.pause();
    // The list is old after a second, whatever became of the log.
    tokio::time::sleep(crate::FRESH_AFTER + Duration::from_millis(100)).await;
    for node in &nodes.handles {
        is_refused_at_once(node).await;
    }
    for node in &nodes.handles {
        eventually(RED_AFTER, "the node is not ready", async || !is_ready(node).await).await;
    }
    postgres.go_on();
    are_back(&nodes).await;
    nodes.finish().await;
}
