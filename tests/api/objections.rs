//! `/v1/objections`: a bank files, the owning unit answers, and the flag follows.

use crate::account;
use crate::flags::{act, active, proposal, raise, verdict};
use crate::support::{Answer, Server, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const NUMBER: &str = "9100000000001";
const OTHER: &str = "9100000000002";

async fn file(server: &Server, flag: &str, by: &str, key: &str, body: &Value) -> Answer {
    server.post(&format!("/v1/flags/{flag}/objections")).by(by).key(key).json(body).send().await
}

async fn decide(server: &Server, id: &str, by: &str, what: &str, etag: u32, body: &Value) -> Answer {
    let ask = server.post(&format!("/v1/objections/{id}/{what}")).by(by).if_match(&format!("\"{etag}\""));
    ask.json(body).send().await
}

async fn history(server: &Server, flag: &str) -> Value {
    server.get(&format!("/v1/flags/{flag}/history")).by("officer").send().await.is(200).json()
}

fn objection() -> Value {
    json!({ "text": "The account was taken over.", "reference": "KN-1",
        "attachments": [{ "name": "statement.pdf", "sha256": "ab".repeat(32) }] })
}

fn id_of(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_upheld_objection_lifts_the_flag_as_wrong_and_stands_in_its_history() {
    let server = Server::start().await;
    let flag = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "hold");
    let filed = file(&server, &flag, "bank", "o", &objection()).await.is(201);
    let told = filed.json();
    let id = id_of(&told);
    assert_eq!(filed.must("location"), format!("/v1/objections/{id}"));
    assert_eq!((&told["state"], &told["overdue"], &told["flag"]), (&json!("open"), &json!(false), &json!(flag)));
    assert_eq!(file(&server, &flag, "bank", "o", &objection()).await.is(201).body, filed.body, "a repetition");
    file(&server, &flag, "bank", "again", &objection()).await.refused(409, "conflict");
    let upheld = decide(&server, &id, "officer_b", "uphold", 1, &json!({ "answer": "He is a victim." })).await.is(200);
    let told = upheld.json();
    assert_eq!(
        (&told["state"], &told["remedy"], &told["flag_version"]),
        (&json!("upheld"), &json!("lifted"), &json!(3))
    );
    assert_eq!(told["decided_by"]["client"], "demo-officer_b");
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "clear");
    // The bank learns the answer and not who gave it.
    let seen = server.get(&format!("/v1/objections/{id}")).by("bank").send().await.is(200);
    assert_eq!((seen.must("etag"), &seen.json()["answer"]), ("\"2\"", &json!("He is a victim.")));
    assert_eq!(seen.json()["decided_by"], Value::Null);
    server.get(&format!("/v1/objections/{id}")).by("bank_b").send().await.refused(404, "not_found");
    let life = history(&server, &flag).await;
    let objected = &life["objections"][0];
    assert_eq!(
        (&objected["filed_entry"], &objected["decided_entry"]),
        (&json!(filed.must("log-entry")), &json!(upheld.must("log-entry")))
    );
    let last = &life["items"][2];
    assert_eq!((&last["act"], &last["log_entry"]), (&json!("flag.lift"), &json!(upheld.must("log-entry"))));
    assert_eq!((&last["reason"], &last["flag"]["closing_cause"]), (&json!("He is a victim."), &json!("wrong")));
    assert_eq!(life["correction"]["parties"][0]["party"], "970436");
    for what in ["uphold", "dismiss"] {
        let refused = decide(&server, &id, "officer", what, 2, &json!({ "answer": "x" })).await;
        refused.refused(422, "invalid_transition");
    }
    // That it was wrong has been found, and nobody needs to say it any more.
    file(&server, &flag, "bank_b", "late", &objection()).await.refused(422, "invalid_transition");
    server.finish().await;
}

