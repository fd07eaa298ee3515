//! Files of flags where nodes come and go: what was decided on a file is carried out though the node is lost that began it.

use crate::support::nodes::Nodes;
use crate::support::{Server, eventually};
use crate::{check, is_flagged, two_nodes};
use serde_json::{Value, json};
use std::time::Duration;

const ROWS: u64 = 6000;
/// A lost node is silent for five seconds before it is one, and the others look every five seconds.
const ENDED_AFTER_MAX: Duration = Duration::from_secs(90);

fn number(row: u64) -> u64 {
    9_300_000_000_000 + row
}

async fn read(node: &Server, id: &str) -> Value {
    node.get(&format!("/v1/imports/{id}")).by("officer").send().await.is(200).json()
}

/// Hands the file in, or hands it in again.
async fn hand_in(node: &Server, key: &str, status: u16) -> String {
    let rows = (0..ROWS).map(|row| format!("VCB,{},warn,mule,HN-1,R\n", number(row)));
    let body = format!("bank,number,verdict,category,case,reason\n{}", rows.collect::<String>());
    let ask = node.post("/v1/imports").by("officer").key(key).raw("text/csv", body);
    ask.send().await.is(status).json()["id"].as_str().unwrap().to_owned()
}

/// A file that waits for a decision.
async fn imported(node: &Server) -> Value {
    let id = hand_in(node, "file", 201).await;
    eventually(ENDED_AFTER_MAX, "the rows are taken", async || read(node, &id).await["state"] == "done").await;
    read(node, &id).await
}

/// Approved at the first node, of which the second one sees that it is at work.
async fn approving(nodes: &Nodes) -> String {
    let import = imported(&nodes.handles[0]).await;
    let id = import["id"].as_str().unwrap();
    let ask = nodes.handles[0].post(&format!("/v1/imports/{id}/approve")).by("supervisor");
    ask.if_match(&format!("\"{}\"", import["version"])).json(&json!({})).send().await.is(200);
    eventually(ENDED_AFTER_MAX, "some flags are approved", async || {
        read(&nodes.handles[1], id).await["decision"]["decided"] != 0
    })
    .await;
    id.to_owned()
}

async fn is_approved_by_the_second(nodes: &Nodes, id: &str) {
    let half = read(&nodes.handles[1], id).await;
    assert_eq!(half["state"], "approving", "the first node was done too soon: {half:#}");
    eventually(ENDED_AFTER_MAX, "another node goes on", async || {
        read(&nodes.handles[1], id).await["state"] == "approved"
    })
    .await;
    let decision = read(&nodes.handles[1], id).await["decision"].clone();
    assert_eq!((&decision["decided"], &decision["passed_over"]), (&json!(ROWS), &json!(0)));
    for row in [0, ROWS - 1] {
        let subject = json!({ "kind": "account", "bank": "970436", "number": number(row).to_string() });
        assert!(is_flagged(&check(&nodes.handles[1], &json!({ "subjects": [subject] })).send().await.is(200)));
    }
}

#[tokio::test]
async fn another_node_carries_out_what_a_lost_one_began() {
    let mut nodes = two_nodes().await;
    let id = approving(&nodes).await;
    nodes.processes.kill(0).await;
    is_approved_by_the_second(&nodes, &id).await;
    nodes.finish().await;
}

#[tokio::test]
async fn a_node_that_wakes_up_finds_its_import_taken_and_does_nothing_twice() {
    let nodes = two_nodes().await;
    let id = approving(&nodes).await;
    nodes.processes.pause(0);
    is_approved_by_the_second(&nodes, &id).await;
    let version = read(&nodes.handles[1], &id).await["version"].clone();
    nodes.processes.go_on(0);
    let ready = async || crate::is_ready(&nodes.handles[0]).await;
    eventually(ENDED_AFTER_MAX, "the first node is ready again", ready).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for node in &nodes.handles {
        let import = read(node, &id).await;
        assert_eq!((&import["version"], &import["decision"]["decided"]), (&version, &json!(ROWS)));
    }
    nodes.finish().await;
}

#[tokio::test]
async fn a_file_that_is_handed_in_again_goes_on_without_the_node_that_had_it() {
    let mut nodes = two_nodes().await;
    let id = hand_in(&nodes.handles[0], "first", 201).await;
    eventually(ENDED_AFTER_MAX, "some rows are taken", async || {
        read(&nodes.handles[1], &id).await["counts"]["accepted"] != 0
    })
    .await;
    // The first node has it, and lives.
    assert_eq!(hand_in(&nodes.handles[1], "early", 200).await, id);
    let kept = |place: usize| nodes.handles[place].data().join("imports").join(&id).exists();
    assert!(!kept(1));
    nodes.processes.pause(0);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(read(&nodes.handles[1], &id).await["state"], "running", "the first node was done too soon");
    for _ in 0..2 {
        assert_eq!(hand_in(&nodes.handles[1], "late", 201).await, id);
    }
    eventually(ENDED_AFTER_MAX, "the second node takes the rest", async || {
        read(&nodes.handles[1], &id).await["state"] == "done"
    })
    .await;
    nodes.processes.go_on(0);
    let ready = async || crate::is_ready(&nodes.handles[0]).await;
    eventually(ENDED_AFTER_MAX, "the first node is ready again", ready).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let counts = json!({ "rows_total": ROWS, "rows": ROWS, "accepted": ROWS, "duplicate": 0, "invalid": 0 });
    for node in &nodes.handles {
        assert_eq!(read(node, &id).await["counts"], counts);
    }
    nodes.processes.kill(0).await;
    nodes.processes.start(0).await.unwrap_or_else(|ended| panic!("{ended}"));
    assert!(![0, 1].into_iter().any(|place| nodes.handles[place].data().join("imports").join(&id).exists()));
    nodes.finish().await;
}
