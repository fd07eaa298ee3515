//! The logs of several nodes in one database, as a node answers for all of them: one directory that was served as `main`, as
//! `second`, and as `main` again.

use crate::log::{NDJSON, check_by, items, lines, place, whole};
use crate::support::process::BINARY;
use crate::support::{Answer, Server};
use crate::{about, account};
use canhbao::log::entries_of;
use canhbao::log::merkle::verify_consistency;
use canhbao::log::note::{Checkpoint, VerifierKey};
use canhbao::log::receipt::Receipt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const WARNED: &str = "9000000000001";
const NODES: [&str; 2] = ["main", "second"];

/// The server, as `main`, and the answers to a check of the warned account by `main`, `second` and `main`.
async fn served_by_two() -> (Server, [Answer; 3]) {
    let mut server = Server::start_with(10).await;
    let by_main = check_by(&server, "bank", &about(account(WARNED))).await;
    server.stop().await;
    server.start_as("second").await;
    check_by(&server, "bank", &about(account("9000000000000"))).await;
    let by_second = check_by(&server, "bank", &about(account(WARNED))).await;
    check_by(&server, "wallet", &about(account("9000000000003"))).await;
    server.stop().await;
    server.start_as("main").await;
    let by_main_again = check_by(&server, "bank_b", &about(account(WARNED))).await;
    (server, [by_main, by_second, by_main_again])
}

async fn read(server: &Server, path: &str) -> Answer {
    server.get(path).by("auditor").send().await
}

fn keys(server: &Server, node: &str) -> Vec<VerifierKey> {
    canhbao::server::log_keys_of(&server.data(), &format!("demo.canhbao.example/{node}")).unwrap()
}

fn id(check: &Answer) -> String {
    check.json()["id"].as_str().unwrap().to_owned()
}

/// Each log's entries apart.
fn by_node(entries: &[Value]) -> BTreeMap<&str, Vec<&Value>> {
    let mut logs: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for entry in entries {
        logs.entry(entry["node"].as_str().unwrap()).or_default().push(entry);
    }
    logs
}

async fn receipt(server: &Server, check: &Answer) -> Answer {
    let path = format!("/v1/checks/{}/receipt", id(check));
    let mut last = None;
    crate::support::eventually(Duration::from_secs(3), "a receipt", async || {
        last = Some(server.get(&path).by("bank").send().await);
        last.as_ref().is_some_and(|answer| answer.status == 200)
    })
    .await;
    last.unwrap()
}

#[tokio::test]
async fn entries_of_all_logs_come_in_the_order_of_time_and_each_once() {
    let (server, checks) = served_by_two().await;
    let all = whole(&server).await;
    let logs = by_node(&all);
    assert_eq!(logs.keys().copied().collect::<Vec<_>>(), NODES);
    for entries in logs.values() {
        let indices = entries.iter().map(|entry| entry["index"].as_u64().unwrap());
        assert!(indices.eq(0..u64::try_from(entries.len()).unwrap()));
    }
    let places: Vec<String> = all.iter().map(place).collect();
    let stands = |answer: &Answer| places.iter().position(|place| place == answer.must("log-entry")).unwrap();
    assert!(checks.iter().map(stands).is_sorted(), "{places:?}");
    // Nothing of `second` was made while `main` ran.
    let last_of_second = places.iter().rposition(|place| place.starts_with("second/")).unwrap();
    assert!(places[last_of_second + 1..].iter().all(|place| place.starts_with("main/")));
    for (limit, all) in [(1, &all[..25]), (7, &all[..]), (200, &all[..])] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        while seen.len() < all.len() {
            let page = read(&server, &format!("/v1/log/entries?limit={limit}{cursor}")).await.is(200);
            assert!(items(&page).len() <= limit);
            seen.extend(items(&page));
            let next = page.json()["next_cursor"].as_str().map(str::to_owned);
            cursor = next.map_or(String::new(), |next| format!("&cursor={next}"));
            assert!(!cursor.is_empty() || seen.len() >= all.len());
        }
        assert_eq!(seen[..all.len()], *all, "with pages of {limit}");
    }
    // A stream that breaks off goes on after the last entry of each log that was received.
    let broken = &all[..places.len() / 2];
    let received = by_node(broken);
    let cursor: Vec<String> = received.values().map(|entries| place(entries.last().unwrap())).collect();
    let ask = server.get(&format!("/v1/log/entries?cursor={}", cursor.join(","))).by("auditor");
    let rest = lines(&ask.header("accept", NDJSON).send().await.is(200));
    assert_eq!([broken, &rest[..all.len() - broken.len()]].concat(), all);
    server.finish().await;
}

