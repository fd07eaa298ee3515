//! The log as a stream: whole, without doubles, at the client's pace, and never whole by mistake.

use crate::log::{NDJSON, check_by, items, lines, place, whole};
use crate::support::{Answer, FLAGS, Server, client, eventually};
use crate::{about, account, with};
use canhbao::clock::Stopwatch;
use canhbao::log::SEGMENT_ENTRIES;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde_json::{Value, json};
use std::time::Duration;

const CSV: &str = "text/csv";
/// As src/registry/streams.rs and src/http/stream.rs have it.
const STREAMS_OF_A_CLIENT_MAX: usize = 2;
const STALL_TIME_MAX: Duration = Duration::from_secs(20);

async fn stream(server: &Server, query: &str) -> Answer {
    server.get(&format!("/v1/log/entries{query}")).by("auditor").header("accept", NDJSON).send().await
}

fn index_of(position: &str) -> u64 {
    position.strip_prefix("main/").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_stream_takes_no_limit() {
    let server = Server::start().await;
    for accept in [NDJSON, CSV] {
        let ask = server.get("/v1/log/entries?limit=5").by("auditor").header("accept", accept);
        assert_eq!(ask.send().await.refused(400, "invalid_request").pointers(), ["/limit"]);
        let ask = server.post("/v1/log/search").by("auditor").header("accept", accept).json(&json!({ "limit": 5 }));
        assert_eq!(ask.send().await.refused(400, "invalid_request").pointers(), ["/limit"]);
    }
    server.finish().await;
}

#[tokio::test]
async fn json_ndjson_and_csv_tell_the_same() {
    let server = Server::start().await;
    let asked =
        with(with(about(account("9000000000001")), "reference", "=HYPERLINK(\"x\",\"y\")"), "operator", "a,\"b\"");
    check_by(&server, "bank", &asked).await;
    check_by(&server, "wallet", &json!({ "subjects": [account("9000000000001"), account("9000000000003")] })).await;
    let body = json!({ "act": "check" });
    let ask = |accept: &str| server.post("/v1/log/search").by("auditor").header("accept", accept).json(&body);
    let page = items(&ask("application/json").send().await.is(200));
    assert_eq!(page.len(), 2);
    let answer = ask(NDJSON).send().await.is(200);
    assert_eq!(answer.must("content-type"), NDJSON);
    assert_eq!(lines(&answer), page);
    let answer = ask(CSV).send().await.is(200);
    assert_eq!(answer.must("content-type"), "text/csv; charset=utf-8; header=present");
    let text = answer.text();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), page.len());
    for (row, entry) in rows.iter().zip(&page) {
        assert_eq!(names.len(), entry.as_object().unwrap().len());
        for (name, cell) in names.iter().zip(row) {
            assert_eq!(cell, shown(name, &entry[name]), "{name}");
        }
    }
    server.finish().await;
}

/// A value as the CSV writes it.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with('=') => format!("'{text}"),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let item = |item: &Value| match item.as_str() {
                Some(text) => text.to_owned(),
                None => format!("{}:{}", item["id"].as_str().unwrap(), item["version"]),
            };
            items.iter().map(item).collect::<Vec<_>>().join(" ")
        }
        Value::Number(number) => number.to_string(),
        Value::Bool(_) | Value::Object(_) => panic!("{name} is {value}"),
    }
}

#[tokio::test]
async fn a_stream_holds_what_stands_before_its_own_entry() {
    let server = Server::start().await;
    check_by(&server, "bank", &about(account("9000000000001"))).await;
    let first = stream(&server, "").await.is(200);
    let own = index_of(first.must("log-entry"));
    let indices: Vec<u64> = lines(&first).iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..own).collect::<Vec<_>>());
    let last = place(lines(&first).last().unwrap());
    let second = lines(&stream(&server, &format!("?cursor={last}")).await.is(200));
    assert_eq!(second.len(), 1);
    assert_eq!((index_of(&place(&second[0])), &second[0]["act"]), (own, &json!("log.read")));
    assert_eq!(second[0]["answer_digest"], Value::Null);
    let beyond = stream(&server, "?cursor=main/99999999").await.is(200);
    assert!(beyond.body.is_empty());
    server.finish().await;
}

