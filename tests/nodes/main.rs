//! Several nodes on one PostgreSQL: what one of them was told the others know in time, their logs never fork, and neither a
//! node's end nor the database's costs an answer its entry. Chance is seeded; `CANHBAO_TESTS=whole` runs all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod chaos;
mod commits;
mod database;
mod fence;
mod freshness;
mod history;
mod imports;
mod network;
mod outage;
mod quotas;
mod races;
mod standby;

use serde_json::{Value, json};
use std::time::Duration;
use support::load::proposal;
use support::nodes::Nodes;
use support::postgres::Postgres;
use support::{Answer, Ask, Server};

/// Generated flags of the registries here: none of these tests is about the list.
const FLAGS: u64 = 20;
/// What was changed on one node answers on every other one after this long.
const FRESH_AFTER: Duration = Duration::from_secs(1);
/// After the database is back everything is answered again, without a restart.
const BACK_AFTER: Duration = Duration::from_secs(5);

async fn two_nodes() -> Nodes {
    Nodes::start(Postgres::shared(), &["node-a", "node-b"], FLAGS).await
}

/// A question about the subject of `proposal(number)`.
fn about_proposed(number: u64) -> Value {
    json!({ "subjects": [proposal(number)["subject"]] })
}

/// A question about a subject that no test flags.
fn about_nobody() -> Value {
    support::load::about("9000000000000")
}

fn check<'s>(node: &'s Server, question: &Value) -> Ask<'s> {
    node.post("/v1/checks").by("bank").json(question)
}

/// Whether a check's answer is flagged.
fn is_flagged(answer: &Answer) -> bool {
    let verdict = answer.json()["verdict"].clone();
    assert!(verdict == "clear" || verdict == "warn", "{verdict}");
    verdict == "warn"
}

fn version(answer: &Answer) -> u64 {
    answer.json()["list_version"].as_u64().unwrap()
}

async fn raise(node: &Server, number: u64) -> String {
    let ask = node.post("/v1/flags").by("officer").key(&format!("raise-{number}")).json(&proposal(number));
    ask.send().await.is(201).json()["id"].as_str().unwrap().to_owned()
}

/// A supervisor's word on a flag in this version: approve or lift.
fn decision<'s>(node: &'s Server, by: &str, flag: &str, what: &str, version: u64) -> Ask<'s> {
    let body = if what == "approve" { json!({}) } else { json!({ "reason": "Test" }) };
    node.post(&format!("/v1/flags/{flag}/{what}")).by(by).if_match(&format!("\"{version}\"")).json(&body)
}

async fn decide(node: &Server, flag: &str, what: &str, version: u64) {
    decision(node, "supervisor", flag, what, version).send().await.is(200);
}

async fn is_ready(node: &Server) -> bool {
    node.try_operations("/readyz").await.is_ok_and(|answer| answer.status == 200)
}
