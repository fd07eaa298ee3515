//! What a registry answers about entries that are in archives, and about what came after them.

use crate::registry::{Ran, assert_says, grow, run};
use crate::support::postgres::Postgres;
use crate::support::process::BINARY;
use crate::support::{Server, client, eventually};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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

/// A registry that is not being served: its two first segments were counted, and then the first one and a part of the second
/// were archived. With the first entry that is left.
async fn counted_and_archived() -> (Server, u64) {
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
    count_as_before(&server, 0, 7);
    count_as_before(&server, 65_536, 7);
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
    assert!((65_537..131_072).contains(&first), "{first}");
    (server, first)
}

/// Puts a segment's figures there as a version before this one counted and sealed them: so many checks, of one day.
fn count_as_before(server: &Server, place: i64, checks: u64) {
    let database = rusqlite::Connection::open(server.data().join("registry.db")).unwrap();
    let root = "SELECT root FROM log_tile WHERE place = ?1";
    let root: Vec<u8> = database.query_row(root, [place + 1], |row| row.get(0)).unwrap();
    let body = format!(r#"[[20000,"check","970436",null,null,"clear",{checks},[]]]"#).into_bytes();
    let hash = Sha256::new().chain_update("canhbao tally 1").chain_update(root).chain_update(place.to_be_bytes());
    let hash = hash.chain_update(20_000_u32.to_be_bytes()).chain_update(20_000_u32.to_be_bytes());
    let seal = hash.chain_update(&body).finalize().to_vec();
    let put = "UPDATE tally SET seal = ?1, first_day = 20000, last_day = 20000, body = ?2 WHERE place = ?3";
    let database = rusqlite::Connection::open(server.data().join("search.sqlite3")).unwrap();
    assert_eq!(database.execute(put, rusqlite::params![seal, body, place]).unwrap(), 1);
}

/// `canhbao backup` or `restore`, from one directory to another.
fn copied(what: &str, from: &Path, to: &Path) -> Ran {
    let from_flag = if what == "backup" { "--data" } else { "--from" };
    run(Command::new(BINARY).arg(what).arg(from_flag).arg(from).arg("--to").arg(to))
}

#[tokio::test]
async fn a_backup_has_the_figures_of_what_is_archived_and_damage_to_them_is_told() {
    let (mut server, first) = counted_and_archived().await;
    server.start_again().await;
    let figures = counted(&server).await;
    assert_eq!(figures, (132_000, "main/0".to_owned()));
    let path = |name: &str| server.data().with_file_name(name);
    let backup = path("backup");
    assert_says(&copied("backup", &server.data(), &backup).done(), &["statistics from: main/0\n"]);
    let search = |place: &Path| place.join("search.sqlite3");
    assert_eq!(fs::metadata(search(&backup)).unwrap().permissions().mode() & 0o777, 0o600);
    // A backup with something done to it, and what comes of restoring it.
    let restored = |name: &str, harm: &dyn Fn(&Path)| {
        let [harmed, to] = [path(name), path(&format!("from-{name}"))];
        run(Command::new("cp").arg("-a").arg(&backup).arg(&harmed)).done();
        harm(&search(&harmed));
        (copied("restore", &harmed, &to), to)
    };
    let sql = |change: &'static str| {
        move |file: &Path| assert_eq!(rusqlite::Connection::open(file).unwrap().execute(change, []).unwrap(), 1)
    };
    for (name, change) in [
        (
            "body",
            "UPDATE tally SET body = CAST(replace(CAST(body AS TEXT), '970436', '970437') AS BLOB) WHERE place = 0",
        ),
        ("day", "UPDATE tally SET last_day = last_day + 1 WHERE place = 65536"),
        ("seal", "UPDATE tally SET seal = zeroblob(32) WHERE place = 0"),
    ] {
        let (ran, to) = restored(name, &sql(change));
        ran.failed(1, "are damaged; without that file it is taken");
        assert!(!to.exists(), "{name}");
    }
    let (ran, _) = restored("other", &|file| fs::write(file, "no database").unwrap());
    ran.failed(1, "is damaged, or of another version");
    let (ran, _) = restored("torn", &|file| {
        fs::File::options().write(true).open(file).and_then(|file| file.set_len(16_384)).unwrap();
    });
    ran.failed(1, "the figures cannot be read");
    // What is gone without a trace is told all the same.
    let gone = |name: &str, harm: &dyn Fn(&Path), from: u64| {
        let (ran, _) = restored(name, harm);
        let told = format!("nothing is counted of the archived entries before main/{from}\n");
        assert!(ran.stderr.contains(&told), "{ran:?}");
        assert_says(&ran.done(), &[&format!("statistics from: main/{from}\n")]);
    };
    gone("row", &sql("DELETE FROM tally WHERE place = 0"), 65_536);
    gone("file", &|file| fs::remove_file(file).unwrap(), first);
    // The directory is lost, and another one goes on from the backup.
    let (data, lost) = (server.data(), path("lost"));
    server.stop().await;
    fs::rename(&data, &lost).unwrap();
    assert_says(&copied("restore", &backup, &data).done(), &["statistics from: main/0\n"]);
    for name in ["demo.json", "tls/ca.pem"] {
        fs::copy(lost.join(name), data.join(name)).unwrap();
    }
    let serve = server.serve();
    server.start_by(serve).await.unwrap();
    assert_eq!(counted(&server).await, figures);
    server.stop().await;
    // Figures that are damaged before they are backed up do not keep the rest from it.
    sql("UPDATE tally SET seal = zeroblob(32) WHERE place = 0")(&search(&lost));
    let ran = copied("backup", &lost, &lost.with_file_name("second"));
    let told = "not copied: the figures of archived entries main/0 to before 65536 are damaged\n";
    assert!(ran.stderr.contains(told), "{ran:?}");
    assert_says(&ran.done(), &["statistics from: main/65536\n"]);
    server.leave().await;
}

#[tokio::test]
async fn a_registry_that_moves_takes_the_figures_of_what_is_archived_along() {
    let (mut server, _) = counted_and_archived().await;
    let (url, new) = (Postgres::shared().create_database(), server.data().with_file_name("new"));
    let mut command = Command::new(BINARY);
    command.arg("migrate").arg("--from").arg(server.data()).args(["--to", &url, "--into"]).arg(&new);
    let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap().done();
    assert_says(&said, &["statistics from: main/0\n"]);
    let mut serve = Command::new(BINARY);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data"]).arg(new);
    server.start_by(serve).await.unwrap();
    assert_eq!(counted(&server).await, (132_000, "main/0".to_owned()));
    server.leave().await;
}

#[tokio::test]
async fn what_was_counted_before_it_was_archived_stays_and_what_is_lost_is_told() {
    let (mut server, first) = counted_and_archived().await;
    server.start_again().await;
    assert_eq!(counted(&server).await, (132_000, "main/0".to_owned()));
    // What cannot be counted anew stays as it was counted.
    server.stop().await;
    count_as_before(&server, 0, 7);
    server.start_again().await;
    let (checks, from) = counted(&server).await;
    assert_eq!(from, "main/0");
    assert!((66_464 + 7..66_564 + 7).contains(&checks), "{checks}");
    let search = server.data().join("search.sqlite3");
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