#[tokio::test]
async fn an_upheld_objection_may_amend_the_flag_in_the_holders_favour_alone() {
    let server = Server::start().await;
    let body = crate::with(proposal(account(NUMBER), "hold"), "linked", json!([account(OTHER)]));
    let flag = active(&server, "k", &body).await;
    let id = id_of(&file(&server, &flag, "bank", "o", &objection()).await.is(201).json());
    let basis = json!({ "document": "1", "issued_on": "2026-11-20", "authority": "x" });
    let heavier = json!({ "answer": "x", "changes": { "verdict": "block", "legal_basis": basis } });
    decide(&server, &id, "officer", "uphold", 1, &heavier).await.refused(422, "invalid_transition");
    let unchanged = json!({ "answer": "x", "changes": { "verdict": "hold" } });
    let refused = decide(&server, &id, "officer", "uphold", 1, &unchanged).await.refused(400, "invalid_request");
    assert_eq!(refused.pointers(), ["/changes"]);
    let unlinked = json!({ "answer": "It is another person's.", "changes": { "linked": [] } });
    let upheld = decide(&server, &id, "officer", "uphold", 1, &unlinked).await.is(200).json();
    assert_eq!((&upheld["remedy"], &upheld["flag_version"]), (&json!("amended"), &json!(3)));
    assert_eq!(verdict(&server, account(OTHER)).await["verdict"], "clear");
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "hold");
    server.finish().await;
}

#[tokio::test]
async fn a_dismissed_objection_has_its_reasons_and_leaves_the_flag() {
    let server = Server::start().await;
    let flag = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    let id = id_of(&file(&server, &flag, "wallet", "o", &objection()).await.is(201).json());
    decide(&server, &id, "officer", "dismiss", 2, &json!({ "answer": "x" })).await.refused(412, "stale_version");
    let dismissed = decide(&server, &id, "officer", "dismiss", 1, &json!({ "answer": "It covers other days." })).await;
    let told = dismissed.is(200).json();
    assert_eq!((&told["state"], &told["answer"]), (&json!("dismissed"), &json!("It covers other days.")));
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "hold");
    assert_eq!(history(&server, &flag).await["objections"][0]["answer"], "It covers other days.");
    // Another one may follow.
    file(&server, &flag, "wallet", "o2", &objection()).await.is(201);
    server.finish().await;
}

#[tokio::test]
async fn an_objection_upheld_after_the_end_of_the_flag_still_tells_that_it_was_wrong() {
    let server = Server::start().await;
    let flag = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "hold");
    let mut ids = Vec::new();
    for by in ["bank", "wallet"] {
        ids.push(id_of(&file(&server, &flag, by, "o", &objection()).await.is(201).json()));
    }
    act(&server, &flag, "officer", "lift", "\"2\"").await.is(200);
    assert_eq!(history(&server, &flag).await["correction"], Value::Null, "it simply ended");
    let upheld = decide(&server, &ids[0], "officer", "uphold", 1, &json!({ "answer": "He is a victim." })).await;
    let told = upheld.is(200).json();
    assert_eq!((&told["remedy"], &told["flag_version"]), (&json!("ended_before"), &json!(4)));
    let life = history(&server, &flag).await;
    assert_eq!(life["correction"]["parties"][0]["party"], "970436");
    let last = &life["items"][3];
    assert_eq!((&last["act"], &last["flag"]["closing_cause"]), (&json!("flag.lift"), &json!("wrong")));
    // Of the second one nothing more follows.
    let upheld =
        decide(&server, &ids[1], "officer", "uphold", 1, &json!({ "answer": "As well." })).await.is(200).json();
    assert_eq!((&upheld["remedy"], &upheld["flag_version"]), (&json!("ended_before"), &Value::Null));
    server.finish().await;
}

