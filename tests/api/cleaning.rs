//! `/v1/flags/duplicates`, `stale` and `quality`: what of the list needs care, as each unit sees it.

use crate::flags::{act, proposal};
use crate::merging::{active_of, merge, of, raised_by};
use crate::support::{Server, now};
use crate::{account, with};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const NUMBER: &str = "9100000000001";
const OTHER: &str = "9100000000002";
const DAY_MS: u64 = 86_400_000;
const LISTS: [&str; 4] = ["duplicates", "stale", "unparsable", "quality"];

fn in_days(days: u64) -> String {
    now().plus_ms(days * DAY_MS).to_string()
}

/// All items of a list, page by page.
async fn walk(server: &Server, by: &str, path: &str, limit: u32) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/flags{path}limit={limit}{cursor}");
        let page = server.get(&path).by(by).send().await.is(200).json();
        assert!(page["items"].as_array().unwrap().len() <= usize::try_from(limit).unwrap());
        assert_eq!(page["up_to_date"], true);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Groups about these numbers, each as its reasons and its flags.
async fn groups(server: &Server, by: &str, limit: u32) -> HashMap<String, (Value, Vec<String>)> {
    let mut found = HashMap::new();
    for group in walk(server, by, "/duplicates?", limit).await {
        let ids: Vec<String> = group["flags"].as_array().unwrap().iter().map(id_of).collect();
        assert_eq!(group["count"], ids.len());
        for flag in group["flags"].as_array().unwrap() {
            assert_eq!(flag["subject"], group["subject"]);
        }
        let number = group["subject"]["number"].as_str().unwrap().to_owned();
        assert!(found.insert(number, (group["why"].clone(), ids)).is_none(), "a subject twice");
    }
    found
}

