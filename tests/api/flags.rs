//! `/v1/flags`: raise, approve, reject, lift, read, list.

use crate::support::clock::{set, with_clock};
use crate::support::{Answer, FLAGS, SANDBOX_FLAGS, Server, client, eventually, now};
use crate::{about, account, with};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

const NUMBER: &str = "9100000000001";
const HOUR_MS: u64 = 3_600_000;

pub fn proposal(subject: Value, verdict: &str) -> Value {
    let proposal = json!({ "subject": subject, "verdict": verdict, "category": "mule", "case": "HN-2026-17",
        "reason": "Receives from many and moves on at once" });
    let basis = json!({ "document": "123/QĐ-CSĐT", "issued_on": "2026-11-20", "authority": "Công an Hà Nội" });
    if verdict == "block" { with(proposal, "legal_basis", basis) } else { proposal }
}

pub async fn raise(server: &Server, key: &str, body: &Value) -> Answer {
    server.post("/v1/flags").by("officer").key(key).json(body).send().await
}

/// A change of the flag by somebody, for its version now.
pub async fn act(server: &Server, id: &str, by: &str, what: &str, etag: &str) -> Answer {
    let ask = server.post(&format!("/v1/flags/{id}/{what}")).by(by).if_match(etag);
    let body = if what == "approve" { json!({}) } else { json!({ "reason": "It was a mistake" }) };
    ask.json(&body).send().await
}

pub async fn verdict(server: &Server, subject: Value) -> Value {
    server.post("/v1/checks").by("bank").json(&about(subject)).send().await.is(200).json()
}