#[tokio::test]
async fn a_flag_that_has_answered_can_be_objected_to_after_its_end() {
    let server = Server::start().await;
    let lifted = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    for name in ["supervisor", "bank", "wallet"] {
        server.token(name).await;
    }
    let urgent = |number: &str| crate::with(proposal(account(number), "warn"), "urgent", true);
    let rejected = id_of(&raise(&server, "r", &urgent("9100000000003")).await.is(201).json());
    act(&server, &rejected, "supervisor", "reject", "\"1\"").await.is(200);
    let ends = crate::support::now().plus_ms(1_500).to_string();
    let body = crate::with(urgent(OTHER), "expires_at", ends);
    let expired = id_of(&raise(&server, "e", &body).await.is(201).json());
    for number in [NUMBER, OTHER] {
        verdict(&server, account(number)).await;
    }
    act(&server, &lifted, "officer", "lift", "\"2\"").await.is(200);
    let read = async |id: &str| server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json();
    eventually(Duration::from_secs(10), "the end", async || read(&expired).await["state"] == "expired").await;
    for (flag, version) in [(&lifted, 4), (&expired, 2)] {
        let id = id_of(&file(&server, flag, "bank", flag, &objection()).await.is(201).json());
        let upheld = decide(&server, &id, "officer", "uphold", 1, &json!({ "answer": "He is a victim." })).await;
        let told = upheld.is(200).json();
        assert_eq!((&told["remedy"], &told["flag_version"]), (&json!("ended_before"), &json!(version)));
        assert_eq!(read(flag).await["closing_cause"], "wrong");
        assert_eq!(history(&server, flag).await["correction"]["parties"][0]["party"], "970436");
    }
    // Of what was found wrong nothing is left to be said.
    for flag in [&lifted, &expired, &rejected] {
        let late = file(&server, flag, "wallet", flag, &objection()).await.refused(422, "invalid_transition");
        assert_eq!(late.json()["detail"], "that the flag was wrong has been found already");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_malformed_objection_is_refused_with_its_place() {
    let server = Server::start().await;
    let flag = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    let attached = |attachment: Value| json!({ "text": "x", "attachments": [attachment] });
    let digest = "ab".repeat(32);
    let cases = [
        (json!({}), "/text"),
        (json!({ "text": "" }), "/text"),
        (json!({ "text": "x".repeat(4001) }), "/text"),
        (json!({ "text": "a\nb" }), "/text"),
        (json!({ "text": "x", "reference": null }), "/reference"),
        (json!({ "text": "x", "reference": "x".repeat(129) }), "/reference"),
        (json!({ "text": "x", "holder": "x" }), "/holder"),
        (json!({ "text": "x", "attachments": null }), "/attachments"),
        (json!({ "text": "x", "attachments": vec![json!({ "name": "a", "sha256": digest }); 17] }), "/attachments"),
        (attached(json!({ "sha256": digest })), "/attachments/0/name"),
        (attached(json!({ "name": "", "sha256": digest })), "/attachments/0/name"),
        (attached(json!({ "name": "a" })), "/attachments/0/sha256"),
        (attached(json!({ "name": "a", "sha256": "ab" })), "/attachments/0/sha256"),
        (attached(json!({ "name": "a", "sha256": "AB".repeat(32) })), "/attachments/0/sha256"),
        (attached(json!(["a", digest])), "/attachments/0"),
    ];
    for (body, pointer) in cases {
        let refused = file(&server, &flag, "bank", "o", &body).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer], "{body}");
    }
    let ask = server.post(&format!("/v1/flags/{flag}/objections")).by("bank").json(&objection());
    ask.send().await.refused(400, "idempotency_key_missing");
    for by in ["officer", "auditor", "operator"] {
        file(&server, &flag, by, "o", &objection()).await.refused(403, "insufficient_scope");
    }
    // A flag that never answered does not exist for a bank.
    let proposed = id_of(&raise(&server, "p", &proposal(account(OTHER), "warn")).await.is(201).json());
    for unknown in [proposed.as_str(), "x", &flag.replacen("flag_0", "flag_1", 1)] {
        file(&server, unknown, "bank", "o", &objection()).await.refused(404, "not_found");
    }
    let id = id_of(&file(&server, &flag, "bank", "o", &objection()).await.is(201).json());
    for (what, body, pointer) in [
        ("dismiss", json!({}), "/answer"),
        ("dismiss", json!({ "answer": "" }), "/answer"),
        ("dismiss", json!({ "answer": "x", "changes": {} }), "/changes"),
        ("uphold", json!({ "answer": "x".repeat(2001) }), "/answer"),
        ("uphold", json!({ "answer": "x", "changes": null }), "/changes"),
        ("uphold", json!({ "answer": "x", "changes": { "verdict": "deny" } }), "/changes/verdict"),
    ] {
        let refused = decide(&server, &id, "officer", what, 1, &body).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer], "{what} {body}");
    }
    let ask = server.post(&format!("/v1/objections/{id}/dismiss")).by("officer").json(&json!({ "answer": "x" }));
    ask.send().await.refused(428, "precondition_required");
    decide(&server, &id, "bank", "dismiss", 1, &json!({ "answer": "x" })).await.refused(403, "insufficient_scope");
    decide(&server, &id, "ward_a", "dismiss", 1, &json!({ "answer": "x" })).await.refused(404, "not_found");
    decide(&server, "x", "officer", "dismiss", 1, &json!({ "answer": "x" })).await.refused(404, "not_found");
    server.finish().await;
}

