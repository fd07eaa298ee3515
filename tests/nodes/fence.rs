//! A node's log has one writing process: a second one is refused while the first lives, takes over when it does not, and
//! the first, woken up, finds that it is no longer the one.

use crate::support::Answer;
use crate::support::ledger::position_of;
use crate::{about_nobody, check, is_ready, two_nodes};
use canhbao::clock::Stopwatch;
use std::time::Duration;

/// A process that was not heard for five seconds is replaced, and what starts looks four times a second.
const TAKEN_AFTER_MAX: Duration = Duration::from_secs(10);
/// A commit that failed, or may no longer be made.
const CODE: i32 = 70;

fn index(answer: &Answer, node: &str) -> u64 {
    let (named, index) = position_of(answer.must("log-entry"));
    assert_eq!(named, node);
    index
}

#[tokio::test]
async fn a_second_process_of_a_node_is_refused_while_the_first_lives() {
    let mut nodes = two_nodes().await;
    let first = index(&check(&nodes.handles[0], &about_nobody()).send().await.is(200), "node-a");
    let ended = nodes.start_second(0).await.expect_err("two processes are one node");
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("another process is node node-a"), "{ended}");
    assert!(index(&check(&nodes.handles[0], &about_nobody()).send().await.is(200), "node-a") > first);
    index(&check(&nodes.handles[1], &about_nobody()).send().await.is(200), "node-b");
    nodes.finish().await;
}

#[tokio::test]
async fn after_a_kill_the_node_starts_again_where_its_log_ended() {
    let mut nodes = two_nodes().await;
    let before = index(&check(&nodes.handles[0], &about_nobody()).send().await.is(200), "node-a");
    nodes.processes.kill(0).await;
    let watch = Stopwatch::start();
    let started = nodes.processes.start(0).await;
    started.unwrap_or_else(|ended| panic!("{ended}"));
    assert!(watch.elapsed() < TAKEN_AFTER_MAX, "{:?}", watch.elapsed());
    assert!(index(&check(&nodes.handles[0], &about_nobody()).send().await.is(200), "node-a") > before);
    // A clean end frees the log at once.
    assert!(nodes.processes.stop(0).await.success());
    let watch = Stopwatch::start();
    nodes.processes.start(0).await.unwrap_or_else(|ended| panic!("{ended}"));
    println!("started after {:?}", watch.elapsed());
    nodes.finish().await;
}

#[tokio::test]
async fn a_process_that_was_paused_and_replaced_ends_and_has_forked_nothing() {
    let mut nodes = two_nodes().await;
    let before = index(&check(&nodes.handles[0], &about_nobody()).send().await.is(200), "node-a");
    nodes.processes.pause(0);
    let second = nodes.start_second(0).await.unwrap_or_else(|ended| panic!("{ended}"));
    let taken = index(&check(&nodes.handles[second], &about_nobody()).send().await.is(200), "node-a");
    assert!(taken > before);
    // What was sent to it while it slept is in no log, and so it may not be answered.
    let waiting = check(&nodes.handles[0], &about_nobody()).try_send();
    let wake = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        nodes.processes.go_on(0);
    };
    let (answer, ()) = tokio::join!(waiting, wake);
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 503), "{answer:?}");
    let status = nodes.processes.ended(0).await;
    assert_eq!(status.code(), Some(CODE), "{}", nodes.processes.told(0));
    assert!(index(&check(&nodes.handles[second], &about_nobody()).send().await.is(200), "node-a") > taken);
    assert!(is_ready(&nodes.handles[second]).await);
    nodes.finish().await;
}