/// Raises and approves; the flag's id.
pub async fn active(server: &Server, key: &str, body: &Value) -> String {
    let raised = raise(server, key, body).await.is(201).json();
    let id = raised["id"].as_str().unwrap().to_owned();
    act(server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    id
}

#[tokio::test]
async fn a_malformed_proposal_is_refused_with_its_place() {
    let server = Server::start().await;
    let (warn, block) = (proposal(account(NUMBER), "warn"), proposal(account(NUMBER), "block"));
    let mut no_case = warn.clone();
    no_case.as_object_mut().unwrap().remove("case");
    let mut no_basis = block.clone();
    no_basis.as_object_mut().unwrap().remove("legal_basis");
    let set = |name: &str, value: Value| with(warn.clone(), name, value);
    let mut bad_date = block.clone();
    bad_date["legal_basis"]["issued_on"] = json!("2026-02-30");
    let in_days = |days: u64| json!(now().plus_ms(days * 86_400_000).to_string());
    let without = |name: &str| {
        let mut body = warn.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let basis =
        |name: &str, value: Value| with(block.clone(), "legal_basis", with(block["legal_basis"].clone(), name, value));
    let cases = [
        (without("subject"), "/subject"),
        (without("verdict"), "/verdict"),
        (without("category"), "/category"),
        (without("reason"), "/reason"),
        (set("subject", Value::Null), "/subject"),
        (set("verdict", Value::Null), "/verdict"),
        (set("category", json!(["mule"])), "/category"),
        (set("case", json!("")), "/case"),
        (set("case", json!(17)), "/case"),
        (set("reason", json!("")), "/reason"),
        (set("expires_at", Value::Null), "/expires_at"),
        (set("urgent", json!("yes")), "/urgent"),
        (set("source", json!({ "reference": "R-1" })), "/source/kind"),
        (set("source", json!({ "kind": "citizen", "reference": "x".repeat(129) })), "/source/reference"),
        (set("source", json!({ "kind": "citizen", "name": "x" })), "/source/name"),
        (set("unit", json!("Hanoi")), "/unit"),
        (set("unit", Value::Null), "/unit"),
        (set("legal_basis", json!({})), "/legal_basis/document"),
        (basis("document", json!("")), "/legal_basis/document"),
        (basis("document", json!("x".repeat(129))), "/legal_basis/document"),
        (basis("authority", json!("x".repeat(201))), "/legal_basis/authority"),
        (basis("authority", Value::Null), "/legal_basis/authority"),
        (basis("issued_on", json!("20261120")), "/legal_basis/issued_on"),
        (basis("signed_by", json!("x")), "/legal_basis/signed_by"),
        (no_case, "/case"),
        (no_basis, "/legal_basis"),
        (bad_date, "/legal_basis/issued_on"),
        (with(block.clone(), "urgent", true), "/urgent"),
        (set("verdict", json!("clear")), "/verdict"),
        (set("verdict", json!("deny")), "/verdict"),
        (set("category", json!("theft")), "/category"),
        (set("case", json!("x".repeat(65))), "/case"),
        (set("reason", json!("x".repeat(2001))), "/reason"),
        (set("reason", json!("a\u{7}")), "/reason"),
        (set("urgent", Value::Null), "/urgent"),
        (set("legal_basis", Value::Null), "/legal_basis"),
        (set("legal_basis", json!(["1", "2026-11-20", "x"])), "/legal_basis"),
        (set("source", json!({ "kind": "rumour" })), "/source/kind"),
        (set("source", json!({ "kind": "citizen", "reference": null })), "/source/reference"),
        (set("expires_at", json!("2026-11-20")), "/expires_at"),
        (set("expires_at", json!(now().minus_ms(1).to_string())), "/expires_at"),
        (set("expires_at", in_days(366)), "/expires_at"),
        (with(proposal(account(NUMBER), "hold"), "expires_at", in_days(91)), "/expires_at"),
        (set("linked", json!([account(NUMBER)])), "/linked"),
        (set("linked", json!([account("9100000000002"), account("9100 000000002")])), "/linked"),
        (set("linked", json!(vec![account("9100000000002"); 17])), "/linked"),
        (set("linked", Value::Null), "/linked"),
        (set("state", json!("active")), "/state"),
        (set("subject", json!([NUMBER])), "/subject"),
        (set("subject", json!({ "kind": "phone" })), "/subject/number"),
    ];
    for (body, pointer) in cases {
        let answer = raise(&server, "malformed", &body).await;
        assert_eq!((answer.status, answer.pointers()), (400, vec![pointer.to_owned()]), "{body:#} {}", answer.text());
        assert!(!answer.text().contains("9100000"), "an answer echoes a value");
    }
    let unknown = raise(&server, "malformed", &set("linked", json!([account("9100000000002"), account("1")]))).await;
    assert_eq!(unknown.refused(422, "invalid_subject").pointers(), ["/linked/1/number"]);
    // None of them used up the key.
    raise(&server, "malformed", &warn).await.is(201);
    server.finish().await;
}

#[tokio::test]
async fn only_who_has_the_scope_may_raise_approve_or_read() {
    let server = Server::start().await;
    let raised = raise(&server, "scopes", &proposal(account(NUMBER), "warn")).await.is(201).json();
    let id = raised["id"].as_str().unwrap();
    for client in ["bank", "wallet", "auditor", "operator"] {
        let body = proposal(account(NUMBER), "warn");
        let refused = server.post("/v1/flags").by(client).key("k").json(&body).send().await;
        let refused = refused.refused(403, "insufficient_scope");
        assert!(refused.must("www-authenticate").contains("scope=\"flag.write\""));
        server.get("/v1/flags").by(client).send().await.refused(403, "insufficient_scope");
        server.get(&format!("/v1/flags/{id}")).by(client).send().await.refused(403, "insufficient_scope");
        act(&server, id, client, "lift", "\"1\"").await.refused(403, "insufficient_scope");
        act(&server, id, client, "reject", "\"1\"").await.refused(403, "insufficient_scope");
    }
    // An officer without flag.approve decides nothing, even on another's flag.
    act(&server, id, "officer_b", "approve", "\"1\"").await.refused(403, "insufficient_scope");
    act(&server, id, "officer_b", "reject", "\"1\"").await.refused(403, "insufficient_scope");
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "clear");
    server.finish().await;
}

#[tokio::test]
async fn who_raised_a_flag_cannot_decide_on_it() {
    let server = Server::start().await;
    let body = proposal(account(NUMBER), "hold");
    let raised = server.post("/v1/flags").by("supervisor").key("own").json(&body).send().await.is(201).json();
    let id = raised["id"].as_str().unwrap();
    for what in ["approve", "reject"] {
        act(&server, id, "supervisor", what, "\"1\"").await.refused(403, "insufficient_scope");
    }
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "clear");
    let read = server.get(&format!("/v1/flags/{id}")).by("officer_b").send().await.is(200).json();
    assert_eq!((&read["state"], &read["version"]), (&json!("proposed"), &json!(1)));
    server.finish().await;
}