#[tokio::test]
async fn each_sees_the_objections_that_concern_it() {
    let server = Server::start().await;
    let (mut ids, mut flags) = (Vec::new(), Vec::new());
    for (by, key) in [("ward_a", "a"), ("ward_b", "b")] {
        let body = proposal(account(NUMBER), "warn");
        let raised = server.post("/v1/flags").by(by).key(key).json(&body).send().await.is(201).json();
        let flag = id_of(&raised);
        act(&server, &flag, "supervisor", "approve", "\"1\"").await.is(200);
        ids.push(id_of(&file(&server, &flag, "bank_b", key, &objection()).await.is(201).json()));
        flags.push(flag);
    }
    let list = async |by: &str, query: &str| {
        let page = server.get(&format!("/v1/objections?{query}")).by(by).send().await.is(200).json();
        page["items"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(list("bank_b", "").await, [ids[1].clone(), ids[0].clone()]);
    assert_eq!(list("wallet", "").await, Vec::<String>::new());
    assert_eq!(list("ward_b", "").await, [ids[1].clone()]);
    assert_eq!(list("ward_a", "limit=1").await, [ids[0].clone()]);
    assert_eq!(list("officer", "limit=2").await, [ids[1].clone(), ids[0].clone()]);
    // The third is the demo's.
    assert_eq!(list("officer", &format!("cursor={}", ids[0])).await.len(), 1);
    decide(&server, &ids[0], "ward_a", "dismiss", 1, &json!({ "answer": "x" })).await.is(200);
    assert_eq!(list("officer", "state=dismissed").await, [ids[0].clone()]);
    assert_eq!(list("bank_b", "state=open").await, [ids[1].clone()]);
    assert_eq!(list("officer", "state=overdue").await, Vec::<String>::new());
    // The entry tells of which flags somebody learned.
    for (by, expected) in [("bank_b", &flags[..]), ("ward_b", &flags[1..]), ("wallet", &[])] {
        let page = server.get("/v1/objections").by(by).send().await.is(200);
        let path = format!("/v1/log/entries/{}", page.must("log-entry"));
        let entry = server.get(&path).by("auditor").send().await.is(200).json();
        let named = entry["flags"].as_array().unwrap().iter();
        let mut named: Vec<String> = named.map(id_of).collect();
        named.reverse();
        assert_eq!(named, expected, "{by}");
        assert_eq!(entry["subjects"].as_array().unwrap().len(), expected.len());
    }
    for query in ["state=closed", "limit=0", "limit=201", "cursor=x", "party=970436"] {
        server.get(&format!("/v1/objections?{query}")).by("officer").send().await.refused(400, "invalid_request");
    }
    server.get("/v1/objections").by("auditor").send().await.refused(403, "insufficient_scope");
    server.finish().await;
}

#[tokio::test]
async fn an_objection_that_nobody_answers_is_overdue_after_its_deadline() {
    let mut server = Server::start().await;
    let flag = active(&server, "k", &proposal(account(NUMBER), "hold")).await;
    server.stop().await;
    let file_name = server.data().join("canhbao.toml");
    let config = std::fs::read_to_string(&file_name).unwrap();
    std::fs::write(&file_name, config.replace("answered_within_s = 1296000", "answered_within_s = 1")).unwrap();
    server.start_by(server.serve()).await.unwrap_or_else(|_| panic!("it does not start"));
    let id = id_of(&file(&server, &flag, "bank", "o", &objection()).await.is(201).json());
    let overdue = async |by: &str| {
        let page = server.get("/v1/objections?state=overdue").by(by).send().await.is(200).json();
        page["items"].as_array().unwrap().iter().map(|item| (id_of(item), item["overdue"].clone())).collect::<Vec<_>>()
    };
    eventually(Duration::from_secs(10), "an overdue objection", async || !overdue("officer").await.is_empty()).await;
    for by in ["officer", "bank"] {
        assert_eq!(overdue(by).await, [(id.clone(), json!(true))]);
    }
    assert_eq!(overdue("ward_a").await, []);
    // Answered late it is no longer overdue.
    decide(&server, &id, "officer", "dismiss", 1, &json!({ "answer": "x" })).await.is(200);
    assert_eq!(overdue("officer").await, []);
    server.finish().await;
}
