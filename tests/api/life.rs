//! `/v1/flags/{id}`: renew, amend, history, points in time, search, and who must be told that a flag was wrong.

use crate::flags::{act, active, proposal, raise, verdict};
use crate::support::{Answer, Server, eventually, now};
use crate::{account, with};
use serde_json::{Value, json};
use std::time::Duration;

const NUMBER: &str = "9100000000001";
const OTHER: &str = "9100000000002";

async fn change(server: &Server, id: &str, by: &str, what: &str, etag: u32, body: &Value) -> Answer {
    let ask = server.post(&format!("/v1/flags/{id}/{what}")).by(by).if_match(&format!("\"{etag}\""));
    ask.json(body).send().await
}

async fn read(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json()
}

async fn history(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/flags/{id}/history")).by("officer").send().await.is(200).json()
}

fn amendment(changes: Value) -> Value {
    json!({ "reason": "New facts", "changes": changes })
}

fn in_days(days: u64) -> String {
    now().plus_ms(days * 86_400_000).to_string()
}

fn basis() -> Value {
    json!({ "document": "123/QĐ-CSĐT", "issued_on": "2026-11-20", "authority": "Công an Hà Nội" })
}

#[tokio::test]
async fn a_heavier_verdict_waits_for_another_officer_and_a_lighter_one_does_not() {
    let server = Server::start().await;
    let id = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    let heavier = amendment(json!({ "verdict": "block", "legal_basis": basis() }));
    let amended = change(&server, &id, "officer_b", "amend", 2, &heavier).await.is(200).json();
    assert_eq!(
        (&amended["verdict"], &amended["state"], &amended["version"]),
        (&json!("hold"), &json!("active"), &json!(3))
    );
    assert_eq!(amended["pending"]["changes"]["verdict"], "block");
    assert_eq!(amended["pending"]["proposed_by"]["client"], "demo-officer_b");
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "hold", "what was approved stays in force");
    act(&server, &id, "supervisor", "approve", "\"2\"").await.refused(412, "stale_version");
    let approved = act(&server, &id, "supervisor", "approve", "\"3\"").await.is(200).json();
    assert_eq!((&approved["verdict"], &approved["pending"]), (&json!("block"), &Value::Null));
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "block");
    // Rejected, an amendment leaves the flag as it is.
    change(&server, &id, "officer", "amend", 4, &amendment(json!({ "verdict": "warn" }))).await.is(200);
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "warn", "in the holder's favour it is at once");
    change(&server, &id, "officer", "amend", 5, &amendment(json!({ "verdict": "hold" }))).await.is(200);
    let rejected = act(&server, &id, "supervisor", "reject", "\"6\"").await.is(200).json();
    assert_eq!((&rejected["state"], &rejected["verdict"]), (&json!("active"), &json!("warn")));
    assert_eq!(rejected["pending"], Value::Null);
    act(&server, &id, "supervisor", "reject", "\"7\"").await.refused(422, "invalid_transition");
    server.finish().await;
}

#[tokio::test]
async fn who_amended_a_flag_does_not_approve_it() {
    let server = Server::start().await;
    let id = active(&server, "k", &proposal(account(NUMBER), "warn")).await;
    let heavier = amendment(json!({ "verdict": "hold" }));
    change(&server, &id, "supervisor", "amend", 2, &heavier).await.is(200);
    for what in ["approve", "reject"] {
        act(&server, &id, "supervisor", what, "\"3\"").await.refused(403, "insufficient_scope");
    }
    let proposed = raise(&server, "p", &proposal(account(OTHER), "warn")).await.is(201).json();
    let id = proposed["id"].as_str().unwrap();
    let changed = change(&server, id, "supervisor", "amend", 1, &heavier).await.is(200).json();
    assert_eq!((&changed["state"], &changed["verdict"]), (&json!("proposed"), &json!("hold")));
    act(&server, id, "supervisor", "approve", "\"2\"").await.refused(403, "insufficient_scope");
    server.finish().await;
}