#[tokio::test]
async fn a_change_needs_the_version_it_was_meant_for() {
    let server = Server::start().await;
    let raised = raise(&server, "versions", &proposal(account(NUMBER), "warn")).await.is(201);
    assert_eq!(raised.must("etag"), "\"1\"");
    let id = raised.json()["id"].as_str().unwrap().to_owned();
    for (what, by) in [("approve", "supervisor"), ("reject", "supervisor"), ("lift", "officer")] {
        let path = format!("/v1/flags/{id}/{what}");
        let body = if what == "approve" { json!({}) } else { json!({ "reason": "x" }) };
        let ask = || server.post(&path).by(by).json(&body);
        ask().send().await.refused(428, "precondition_required");
        for etag in ["\"0\"", "\"2\"", "\"4294967297\"", "1", "*", "W/\"1\"", "\"1\", \"2\"", "\"\"", "\"-1\""] {
            ask().if_match(etag).send().await.refused(412, "stale_version");
        }
    }
    let approved = act(&server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    assert_eq!(approved.must("etag"), "\"2\"");
    act(&server, &id, "supervisor", "approve", "\"1\"").await.refused(412, "stale_version");
    act(&server, &id, "officer", "lift", "\"1\"").await.refused(412, "stale_version");
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "warn", "what was refused changed something");
    server.finish().await;
}

#[tokio::test]
async fn an_approval_needs_no_body_over_either_protocol() {
    let server = Server::start().await;
    let one = client(&server.ca_file).http1_only().build().unwrap();
    let two = client(&server.ca_file).build().unwrap();
    for (key, http) in [("one", one), ("two", two)] {
        let raised = raise(&server, key, &proposal(account(NUMBER), "warn")).await.is(201).json();
        let path = format!("/v1/flags/{}/approve", raised["id"].as_str().unwrap());
        // Both clients send `Content-Length: 0` and no Content-Type.
        server.post(&path).by("supervisor").if_match("\"1\"").through(&http).send().await.is(200);
    }
    server.finish().await;
}

#[tokio::test]
async fn who_may_not_is_told_so_whatever_the_body_is() {
    let server = Server::start().await;
    let ask = || server.post("/v1/flags").by("bank").key("k");
    ask().raw("text/plain", "x").send().await.refused(403, "insufficient_scope");
    ask().raw("application/json", vec![b' '; 70_000]).send().await.refused(403, "insufficient_scope");
    ask().json(&json!({ "unknown": 1 })).send().await.refused(403, "insufficient_scope");
    server.finish().await;
}

#[tokio::test]
async fn of_two_changes_for_one_version_one_is_made() {
    let server = Server::start().await;
    let raised = raise(&server, "race", &proposal(account(NUMBER), "warn")).await.is(201).json();
    let id = raised["id"].as_str().unwrap();
    let decide = |what: &'static str| act(&server, id, "supervisor", what, "\"1\"");
    server.token("supervisor").await;
    let (a, b, c, d) = tokio::join!(decide("approve"), decide("reject"), decide("approve"), decide("reject"));
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412]);
    server.finish().await;
}

