//! `/v1/log/…`: pages, single entries, search and reports. The streams are in `log_stream`.

use crate::support::{Answer, Server};
use crate::{about, account, with};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canhbao::log::{Act, Entry, leaf_hash};
use serde_json::{Value, json};
use std::collections::HashSet;

pub const NDJSON: &str = "application/x-ndjson";

async fn read(server: &Server, path: &str) -> Answer {
    server.get(path).by("auditor").send().await
}

async fn search(server: &Server, body: &Value) -> Answer {
    server.post("/v1/log/search").by("auditor").json(body).send().await
}

pub async fn check_by(server: &Server, name: &str, body: &Value) -> Answer {
    server.post("/v1/checks").by(name).json(body).send().await.is(200)
}

pub fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().unwrap().clone()
}

pub fn lines(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    assert!(text.is_empty() || text.ends_with('\n'), "a stream ends in the middle of a line");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The log as a stream has it.
pub async fn whole(server: &Server) -> Vec<Value> {
    let answer = server.get("/v1/log/entries").by("auditor").header("accept", NDJSON).send().await.is(200);
    lines(&answer)
}

pub fn place(entry: &Value) -> String {
    format!("{}/{}", entry["node"].as_str().unwrap(), entry["index"])
}

/// Checks by three clients, two with an operator, of a flagged and of a clear account.
async fn ask_a_little(server: &Server) {
    let flagged = about(account("9000000000001"));
    let clear = about(account("9000000000000"));
    check_by(server, "bank", &with(with(flagged.clone(), "operator", "teller-17"), "reference", "FT1")).await;
    check_by(server, "bank", &with(clear.clone(), "operator", "teller-18")).await;
    check_by(server, "bank_b", &with(flagged.clone(), "operator", "teller-17")).await;
    check_by(server, "wallet", &about(account("9000000000003"))).await;
    check_by(server, "bank", &json!({ "subjects": [account("9000000000000"), account("9000000000001")] })).await;
}

#[tokio::test]
async fn only_auditors_read_the_log() {
    let server = Server::start().await;
    let report = json!({ "subject": account("9000000000001") });
    for name in ["bank", "wallet", "officer", "supervisor", "operator"] {
        for path in
            ["/v1/log/entries", "/v1/log/entries/main/0", "/v1/log/reports/flags/flag_01h2xcejqtf2nbrexx3vqjhp41"]
        {
            server.get(path).by(name).send().await.refused(403, "insufficient_scope");
        }
        server.post("/v1/log/search").by(name).json(&json!({})).send().await.refused(403, "insufficient_scope");
        let ask = server.post("/v1/log/reports/subject").by(name).json(&report);
        ask.send().await.refused(403, "insufficient_scope");
    }
    server.get("/v1/log/entries").send().await.refused(401, "unauthenticated");
    server.finish().await;
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_place() {
    let server = Server::start().await;
    for (query, pointer) in [
        ("subject=x", "/subject"),
        ("operator=x", "/operator"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=many", "/limit"),
        ("act=flag.rise", "/act"),
        ("verdict=grey", "/verdict"),
        ("party=X", "/party"),
        ("client=%20", "/client"),
        ("node=a%20b", "/node"),
        ("from=2026-11-24", "/from"),
        ("to=yesterday", "/to"),
        ("from=2026-11-24T03:00:00Z&to=2026-11-24T03:00:00Z", "/to"),
        ("cursor=17", "/cursor"),
        ("cursor=main/017", "/cursor"),
        ("cursor=main/-1", "/cursor"),
        ("cursor=main/1099511627776", "/cursor"),
        ("cursor=main/1&node=other", "/cursor"),
        ("act=check&act=check", "/act"),
    ] {
        let answer = read(&server, &format!("/v1/log/entries?{query}")).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{query}");
    }
    for (body, pointer) in [
        (json!({ "limit": 0 }), "/limit"),
        (json!({ "limit": 201 }), "/limit"),
        (json!({ "limit": "5" }), "/limit"),
        (json!({ "act": "flag.rise" }), "/act"),
        (json!({ "operator": "" }), "/operator"),
        (json!({ "operator": "x".repeat(65) }), "/operator"),
        (json!({ "flag": "flag_1" }), "/flag"),
        (json!({ "reference": "FT1" }), "/reference"),
        (json!({ "subject": null }), "/subject"),
        (json!({ "subject": { "kind": "account", "bank": "970436" } }), "/subject/number"),
        (json!({ "from": "2026-11-24T03:00:00Z", "to": "2026-11-24T02:00:00Z" }), "/to"),
        (json!({ "cursor": "main" }), "/cursor"),
    ] {
        let answer = search(&server, &body).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    for path in ["/v1/log/search", "/v1/log/reports/subject"] {
        let body = json!({ "subject": { "kind": "account", "bank": "999999", "number": "0011001932418" } });
        let answer = server.post(path).by("auditor").json(&body).send().await.refused(422, "invalid_subject");
        assert_eq!(answer.pointers(), ["/subject/bank"]);
        assert!(!answer.text().contains("0011001932418"), "a problem echoes a value");
    }
    let answer = server.post("/v1/log/reports/subject").by("auditor").json(&json!({})).send().await;
    assert_eq!(answer.refused(400, "invalid_request").pointers(), ["/subject"]);
    server.finish().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = Server::start().await;
    for path in [
        "/v1/log/entries?node=elsewhere",
        "/v1/log/entries?cursor=elsewhere/0",
        "/v1/log/entries/elsewhere/0",
        "/v1/log/entries/main/999999",
        "/v1/log/entries/main/00",
        "/v1/log/entries/main/x",
        "/v1/log/reports/flags/flag_01h2xcejqtf2nbrexx3vqjhp41",
        "/v1/log/reports/flags/check_01h2xcejqtf2nbrexx3vqjhp41",
    ] {
        read(&server, path).await.refused(404, "not_found");
    }
    let ask = server.get("/v1/log/entries?node=elsewhere").by("auditor").header("accept", NDJSON);
    ask.send().await.refused(404, "not_found");
    server.finish().await;
}

#[tokio::test]
async fn what_is_not_offered_is_not_acceptable() {
    let server = Server::start().await;
    for path in ["/v1/log/entries", "/v1/log/entries/main/0", "/v1/log/reports/flags/flag_01h2xcejqtf2nbrexx3vqjhp41"] {
        let ask = server.get(path).by("auditor").header("accept", "application/xml");
        ask.send().await.refused(406, "not_acceptable");
    }
    let body = json!({ "subject": account("9000000000001") });
    for (path, accept) in [("/v1/log/search", "text/html"), ("/v1/log/reports/subject", "text/csv")] {
        let ask = server.post(path).by("auditor").header("accept", accept).json(&body);
        ask.send().await.refused(406, "not_acceptable");
    }
    server.finish().await;
}

#[tokio::test]
async fn pages_of_any_size_make_up_the_log() {
    let server = Server::start().await;
    for _ in 0..20 {
        ask_a_little(&server).await;
    }
    let log = whole(&server).await;
    assert!(log.len() > 100);
    for (limit, log) in [(1, &log[..20]), (7, &log[..]), (200, &log[..])] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        while seen.len() < log.len() {
            let page = read(&server, &format!("/v1/log/entries?limit={limit}{cursor}")).await.is(200);
            let items = items(&page);
            assert!(!items.is_empty() && items.len() <= limit);
            seen.extend(items);
            match page.json()["next_cursor"].as_str() {
                Some(next) => {
                    assert_eq!(next, place(seen.last().unwrap()));
                    cursor = format!("&cursor={next}");
                }
                None => assert!(seen.len() >= log.len()),
            }
        }
        assert_eq!(seen[..log.len()], *log, "with pages of {limit}");
    }
    // At the end and beyond there is nothing, until something comes.
    let last = read(&server, "/v1/log/entries").await.must("log-entry").to_owned();
    let page = read(&server, &format!("/v1/log/entries?cursor={last}")).await.is(200);
    assert_eq!(page.json(), json!({ "items": [], "next_cursor": null }));
    let own = items(&read(&server, &format!("/v1/log/entries?cursor={last}")).await);
    assert_eq!(own.len(), 1);
    assert_eq!(
        (&own[0]["act"], &own[0]["reference"]),
        (&json!("log.read"), &json!(format!("node=main&after={}", last.trim_start_matches("main/"))))
    );
    for beyond in ["main/99999999", "main/1099511627775"] {
        let page = read(&server, &format!("/v1/log/entries?cursor={beyond}")).await.is(200);
        assert_eq!(page.json(), json!({ "items": [], "next_cursor": null }));
    }
    server.finish().await;
}

#[tokio::test]
async fn an_entry_is_what_the_log_has() {
    let server = Server::start().await;
    let checked = check_by(&server, "bank", &with(about(account("9000000000001")), "reference", "=1+1")).await;
    let position = checked.must("log-entry").to_owned();
    let entry = read(&server, &format!("/v1/log/entries/{position}")).await.is(200).json();
    let bytes = STANDARD.decode(entry["bytes"].as_str().unwrap()).unwrap();
    let leaf: String = leaf_hash(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((place(&entry), &entry["leaf"]), (position.clone(), &json!(leaf)));
    let decoded = Entry::decode(&bytes).unwrap();
    assert_eq!((decoded.act, decoded.party.as_str()), (Act::Check, "970436"));
    assert_eq!((&entry["act"], &entry["resource"]), (&json!("check"), &checked.json()["id"]));
    assert_eq!((&entry["verdict"], &entry["reference"]), (&json!("warn"), &json!("=1+1")));
    assert_eq!(entry["flags"][0]["id"], checked.json()["results"][0]["flags"][0]["id"]);
    let zero = read(&server, "/v1/log/entries/main/0").await.is(200).json();
    assert_eq!(place(&zero), "main/0");
    let page = items(&read(&server, "/v1/log/entries?limit=200&act=check").await);
    assert!(page.iter().any(|found| place(found) == position && *found == entry));
    server.finish().await;
}

/// Every entry of the stream that `is_it` accepts, as the search must find them.
async fn finds(server: &Server, body: Value, is_it: impl Fn(&Value) -> bool) {
    let log = whole(server).await;
    let wanted: Vec<&Value> = log.iter().filter(|entry| is_it(entry)).collect();
    let answer = search(server, &with(body.clone(), "limit", 200)).await.is(200);
    let found = items(&answer);
    // Readings of the log come after what was there.
    let last = log.last().unwrap()["index"].as_u64();
    let found: Vec<&Value> = found.iter().filter(|entry| entry["index"].as_u64() <= last).collect();
    assert_eq!(found, wanted, "{body}");
    assert!(!wanted.is_empty(), "{body} finds nothing, so it tells nothing");
}

#[tokio::test]
async fn each_filter_finds_what_it_names_and_all_must_hold() {
    let server = Server::start().await;
    ask_a_little(&server).await;
    server.get("/v1/flags").by("bank").send().await.refused(403, "insufficient_scope");
    let flagged = check_by(&server, "bank", &about(account("9000000000001"))).await;
    let flag = flagged.json()["results"][0]["flags"][0]["id"].clone();
    let at = flagged.json()["checked_at"].clone();
    let hash = server.get(&format!("/v1/checks/{}", flagged.json()["id"].as_str().unwrap())).by("bank").send().await;
    let hash = hash.json()["results"][0]["subject_hash"].clone();
    check_by(&server, "bank", &about(account("9000000000001"))).await;
    let has = |list: &Value, wanted: &Value| list.as_array().unwrap().contains(wanted);
    let answered = |entry: &Value, flag: &Value| entry["flags"].as_array().unwrap().iter().any(|f| f["id"] == *flag);
    finds(&server, json!({ "party": "970436" }), |entry| entry["party"] == "970436").await;
    finds(&server, json!({ "client": "demo-bank_b" }), |entry| entry["client"] == "demo-bank_b").await;
    finds(&server, json!({ "operator": "teller-17" }), |entry| entry["operator"] == "teller-17").await;
    for act in ["check", "refused", "check.read", "party.create", "token.issue"] {
        finds(&server, json!({ "act": act }), |entry| entry["act"] == act).await;
    }
    for verdict in ["clear", "warn", "block"] {
        finds(&server, json!({ "verdict": verdict }), |entry| entry["verdict"] == verdict).await;
    }
    finds(&server, json!({ "flag": flag }), |entry| answered(entry, &flag)).await;
    finds(&server, json!({ "subject": account("9000000000001") }), |entry| has(&entry["subjects"], &hash)).await;
    finds(&server, json!({ "from": at, "act": "check" }), |entry| {
        entry["at"].as_str() >= at.as_str() && entry["act"] == "check"
    })
    .await;
    finds(&server, json!({ "to": at }), |entry| entry["at"].as_str() < at.as_str()).await;
    let all = json!({ "subject": account("9000000000001"), "party": "970436", "operator": "teller-17", "act": "check",
        "client": "demo-bank", "verdict": "warn", "flag": flag, "node": "main", "to": at });
    finds(&server, all, |entry| {
        has(&entry["subjects"], &hash) && entry["party"] == "970436" && entry["operator"] == "teller-17"
    })
    .await;
    for nothing in [
        json!({ "subject": account("4711471147"), "act": "check" }),
        json!({ "party": "970436", "client": "demo-bank_b" }),
        json!({ "operator": "teller" }),
        json!({ "act": "log.key", "verdict": "hold" }),
        json!({ "from": "2200-01-01T00:00:00Z" }),
        json!({ "to": "2001-01-01T00:00:00Z" }),
    ] {
        let page = search(&server, &nothing).await.is(200);
        assert_eq!(page.json(), json!({ "items": [], "next_cursor": null }), "{nothing}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_search_is_an_entry_that_names_the_subject_by_its_hash_and_claims_no_verdict() {
    let server = Server::start().await;
    let asked = json!({ "subject": account("9000000000003"), "party": "970436", "limit": 200 });
    let searched = search(&server, &asked).await.is(200);
    assert!(!searched.text().contains("9000000000003"));
    let entry = read(&server, &format!("/v1/log/entries/{}", searched.must("log-entry"))).await.json();
    assert_eq!((&entry["act"], &entry["party"]), (&json!("log.read"), &json!("auditor")));
    assert_eq!((&entry["verdict"], &entry["reference"]), (&Value::Null, &json!("party=970436")));
    assert_eq!(entry["subjects"].as_array().unwrap().len(), 1);
    let decoded = Entry::decode(&STANDARD.decode(entry["bytes"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(decoded.subjects[0].verdict, None);
    // Who searches for the subject now sees that somebody searched for it before.
    let again = items(&search(&server, &json!({ "subject": account("9000000000003"), "act": "log.read" })).await);
    assert_eq!(again, [entry]);
    server.finish().await;
}

#[tokio::test]
async fn a_report_of_a_subject_shows_each_check_of_it_and_nothing_else() {
    let server = Server::start().await;
    ask_a_little(&server).await;
    search(&server, &json!({ "subject": account("9000000000001") })).await.is(200);
    let ask = |extra: Value| {
        let mut body = json!({ "subject": account("9000000000001") });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let ask = server.post("/v1/log/reports/subject").by("auditor").json(&body);
        async move { ask.send().await.is(200) }
    };
    let report = ask(json!({})).await;
    let checks = items(&report);
    assert!(!report.text().contains("9000000000001"));
    let shown: Vec<Value> = checks
        .iter()
        .map(|check| json!([check["party"], check["operator"], check["reference"], check["verdict"]]))
        .collect();
    assert_eq!(
        shown,
        [
            json!(["970436", "teller-17", "FT1", "warn"]),
            json!(["970415", "teller-17", null, "warn"]),
            json!(["970436", null, null, "warn"])
        ]
    );
    assert_eq!(report.json()["checked_from"], "main/0");
    // The verdict is the subject's and not the transaction's.
    let body = json!({ "subject": account("9000000000000") });
    let clear = items(&server.post("/v1/log/reports/subject").by("auditor").json(&body).send().await);
    assert_eq!(clear.iter().map(|check| check["verdict"].clone()).collect::<Vec<_>>(), ["clear", "clear"]);
    let entry = read(&server, &format!("/v1/log/entries/{}", checks[0]["log_entry"].as_str().unwrap())).await.json();
    assert_eq!((&entry["resource"], &entry["at"]), (&checks[0]["check"], &checks[0]["at"]));
    assert_eq!(entry["subjects"], json!([report.json()["subject_hash"]]));
    let own = read(&server, &format!("/v1/log/entries/{}", report.must("log-entry"))).await.json();
    assert_eq!((&own["act"], &own["subjects"]), (&json!("log.report"), &json!([report.json()["subject_hash"]])));
    let first = ask(json!({ "limit": 2 })).await;
    let rest = ask(json!({ "limit": 2, "cursor": first.json()["next_cursor"] })).await;
    assert_eq!([items(&first), items(&rest)].concat(), checks);
    assert_eq!(rest.json()["next_cursor"], Value::Null);
    assert_eq!(items(&ask(json!({ "from": checks[1]["at"] })).await), checks[1..]);
    assert_eq!(items(&ask(json!({ "to": checks[2]["at"] })).await), checks[..2]);
    server.finish().await;
}

#[tokio::test]
async fn a_report_of_a_flag_names_every_party_that_was_answered_with_it() {
    let server = Server::start().await;
    let flagged = check_by(&server, "bank", &about(account("9000000000001"))).await.json();
    let flag = flagged["results"][0]["flags"][0]["id"].as_str().unwrap().to_owned();
    check_by(&server, "bank", &about(account("9000000000000"))).await;
    check_by(&server, "wallet", &about(account("9000000000003"))).await;
    let last = check_by(&server, "bank", &about(account("9000000000001"))).await.json();
    check_by(&server, "bank_b", &about(account("9000000000001"))).await;
    // To have read the flag is not to have been answered with it.
    server.get(&format!("/v1/flags/{flag}")).by("officer").send().await.is(200);
    let path = format!("/v1/log/reports/flags/{flag}");
    let report = read(&server, &path).await.is(200);
    assert_eq!(report.json()["checked_from"], "main/0");
    let parties = report.json()["parties"].as_array().unwrap().clone();
    let named: Vec<Value> = parties.iter().map(|party| json!([party["party"], party["checks"]])).collect();
    assert_eq!(named, [json!(["970415", 1]), json!(["970436", 2])]);
    assert!(parties.iter().all(|party| party["name"].is_string()));
    assert_eq!((&parties[1]["first_at"], &parties[1]["last_at"]), (&flagged["checked_at"], &last["checked_at"]));
    let (own, upto) =
        (report.must("log-entry").to_owned(), report.json()["checked_up_to"].as_str().unwrap().to_owned());
    let index = |position: &str| position.strip_prefix("main/").unwrap().parse::<u64>().unwrap();
    assert!(index(&upto) < index(&own));
    let entry = read(&server, &format!("/v1/log/entries/{own}")).await.json();
    assert_eq!((&entry["act"], &entry["resource"]), (&json!("log.report"), &json!(flag)));
    // Lifted, it answers nobody any more, and the report still knows whom to tell.
    let etag = server.get(&format!("/v1/flags/{flag}")).by("officer").send().await.must("etag").to_owned();
    let lift = server.post(&format!("/v1/flags/{flag}/lift")).by("officer").if_match(&etag);
    lift.json(&json!({ "reason": "A mistake." })).send().await.is(200);
    check_by(&server, "wallet", &about(account("9000000000001"))).await;
    let after = read(&server, &path).await.is(200).json();
    assert_eq!(after["parties"], report.json()["parties"]);
    let ids: HashSet<&str> = parties.iter().map(|party| party["party"].as_str().unwrap()).collect();
    assert!(!ids.contains("momo"));
    server.finish().await;
}