#[tokio::test]
async fn a_new_link_waits_and_a_removed_one_stops_at_once_also_after_a_restart() {
    let mut server = Server::start().await;
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let body = with(proposal(account(NUMBER), "hold"), "linked", json!([phone]));
    let id = active(&server, "k", &body).await;
    let more = amendment(json!({ "linked": [phone, account(OTHER)] }));
    change(&server, &id, "officer", "amend", 2, &more).await.is(200);
    assert_eq!(verdict(&server, account(OTHER)).await["verdict"], "clear", "a link that nobody approved");
    act(&server, &id, "supervisor", "approve", "\"3\"").await.is(200);
    assert_eq!(verdict(&server, account(OTHER)).await["verdict"], "warn");
    let fewer = amendment(json!({ "linked": [account(OTHER)] }));
    change(&server, &id, "officer", "amend", 4, &fewer).await.is(200);
    for round in 0..2 {
        assert_eq!(verdict(&server, phone.clone()).await["verdict"], "clear", "the old link still answers");
        let answer = verdict(&server, account(OTHER)).await;
        assert_eq!(
            (&answer["verdict"], &answer["results"][0]["flags"][0]["linked_from"]),
            (&json!("warn"), &json!("account"))
        );
        if round == 0 {
            server.kill().await;
            server.start_again().await;
        }
    }
    change(&server, &id, "officer", "lift", 5, &json!({ "reason": "Over" })).await.is(200);
    assert_eq!(verdict(&server, account(OTHER)).await["verdict"], "clear");
    server.finish().await;
}

#[tokio::test]
async fn an_urgent_flag_is_neither_renewed_nor_made_heavier_before_its_approval() {
    let server = Server::start().await;
    let urgent = with(proposal(account(NUMBER), "warn"), "urgent", true);
    let raised = raise(&server, "k", &urgent).await.is(201).json();
    let id = raised["id"].as_str().unwrap();
    let reason = json!({ "reason": "Longer" });
    let heavier = amendment(json!({ "verdict": "hold" }));
    change(&server, id, "officer", "renew", 1, &reason).await.refused(422, "invalid_transition");
    change(&server, id, "officer", "amend", 1, &heavier).await.refused(422, "invalid_transition");
    act(&server, id, "supervisor", "approve", "\"1\"").await.is(200);
    change(&server, id, "officer", "amend", 2, &heavier).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_renewal_gives_a_later_end_within_what_the_verdict_allows() {
    let server = Server::start().await;
    let id = active(&server, "k", &with(proposal(account(NUMBER), "hold"), "expires_at", in_days(10))).await;
    let renew = |etag: u32, end: Option<String>| {
        let mut body = json!({ "reason": "Still used" });
        if let Some(end) = end {
            body["expires_at"] = json!(end);
        }
        let (server, id) = (&server, id.clone());
        async move { change(server, &id, "officer", "renew", etag, &body).await }
    };
    renew(2, Some(in_days(9))).await.refused(422, "invalid_transition");
    for bad in [in_days(91), now().minus_ms(1).to_string()] {
        assert_eq!(renew(2, Some(bad)).await.refused(400, "invalid_request").pointers(), ["/expires_at"]);
    }
    let end = in_days(20);
    assert_eq!(renew(2, Some(end.clone())).await.is(200).json()["expires_at"], json!(end));
    let renewed = renew(3, None).await.is(200).json();
    assert!(renewed["expires_at"].as_str().unwrap() > in_days(29).as_str());
    assert_eq!((&renewed["version"], &renewed["state"]), (&json!(4), &json!("active")));
    renew(3, None).await.refused(412, "stale_version");
    server.finish().await;
}

#[tokio::test]
async fn each_illegal_move_is_refused_by_its_name() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for key in ["proposed", "rejected", "lifted"] {
        let raised = raise(&server, key, &proposal(account(NUMBER), "warn")).await.is(201).json();
        ids.push(raised["id"].as_str().unwrap().to_owned());
    }
    act(&server, &ids[1], "supervisor", "reject", "\"1\"").await.is(200);
    act(&server, &ids[2], "supervisor", "approve", "\"1\"").await.is(200);
    act(&server, &ids[2], "officer", "lift", "\"2\"").await.is(200);
    let bodies = [
        ("renew", "renewed", json!({ "reason": "x" })),
        ("amend", "amended", amendment(json!({ "case": "HN-9" }))),
        ("transfer", "transferred", json!({ "reason": "x", "unit": "hanoi-dong-da", "officer": "demo-ward_b" })),
        ("lift", "lifted", json!({ "reason": "x", "cause": "wrong" })),
    ];
    for (place, state, etag) in [(1, "rejected", 2), (2, "lifted", 3)] {
        for (what, done, body) in &bodies {
            let refused = change(&server, &ids[place], "officer", what, etag, body).await;
            let detail = refused.refused(422, "invalid_transition").json()["detail"].clone();
            assert_eq!(detail, format!("a flag that is {state} cannot be {done}"));
        }
    }
    for (what, done) in [("renew", "renewed"), ("lift", "lifted")] {
        let refused = change(&server, &ids[0], "officer", what, 1, &json!({ "reason": "x" })).await;
        let detail = refused.refused(422, "invalid_transition").json()["detail"].clone();
        assert_eq!(detail, format!("a flag that is proposed cannot be {done}"));
    }
    server.finish().await;
}

