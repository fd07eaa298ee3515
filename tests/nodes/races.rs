//! Two nodes are asked at the same moment for what can be done once: it is done once, and the other one is told so.

use crate::support::Answer;
use crate::support::chance::amount;
use crate::support::load::proposal;
use crate::support::nodes::Nodes;
use crate::{decision, raise, two_nodes};
use serde_json::json;

const ROUNDS: u64 = 10;
const ROUNDS_WHOLE: u64 = 200;

/// A second supervisor of the same police unit, known to both nodes.
async fn make_second_supervisor(nodes: &Nodes) {
    let client = json!({ "client_id": "second", "party": "hanoi-police", "name": "Second",
        "scopes": ["flag.read", "flag.write", "flag.approve"],
        "quotas": { "writes": { "quota": 1_000_000, "window_s": 60 } } });
    let made = nodes.handles[0].post("/v1/clients").by("operator").json(&client).send().await.is(201);
    let secret = made.json()["client_secret"].as_str().unwrap().to_owned();
    for node in &nodes.handles {
        node.know("second", "second", &secret);
    }
    crate::support::eventually(crate::FRESH_AFTER, "both nodes know the second supervisor", async || {
        let node = &nodes.handles[1];
        let form = [("grant_type", "client_credentials")];
        node.post("/oauth2/token").basic("second", &secret).form(&form).send().await.status == 200
    })
    .await;
}

/// One was done, and the other one came too late.
fn assert_one_won(answers: [Answer; 2]) -> usize {
    let [first, second] = answers;
    let winner = usize::from(first.status != 200);
    let (won, lost) = if winner == 0 { (first, second) } else { (second, first) };
    won.is(200);
    lost.refused(412, "stale_version");
    winner
}

#[tokio::test]
async fn of_two_supervisors_on_two_nodes_one_decides() {
    let nodes = two_nodes().await;
    make_second_supervisor(&nodes).await;
    let mut wins = [0, 0];
    for number in 0..amount(ROUNDS, ROUNDS_WHOLE) {
        let flag = raise(&nodes.handles[0], number).await;
        let decide = async |what: &str, version: u64| {
            let [first, second] = [(0, "supervisor"), (1, "second")]
                .map(|(place, by)| decision(&nodes.handles[place], by, &flag, what, version));
            let (first, second) = tokio::join!(first.send(), second.send());
            assert_one_won([first, second])
        };
        // A node that has not yet heard of the flag does not find it, which is no race.
        crate::support::eventually(crate::FRESH_AFTER, "the flag is known on the other node", async || {
            nodes.handles[1].get(&format!("/v1/flags/{flag}")).by("officer").send().await.status == 200
        })
        .await;
        wins[decide("approve", 1).await] += 1;
        wins[decide("lift", 2).await] += 1;
    }
    println!("won by node: {wins:?}");
    nodes.finish().await;
}

#[tokio::test]
async fn who_raised_a_flag_on_one_node_approves_it_on_none() {
    let nodes = two_nodes().await;
    let [a, b] = [0, 1].map(|place| &nodes.handles[place]);
    let raised = a.post("/v1/flags").by("supervisor").key("own").json(&proposal(1)).send().await.is(201);
    let flag = raised.json()["id"].as_str().unwrap().to_owned();
    for node in [a, b] {
        crate::support::eventually(crate::FRESH_AFTER, "the flag is known", async || {
            node.get(&format!("/v1/flags/{flag}")).by("officer").send().await.status == 200
        })
        .await;
        decision(node, "supervisor", &flag, "approve", 1).send().await.refused(403, "insufficient_scope");
    }
    nodes.finish().await;
}

#[tokio::test]
async fn a_key_that_is_used_on_both_nodes_at_once_raises_one_flag() {
    let nodes = two_nodes().await;
    for number in 0..amount(ROUNDS, ROUNDS_WHOLE) {
        let (key, body) = (format!("both-{number}"), proposal(number));
        let [first, second] = [0, 1].map(|place| {
            let ask = nodes.handles[place].post("/v1/flags").by("officer").key(&key).json(&body);
            async { ask.send().await.is(201) }
        });
        let (first, second) = tokio::join!(first, second);
        let told = |answer: &Answer| {
            (answer.text(), ["etag", "location", "log-entry"].map(|name| answer.must(name).to_owned()))
        };
        assert_eq!(told(&first), told(&second), "two answers to one key");
        // The same key for something else is a mistake on either node.
        for node in &nodes.handles {
            let other = node.post("/v1/flags").by("officer").key(&key).json(&proposal(number + 1_000_000));
            assert_eq!(other.send().await.status, 422);
        }
    }
    nodes.finish().await;
}

#[tokio::test]
async fn an_id_that_is_given_on_both_nodes_at_once_is_given_to_one_client() {
    let nodes = two_nodes().await;
    for number in 0..amount(ROUNDS, ROUNDS_WHOLE) {
        let client =
            json!({ "client_id": format!("twin-{number}"), "party": "970436", "name": "Twin", "scopes": ["check"] });
        let [first, second] = [0, 1].map(|place| nodes.handles[place].post("/v1/clients").by("operator").json(&client));
        let (first, second) = tokio::join!(first.send(), second.send());
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
    }
    nodes.finish().await;
}