#[tokio::test]
async fn a_cursor_names_a_place_in_each_log_and_one_that_it_does_not_name_is_read_from_its_beginning() {
    let (server, _) = served_by_two().await;
    let all = whole(&server).await;
    let of_second: Vec<String> = by_node(&all)["second"].iter().map(|entry| place(entry)).collect();
    let second = items(&read(&server, "/v1/log/entries?node=second&limit=200").await.is(200));
    assert_eq!(second.iter().map(place).collect::<Vec<_>>(), of_second);
    let rest = items(&read(&server, "/v1/log/entries?node=second&cursor=second/1").await.is(200));
    assert_eq!(rest, second[2..]);
    let page = items(&read(&server, "/v1/log/entries?cursor=main/5&limit=200").await.is(200));
    let places: Vec<String> = page.iter().map(place).collect();
    assert!(places.contains(&"main/6".to_owned()) && !places.contains(&"main/5".to_owned()));
    assert!(places.contains(&"second/0".to_owned()));
    let many = format!("cursor={}", (0..65).map(|number| format!("node-{number}/1")).collect::<Vec<_>>().join(","));
    for (query, status, slug) in [
        ("cursor=main/5,main/6", 400, "invalid_request"),
        ("cursor=main/5,", 400, "invalid_request"),
        (many.as_str(), 400, "invalid_request"),
        ("node=second&cursor=main/5,second/1", 400, "invalid_request"),
        ("cursor=main/5,third/0", 404, "not_found"),
        ("node=third", 404, "not_found"),
    ] {
        read(&server, &format!("/v1/log/entries?{query}")).await.refused(status, slug);
    }
    let told = items(&read(&server, "/v1/log/entries?act=log.read&limit=200").await);
    let told: Vec<&str> = told.iter().filter_map(|entry| entry["reference"].as_str()).collect();
    for words in ["node=second", "node=second&after=1", "after=main/5"] {
        assert!(told.contains(&words), "no {words} in {told:?}");
    }
    server.finish().await;
}

#[tokio::test]
async fn searches_and_reports_find_what_either_log_holds() {
    let (server, checks) = served_by_two().await;
    let body = json!({ "subject": account(WARNED), "act": "check" });
    let found = items(&server.post("/v1/log/search").by("auditor").json(&body).send().await.is(200));
    let places: Vec<String> = checks.iter().map(|check| check.must("log-entry").to_owned()).collect();
    assert_eq!(found.iter().map(place).collect::<Vec<_>>(), places);
    assert!(places[1].starts_with("second/") && places[2].starts_with("main/"));
    let body = json!({ "subject": account(WARNED) });
    let report = server.post("/v1/log/reports/subject").by("auditor").json(&body).send().await.is(200);
    assert_eq!(report.json()["checked_from"], "main/0,second/0");
    let told: Vec<Value> = items(&report).iter().map(|check| check["log_entry"].clone()).collect();
    assert_eq!(told, places);
    let flag = checks[0].json()["results"][0]["flags"][0]["id"].as_str().unwrap().to_owned();
    let report = read(&server, &format!("/v1/log/reports/flags/{flag}")).await.is(200).json();
    let parties = report["parties"].as_array().unwrap();
    let parties: Vec<Value> = parties.iter().map(|party| json!([party["party"], party["checks"]])).collect();
    assert_eq!(parties, [json!(["970415", 1]), json!(["970436", 2])]);
    assert_eq!(report["checked_from"], "main/0,second/0");
    let last = by_node(&whole(&server).await)["second"].len() - 1;
    assert!(report["checked_up_to"].as_str().unwrap().ends_with(&format!(",second/{last}")), "{report}");
    server.finish().await;
}

