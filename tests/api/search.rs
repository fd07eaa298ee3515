//! `POST /v1/flags/search`: each condition, their combinations, what is no condition, what a unit must not see, and that the
//! view behind it may be lost or damaged.

use crate::flags::{act, active, proposal, raise};
use crate::imports::{self, account_row, csv, ended};
use crate::merging::{merge, of};
use crate::support::{Answer, Server, eventually, now};
use crate::{account, with};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const NUMBER: &str = "9100000000001";

/// The ids that a search finds, over all its pages.
async fn found(server: &Server, by: &str, search: &Value) -> Vec<String> {
    let (mut ids, mut body) = (Vec::new(), search.clone());
    loop {
        let page = server.post("/v1/flags/search").by(by).json(&body).send().await.is(200).json();
        assert_eq!(page["up_to_date"], true, "a search of a small registry never lags");
        ids.extend(page["items"].as_array().unwrap().iter().map(|flag| flag["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => body = with(body, "cursor", next),
            None => return ids,
        }
    }
}

fn in_days(days: u64) -> String {
    now().plus_ms(days * 86_400_000).to_string()
}

async fn raised(server: &Server, key: &str, body: &Value) -> String {
    raise(server, key, body).await.is(201).json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_entry_of_a_search_tells_which_conditions_were_given_and_no_value() {
    let server = Server::start_with(0).await;
    let then = now().to_string();
    let tells = async |answer: Answer, expected: Value| {
        let path = format!("/v1/log/entries/{}", answer.is(200).must("log-entry"));
        let entry = server.get(&path).by("auditor").send().await.is(200).json();
        assert_eq!(entry["reference"], expected);
    };
    let mut all = json!({ "subject": account(NUMBER), "number_part": "9100", "kind": "account", "bank": "VCB",
        "state": "active", "verdict": "hold", "category": "mule", "source": "police", "case": "17", "officer": "demo-officer",
        "text": "gia danh", "unit": "hanoi-police", "limit": 1 });
    for name in ["raised", "changed", "expires"] {
        all = with(with(all, &format!("{name}_from"), then.clone()), &format!("{name}_to"), in_days(1));
    }
    let names = "conditions=subject,number_part,kind,bank,state,verdict,category,source,case,officer,raised_from,raised_to,\
                 changed_from,changed_to,expires_from,expires_to,text,unit";
    for (body, expected) in [
        (json!({}), Value::Null),
        (json!({ "limit": 1 }), Value::Null),
        (json!({ "provider": "momo" }), json!("conditions=provider")),
        (json!({ "text": "gia danh", "as_of": then }), json!(format!("conditions=text as_of={then}"))),
        (json!({ "as_of": then }), json!(format!("as_of={then}"))),
        (all, json!(names)),
    ] {
        tells(server.post("/v1/flags/search").by("officer").json(&body).send().await, expected).await;
    }
    tells(server.get("/v1/flags?limit=1").by("officer").send().await, Value::Null).await;
    tells(server.get("/v1/flags?state=active").by("officer").send().await, json!("conditions=state")).await;
    server.finish().await;
}

#[tokio::test]
async fn every_condition_finds_what_meets_it_and_nothing_else() {
    let server = Server::start_with(20).await;
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let wallet = json!({ "kind": "wallet", "provider": "momo", "id": "0987654321" });
    let first = with(proposal(account(NUMBER), "hold"), "reason", "Giả danh Công an quận Đống Đa");
    let first = with(with(first, "case", "Vụ 88/2026"), "linked", json!([phone]));
    let first = with(with(first, "category", "romance"), "source", json!({ "kind": "citizen" }));
    let first = with(with(first, "expires_at", in_days(20)), "unit", "hanoi-dong-da");
    let before = now().to_string();
    let first = active(&server, "a", &first).await;
    let second = raised(&server, "b", &with(proposal(wallet.clone(), "warn"), "case", "88-2026")).await;
    let both = vec![second.clone(), first.clone()];
    let (first, second) = (vec![first], vec![second]);
    let since = |field: &str| json!({ field: before });
    let cases = [
        (json!({ "subject": phone }), &first),
        (json!({ "number_part": "91.2345" }), &first),
        (json!({ "number_part": "+84 9123" }), &first),
        (json!({ "number_part": "8765" }), &second),
        (json!({ "kind": "wallet", "raised_from": before }), &second),
        (json!({ "provider": "MoMo", "raised_from": before }), &second),
        (json!({ "bank": "VCB", "raised_from": before }), &first),
        (json!({ "state": "active", "changed_from": before }), &first),
        (json!({ "state": "proposed", "changed_from": before }), &second),
        (json!({ "verdict": "hold", "raised_from": before }), &first),
        (json!({ "category": "romance", "raised_from": before }), &first),
        (json!({ "source": "citizen", "raised_from": before }), &first),
        (json!({ "case": "VU 88 2026" }), &first),
        (json!({ "case": "88/2026" }), &second),
        (json!({ "unit": "hanoi-dong-da", "raised_from": before }), &first),
        (json!({ "unit": "hanoi-police", "raised_from": before }), &both),
        (json!({ "officer": "demo-officer", "raised_from": before }), &both),
        (json!({ "text": "đống đa gia cong", "raised_from": before }), &first),
        (json!({ "text": "GIA DANH quan do", "raised_from": before }), &first),
        (json!({ "text": "88 2026" }), &both),
        (json!({ "text": "88 moves on" }), &second),
        (since("raised_from"), &both),
        (since("changed_from"), &both),
        (json!({ "expires_from": in_days(19), "expires_to": in_days(21), "raised_from": before }), &first),
        (json!({ "raised_from": before, "limit": 1 }), &both),
        (json!({ "raised_from": before, "text": "2026", "number_part": "8765", "verdict": "warn" }), &second),
    ];
    for (search, expected) in cases {
        assert_eq!(&found(&server, "officer", &search).await, expected, "{search}");
    }
    for nothing in [
        json!({ "raised_from": before, "text": "2026", "number_part": "8765", "verdict": "hold" }),
        json!({ "text": "dan cong an", "raised_from": before }),
        json!({ "number_part": "8765", "state": "active" }),
        json!({ "case": "88" }),
        json!({ "raised_to": "2020-01-01T00:00:00Z" }),
        json!({ "officer": "nobody" }),
        json!({ "subject": wallet, "changed_to": before }),
    ] {
        assert_eq!(found(&server, "officer", &nothing).await, Vec::<String>::new(), "{nothing}");
    }
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_condition_is_refused_with_its_place_and_not_repeated() {
    let server = Server::start_with(0).await;
    let (time, later) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    let cases = [
        (json!({ "number_part": "12-3" }), vec!["/number_part"]),
        (json!({ "number_part": "12_34" }), vec!["/number_part"]),
        (json!({ "number_part": null }), vec!["/number_part"]),
        (json!({ "kind": "card" }), vec!["/kind"]),
        (json!({ "kind": "qr" }), vec!["/kind"]),
        (json!({ "bank": "VCBB" }), vec!["/bank"]),
        (json!({ "provider": "nobody" }), vec!["/provider"]),
        (json!({ "verdict": "deny" }), vec!["/verdict"]),
        (json!({ "category": "theft" }), vec!["/category"]),
        (json!({ "source": "rumour" }), vec!["/source"]),
        (json!({ "case": "--" }), vec!["/case"]),
        (json!({ "case": "x".repeat(65) }), vec!["/case"]),
        (json!({ "unit": "nowhere" }), vec!["/unit"]),
        (json!({ "unit": "970436" }), vec!["/unit"]),
        (json!({ "unit": "?" }), vec!["/unit"]),
        (json!({ "officer": "" }), vec!["/officer"]),
        (json!({ "text": " ,. " }), vec!["/text"]),
        (json!({ "text": "x ".repeat(201) }), vec!["/text"]),
        (json!({ "raised_from": "today" }), vec!["/raised_from"]),
        (json!({ "raised_from": later, "raised_to": time }), vec!["/raised_to"]),
        (json!({ "changed_from": time, "changed_to": time }), vec!["/changed_to"]),
        (json!({ "expires_from": later, "expires_to": time }), vec!["/expires_to"]),
        (json!({ "cursor": "0" }), vec!["/cursor"]),
        (json!({ "cursor": 5 }), vec!["/cursor"]),
        (json!({ "bank": "VCBB", "text": "", "cursor": "x" }), vec!["/bank", "/text", "/cursor"]),
    ];
    for (body, pointers) in cases {
        let answer = server.post("/v1/flags/search").by("officer").json(&body).send().await;
        let answer = answer.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), pointers, "{body}");
        assert!(!answer.text().contains("VCBB"), "an answer echoes a value");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_ward_finds_its_own_flags_and_those_it_coordinates_whatever_it_asks_for() {
    let server = Server::start_with(0).await;
    let of = |number: &str, unit: &str| with(with(proposal(account(number), "warn"), "reason", "Hụi ma"), "unit", unit);
    let of_a = of(NUMBER, "hanoi-hoan-kiem");
    let shared = with(of("9100000000002", "hanoi-police"), "coordinating", json!(["hanoi-hoan-kiem"]));
    let own = raised(&server, "a", &of_a).await;
    let shared = raised(&server, "b", &shared).await;
    let other = raised(&server, "c", &of("9100000000003", "hanoi-dong-da")).await;
    for search in [
        json!({ "number_part": "91000000000" }),
        json!({ "text": "hui ma" }),
        json!({ "case": "HN-2026-17", "number_part": "9100000" }),
        json!({ "number_part": "91000000000", "as_of": now().to_string() }),
    ] {
        assert_eq!(found(&server, "ward_a", &search).await, [shared.clone(), own.clone()], "{search}");
        assert_eq!(found(&server, "ward_b", &search).await, std::slice::from_ref(&other), "{search}");
        assert_eq!(found(&server, "officer", &search).await.len(), 3, "{search}");
    }
    let by_unit = json!({ "number_part": "91000000000", "unit": "hanoi-hoan-kiem" });
    assert_eq!(found(&server, "officer", &by_unit).await, std::slice::from_ref(&own));
    assert_eq!(found(&server, "ward_a", &by_unit).await, [own]);
    assert_eq!(found(&server, "ward_b", &by_unit).await, Vec::<String>::new());
    server.finish().await;
}

#[tokio::test]
async fn a_search_of_the_past_finds_what_flags_said_then() {
    let server = Server::start_with(0).await;
    let id = active(&server, "k", &with(proposal(account(NUMBER), "hold"), "reason", "Bán hàng giả")).await;
    let then = now().to_string();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let changes = json!({ "reason": "Cho thuê tài khoản", "case": "B-2", "category": "account_rental" });
    let amend = server.post(&format!("/v1/flags/{id}/amend")).by("officer").if_match("\"2\"");
    amend.json(&json!({ "reason": "New facts", "changes": changes })).send().await.is(200);
    act(&server, &id, "officer", "lift", "\"3\"").await.is(200);
    let asked = async |search: Value| {
        let today = found(&server, "officer", &search).await.len();
        (today, found(&server, "officer", &with(search, "as_of", then.clone())).await.len())
    };
    for (search, expected) in [
        (json!({ "text": "ban hang" }), (0, 1)),
        (json!({ "text": "thue tai khoan" }), (1, 0)),
        (json!({ "case": "B-2" }), (1, 0)),
        (json!({ "case": "HN-2026-17", "subject": account(NUMBER) }), (0, 1)),
        (json!({ "category": "mule", "state": "active", "number_part": "91000000" }), (0, 1)),
        (json!({ "state": "lifted", "number_part": "91000000" }), (1, 0)),
        (json!({ "changed_from": then, "number_part": "91000000" }), (1, 0)),
    ] {
        assert_eq!(asked(search.clone()).await, expected, "{search}");
    }
    server.finish().await;
}

/// What is found by several searches.
async fn answers(server: &Server) -> Vec<Vec<String>> {
    let searches = [
        json!({ "limit": 200 }),
        json!({ "text": "chuyen tien", "state": "active" }),
        json!({ "number_part": "9000000", "as_of": now().to_string() }),
        json!({ "category": "loan" }),
    ];
    let mut all = Vec::new();
    for search in searches {
        all.push(found(server, "officer", &search).await);
    }
    all
}

/// Whether there is a view, and nothing is missing in it.
async fn is_up_to_date(server: &Server) -> bool {
    let ask = server.post("/v1/flags/search").by("officer").json(&json!({ "limit": 1 })).send().await;
    ask.status == 200 && ask.json()["up_to_date"] == true
}

#[tokio::test]
async fn a_view_that_was_lost_or_damaged_or_is_another_registrys_is_made_anew() {
    let mut server = Server::start_with(300).await;
    let mut other = Server::start_with(5).await;
    let expected = answers(&server).await;
    assert!(expected.iter().all(|found| !found.is_empty()), "{expected:?}");
    let file = |suffix: &str| server.data().join(format!("register.sqlite3{suffix}"));
    let [file, wal, shm] = ["", "-wal", "-shm"].map(file);
    other.stop().await;
    std::fs::copy(other.data().join("register.sqlite3"), file.with_extension("other")).unwrap();
    other.finish().await;
    for damage in ["nothing", "lost", "no database", "torn", "another registry's", "of another time"] {
        server.stop().await;
        let bytes = std::fs::read(&file).unwrap();
        match damage {
            "nothing" => {}
            "lost" => std::fs::remove_file(&file).unwrap(),
            "no database" => std::fs::write(&file, "nothing of SQLite".repeat(100)).unwrap(),
            "torn" => std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
            "another registry's" => drop(std::fs::copy(file.with_extension("other"), &file).unwrap()),
            _ => {
                let database = rusqlite::Connection::open(&file).unwrap();
                database.execute("UPDATE covered SET change_index = change_index + 1", []).unwrap();
            }
        }
        assert!(!wal.exists() && !shm.exists(), "a clean end leaves one file");
        server.start_again().await;
        eventually(Duration::from_secs(20), damage, async || is_up_to_date(&server).await).await;
        assert_eq!(answers(&server).await, expected, "{damage}");
    }
    let id = raised(&server, "k", &proposal(account(NUMBER), "warn")).await;
    assert_eq!(found(&server, "officer", &json!({ "number_part": NUMBER })).await, [id]);
    server.finish().await;
}

/// All that stands in the view of a server that has ended.
fn contents(view: &Path) -> Vec<(&'static str, Vec<Vec<rusqlite::types::Value>>)> {
    let database = rusqlite::Connection::open(view).unwrap();
    let indexes = "CREATE VIRTUAL TABLE temp.words USING fts5vocab (main, flag_text, instance); \
                   CREATE VIRTUAL TABLE temp.grams USING fts5vocab (main, flag_number, instance)";
    database.execute_batch(indexes).unwrap();
    let rows = |table: &'static str| {
        let mut select = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        (table, select.query_map([], row).unwrap().map(Result::unwrap).collect())
    };
    ["covered", "flag", "flag_subject", "crowd", "flag_coordinating", "word", "words", "grams"].map(rows).into()
}

#[tokio::test]
async fn a_view_that_followed_the_writer_is_the_one_that_the_store_gives() {
    let mut server = Server::start_with(30).await;
    let both = json!([account("9100000000002"), { "kind": "phone", "number": "0912345678" }]);
    let linking = with(proposal(account(NUMBER), "hold"), "linked", both);
    let kept = active(&server, "kept", &with(linking, "coordinating", json!(["hanoi-dong-da"]))).await;
    let merged = raised(&server, "merged", &proposal(account(NUMBER), "warn")).await;
    merge(&server, "officer", of(&kept, 2), &[of(&merged, 1)]).await.is(200);
    act(&server, &kept, "officer", "lift", "\"3\"").await.is(200);
    let rejected = raised(&server, "rejected", &proposal(account("9100000000003"), "warn")).await;
    act(&server, &rejected, "supervisor", "reject", "\"1\"").await.is(200);
    let rows: Vec<String> = (0..2_500).map(|row| account_row(&format!("92000000{row:05}"))).collect();
    for (key, part, decision) in [("a", &rows[..1_500], "approve"), ("b", &rows[1_500..], "reject")] {
        let done = imports::import(&server, key, "text/csv", csv(part)).await;
        imports::decide(&server, &done, "supervisor", decision).await.is(200);
        ended(&server, done["id"].as_str().unwrap()).await;
    }
    // It waits for the view.
    assert_eq!(found(&server, "officer", &json!({ "number_part": "9200000000042" })).await.len(), 1);
    server.stop().await;
    let view = server.data().join("register.sqlite3");
    let followed = contents(&view);
    for (table, rows) in &followed {
        assert!(!rows.is_empty(), "nothing is compared of {table}");
    }
    std::fs::remove_file(&view).unwrap();
    server.start_again().await;
    eventually(Duration::from_secs(20), "it is made anew", async || is_up_to_date(&server).await).await;
    server.stop().await;
    for ((table, followed), (_, made)) in followed.iter().zip(&contents(&view)) {
        // What has happened since is no change of the list.
        assert!(followed == made, "{table} differs: {} and {} rows", followed.len(), made.len());
    }
    server.finish().await;
}

#[tokio::test]
async fn a_view_that_is_damaged_while_it_is_used_is_made_anew() {
    let server = Server::start_with(300).await;
    let expected = answers(&server).await;
    for name in ["register.sqlite3", "register.sqlite3-wal", "register.sqlite3-shm"] {
        let path = server.data().join(name);
        let length = std::fs::metadata(&path).map_or(0, |file| file.len());
        std::fs::write(&path, vec![0xff; usize::try_from(length).unwrap()]).unwrap();
    }
    let is_back = async || {
        let ask = server.post("/v1/flags/search").by("officer").json(&json!({ "limit": 200 })).send().await;
        ask.status == 200 && ask.json()["up_to_date"] == true && ask.json()["items"].as_array().unwrap().len() == 200
    };
    eventually(Duration::from_secs(30), "the view is made anew", is_back).await;
    assert_eq!(answers(&server).await, expected);
    server.finish().await;
}