#[tokio::test]
async fn an_illegal_move_is_refused() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for key in ["proposed", "active", "rejected", "lifted"] {
        let raised = raise(&server, key, &proposal(account(NUMBER), "warn")).await.is(201).json();
        ids.push(raised["id"].as_str().unwrap().to_owned());
    }
    act(&server, &ids[1], "supervisor", "approve", "\"1\"").await.is(200);
    act(&server, &ids[2], "supervisor", "reject", "\"1\"").await.is(200);
    act(&server, &ids[3], "supervisor", "approve", "\"1\"").await.is(200);
    act(&server, &ids[3], "officer", "lift", "\"2\"").await.is(200);
    let illegal = [
        (0, "lift", "\"1\""),
        (1, "approve", "\"2\""),
        (1, "reject", "\"2\""),
        (2, "approve", "\"2\""),
        (2, "reject", "\"2\""),
        (2, "lift", "\"2\""),
        (3, "approve", "\"3\""),
        (3, "reject", "\"3\""),
        (3, "lift", "\"3\""),
    ];
    for (place, what, etag) in illegal {
        act(&server, &ids[place], "supervisor", what, etag).await.refused(422, "invalid_transition");
    }
    for what in ["reject", "lift"] {
        let ask = || server.post(&format!("/v1/flags/{}/{what}", ids[0])).by("supervisor").if_match("\"1\"");
        assert_eq!(ask().json(&json!({})).send().await.refused(400, "invalid_request").pointers(), ["/reason"]);
        ask().json(&json!({ "reason": "" })).send().await.refused(400, "invalid_request");
    }
    let absent = ids[0].replacen("flag_0", "flag_1", 1);
    for id in [absent.as_str(), "x", "check_01h2xcejqtf2nbrexx3vqjhp41"] {
        act(&server, id, "supervisor", "approve", "\"1\"").await.refused(404, "not_found");
        server.get(&format!("/v1/flags/{id}")).by("officer").send().await.refused(404, "not_found");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_flag_answers_from_its_approval_until_it_is_lifted() {
    let server = Server::start().await;
    let body = with(proposal(account(NUMBER), "block"), "source", json!({ "kind": "bank_report", "reference": "R-1" }));
    let raised = raise(&server, "life", &body).await.is(201);
    let flag = raised.json();
    let id = flag["id"].as_str().unwrap();
    assert_eq!(raised.must("location"), format!("/v1/flags/{id}"));
    assert_eq!((&flag["state"], &flag["version"]), (&json!("proposed"), &json!(1)));
    assert_eq!((&flag["approved_by"], &flag["since"]), (&Value::Null, &Value::Null));
    assert_eq!(flag["raised_by"], json!({ "party": "hanoi-police", "client": "demo-officer" }));
    let before = verdict(&server, account(NUMBER)).await;
    assert_eq!(before["verdict"], "clear", "a proposal answers nothing");
    let approved = act(&server, id, "supervisor", "approve", "\"1\"").await.is(200).json();
    assert_eq!((&approved["state"], &approved["version"]), (&json!("active"), &json!(2)));
    assert_eq!(approved["approved_by"]["client"], "demo-supervisor");
    let during = verdict(&server, account(NUMBER)).await;
    assert_eq!(during["verdict"], "block", "an approved flag answers at once");
    assert_eq!(during["list_version"].as_u64(), before["list_version"].as_u64().map(|version| version + 1));
    let shown = &during["results"][0]["flags"][0];
    assert_eq!((&shown["id"], &shown["document"]), (&json!(id), &json!("123/QĐ-CSĐT")));
    assert_eq!((&shown["case"], &shown["since"]), (&json!("HN-2026-17"), &approved["since"]));
    assert_eq!(shown.get("linked_from"), None);
    let lifted = act(&server, id, "officer_b", "lift", "\"2\"").await.is(200).json();
    assert_eq!((&lifted["state"], &lifted["closing_reason"]), (&json!("lifted"), &json!("It was a mistake")));
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "clear", "a lifted flag stops at once");
    let read = server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200);
    assert_eq!(read.must("etag"), "\"3\"");
    assert_eq!(read.json(), lifted);
    server.finish().await;
}

#[tokio::test]
async fn the_list_is_the_same_after_a_restart() {
    let mut server = Server::start().await;
    let kept = active(&server, "kept", &proposal(account(NUMBER), "hold")).await;
    let lifted = active(&server, "lifted", &proposal(account("9100000000002"), "hold")).await;
    act(&server, &lifted, "officer", "lift", "\"2\"").await.is(200);
    let version = verdict(&server, account(NUMBER)).await["list_version"].clone();
    server.kill().await;
    server.start_again().await;
    let answer = verdict(&server, account(NUMBER)).await;
    assert_eq!((&answer["verdict"], &answer["results"][0]["flags"][0]["id"]), (&json!("hold"), &json!(kept)));
    assert_eq!(answer["list_version"], version);
    assert_eq!(verdict(&server, account("9100000000002")).await["verdict"], "clear");
    assert_eq!(verdict(&server, account("9000000000003")).await["verdict"], "block");
    server.finish().await;
}

#[tokio::test]
async fn an_urgent_flag_answers_at_once_and_for_three_days() {
    let server = Server::start().await;
    let urgent = with(proposal(account(NUMBER), "warn"), "urgent", true);
    let raised = raise(&server, "urgent", &urgent).await.is(201).json();
    assert_eq!((&raised["state"], &raised["approved_by"]), (&json!("active"), &Value::Null));
    let ends = canhbao::domain::Timestamp::parse(raised["expires_at"].as_str().unwrap()).unwrap();
    let raised_at = canhbao::domain::Timestamp::parse(raised["raised_at"].as_str().unwrap()).unwrap();
    assert_eq!(ends.ms_since(raised_at), 72 * 3_600_000);
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "warn");
    let id = raised["id"].as_str().unwrap();
    let approved = act(&server, id, "supervisor", "approve", "\"1\"").await.is(200).json();
    assert_eq!(approved["since"], raised["since"]);
    let ends = canhbao::domain::Timestamp::parse(approved["expires_at"].as_str().unwrap()).unwrap();
    assert!(ends.ms_since(raised_at) > 100 * 86_400_000, "approved, it lasts as long as any other");
    act(&server, id, "supervisor", "approve", "\"2\"").await.refused(422, "invalid_transition");
    // One that is not approved can be rejected, and stops.
    let urgent = with(proposal(account("9100000000002"), "hold"), "urgent", true);
    let raised = raise(&server, "second", &urgent).await.is(201).json();
    assert_eq!(verdict(&server, account("9100000000002")).await["verdict"], "hold");
    act(&server, raised["id"].as_str().unwrap(), "supervisor", "reject", "\"1\"").await.is(200);
    assert_eq!(verdict(&server, account("9100000000002")).await["verdict"], "clear");
    server.finish().await;
}