#[tokio::test]
async fn while_checks_go_on_streams_by_cursor_give_each_entry_once() {
    let server = Server::start().await;
    let asking = async {
        for round in 0..40 {
            let number = if round % 2 == 0 { "9000000000001" } else { "9000000000000" };
            let body = about(account(number));
            tokio::join!(
                check_by(&server, "bank", &body),
                check_by(&server, "wallet", &body),
                check_by(&server, "bank_b", &body)
            );
        }
    };
    let reading = async {
        let (mut seen, mut middle) = (Vec::new(), 0);
        for _ in 0..15 {
            // Every other time as after a break in the middle: what came last is forgotten.
            let kept: usize = if middle % 2 == 1 { seen.len() - seen.len().min(3) } else { seen.len() };
            seen.truncate(kept);
            middle += 1;
            let query = seen.last().map_or(String::new(), |last| format!("?cursor={}", place(last)));
            seen.extend(lines(&stream(&server, &query).await.is(200)));
        }
        seen
    };
    let ((), mut seen) = tokio::join!(asking, reading);
    let query = format!("?cursor={}", place(seen.last().unwrap()));
    seen.extend(lines(&stream(&server, &query).await.is(200)));
    let indices: Vec<u64> = seen.iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..u64::try_from(indices.len()).unwrap()).collect::<Vec<_>>());
    assert!(seen.iter().filter(|entry| entry["act"] == "check").count() == 120);
    server.finish().await;
}

/// More entries than a segment has, by a client of the test's own, since the answers are not looked at.
async fn fill(server: &Server, entries: u64) {
    let (http, token) = (client(&server.ca_file).build().unwrap(), server.token("bank").await);
    let one = |k: u64| {
        with(
            about(account(if k == 0 || k == 500 { "9000000000001" } else { "9000000000000" })),
            "operator",
            format!("teller-{k}"),
        )
    };
    let checks = json!({ "checks": (0..1000).map(one).collect::<Vec<_>>() });
    for _ in 0..entries.div_ceil(1000) {
        let ask =
            http.post(format!("{}/v1/checks/batch", server.base_url)).header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = ask.json(&checks).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer.bytes().await.unwrap();
    }
}

