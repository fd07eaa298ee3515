//! `POST /v1/checks/batch`.

use crate::support::{Answer, Server};
use crate::{about, account, with};
use serde_json::{Value, json};
use std::collections::HashSet;

async fn check_batch(server: &Server, checks: &[Value]) -> Answer {
    server.post("/v1/checks/batch").by("bank").json(&json!({ "checks": checks })).send().await
}

#[tokio::test]
async fn a_fault_of_shape_anywhere_refuses_the_whole_batch() {
    let server = Server::start().await;
    let good = about(account("9000000000001"));
    let cases = [
        (json!({ "checks": [good, with(good.clone(), "note", "x")] }), "/checks/1/note"),
        (json!({ "checks": [good, [account("9000000000001")]] }), "/checks/1"),
        (
            json!({ "checks": [about(json!({ "kind": "account", "bank": "970436", "number": 90000001 }))] }),
            "/checks/0/subjects/0/number",
        ),
        (json!({ "checks": [good], "mode": "fast" }), "/mode"),
        (json!({ "checks": good }), "/checks"),
        (json!({ "checks": [] }), "/checks"),
        (json!({ "checks": vec![good.clone(); 1001] }), "/checks"),
        (json!({}), "/checks"),
        (json!([good]), ""),
    ];
    for (body, pointer) in cases {
        let answer = server.post("/v1/checks/batch").by("bank").json(&body).send().await;
        let answer = answer.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer]);
        assert!(!answer.text().contains("90000001"), "an answer echoes a value");
    }
    server.finish().await;
}

#[tokio::test]
async fn each_check_has_its_own_answer_or_problem_in_order() {
    let server = Server::start().await;
    let unknown = json!({ "kind": "account", "bank": "999999", "number": "90000001" });
    let checks = [
        about(account("9000000000003")),
        about(unknown.clone()),
        json!({ "subjects": [] }),
        with(about(account("9000000000000")), "reference", "x".repeat(65)),
        json!({ "subjects": [account("9000000000000"), { "kind": "phone" }] }),
        with(with(about(account("9000000000001")), "context", "account_opening"), "reference", "FT1"),
        json!({ "subjects": vec![account("9000000000000"); 17] }),
    ];
    let answer = check_batch(&server, &checks).await.is(200);
    assert_eq!(answer.must("cache-control"), "no-store");
    assert_eq!(answer.header("log-entry"), None, "a batch has no entry of its own");
    assert!(!answer.text().contains("90000001"), "a problem echoes a value");
    let results = answer.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), checks.len());
    let verdict = |place: usize| results[place]["answer"]["verdict"].clone();
    assert_eq!((verdict(0), verdict(5)), (json!("block"), json!("warn")));
    assert_eq!(results[5]["answer"]["advice"]["actions"], json!(["show_warning", "step_up_authentication"]));
    let problems = [
        (1, "invalid_subject", 422, "/subjects/0/bank"),
        (2, "invalid_request", 400, "/subjects"),
        (3, "invalid_request", 400, "/reference"),
        (4, "invalid_request", 400, "/subjects/1/number"),
        (6, "invalid_request", 400, "/subjects"),
    ];
    for (place, slug, status, pointer) in problems {
        let problem = &results[place]["problem"];
        assert_eq!(problem["type"], format!("urn:canhbao:problem:{slug}"));
        assert_eq!((&problem["status"], &problem["violations"][0]["pointer"]), (&json!(status), &json!(pointer)));
        assert_eq!(problem["request_id"], answer.must("x-request-id"));
    }
    let id = results[5]["answer"]["id"].as_str().unwrap();
    let read = server.get(&format!("/v1/checks/{id}")).by("bank").send().await.is(200).json();
    assert_eq!((&read["log_entry"], &read["reference"]), (&results[5]["log_entry"], &json!("FT1")));
    server.finish().await;
}

#[tokio::test]
async fn a_thousand_checks_are_answered_each_with_an_entry_of_its_own() {
    let server = Server::start().await;
    let check = |i: usize| about(account(&format!("900000000000{}", i % 4)));
    let checks: Vec<Value> = (0..1000).map(check).collect();
    let answer = check_batch(&server, &checks).await.is(200).json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1000);
    let expected = ["clear", "warn", "hold", "block"];
    assert!(results.iter().zip(0..).all(|(result, i): (_, usize)| result["answer"]["verdict"] == expected[i % 4]));
    let ids: HashSet<&str> = results.iter().map(|result| result["answer"]["id"].as_str().unwrap()).collect();
    let salts: HashSet<&str> = results.iter().map(|result| result["answer"]["salt"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), salts.len()), (1000, 1000));
    server.finish().await;
}

#[tokio::test]
async fn a_batch_is_charged_to_its_own_policy_check_by_check() {
    let server = Server::start().await;
    let client = json!({ "client_id": "small-batches", "party": "970436", "name": "Small", "scopes": ["check"],
        "quotas": { "batch": { "quota": 5, "window_s": 3600 }, "checks": { "quota": 7, "window_s": 60 } } });
    let made = server.post("/v1/clients").by("operator").json(&client).send().await.is(201).json();
    server.know("small", "small-batches", made["client_secret"].as_str().unwrap());
    let ask = async |count: usize| {
        let checks = vec![about(account("9000000000000")); count];
        server.post("/v1/checks/batch").by("small").json(&json!({ "checks": checks })).send().await
    };
    let first = ask(2).await.is(200);
    assert_eq!(first.must("ratelimit-policy"), r#""batch";q=5;w=3600"#);
    assert!(first.must("ratelimit").starts_with(r#""batch";r=3;t="#), "{}", first.must("ratelimit"));
    // A batch that does not fit is refused whole; what its arrival took is gone.
    let refused = ask(4).await.refused(429, "rate_limited");
    assert!(refused.must("ratelimit").starts_with(r#""batch";r=0;t="#));
    ask(2).await.is(200);
    ask(1).await.refused(429, "rate_limited");
    let check = server.post("/v1/checks").by("small").json(&about(account("9000000000000"))).send().await.is(200);
    assert_eq!(check.must("ratelimit-policy"), r#""checks";q=7;w=60"#, "a batch leaves the quota of checks alone");
    assert!(check.must("ratelimit").starts_with(r#""checks";r=6;"#));
    server.finish().await;
}
