//! A flag turns out to be wrong years later: who was answered with it is told, also where the entries are archived by then.

use crate::registry::{grow, run, without_triggers};
use crate::support::process::BINARY;
use crate::support::{Server, eventually};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const NUMBER: &str = "9100000000001";
const PHONE: &str = "0912345678";

fn account(number: &str) -> Value {
    json!({ "kind": "account", "bank": "970436", "number": number })
}

fn about(subjects: &[Value]) -> Value {
    json!({ "subjects": subjects })
}

/// A flag in force on an account, with a phone as its link.
async fn active(server: &Server) -> String {
    let phone = json!({ "kind": "phone", "number": PHONE });
    let proposal = json!({ "subject": account(NUMBER), "verdict": "hold", "category": "mule", "case": "HN-2026-17",
        "reason": "Receives from many", "linked": [phone] });
    let raised = server.post("/v1/flags").by("officer").key("k").json(&proposal).send().await.is(201).json();
    let id = raised["id"].as_str().unwrap().to_owned();
    let approve = server.post(&format!("/v1/flags/{id}/approve")).by("supervisor").if_match("\"1\"");
    approve.json(&json!({})).send().await.is(200);
    id
}

/// When it was answered.
async fn ask(server: &Server, by: &str, subjects: &[Value]) -> String {
    let answer = server.post("/v1/checks").by(by).json(&about(subjects)).send().await.is(200).json();
    answer["checked_at"].as_str().unwrap().to_owned()
}

fn file(server: &Server, name: &str) -> PathBuf {
    server.data().with_file_name(name)
}

/// Archives what a stopped server's log has, and some more; returns where the archive ends.
async fn archive(server: &Server, name: &str) -> u64 {
    grow(&server.data(), 300).await;
    grow(&server.data(), 300).await;
    archive_grown(&server.data(), &file(server, name))
}

fn archive_grown(data: &Path, to: &Path) -> u64 {
    let mut command = Command::new(BINARY);
    command.args(["log", "archive", "--before", "2200-01-01", "--data"]).arg(data).arg("--to").arg(to);
    let said = run(&mut command).done();
    let part = said.lines().find_map(|line| line.strip_prefix("archived: entries ")).unwrap();
    part.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn lift_as_wrong(server: &Server, id: &str) {
    let wrong = json!({ "reason": "The account was taken over", "cause": "wrong" });
    let lift = server.post(&format!("/v1/flags/{id}/lift")).by("officer").if_match("\"2\"");
    lift.json(&wrong).send().await.is(200);
}

async fn correction(server: &Server, id: &str) -> Value {
    let path = format!("/v1/flags/{id}/history");
    server.get(&path).by("officer").send().await.is(200).json()["correction"].clone()
}

async fn completed(server: &Server, id: &str) -> Value {
    let is_complete = async || correction(server, id).await["completed_at"] != Value::Null;
    eventually(Duration::from_secs(40), "a completed correction", is_complete).await;
    correction(server, id).await
}

fn told(party: &str, checks: u64, first_at: &str, last_at: &str) -> Value {
    json!({ "party": party, "checks": checks, "first_at": first_at, "last_at": last_at })
}

/// In two archives of one log, in one of another, and in what is still in the database.
async fn archived_and_lifted(mut server: Server) {
    let flag = active(&server).await;
    let first = ask(&server, "bank", &[account(NUMBER)]).await;
    let checks = json!({ "checks": [about(&[account(NUMBER)]), about(&[account("9000000000000")])] });
    server.post("/v1/checks/batch").by("bank").json(&checks).send().await.is(200);
    // The flag answers for both, and the check counts once.
    let both = [account(NUMBER), json!({ "kind": "phone", "number": PHONE })];
    let other = ask(&server, "bank_b", &both).await;
    ask(&server, "wallet", &[account("9000000000002")]).await;
    server.stop().await;
    archive(&server, "first").await;
    server.start_as("second").await;
    let of_second = ask(&server, "wallet", &[account(NUMBER)]).await;
    server.stop().await;
    archive(&server, "of-second").await;
    server.start_as("main").await;
    ask(&server, "bank", &[account(NUMBER)]).await;
    server.stop().await;
    archive(&server, "second").await;
    server.start_as("main").await;
    let last = ask(&server, "bank", &[account(NUMBER)]).await;
    lift_as_wrong(&server, &flag).await;
    let parties = json!([
        told("970415", 1, &other, &other),
        told("970436", 4, &first, &last),
        told("momo", 1, &of_second, &of_second)
    ]);
    let at_once = correction(&server, &flag).await;
    assert_eq!((&at_once["parties"], &at_once["completed_at"]), (&parties, &Value::Null), "in the moment of the lift");
    let complete = completed(&server, &flag).await;
    assert_eq!((&complete["parties"], &complete["log_from"]), (&parties, &json!("main/0,second/0")));
    server.leave().await;
}

#[tokio::test]
async fn who_was_answered_in_archived_entries_is_told_that_the_flag_was_wrong() {
    archived_and_lifted(Server::start_embedded(10).await).await;
}

#[tokio::test]
async fn who_was_answered_in_archived_entries_is_told_also_from_a_shared_database() {
    archived_and_lifted(Server::start_shared(10).await).await;
}

#[tokio::test]
async fn an_archive_that_is_taken_up_tells_as_much_as_one_that_was_not_interrupted() {
    let mut server = Server::start_embedded(10).await;
    let flag = active(&server).await;
    let first = ask(&server, "bank", &[account(NUMBER)]).await;
    let last = ask(&server, "bank", &[account(NUMBER)]).await;
    server.stop().await;
    grow(&server.data(), 300).await;
    grow(&server.data(), 300).await;
    let mut interrupted = server.copied();
    archive_grown(&server.data(), &file(&server, "archive"));
    // As a call leaves it that was killed before it recorded what it had finished.
    std::fs::copy(file(&server, "archive"), file(&interrupted, "archive")).unwrap();
    archive_grown(&interrupted.data(), &file(&interrupted, "archive"));
    for server in [&mut server, &mut interrupted] {
        server.start_again().await;
        lift_as_wrong(server, &flag).await;
        let at_once = correction(server, &flag).await;
        assert_eq!(at_once["parties"], json!([told("970436", 2, &first, &last)]));
        assert_eq!(at_once["log_from"], "main/0");
    }
    server.leave().await;
    interrupted.leave().await;
}

#[tokio::test]
async fn a_correction_says_from_where_on_it_is_whole_if_an_older_version_made_the_archive() {
    let mut server = Server::start_embedded(10).await;
    let flag = active(&server).await;
    ask(&server, "bank_b", &[account(NUMBER)]).await;
    server.stop().await;
    let end = archive(&server, "first").await;
    let older = "UPDATE log_archive SET answers = NULL; DELETE FROM archived_answer";
    without_triggers(&server.data().join("registry.db")).execute_batch(older).unwrap();
    server.start_again().await;
    let only = ask(&server, "bank", &[account(NUMBER)]).await;
    server.stop().await;
    archive(&server, "second").await;
    server.start_again().await;
    lift_as_wrong(&server, &flag).await;
    let complete = completed(&server, &flag).await;
    assert_eq!(complete["parties"], json!([told("970436", 1, &only, &only)]), "nothing is kept of the older archive");
    assert_eq!(complete["log_from"], format!("main/{end}"));
    server.leave().await;
}
