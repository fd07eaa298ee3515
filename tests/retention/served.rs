//! What a registry answers about entries that are in archives, and about what came after them.

use crate::registry::{grow, run};
use crate::support::process::BINARY;
use crate::support::{Server, client, eventually};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn archived_entries_are_not_found_with_words_and_everything_after_them_is() {
    let mut server = Server::start_with(10).await;
    let check = json!({ "subjects": [{ "kind": "account", "bank": "970436", "number": "0011001932418" }] });
    let old = server.post("/v1/checks").by("bank").json(&check).send().await.is(200).json();
    server.stop().await;
    let before = grow(&server.data(), 700).await;
    grow(&server.data(), 600).await;
    let file = server.data().with_file_name("archive");
    let mut command = Command::new(BINARY);
    command.args(["log", "archive", "--before", &before, "--data"]).arg(server.data()).arg("--to").arg(&file);
    let said = run(&mut command).done();
    let first: u64 =
        said.lines().find_map(|line| line.strip_prefix("archived: entries 0 to before ")).unwrap().parse().unwrap();
    server.start_again().await;
    let words = format!("archived before entry {first}");
    let id = old["id"].as_str().unwrap();
    let answer = server.get(&format!("/v1/checks/{id}")).by("bank").send().await.refused(404, "not_found");
    assert!(answer.text().contains(&words), "{}", answer.text());
    let http = client(&server.ca_file).build().unwrap();
    // Status and body of a path.
    let proof = async |path: &str, name: &str| {
        let url = format!("{}{path}", server.base_url);
        let answer = http.get(url).bearer_auth(server.token(name).await).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    };
    let entry = |index: u64| format!("/v1/log/entries/main/{index}");
    let answer = server.get(&entry(first - 1)).by("auditor").send().await.refused(404, "not_found");
    assert!(answer.text().contains(&words), "{}", answer.text());
    server.get(&entry(first)).by("auditor").send().await.is(200);
    let (status, text) = proof("/log/main/tile/entries/000", "auditor").await;
    assert!(status == 404 && text.contains(&words), "{status} {text}");
    // The tiles below the last one of level 1 are kept.
    assert_eq!(proof("/log/main/tile/0/000", "auditor").await.0, 200);
    // A page asked for from before begins where the database does.
    let page = server.get("/v1/log/entries?cursor=main/3&limit=2").by("auditor").send().await.is(200).json();
    assert_eq!(page["items"][0]["index"], first);
    let found =
        server.post("/v1/log/search").by("auditor").json(&json!({ "act": "log.archive" })).send().await.is(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    // What is archived is in no report, and the reports say so.
    let flags = server.get("/v1/flags").by("officer").send().await.is(200).json();
    let flag = flags["items"][0]["id"].as_str().unwrap();
    let report = server.get(&format!("/v1/log/reports/flags/{flag}")).by("auditor").send().await.is(200).json();
    assert_eq!(report["checked_from"], format!("main/{first}"));
    let report = server.post("/v1/log/reports/subject").by("auditor").json(&json!({ "subject": check["subjects"][0] }));
    assert_eq!(report.send().await.is(200).json()["checked_from"], format!("main/{first}"));
    let (from, to) = (first + 1, first + 500);
    let consistency = format!("/v1/log/main/consistency?from={from}&to={to}");
    let (status, text) = proof(&consistency, "auditor").await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = proof(&format!("/v1/checks/{id}/receipt"), "bank").await;
    assert!(status == 404 && text.contains(&words), "{status} {text}");
    let new = server.post("/v1/checks").by("bank").json(&check).send().await.is(200).json();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let receipt = format!("/v1/checks/{}/receipt", new["id"].as_str().unwrap());
    let (status, text) = proof(&receipt, "bank").await;
    assert!(status == 200 && text.starts_with("c2sp.org/tlog-proof@v1\n"), "{status} {text}");
    // The old receipt comes from the archive.
    let mut command = Command::new(BINARY);
    let receipt = run(command.args(["receipt", "make", "--check", id, "--archive"]).arg(&file)).done();
    assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{receipt}");
    server.leave().await;
}

/// Checks, and where counting begins.
async fn counted(server: &Server) -> (u64, String) {
    let path = "/v1/statistics?from=2020-01-01&to=2029-12-31";
    let told = server.get(path).by("auditor").send().await.is(200).json();
    (told["total"]["checks"].as_u64().unwrap(), told["counted_from"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_was_counted_before_it_was_archived_stays_and_what_is_lost_is_told() {
    let mut server = Server::start_embedded(10).await;
    server.stop().await;
    let before = grow(&server.data(), 66_000).await;
    grow(&server.data(), 66_000).await;
    server.start_again().await;
    let search = server.data().join("search.sqlite3");
    let stored = || {
        let database = rusqlite::Connection::open(&search).unwrap();
        database.query_row("SELECT COUNT(*) FROM tally", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    eventually(Duration::from_secs(60), "tallies", async || stored() == 2).await;
    assert_eq!(counted(&server).await, (132_000, "main/0".to_owned()));
    server.stop().await;
    // Puts a segment's figures there as a version before this one counted and sealed them: so many checks, of one day.
    let registry = server.data().join("registry.db");
    let count_as_before = |place: i64, checks: u64| {
        let database = rusqlite::Connection::open(&registry).unwrap();
        let root = "SELECT root FROM log_tile WHERE place = ?1";
        let root: Vec<u8> = database.query_row(root, [place + 1], |row| row.get(0)).unwrap();
        let body = format!(r#"[[20000,"check","970436",null,null,"clear",{checks},[]]]"#).into_bytes();
        let hash = Sha256::new().chain_update("canhbao tally 1").chain_update(root).chain_update(place.to_be_bytes());
        let hash = hash.chain_update(20_000_u32.to_be_bytes()).chain_update(20_000_u32.to_be_bytes());
        let seal = hash.chain_update(&body).finalize().to_vec();
        let put = "UPDATE tally SET seal = ?1, first_day = 20000, last_day = 20000, body = ?2 WHERE place = ?3";
        let database = rusqlite::Connection::open(&search).unwrap();
        assert_eq!(database.execute(put, rusqlite::params![seal, body, place]).unwrap(), 1);
    };
    count_as_before(0, 7);
    count_as_before(65_536, 7);
    server.start_again().await;
    assert_eq!(counted(&server).await, (132_000, "main/0".to_owned()), "it was not counted anew");
    let stored_anew = || {
        let database = rusqlite::Connection::open(&search).unwrap();
        let anew = "SELECT COUNT(*) FROM tally WHERE first_day <> 20000";
        database.query_row(anew, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    eventually(Duration::from_secs(60), "tallies", async || stored_anew() == 2).await;
    assert_eq!(counted(&server).await, (132_000, "main/0".to_owned()));
    server.stop().await;
    let mut command = Command::new(BINARY);
    command.args(["log", "archive", "--before", &before, "--data"]).arg(server.data());
    let said = run(command.arg("--to").arg(server.data().with_file_name("archive"))).done();
    let first: u64 =
        said.lines().find_map(|line| line.strip_prefix("archived: entries 0 to before ")).unwrap().parse().unwrap();
    // The archive ends within the second segment.
    assert!((65_537..131_072).contains(&first), "{first}");
    server.start_again().await;
    assert_eq!(counted(&server).await, (132_000, "main/0".to_owned()));
    // What cannot be counted anew stays as it was counted.
    server.stop().await;
    count_as_before(0, 7);
    server.start_again().await;
    let (checks, from) = counted(&server).await;
    assert_eq!(from, "main/0");
    assert!((66_464 + 7..66_564 + 7).contains(&checks), "{checks}");
    let lose = |place: i64| {
        let database = rusqlite::Connection::open(&search).unwrap();
        assert_eq!(database.execute("DELETE FROM tally WHERE place = ?1", [place]).unwrap(), 1);
    };
    // Checks alone came since; the first segment also has the few entries of the set-up.
    lose(0);
    let (checks, from) = counted(&server).await;
    assert_eq!(from, "main/65536");
    assert!((66_000..132_000 - 65_536 + 100).contains(&checks), "{checks}");
    lose(65_536);
    let (checks, from) = counted(&server).await;
    assert_eq!(from, format!("main/{first}"));
    assert!((65_900..66_001).contains(&checks), "{checks}");
    server.stop().await;
    server.start_again().await;
    assert_eq!(counted(&server).await, (checks, from));
    server.leave().await;
}