/// A proposal to warn at once, with links.
fn urgent(subject: &Value, linked: &[&Value]) -> Value {
    with(with(proposal(subject.clone(), "warn"), "urgent", true), "linked", json!(linked))
}

fn time(flag: &Value, name: &str) -> canhbao::domain::Timestamp {
    canhbao::domain::Timestamp::parse(flag[name].as_str().unwrap()).unwrap()
}

/// For how long it answers if nobody approves it.
fn answers_ms(flag: &Value) -> u64 {
    time(flag, "expires_at").ms_since(time(flag, "raised_at"))
}

#[tokio::test]
async fn urgent_flags_that_nobody_approves_end_as_the_first_of_them_would() {
    let server = Server::start().await;
    let (phone, other) = (json!({ "kind": "phone", "number": "0912345678" }), account("9100000000002"));
    let first = raise(&server, "first", &urgent(&account(NUMBER), &[&phone])).await.is(201).json();
    // By whatever they name, and whoever raises them.
    let bodies =
        [urgent(&account(NUMBER), &[]), urgent(&phone, &[]), urgent(&other, &[&account("9100000000003"), &phone])];
    for (place, body) in bodies.iter().enumerate() {
        for by in ["officer", "ward_a"] {
            let raised = server.post("/v1/flags").by(by).key(&format!("again {place}")).json(body).send().await;
            let raised = raised.is(201).json();
            assert!(time(&raised, "expires_at") <= time(&first, "expires_at"), "{raised:#}");
            assert!(answers_ms(&raised) > 71 * HOUR_MS, "{raised:#}");
        }
    }
    // An end that was asked for stays, and an approval gives the usual one.
    let ends = now().plus_ms(HOUR_MS).to_string();
    let body = with(urgent(&phone, &[]), "expires_at", ends.clone());
    let short = raise(&server, "short", &body).await.is(201).json();
    assert_eq!(short["expires_at"], ends);
    let raised = raise(&server, "approved", &urgent(&phone, &[])).await.is(201).json();
    let approved = act(&server, raised["id"].as_str().unwrap(), "supervisor", "approve", "\"1\"").await.is(200).json();
    assert!(answers_ms(&approved) > 179 * 24 * HOUR_MS, "{approved:#}");
    // The first answer to a repetition stays what it was.
    let again = raise(&server, "first", &urgent(&account(NUMBER), &[&phone])).await.is(201).json();
    assert_eq!(again, first);
    server.finish().await;
}

