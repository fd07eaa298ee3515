//! What is changed on one node answers on the other one within a second, also under load, and on the own one at once.

use crate::support::chance::amount;
use crate::support::eventually;
use crate::support::load::together;
use crate::support::nodes::Nodes;
use crate::{FRESH_AFTER, about_nobody, about_proposed, check, decide, is_flagged, raise, two_nodes, version};
use canhbao::clock::Stopwatch;
use serde_json::json;
use std::cell::Cell;
use std::time::Duration;

const FLAGS_RAISED: u64 = 20;
const FLAGS_RAISED_WHOLE: u64 = 300;
const CLIENTS: usize = 8;
const BETWEEN_CHECKS: Duration = Duration::from_millis(5);
/// Asked of whole runs only, since the time that something takes is also the machine's.
const P99_MAX: Duration = Duration::from_millis(500);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);

/// Waits for an answer that is flagged, or is not, and tells how long that took and of which list it is. On a machine that is
/// busy a node may refuse for a moment, but what is asked when the time is over is never answered as before.
async fn heard_after(nodes: &Nodes, place: usize, number: u64, wanted: bool) -> (Duration, u64) {
    let watch = Stopwatch::start();
    loop {
        let asked = watch.elapsed();
        let answer = check(&nodes.handles[place], &about_proposed(number)).send().await;
        if answer.status == 200 && is_flagged(&answer) == wanted {
            return (watch.elapsed(), version(&answer));
        }
        let is_allowed = answer.status == 503 || asked < FRESH_AFTER;
        assert!(is_allowed, "flag {number} is not heard within {FRESH_AFTER:?}: {answer:?}");
        assert!(asked < GIVEN_UP_AFTER, "nobody answers");
    }
}

/// Checks on all nodes as long as the work takes.
async fn under_load<T>(nodes: &Nodes, work: impl Future<Output = T>) -> T {
    let done = Cell::new(false);
    let ask = async |place: usize| {
        let mut answered = 0;
        while !done.get() {
            let answer = check(&nodes.handles[place % nodes.handles.len()], &about_nobody()).send().await;
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            answered += 1;
            tokio::time::sleep(BETWEEN_CHECKS).await;
        }
        answered
    };
    let work = async {
        let result = work.await;
        done.set(true);
        result
    };
    let (result, answered) = tokio::join!(work, together((0..CLIENTS).map(ask)));
    println!("meanwhile {} checks were answered", answered.iter().sum::<u64>());
    result
}

#[tokio::test]
async fn a_flag_that_is_approved_or_lifted_on_one_node_is_heard_on_the_other_within_a_second() {
    let nodes = two_nodes().await;
    let flags = amount(FLAGS_RAISED, FLAGS_RAISED_WHOLE);
    let mut took = under_load(&nodes, async {
        let mut took = Vec::new();
        for number in 0..flags {
            let (here, there) = if number % 2 == 0 { (0, 1) } else { (1, 0) };
            let flag = raise(&nodes.handles[here], number).await;
            for (what, flag_version, flagged) in [("approve", 1, true), ("lift", 2, false)] {
                decide(&nodes.handles[here], &flag, what, flag_version).await;
                let (own, (heard, version_there)) = tokio::join!(
                    async { check(&nodes.handles[here], &about_proposed(number)).send().await.is(200) },
                    heard_after(&nodes, there, number, flagged)
                );
                assert_eq!(is_flagged(&own), flagged, "the node that has answered {what} does not know it");
                // Nothing else is changed, so that there is one list that has this change and no later one.
                assert_eq!(version(&own), version_there, "one list has two versions");
                took.push(heard);
            }
        }
        took
    })
    .await;
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    println!("heard after {:?} (p50), {:?} (p99), {:?} (max)", at(50), at(99), at(100));
    assert!(flags == FLAGS_RAISED || at(99) <= P99_MAX, "{:?} is the 99th of a hundred", at(99));
    nodes.finish().await;
}

#[tokio::test]
async fn a_client_or_party_that_is_disabled_on_one_node_is_refused_on_the_other_within_a_second() {
    let nodes = two_nodes().await;
    let [a, b] = [0, 1].map(|place| &nodes.handles[place]);
    for (path, what) in [("/v1/clients/demo-bank", "a client"), ("/v1/parties/970436", "a party")] {
        // A token of one node is good on the other.
        let token = a.new_token("bank", None).await;
        let ask = async || b.post("/v1/checks").bearer(&token).json(&about_nobody()).send().await;
        ask().await.is(200);
        let act = async |what: &str, version: u64| {
            let ask = a.post(&format!("{path}/{what}")).by("operator").if_match(&format!("\"{version}\""));
            ask.send().await.is(200)
        };
        act("disable", 1).await;
        a.post("/v1/checks").bearer(&token).json(&about_nobody()).send().await.is(401);
        let watch = Stopwatch::start();
        loop {
            let asked = watch.elapsed();
            match ask().await.status {
                401 => break,
                status => assert!(status == 503 || asked < FRESH_AFTER, "{what} is let in: {status}"),
            }
            assert!(asked < GIVEN_UP_AFTER, "nobody answers");
        }
        act("enable", 2).await;
        eventually(FRESH_AFTER, what, async || {
            let credential = b.credential("bank");
            let form = [("grant_type", "client_credentials")];
            b.post("/oauth2/token").basic(&credential.id, &credential.secret).form(&form).send().await.status == 200
        })
        .await;
    }
    nodes.finish().await;
}

#[tokio::test]
async fn a_client_that_was_made_on_one_node_gets_a_token_of_the_other() {
    let nodes = two_nodes().await;
    let [a, b] = [0, 1].map(|place| &nodes.handles[place]);
    let client = json!({ "client_id": "core-2", "party": "970436", "name": "Core", "scopes": ["check"] });
    let made = a.post("/v1/clients").by("operator").json(&client).send().await.is(201);
    let secret = made.json()["client_secret"].as_str().unwrap().to_owned();
    let form = [("grant_type", "client_credentials")];
    eventually(FRESH_AFTER, "the new client is known", async || {
        b.post("/oauth2/token").basic("core-2", &secret).form(&form).send().await.status == 200
    })
    .await;
    nodes.finish().await;
}