#[tokio::test]
async fn checks_and_proofs_of_another_node_s_log_are_read_here() {
    let (server, checks) = served_by_two().await;
    for check in &checks[..2] {
        let read = server.get(&format!("/v1/checks/{}", id(check))).by("bank").send().await.is(200);
        assert_eq!(read.json()["log_entry"], check.must("log-entry"));
        let node = check.must("log-entry").split('/').next().unwrap();
        let receipt = Receipt::parse(&receipt(&server, check).await.text()).unwrap();
        let verified = receipt.verify(&check.body, &keys(&server, node)).unwrap();
        assert!(verified.origin.ends_with(&format!("/{node}")));
    }
    server.get(&format!("/v1/checks/{}", id(&checks[1]))).by("bank_b").send().await.refused(404, "not_found");
    let note = read(&server, "/log/second/checkpoint").await.is(200).text();
    let (checkpoint, _) = Checkpoint::parse_signed(&note, &keys(&server, "second")).unwrap();
    let size = usize::try_from(checkpoint.size).unwrap();
    let entries = by_node(&whole(&server).await)["second"].len();
    assert_eq!(size, entries, "an ended node leaves nothing without a checkpoint");
    let bundle = read(&server, &format!("/log/second/tile/entries/000.p/{size}")).await.is(200);
    assert_eq!(entries_of(&bundle.body).count(), size);
    let hashes = read(&server, &format!("/log/second/tile/0/000.p/{size}")).await.is(200);
    assert_eq!(hashes.body.len(), size * 32);
    let proof = read(&server, &format!("/v1/log/second/consistency?from=1&to={size}")).await.is(200).json();
    let steps: Vec<[u8; 32]> = proof["proof"].as_array().unwrap().iter().map(hash).collect();
    let first = hashes.body[..32].try_into().unwrap();
    assert!(verify_consistency(1, checkpoint.size, &steps, &first, &checkpoint.root));
    for path in [
        "/log/third/checkpoint".to_owned(),
        "/log/third/tile/0/000".to_owned(),
        format!("/log/second/tile/0/000.p/{}", size + 1),
        format!("/v1/log/second/consistency?from=1&to={}", size + 1),
        "/v1/log/third/consistency?from=1&to=1".to_owned(),
    ] {
        read(&server, &path).await.refused(404, "not_found");
    }
    server.finish().await;
}

/// A command on the server's directory, which no process uses.
fn run_on(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    let output = command.args(arguments).arg("--data").arg(server.data()).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn receipts_of_another_node_s_log_go_on_after_its_key_was_changed() {
    let mut server = Server::start_with(10).await;
    server.stop().await;
    server.start_as("second").await;
    let before = check_by(&server, "bank", &about(account(WARNED))).await;
    server.stop().await;
    server.start_as("main").await;
    receipt(&server, &before).await;
    server.stop().await;
    server.start_as("second").await;
    server.stop().await;
    run_on(&server, &["log", "rotate-key"]);
    server.start_as("second").await;
    let after = check_by(&server, "bank", &about(account(WARNED))).await;
    server.stop().await;
    server.start_as("main").await;
    let keys = keys(&server, "second");
    assert_eq!(keys.len(), 2);
    for check in [&before, &after] {
        let receipt = Receipt::parse(&receipt(&server, check).await.text()).unwrap();
        receipt.verify(&check.body, &keys[..1]).unwrap();
    }
    server.finish().await;
}

#[tokio::test]
async fn what_another_node_has_archived_is_told_and_what_came_after_is_proved() {
    let mut server = Server::start_with(10).await;
    let checks = |count: usize| json!({ "checks": vec![about(account("9000000000000")); count] });
    server.stop().await;
    server.start_as("second").await;
    let old = check_by(&server, "bank", &about(account(WARNED))).await;
    server.post("/v1/checks/batch").by("bank").json(&checks(300)).send().await.is(200);
    // The end of a node leaves a checkpoint.
    server.stop().await;
    server.start_as("second").await;
    server.post("/v1/checks/batch").by("bank").json(&checks(400)).send().await.is(200);
    let new = check_by(&server, "bank", &about(account(WARNED))).await;
    server.stop().await;
    server.verify();
    let file = server.data().with_file_name("archive");
    let said = run_on(&server, &["log", "archive", "--before", "2200-01-01", "--to", file.to_str().unwrap()]);
    let first = said.lines().find_map(|line| line.strip_prefix("archived: entries 0 to before ")).unwrap();
    let (first, second): (u64, _) = (first.parse().unwrap(), keys(&server, "second"));
    server.start_as("main").await;
    let http = crate::support::client(&server.ca_file).build().unwrap();
    // Status and body of a path.
    let ask = async |path: &str, name: &str| {
        let url = format!("{}{path}", server.base_url);
        let answer = http.get(url).bearer_auth(server.token(name).await).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (path, name) in [
        (format!("/v1/checks/{}", id(&old)), "bank"),
        (format!("/v1/checks/{}/receipt", id(&old)), "bank"),
        (format!("/v1/log/entries/second/{}", first - 1), "auditor"),
        ("/log/second/tile/entries/000".to_owned(), "auditor"),
    ] {
        let (status, text) = ask(&path, name).await;
        assert_eq!(status, 404, "{path}: {text}");
        assert!(text.contains(&format!("archived before entry {first}")), "{path}: {text}");
    }
    let (status, text) = ask(&format!("/v1/log/entries/second/{first}"), "auditor").await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = ask("/v1/log/entries?node=second&limit=1", "auditor").await;
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &page["items"][0]["index"]), (200, &json!(first)));
    // That the log's first entry, which announced its key, is archived keeps nobody from a receipt.
    let (status, text) = ask(&format!("/v1/checks/{}/receipt", id(&new)), "bank").await;
    assert_eq!(status, 200, "{text}");
    Receipt::parse(&text).unwrap().verify(&new.body, &second).unwrap();
    let body = json!({ "subject": account(WARNED) });
    let url = format!("{}/v1/log/reports/subject", server.base_url);
    let report = http.post(url).bearer_auth(server.token("auditor").await).json(&body).send().await.unwrap();
    let report: Value = serde_json::from_slice(&report.bytes().await.unwrap()).unwrap();
    assert_eq!(report["checked_from"], format!("main/0,second/{first}"));
    // What stands in the archive is not in the database, so that the whole cannot be verified any more.
    server.stop().await;
    server.leave().await;
}