#[tokio::test]
async fn urgent_flags_answer_for_a_subject_three_days_of_thirty_without_an_approval() {
    let mut server = Server::start_with(0).await;
    server.stop().await;
    let clock = server.data().join("clock");
    set(&clock, "+0");
    server.start_by(with_clock(server.serve(), &clock)).await.unwrap();
    let later = async |hours: u64| {
        set(&clock, &format!("+{}", hours * 3_600));
        for name in ["officer", "supervisor", "ward_a", "bank"] {
            server.forget_token(name);
        }
        // A node whose clock leaps must look at the database before it answers.
        let is_ready = async || server.operations("/readyz").await.status == 200;
        eventually(Duration::from_secs(10), "readiness", is_ready).await;
    };
    let subjects = ["9100000000001", "9100000000002", "9100000000003", "9100000000004"].map(account);
    let [whole, friend, unlinked, rejected] = &subjects;
    let raised = async |key: &str, body: &Value| raise(&server, key, body).await.is(201).json();
    let id = |flag: &Value| flag["id"].as_str().unwrap().to_owned();
    // To the minute: the test itself takes some seconds.
    let is_about = |flag: &Value, hours: u64| {
        assert!(answers_ms(flag).abs_diff(hours * HOUR_MS) < 60_000, "not {hours} hours: {flag:#}");
    };
    let is_spent = async |body: &Value, pointer: &str| {
        for by in ["officer", "ward_a"] {
            let refused = server.post("/v1/flags").by(by).key("spent").json(body).send().await;
            assert_eq!(refused.refused(400, "invalid_request").pointers(), [pointer], "{body:#}");
        }
    };

    let first = raised("whole", &urgent(whole, &[unlinked])).await;
    // Who raises one for a moment keeps off nobody who is in earnest.
    let ends = time(&first, "raised_at").plus_ms(5_000).to_string();
    raised("for a moment", &with(urgent(friend, &[]), "expires_at", ends)).await;
    let refused = raised("rejected", &urgent(rejected, &[])).await;
    later(24).await;
    let body = json!({ "reason": "Not his", "changes": { "linked": [] } });
    let ask = server.post(&format!("/v1/flags/{}/amend", id(&first))).by("officer").if_match("\"1\"").json(&body);
    ask.send().await.is(200);
    act(&server, &id(&refused), "supervisor", "reject", "\"1\"").await.is(200);
    let half = raised("friend", &urgent(friend, &[])).await;
    is_about(&half, 72);
    later(48).await;
    // What answered for a day, by link too, leaves two; what answers now ends as it would have.
    is_about(&raised("unlinked", &urgent(unlinked, &[])).await, 48);
    is_about(&raised("rejected again", &urgent(rejected, &[])).await, 48);
    is_about(&raised("still", &urgent(whole, &[])).await, 24);
    // The least time that is left to any of them counts.
    is_about(&raised("all", &urgent(friend, &[unlinked, whole])).await, 24);
    act(&server, &id(&half), "officer", "lift", "\"1\"").await.is(200);
    later(73).await;
    assert_eq!(verdict(&server, whole.clone()).await["verdict"], "clear");
    is_spent(&urgent(whole, &[]), "/subject").await;
    is_spent(&urgent(friend, &[&account("9100000000005"), whole]), "/linked/1").await;
    // The city's decision makes up for nothing that others of these subjects take without one.
    raise(&server, "normal", &proposal(whole.clone(), "warn")).await.is(201);
    // What lies longer ago counts no more: of the three days the first has passed.
    later(31 * 24).await;
    is_about(&raised("a month later", &urgent(whole, &[])).await, 24);
    later(34 * 24).await;
    is_about(&raised("later still", &urgent(whole, &[])).await, 48);
    server.finish().await;
}

#[tokio::test]
async fn no_urgent_flag_is_taken_while_nobody_can_tell_how_long_others_have_answered() {
    let mut server = Server::start_with(0).await;
    server.stop().await;
    // Where this lies the officers' view can neither be read nor be made anew.
    let view = server.data().join("register.sqlite3");
    std::fs::remove_file(&view).unwrap();
    std::fs::create_dir(&view).unwrap();
    server.start_again().await;
    let body = urgent(&account(NUMBER), &[]);
    raise(&server, "urgent", &body).await.refused(503, "unavailable");
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "clear");
    raise(&server, "normal", &proposal(account(NUMBER), "warn")).await.is(201);
    std::fs::remove_dir(&view).unwrap();
    let is_taken = async || raise(&server, "urgent", &body).await.status == 201;
    eventually(Duration::from_secs(20), "a view that is there again", is_taken).await;
    // It can be read, and does not go on to what was changed since.
    let mut holder = rusqlite::Connection::open(&view).unwrap();
    let held = holder.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    raise(&server, "another", &proposal(account("9100000000002"), "warn")).await.is(201);
    let body = urgent(&account("9100000000002"), &[]);
    raise(&server, "behind", &body).await.refused(503, "unavailable");
    held.rollback().unwrap();
    let is_taken = async || raise(&server, "behind", &body).await.status == 201;
    eventually(Duration::from_secs(20), "a view that goes on", is_taken).await;
    server.finish().await;
}