#[tokio::test]
async fn a_malformed_change_is_refused_with_its_place() {
    let server = Server::start().await;
    let id = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    let long = "x".repeat(2001);
    let units: Vec<String> = (0..9).map(|place| format!("unit-{place}")).collect();
    let cases = [
        ("lift", json!({}), "/reason"),
        ("lift", json!({ "reason": "x", "cause": "mistake" }), "/cause"),
        ("lift", json!({ "reason": "x", "cause": null }), "/cause"),
        ("lift", json!({ "reason": "x", "wrong": true }), "/wrong"),
        ("renew", json!({ "expires_at": in_days(40) }), "/reason"),
        ("renew", json!({ "reason": long, "expires_at": in_days(40) }), "/reason"),
        ("renew", json!({ "reason": "x", "expires_at": "2026-11-20" }), "/expires_at"),
        ("renew", json!({ "reason": "x", "expires_at": null }), "/expires_at"),
        ("renew", json!({ "reason": "x", "days": 3 }), "/days"),
        ("amend", json!({ "reason": "x" }), "/changes"),
        ("amend", json!({ "changes": { "case": "x" } }), "/reason"),
        ("amend", json!({ "reason": "x", "changes": [] }), "/changes"),
        ("amend", amendment(json!({})), "/changes"),
        ("amend", amendment(json!({ "verdict": "hold" })), "/changes"),
        ("amend", amendment(json!({ "verdict": "clear" })), "/changes/verdict"),
        ("amend", amendment(json!({ "verdict": null })), "/changes/verdict"),
        ("amend", amendment(json!({ "verdict": "block" })), "/changes/legal_basis"),
        ("amend", amendment(json!({ "category": "theft" })), "/changes/category"),
        ("amend", amendment(json!({ "case": "" })), "/changes/case"),
        ("amend", amendment(json!({ "case": "x".repeat(65) })), "/changes/case"),
        ("amend", amendment(json!({ "reason": long })), "/changes/reason"),
        (
            "amend",
            amendment(json!({ "legal_basis": with(basis(), "issued_on", "2026-02-30") })),
            "/changes/legal_basis/issued_on",
        ),
        ("amend", amendment(json!({ "linked": [account(NUMBER)] })), "/changes/linked"),
        ("amend", amendment(json!({ "linked": vec![account(OTHER); 17] })), "/changes/linked"),
        ("amend", amendment(json!({ "linked": null })), "/changes/linked"),
        ("amend", amendment(json!({ "coordinating": ["970436"] })), "/changes/coordinating/0"),
        ("amend", amendment(json!({ "coordinating": ["hanoi-police"] })), "/changes/coordinating"),
        ("amend", amendment(json!({ "coordinating": units })), "/changes/coordinating"),
        ("amend", amendment(json!({ "subject": account(OTHER) })), "/changes/subject"),
        ("amend", amendment(json!({ "expires_at": in_days(3) })), "/changes/expires_at"),
    ];
    for (what, body, pointer) in cases {
        let answer = change(&server, &id, "officer", what, 2, &body).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{what} {body:#}");
    }
    let unknown = amendment(json!({ "linked": [account("1")] }));
    let refused = change(&server, &id, "officer", "amend", 2, &unknown).await.refused(422, "invalid_subject");
    assert_eq!(refused.pointers(), ["/changes/linked/0/number"]);
    for what in ["renew", "amend", "transfer"] {
        let ask = server.post(&format!("/v1/flags/{id}/{what}")).by("officer").json(&json!({}));
        ask.send().await.refused(428, "precondition_required");
    }
    assert_eq!(read(&server, &id).await["version"], 2, "what was refused changed something");
    server.finish().await;
}

#[tokio::test]
async fn the_history_tells_of_every_version_who_when_why_and_which_entry() {
    let server = Server::start().await;
    let raised = raise(&server, "k", &proposal(account(NUMBER), "hold")).await.is(201);
    let id = raised.json()["id"].as_str().unwrap().to_owned();
    let approved = act(&server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    let amended = change(&server, &id, "officer_b", "amend", 2, &amendment(json!({ "case": "HN-2" }))).await.is(200);
    let longer = json!({ "reason": "Still used", "expires_at": in_days(60) });
    let renewed = change(&server, &id, "officer", "renew", 3, &longer).await.is(200);
    let lifted = act(&server, &id, "officer", "lift", "\"4\"").await.is(200);
    let told = history(&server, &id).await;
    let expected = [
        ("flag.raise", "demo-officer", Value::Null, &raised),
        ("flag.approve", "demo-supervisor", Value::Null, &approved),
        ("flag.amend", "demo-officer_b", json!("New facts"), &amended),
        ("flag.renew", "demo-officer", json!("Still used"), &renewed),
        ("flag.lift", "demo-officer", json!("It was a mistake"), &lifted),
    ];
    let items = told["items"].as_array().unwrap();
    assert_eq!(items.len(), expected.len());
    for (item, (what, by, reason, answer)) in items.iter().zip(expected) {
        assert_eq!((&item["act"], &item["by"]["client"], &item["reason"]), (&json!(what), &json!(by), &reason));
        assert_eq!(item["by"]["party"], "hanoi-police");
        assert_eq!(item["log_entry"], answer.must("log-entry"), "{what}");
        assert_eq!(item["flag"], answer.json(), "{what}");
    }
    assert_eq!((&told["objections"], &told["correction"]), (&json!([]), &Value::Null));
    // By pages.
    let mut versions = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/flags/{id}/history?limit=2{cursor}");
        let page = server.get(&path).by("officer").send().await.is(200).json();
        versions.extend(page["items"].as_array().unwrap().iter().map(|item| item["version"].as_u64().unwrap()));
        match page["next_cursor"].as_u64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(versions, [1, 2, 3, 4, 5]);
    for query in ["limit=0", "limit=201", "cursor=0", "cursor=x", "cursor=01", "at=2026-11-20T00:00:00Z"] {
        let ask = server.get(&format!("/v1/flags/{id}/history?{query}")).by("officer");
        ask.send().await.refused(400, "invalid_request");
    }
    server.get(&format!("/v1/flags/{id}/history")).by("bank").send().await.refused(403, "insufficient_scope");
    server.finish().await;
}

#[tokio::test]
async fn a_flag_and_a_search_tell_what_was_listed_at_a_moment() {
    let server = Server::start().await;
    let before = now().minus_ms(1);
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let body = with(proposal(account(NUMBER), "hold"), "linked", json!([phone]));
    let id = active(&server, "k", &body).await;
    let fewer = amendment(json!({ "linked": [], "verdict": "warn" }));
    let amended = change(&server, &id, "officer", "amend", 2, &fewer).await.is(200).json();
    let lifted = change(&server, &id, "officer", "lift", 3, &json!({ "reason": "Over" })).await.is(200).json();
    let told = history(&server, &id).await;
    let at = |place: usize| told["items"][place]["at"].as_str().unwrap().to_owned();
    let at_moment = async |at: &str| server.get(&format!("/v1/flags/{id}?at={at}")).by("officer").send().await;
    assert_eq!(at_moment(&at(0)).await.is(200).json()["state"], "proposed");
    let approved = at_moment(&at(1)).await.is(200);
    assert_eq!((approved.must("etag"), &approved.json()["verdict"]), ("\"2\"", &json!("hold")));
    assert_eq!(at_moment(&at(2)).await.is(200).json(), amended);
    assert_eq!(at_moment(&at(3)).await.is(200).json(), lifted);
    at_moment(&before.to_string()).await.refused(404, "not_found");
    let refused = at_moment(&in_days(1)).await.refused(400, "invalid_request");
    assert_eq!(refused.pointers(), ["/at"]);
    assert_eq!(at_moment("yesterday").await.refused(400, "invalid_request").pointers(), ["/at"]);

    let search = async |body: Value| {
        let page = server.post("/v1/flags/search").by("officer").json(&body).send().await.is(200).json();
        let shown = page["items"].as_array().unwrap().iter();
        shown.map(|flag| json!([flag["id"], flag["state"], flag["verdict"]])).collect::<Vec<_>>()
    };
    let by_link = |at: usize| json!({ "subject": phone, "as_of": told["items"][at]["at"] });
    assert_eq!(search(by_link(1)).await, [json!([id, "active", "hold"])]);
    assert_eq!(search(by_link(2)).await, Vec::<Value>::new(), "the link was gone");
    assert_eq!(search(json!({ "subject": account(NUMBER) })).await, [json!([id, "lifted", "warn"])]);
    let listed = json!({ "subject": account(NUMBER), "state": "active", "as_of": told["items"][2]["at"] });
    assert_eq!(search(listed).await, [json!([id, "active", "warn"])]);
    assert_eq!(search(json!({ "subject": account(NUMBER), "state": "active" })).await, Vec::<Value>::new());
    assert_eq!(search(json!({ "as_of": before.to_string(), "limit": 200 })).await.len(), 200);
    let everything = search(json!({ "as_of": told["items"][0]["at"], "state": "proposed" })).await;
    assert_eq!(everything[0], json!([id, "proposed", "hold"]));
    server.finish().await;
}

#[tokio::test]
async fn a_malformed_search_is_refused_with_its_place() {
    let server = Server::start().await;
    let cases = [
        (json!({ "as_of": in_days(1) }), "/as_of"),
        (json!({ "as_of": "now" }), "/as_of"),
        (json!({ "state": "open" }), "/state"),
        (json!({ "subject": null }), "/subject"),
        (json!({ "cursor": "x" }), "/cursor"),
        (json!({ "limit": 0 }), "/limit"),
        (json!({ "limit": 201 }), "/limit"),
        (json!({ "party": "970436" }), "/party"),
    ];
    for (body, pointer) in cases {
        let answer = server.post("/v1/flags/search").by("officer").json(&body).send().await;
        assert_eq!(answer.refused(400, "invalid_request").pointers(), [pointer], "{body}");
    }
    let unknown = json!({ "subject": account("1") });
    let refused = server.post("/v1/flags/search").by("officer").json(&unknown).send().await;
    assert_eq!(refused.refused(422, "invalid_subject").pointers(), ["/subject/number"]);
    server.post("/v1/flags/search").by("bank").json(&json!({})).send().await.refused(403, "insufficient_scope");
    server.finish().await;
}

#[tokio::test]
async fn who_was_answered_with_a_wrong_flag_is_told_in_its_history() {
    let mut server = Server::start().await;
    let id = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    let ask = async |bank: &str| {
        server.post("/v1/checks").by(bank).json(&crate::about(account(NUMBER))).send().await.is(200);
    };
    ask("bank").await;
    ask("bank").await;
    ask("wallet").await;
    server.post("/v1/checks").by("bank_b").json(&crate::about(account(OTHER))).send().await.is(200);
    let wrong = json!({ "reason": "The account was taken over", "cause": "wrong" });
    let lifted = change(&server, &id, "officer", "lift", 2, &wrong).await.is(200).json();
    assert_eq!(lifted["closing_cause"], "wrong");
    let told = async |server: &Server| {
        let correction = history(server, &id).await["correction"].clone();
        let parties = correction["parties"].as_array().unwrap().iter();
        let parties: Vec<Value> = parties.map(|told| json!([told["party"], told["checks"]])).collect();
        (parties, correction["completed_at"].clone())
    };
    let expected = vec![json!(["970436", 2]), json!(["momo", 1])];
    assert_eq!(told(&server).await, (expected.clone(), Value::Null), "known in the moment of the lift");
    // What is not complete is completed after a crash.
    server.kill().await;
    server.start_again().await;
    eventually(Duration::from_secs(40), "a completed correction", async || told(&server).await.1 != Value::Null).await;
    let (parties, completed_at) = told(&server).await;
    assert_eq!(parties, expected);
    let entries = json!({ "act": "flag.correct", "flag": id });
    let found = server.post("/v1/log/search").by("auditor").json(&entries).send().await.is(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "completed more than once");
    assert_eq!(found["items"][0]["at"], completed_at);
    // One that simply ended corrects nothing.
    let other = active(&server, "other", &proposal(account(OTHER), "warn")).await;
    act(&server, &other, "officer", "lift", "\"2\"").await.is(200);
    assert_eq!(history(&server, &other).await["correction"], Value::Null);
    server.finish().await;
}

#[tokio::test]
async fn a_refused_urgent_flag_is_corrected_as_a_wrong_one_is() {
    let server = Server::start().await;
    let urgent = with(proposal(account(NUMBER), "warn"), "urgent", true);
    let raised = raise(&server, "k", &urgent).await.is(201).json();
    let id = raised["id"].as_str().unwrap();
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "warn");
    act(&server, id, "supervisor", "reject", "\"1\"").await.is(200);
    let correction = history(&server, id).await["correction"].clone();
    assert_eq!(
        (&correction["parties"][0]["party"], &correction["parties"][0]["checks"]),
        (&json!("970436"), &json!(1))
    );
    server.finish().await;
}