fn id_of(flag: &Value) -> String {
    flag["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn near_duplicates_are_offered_to_whoever_sees_both() {
    let server = Server::start().await;
    let case = |number: &str, case: &str| with(proposal(account(number), "warn"), "case", case);
    let a = raised_by(&server, "ward_a", "a", &case(NUMBER, "HN-1")).await;
    let b = active_of(&server, "ward_b", "b", &case(NUMBER, "HN-2")).await;
    // One unit with two cases about one subject has no duplicate, and with one case it has.
    let c = raised_by(&server, "ward_a", "c", &case(OTHER, "Vụ 17/2026")).await;
    raised_by(&server, "ward_a", "d", &case(OTHER, "Vụ 18/2026")).await;
    assert_eq!(groups(&server, "ward_a", 50).await, HashMap::new());
    let e = raised_by(&server, "ward_a", "e", &case(OTHER, "vu 17-2026")).await;
    let own = groups(&server, "ward_a", 50).await;
    assert_eq!(own.keys().collect::<Vec<_>>(), [OTHER]);
    assert_eq!((&own[OTHER].0, own[OTHER].1.len()), (&json!(["same_case"]), 3));
    assert_eq!(groups(&server, "ward_b", 50).await, HashMap::new());
    for limit in [1, 2, 50] {
        let all = groups(&server, "officer", limit).await;
        assert_eq!(all[NUMBER], (json!(["several_units"]), vec![a.clone(), b.clone()]), "{limit}");
        assert!(all.contains_key(OTHER));
    }
    // Who coordinates a flag sees it.
    let coordinated = with(case(NUMBER, "HN-1"), "coordinating", json!(["hanoi-dong-da"]));
    let f = raised_by(&server, "ward_a", "f", &coordinated).await;
    assert_eq!(groups(&server, "ward_b", 50).await[NUMBER], (json!(["several_units"]), vec![b.clone(), f.clone()]));
    // What is over is no duplicate.
    act(&server, &f, "supervisor", "reject", "\"1\"").await.is(200);
    assert_eq!(groups(&server, "ward_b", 50).await, HashMap::new());
    merge(&server, "officer", of(&b, 2), &[of(&a, 1)]).await.is(200);
    merge(&server, "ward_a", of(&c, 1), &[of(&e, 1)]).await.is(200);
    let all = groups(&server, "officer", 50).await;
    assert!(!all.contains_key(NUMBER) && !all.contains_key(OTHER));
    server.finish().await;
}

#[tokio::test]
async fn pages_of_duplicates_hold_every_group_once_and_name_no_subject() {
    let server = Server::start().await;
    for place in 0..7 {
        for (by, key) in [("ward_a", "a"), ("ward_b", "b")] {
            let body = proposal(account(&format!("910000000001{place}")), "warn");
            raised_by(&server, by, &format!("{key}{place}"), &body).await;
        }
    }
    let all = groups(&server, "officer", 200).await;
    assert!((0..7).all(|place| all.contains_key(&format!("910000000001{place}"))));
    for limit in [1, 2, 7] {
        assert_eq!(groups(&server, "officer", limit).await, all, "{limit}");
    }
    let page = server.get("/v1/flags/duplicates?limit=1").by("officer").send().await.is(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    assert!(cursor.len() < 10 && cursor.bytes().all(|byte| byte.is_ascii_digit()), "{cursor}");
    // The entry names what was shown.
    let found = server.post("/v1/log/search").by("auditor").json(&json!({ "flag": all["9100000000016"].1[0] }));
    let found = found.send().await.is(200).json();
    let lists = found["items"].as_array().unwrap().iter().filter(|entry| entry["act"] == "flag.list").count();
    assert_eq!(lists, 4, "one page of each walk");
    server.finish().await;
}

#[tokio::test]
async fn a_flag_that_ends_soon_is_stale_until_it_is_renewed() {
    let server = Server::start().await;
    let soon = with(proposal(account(NUMBER), "hold"), "expires_at", in_days(3));
    let a = active_of(&server, "ward_a", "a", &soon).await;
    let b = active_of(&server, "ward_b", "b", &soon).await;
    raised_by(&server, "ward_a", "p", &soon).await;
    active_of(&server, "ward_a", "l", &proposal(account(NUMBER), "hold")).await;
    let stale = async |by: &str, query: &str, limit| {
        let items = walk(&server, by, &format!("/stale?{query}"), limit).await;
        items.iter().map(|item| (id_of(&item["flag"]), item["why"].clone())).collect::<Vec<_>>()
    };
    let expiring = |id: &String| (id.clone(), json!(["expiring"]));
    // An urgent one of the demo ends soon as well.
    let urgent = stale("ward_b", "", 50).await.pop().unwrap();
    assert_eq!(stale("ward_a", "", 50).await, [expiring(&a)]);
    assert_eq!(stale("ward_b", "", 1).await, [expiring(&b), urgent.clone()]);
    assert_eq!(stale("officer", "", 2).await, [expiring(&b), expiring(&a), urgent.clone()]);
    assert_eq!(stale("officer", "expiring_days=2&", 50).await, []);
    let item = walk(&server, "ward_a", "/stale?", 50).await.remove(0);
    assert_eq!(item["reviewed_at"], item["flag"]["approved_at"]);
    let ask = server.post(&format!("/v1/flags/{a}/renew")).by("ward_a").if_match("\"2\"");
    ask.json(&json!({ "reason": "Still used" })).send().await.is(200);
    assert_eq!(stale("ward_a", "", 50).await, []);
    server.finish().await;
}

#[tokio::test]
async fn a_summary_counts_what_the_lists_show() {
    let server = Server::start().await;
    let soon = with(proposal(account(NUMBER), "hold"), "expires_at", in_days(3));
    let a = active_of(&server, "ward_a", "a", &soon).await;
    active_of(&server, "ward_b", "b", &with(soon.clone(), "coordinating", json!(["hanoi-hoan-kiem"]))).await;
    raised_by(&server, "ward_b", "p", &with(proposal(account(OTHER), "block"), "case", "--")).await;
    raised_by(&server, "ward_b", "q", &with(proposal(account(OTHER), "warn"), "case", "..")).await;
    let body = json!({ "text": "The account was taken over." });
    server.post(&format!("/v1/flags/{a}/objections")).by("bank").key("o").json(&body).send().await.is(201);
    for by in ["ward_a", "ward_b", "officer"] {
        let expected = naive(&server, by).await;
        for limit in [1, 200] {
            let items = walk(&server, by, "/quality?", limit).await;
            let told: BTreeMap<String, Value> =
                items.into_iter().map(|item| (item["unit"].as_str().unwrap().to_owned(), item)).collect();
            assert_eq!(told, expected, "{by}");
        }
    }
    server.finish().await;
}

/// The same from all flags and objections that somebody is shown.
async fn naive(server: &Server, by: &str) -> BTreeMap<String, Value> {
    let flags = walk(server, by, "?", 200).await;
    let live = |flag: &Value| ["proposed", "active"].contains(&flag["state"].as_str().unwrap());
    let listed = server.get("/v1/objections?state=open&limit=200").by(by).send().await.is(200).json();
    let objections: Vec<String> =
        listed["items"].as_array().unwrap().iter().map(|o| o["flag"].as_str().unwrap().to_owned()).collect();
    let units = match by {
        "ward_a" => vec!["hanoi-hoan-kiem"],
        "ward_b" => vec!["hanoi-dong-da"],
        _ => vec!["hanoi-dong-da", "hanoi-hoan-kiem", "hanoi-police"],
    };
    let words = |case: &Value| case.as_str().unwrap().chars().filter(|char| char.is_alphanumeric()).count();
    let is_duplicate = |flag: &Value| {
        let others: Vec<&Value> =
            flags.iter().filter(|other| live(other) && other["subject"] == flag["subject"]).collect();
        let key = |flag: &Value| flag["case"].as_str().unwrap().replace(['-', '.'], "");
        let cases: BTreeSet<String> = others.iter().map(|flag| key(flag)).collect();
        cases.len() < others.len() || others.iter().any(|other| other["unit"] != flag["unit"])
    };
    let soon = in_days(7);
    let line = |unit: &str| {
        let own: Vec<&Value> = flags.iter().filter(|flag| flag["unit"] == unit).collect();
        let count = |is: &dyn Fn(&Value) -> bool| own.iter().filter(|flag| is(flag)).count();
        let open = objections.iter().filter(|id| own.iter().any(|flag| flag["id"] == **id)).count();
        json!({
            "unit": unit,
            "proposed": count(&|flag| flag["state"] == "proposed"),
            "active": count(&|flag| flag["state"] == "active"),
            "waiting": 0, "not_reviewed": 0, "expired": 0,
            "expiring": count(&|flag| flag["state"] == "active" && flag["expires_at"].as_str().unwrap() <= &*soon),
            "duplicates": count(&|flag| live(flag) && is_duplicate(flag)),
            "unparsable": 0,
            "without_legal_basis": count(&|flag| live(flag) && flag["legal_basis"].is_null()),
            "without_case": count(&|flag| live(flag) && words(&flag["case"]) == 0),
            "objections_open": open, "objections_overdue": 0,
        })
    };
    units.into_iter().map(|unit| (unit.to_owned(), line(unit))).collect()
}

#[tokio::test]
async fn what_is_asked_wrongly_of_the_lists_is_refused_with_its_place() {
    let server = Server::start().await;
    let ask = async |by: &str, path: &str| server.get(&format!("/v1/flags/{path}")).by(by).send().await;
    for list in LISTS {
        for by in ["bank", "wallet", "auditor", "operator"] {
            ask(by, list).await.refused(403, "insufficient_scope");
        }
        for (query, pointer) in [("limit=0", "/limit"), ("limit=201", "/limit"), ("subject=x", "/subject")] {
            let refused = ask("officer", &format!("{list}?{query}")).await.refused(400, "invalid_request");
            assert_eq!(refused.pointers(), [pointer], "{list}");
        }
        server.post(&format!("/v1/flags/{list}")).by("officer").send().await.refused(405, "method_not_allowed");
    }
    let cases = [
        ("duplicates", "cursor=0"),
        ("duplicates", "cursor=account:970436:1"),
        ("duplicates", "cursor=999999999"),
        ("duplicates", "expiring_days=1"),
        ("stale", "cursor=-1"),
        ("stale", "not_reviewed_days=0"),
        ("stale", "not_reviewed_days=3651"),
        ("stale", "expiring_days=soon"),
        ("stale", "waiting_days=1"),
        ("unparsable", "cursor=01"),
        ("unparsable", "expiring_days=1"),
        ("quality", "cursor=Hanoi!"),
        ("quality", "waiting_days=0"),
        ("quality", "expired_days=3651"),
    ];
    for (list, query) in cases {
        let refused = ask("officer", &format!("{list}?{query}")).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [format!("/{}", query.split('=').next().unwrap())], "{list}?{query}");
    }
    server.finish().await;
}