#[tokio::test]
async fn a_flag_stops_in_the_millisecond_of_its_expiry() {
    let server = Server::start().await;
    // Proving a client takes its time, and the two seconds are for the flag.
    for name in ["officer", "bank"] {
        server.token(name).await;
    }
    let ends = now().plus_ms(2_000);
    let urgent = with(proposal(account(NUMBER), "warn"), "urgent", true);
    let body = with(urgent, "expires_at", ends.to_string());
    let id = raise(&server, "expiry", &body).await.is(201).json()["id"].as_str().unwrap().to_owned();
    let waiting = with(proposal(account("9100000000002"), "warn"), "expires_at", ends.to_string());
    let proposed = raise(&server, "waiting", &waiting).await.is(201).json()["id"].as_str().unwrap().to_owned();
    let mut seen = HashSet::new();
    eventually(Duration::from_secs(10), "a clear after the expiry", async || {
        let answer = verdict(&server, account(NUMBER)).await;
        let is_over = answer["checked_at"].as_str().unwrap() >= ends.to_string().as_str();
        assert_eq!(answer["verdict"], if is_over { "clear" } else { "warn" }, "at {}", answer["checked_at"]);
        seen.insert(is_over);
        is_over
    })
    .await;
    assert_eq!(seen.len(), 2, "it never answered");
    let read = server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json();
    assert_eq!((&read["state"], &read["version"]), (&json!("expired"), &json!(1)));
    for (what, by) in [("lift", "officer"), ("approve", "supervisor"), ("reject", "supervisor")] {
        act(&server, &id, by, what, "\"1\"").await.refused(422, "invalid_transition");
    }
    act(&server, &proposed, "supervisor", "approve", "\"1\"").await.refused(422, "invalid_transition");
    let listed = async |state: &str| {
        let page = server.get(&format!("/v1/flags?state={state}&limit=1")).by("officer").send().await.is(200).json();
        page["items"][0]["id"].clone()
    };
    assert_eq!(listed("expired").await, json!(id));
    assert_ne!(listed("active").await, json!(id));
    server.finish().await;
}

#[tokio::test]
async fn a_linked_subject_answers_one_step_lower_and_stops_with_the_flag() {
    let server = Server::start().await;
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let wallet = json!({ "kind": "wallet", "provider": "momo", "id": "0912345678" });
    let linked = json!([phone, wallet]);
    for (own, by_link) in [("block", "hold"), ("hold", "warn"), ("warn", "warn")] {
        let body = with(proposal(account(NUMBER), own), "linked", linked.clone());
        let id = active(&server, own, &body).await;
        assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], own);
        for subject in [&phone, &wallet] {
            let answer = verdict(&server, subject.clone()).await;
            assert_eq!(answer["verdict"], by_link, "{own}");
            let shown = &answer["results"][0]["flags"][0];
            assert_eq!((&shown["id"], &shown["linked_from"]), (&json!(id), &json!("account")));
            assert_eq!(shown["verdict"], by_link);
        }
        act(&server, &id, "officer", "lift", "\"2\"").await.is(200);
        for subject in [&phone, &wallet, &account(NUMBER)] {
            assert_eq!(verdict(&server, subject.clone()).await["verdict"], "clear");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn several_flags_of_one_subject_are_shown_weightiest_first() {
    let server = Server::start().await;
    let warn = active(&server, "a", &proposal(account(NUMBER), "warn")).await;
    let hold = active(&server, "b", &proposal(account(NUMBER), "hold")).await;
    let answer = verdict(&server, account(NUMBER)).await;
    let flags = answer["results"][0]["flags"].as_array().unwrap();
    let shown: Vec<&str> = flags.iter().map(|flag| flag["id"].as_str().unwrap()).collect();
    assert_eq!((answer["verdict"].as_str(), shown), (Some("hold"), vec![hold.as_str(), warn.as_str()]));
    act(&server, &hold, "officer", "lift", "\"2\"").await.is(200);
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "warn", "the other flag stays");
    server.finish().await;
}