fn hash(text: &Value) -> [u8; 32] {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap().try_into().unwrap()
}

/// The exit code of `log verify`, and everything that was printed.
fn verify(path: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    let output = command.args(["log", "verify"]).arg(path).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn each_log_of_a_database_and_of_an_export_is_verified_under_its_own_key() {
    let (mut server, checks) = served_by_two().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut given = Vec::new();
    for (node, check) in NODES.into_iter().zip(&checks) {
        given.extend(["--key".to_owned(), keys(&server, node)[0].to_string()]);
        given
            .extend(["--receipt".to_owned(), write(&format!("receipt-{node}"), &receipt(&server, check).await.text())]);
        let checkpoint = read(&server, &format!("/log/{node}/checkpoint")).await.is(200).text();
        given.extend(["--checkpoint".to_owned(), write(&format!("checkpoint-{node}"), &checkpoint)]);
    }
    let export = server.get("/v1/log/entries").by("auditor").header("accept", NDJSON).send().await.is(200).text();
    server.stop().await;
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let sound = ["demo.canhbao.example/main", "demo.canhbao.example/second"].map(|log| format!("sound: {log}"));
    let export_file = folder.path().join("export.ndjson");
    std::fs::write(&export_file, &export).unwrap();
    for path in [&server.data(), &export_file] {
        let (code, printed) = verify(path, &given);
        assert_eq!(code, Some(0), "{printed}");
        assert!(sound.iter().all(|words| printed.contains(words)) && printed.contains("receipts: 1"), "{printed}");
    }
    let (main, second) = given.split_at(given.len() / 2);
    // A log is not passed over because nobody gave its key.
    let (code, printed) = verify(&server.data(), main);
    assert!(code == Some(2) && printed.contains("second"), "{printed}");
    let (code, printed) = verify(&server.data(), &[second, &["--node", "second"]].concat());
    assert!(code == Some(0) && printed.contains(&sound[1]) && !printed.contains(&sound[0]), "{printed}");
    let (code, printed) = verify(&server.data(), &[second, &["--node", "main"]].concat());
    assert_eq!(code, Some(2), "{printed}");
    // A changed entry of one is not one of the other.
    let line = export.lines().filter(|line| line.contains("\"node\":\"second\"")).nth(3).unwrap();
    std::fs::write(&export_file, export.replace(line, &line.replace("\"count\":1", "\"count\":2"))).unwrap();
    let (code, printed) = verify(&export_file, &given);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("demo.canhbao.example/second: tampered with: entry 3:"), "{printed}");
    assert!(printed.contains(&sound[0]), "{printed}");
    server.finish().await;
}