async fn behind(server: &Server) -> u64 {
    let metrics = server.operations("/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("canhbao_log_search_behind_entries "));
    line.map_or(u64::MAX, |number| number.parse().unwrap())
}

#[tokio::test]
async fn the_index_behind_the_log_changes_no_answer() {
    let server = Server::start().await;
    check_by(&server, "wallet", &about(account("9000000000001"))).await;
    fill(&server, SEGMENT_ENTRIES + 2000).await;
    let flag = check_by(&server, "bank_b", &about(account("9000000000001"))).await.json();
    let flag = flag["results"][0]["flags"][0]["id"].as_str().unwrap().to_owned();
    let log = whole(&server).await;
    let end = place(log.last().unwrap());
    let finds = async |what: Value, count: usize| {
        let ask = server.post("/v1/log/search").by("auditor").header("accept", NDJSON).json(&with(
            what.clone(),
            "act",
            "check",
        ));
        let found = lines(&ask.send().await.is(200));
        assert_eq!(found.len(), count, "{what}");
        // Found in the same form and order as read.
        let read = found.iter().all(|found| log[usize::try_from(found["index"].as_u64().unwrap()).unwrap()] == *found);
        assert!(read && found.is_sorted_by_key(|found| found["index"].as_u64()), "{what}");
    };
    let batches = usize::try_from((SEGMENT_ENTRIES + 2000).div_ceil(1000)).unwrap();
    for indexed in [false, true] {
        if indexed {
            eventually(Duration::from_secs(60), "the index covers a segment", async || {
                behind(&server).await < SEGMENT_ENTRIES
            })
            .await;
        }
        finds(json!({ "subject": account("9000000000001") }), 2 * batches + 2).await;
        finds(json!({ "operator": "teller-7" }), batches).await;
        finds(json!({ "party": "momo" }), 1).await;
        finds(json!({ "client": "demo-bank_b" }), 1).await;
        finds(json!({ "verdict": "warn" }), 2 * batches + 2).await;
        finds(json!({ "flag": flag }), 2 * batches + 2).await;
        finds(json!({ "subject": account("4711471147") }), 0).await;
        let report = server.get(&format!("/v1/log/reports/flags/{flag}")).by("auditor").send().await.is(200).json();
        let parties: Vec<Value> =
            report["parties"].as_array().unwrap().iter().map(|p| json!([p["party"], p["checks"]])).collect();
        assert_eq!(parties, [json!(["970415", 1]), json!(["970436", 2 * batches]), json!(["momo", 1])]);
        assert!(index_of(report["checked_up_to"].as_str().unwrap()) >= index_of(&end));
        // A page that finds nothing in the time it may take says where to go on, and gets there.
        let body = json!({ "subject": account("9000000000001"), "act": "check", "limit": 100 });
        let report = server.post("/v1/log/search").by("auditor").json(&body).send().await.is(200);
        assert_eq!(items(&report).len(), 100);
    }
    stalled_clients_lose_their_streams(&server).await;
    server.finish().await;
}

/// Needs a log that is longer than what sockets hold.
async fn stalled_clients_lose_their_streams(server: &Server) {
    let token = server.token("auditor").await;
    let mut stalled = Vec::new();
    for place in 0..STREAMS_OF_A_CLIENT_MAX {
        // Each with a connection of its own: in HTTP/2 those that stall would use up what one connection may hold.
        let http = client(&server.ca_file);
        let http = if place % 2 == 0 { http.http1_only() } else { http }.build().unwrap();
        let ask = http.get(format!("{}/v1/log/entries", server.base_url)).timeout(Duration::from_secs(120));
        let ask = ask.header(AUTHORIZATION, format!("Bearer {token}")).header(ACCEPT, NDJSON);
        let mut answer = ask.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer.chunk().await.unwrap().unwrap();
        stalled.push(answer);
    }
    let watch = Stopwatch::start();
    stream(server, "").await.refused(503, "unavailable");
    // Pages have nothing to do with it.
    server.get("/v1/log/entries").by("auditor").send().await.is(200);
    let time_max = STALL_TIME_MAX + Duration::from_secs(15);
    eventually(time_max, "a stalled stream's place is free", async || {
        stream(server, "?act=party.create").await.status == 200
    })
    .await;
    assert!(watch.elapsed() > STALL_TIME_MAX / 2);
    // They began one after the other, and are looked at every second.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for mut answer in stalled {
        let broken = loop {
            match answer.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broken, "a stream that was dropped ended as if it were whole");
    }
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_breaks_off() {
    let mut server = Server::start_embedded(FLAGS).await;
    for _ in 0..600 {
        check_by(&server, "bank", &about(account("9000000000001"))).await;
    }
    server.stop().await;
    let database = rusqlite::Connection::open(server.data().join("registry.db")).unwrap();
    database.execute_batch("DROP TRIGGER log_batch_is_never_updated").unwrap();
    let torn = "UPDATE log_batch SET entries = substr(entries, 1, 20) WHERE place = \
                (SELECT place FROM log_batch WHERE place > 500 ORDER BY place LIMIT 1)";
    assert_eq!(database.execute(torn, []).unwrap(), 1);
    drop(database);
    server.start_again().await;
    let token = server.token("auditor").await;
    let over_1 = client(&server.ca_file).http1_only().build().unwrap();
    let over_2 = client(&server.ca_file).build().unwrap();
    for (http, version) in [(over_1, reqwest::Version::HTTP_11), (over_2, reqwest::Version::HTTP_2)] {
        for accept in [NDJSON, CSV] {
            let ask = http.get(format!("{}/v1/log/entries", server.base_url)).header(ACCEPT, accept);
            let mut answer = ask.header(AUTHORIZATION, format!("Bearer {token}")).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            let mut bytes = 0;
            let broken = loop {
                match answer.chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            assert!(broken && bytes > 50_000, "{version:?} {accept}: broken {broken} after {bytes} bytes");
        }
    }
    server.get("/v1/log/entries?cursor=main/490&limit=200").by("auditor").send().await.refused(500, "internal");
    server.leave().await;
}