#[tokio::test]
async fn raising_needs_an_idempotency_key() {
    let server = Server::start().await;
    let body = proposal(account(NUMBER), "warn");
    let ask = || server.post("/v1/flags").by("officer").json(&body);
    ask().send().await.refused(400, "idempotency_key_missing");
    for key in ["", &"k".repeat(65), "a\tb"] {
        ask().key(key).send().await.refused(400, "idempotency_key_missing");
    }
    for key in ["k".repeat(64), "~ !".to_owned()] {
        ask().key(&key).send().await.is(201);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_even_after_a_crash() {
    let mut server = Server::start().await;
    let body = proposal(account(NUMBER), "warn");
    let first = raise(&server, "again", &body).await.is(201);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    act(&server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    for round in 0..3 {
        let again = raise(&server, "again", &body).await.is(201);
        assert_eq!(again.body, first.body, "other bytes");
        for header in ["log-entry", "etag", "location", "content-type", "cache-control"] {
            assert_eq!(again.must(header), first.must(header), "{header}");
        }
        raise(&server, "again", &proposal(account("9100000000002"), "warn"))
            .await
            .refused(422, "idempotency_key_reused");
        match round {
            0 => server.stop().await,
            1 => server.kill().await,
            _ => break,
        }
        server.start_again().await;
    }
    // A key belongs to its client.
    let other = server.post("/v1/flags").by("officer_b").key("again").json(&body).send().await.is(201);
    assert_ne!(other.json()["id"], json!(id));
    server.finish().await;
}

#[tokio::test]
async fn one_key_sent_many_times_at_once_makes_one_flag() {
    let server = Server::start().await;
    let (body, other) = (proposal(account(NUMBER), "warn"), proposal(account(NUMBER), "hold"));
    server.token("officer").await;
    let same = || raise(&server, "at-once", &body);
    let (a, b, c, d, e) = tokio::join!(same(), same(), same(), same(), same());
    let first = a.is(201);
    for again in [b, c, d, e] {
        let again = again.is(201);
        assert_eq!((again.must("log-entry"), &again.body), (first.must("log-entry"), &first.body));
    }
    raise(&server, "at-once", &other).await.refused(422, "idempotency_key_reused");
    let (a, b) = tokio::join!(raise(&server, "differ", &body), raise(&server, "differ", &other));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422]);
    server.finish().await;
}

/// Every id of a list, by pages of `limit`.
async fn walk(server: &Server, query: &str, limit: usize) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/flags?limit={limit}{query}{cursor}");
        let page = server.get(&path).by("officer").send().await.is(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty() || cursor.is_empty(), "a cursor that leads to nothing");
        ids.extend(items.iter().map(|flag| flag["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!(items.len(), limit, "a page that is not full has no next one");
                cursor = format!("&cursor={next}");
            }
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_list_takes_limits_from_1_to_200_and_known_parameters_alone() {
    let server = Server::start().await;
    let list = async |query: &str| server.get(&format!("/v1/flags?{query}")).by("officer").send().await;
    let count = async |query: &str| list(query).await.is(200).json()["items"].as_array().unwrap().len();
    assert_eq!((count("").await, count("limit=1").await, count("limit=200").await), (50, 1, 200));
    let faults = [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=4294967297", "/limit"),
        ("limit=1&limit=1", "/limit"),
        ("state=open", "/state"),
        ("state=", "/state"),
        ("cursor=x", "/cursor"),
        ("subject=9100000000001", "/subject"),
        ("State=active", "/State"),
    ];
    for (query, pointer) in faults {
        let answer = list(query).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{query}");
        assert!(!answer.text().contains("9100000"), "an answer echoes a value");
    }
    server.finish().await;
}

#[tokio::test]
async fn pages_hold_every_flag_once_newest_first() {
    let server = Server::start().await;
    let all = usize::try_from(FLAGS + SANDBOX_FLAGS).unwrap();
    // 151 pages end exactly at the last flag, 200 do not.
    let ids = walk(&server, "", 200).await;
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), all, "one is missing, or there twice");
    assert_eq!(walk(&server, "", 151).await, ids, "another order");
    assert_eq!(all % 151, 0, "the pages above were meant to end exactly");
    let newest =
        raise(&server, "newest", &proposal(account("9100000000001"), "warn")).await.is(201).json()["id"].clone();
    let page = server.get("/v1/flags?limit=2").by("officer").send().await.is(200).json();
    assert_eq!([&page["items"][0]["id"], &page["items"][1]["id"]], [&newest, &json!(ids[0])]);
    server.finish().await;
}

#[tokio::test]
async fn a_list_can_be_of_one_state() {
    let server = Server::start().await;
    let mut raised = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let flag = raise(&server, key, &proposal(account(NUMBER), "warn")).await.is(201).json();
        raised.push(flag["id"].as_str().unwrap().to_owned());
    }
    act(&server, &raised[1], "supervisor", "reject", "\"1\"").await.is(200);
    act(&server, &raised[2], "supervisor", "approve", "\"1\"").await.is(200);
    act(&server, &raised[3], "supervisor", "approve", "\"1\"").await.is(200);
    act(&server, &raised[3], "officer", "lift", "\"2\"").await.is(200);
    // With those of the demo: one of each, and three proposals of a file.
    let states = [("proposed", 0, 5), ("rejected", 1, 2), ("lifted", 3, 2)];
    for (state, place, count) in states {
        let ids = walk(&server, &format!("&state={state}"), 1).await;
        assert_eq!((ids.len(), &ids[0]), (count, &raised[place]), "{state}");
    }
    let active = walk(&server, "&state=active", 200).await;
    let not_active = 6;
    assert_eq!(
        (active.len(), &active[0]),
        (usize::try_from(FLAGS + SANDBOX_FLAGS).unwrap() - not_active + 1, &raised[2])
    );
    assert_eq!(walk(&server, "&state=expired", 200).await, Vec::<String>::new());
    server.finish().await;
}
