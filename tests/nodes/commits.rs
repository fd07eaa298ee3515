//! The connection ends in the middle of a COMMIT, in each of the ways in which it can: the node finds out what became of
//! it, and every answer has exactly one entry.

use crate::support::chance::amount;
use crate::support::load::{proposal, together};
use crate::support::nodes::Nodes;
use crate::support::postgres::Postgres;
use crate::support::proxy::AtCommit;
use crate::support::{Answer, Server, eventually};
use crate::{BACK_AFTER, FLAGS, about_nobody, check};
use std::time::Duration;

const CHECKS: usize = 8;
/// Longer than a session may stay idle in a transaction.
const VERY_LATE: Duration = Duration::from_secs(7);

/// The ways, each with whether its requests may be refused in the end.
const WAYS: [(AtCommit, bool); 6] = [
    (AtCommit::BeforeRequest, false),
    (AtCommit::WithRequest, false),
    (AtCommit::BeforeAnswer, false),
    (AtCommit::Late(Duration::from_millis(300)), true),
    (AtCommit::Silence, true),
    (AtCommit::Late(VERY_LATE), true),
];

fn told(answer: &Answer) -> (String, [String; 3]) {
    (answer.text(), ["etag", "location", "log-entry"].map(|name| answer.must(name).to_owned()))
}

/// A flag and checks at once, of which one is in the transaction that is hit.
async fn ask(node: &Server, number: u64, may_be_refused: bool) {
    let key = format!("unsure-{number}");
    let raise = || node.post("/v1/flags").by("officer").key(&key).json(&proposal(number));
    let checks = together((0..CHECKS).map(|_| check(node, &about_nobody()).send()));
    let (raised, checks) = tokio::join!(raise().send(), checks);
    let refused = checks.iter().filter(|answer| answer.status == 503).count();
    assert!(may_be_refused || (refused == 0 && raised.status == 201), "{refused} checks were refused, {raised:?}");
    for answer in checks.into_iter().filter(|answer| answer.status != 503) {
        answer.is(200);
    }
    eventually(2 * BACK_AFTER, "checks are answered again", async || {
        check(node, &about_nobody()).send().await.status == 200
    })
    .await;
    let again = raise().send().await.is(201);
    if raised.status != 503 {
        assert_eq!(told(&raised.is(201)), told(&again), "the key has raised two flags");
    }
    assert_eq!(told(&raise().send().await.is(201)), told(&again));
}

#[tokio::test]
async fn whatever_becomes_of_a_commit_each_answer_has_its_one_entry() {
    let nodes = Nodes::start_behind_proxies(Postgres::shared(), &["node-a", "node-b"], FLAGS).await;
    let mut number = 0;
    for _ in 0..amount(1, 5) {
        for (way, may_be_refused) in WAYS {
            for place in [0, 1] {
                let proxy = nodes.processes.proxy(place);
                let hits = proxy.hits();
                proxy.at_next_commit(way);
                ask(&nodes.handles[place], number, may_be_refused).await;
                assert_eq!(proxy.hits(), hits + 1, "{way:?} did not come about");
                println!("{way:?} on {place}");
                number += 1;
            }
        }
    }
    nodes.finish().await;
}
