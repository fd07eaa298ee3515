//! `POST /v1/checks/{id}/outcome`: what became of a transaction is told once, by the party that asked.

use crate::support::{Answer, Server};
use crate::{about, account};
use serde_json::{Value, json};

const WARNED: &str = "9000000000001";

async fn check(server: &Server) -> String {
    let answer = server.post("/v1/checks").by("bank").json(&about(account(WARNED))).send().await.is(200).json();
    answer["id"].as_str().unwrap().to_owned()
}

pub async fn tell(server: &Server, check: &str, by: &str, body: &Value) -> Answer {
    server.post(&format!("/v1/checks/{check}/outcome")).by(by).json(body).send().await
}

fn cancelled() -> Value {
    let amount = json!({ "value": "5000000", "currency": "VND" });
    json!({ "decision": "cancelled_by_customer", "warning_shown": true, "amount": amount })
}

#[tokio::test]
async fn an_outcome_that_is_none_is_refused_with_its_place() {
    let server = Server::start_with(0).await;
    let id = check(&server).await;
    let amount = |value: &str, currency: &str| json!({ "decision": "held", "warning_shown": true, "amount": { "value": value, "currency": currency } });
    for (body, pointer) in [
        (json!({}), "/decision"),
        (json!({ "decision": "held" }), "/warning_shown"),
        (json!({ "decision": "lost", "warning_shown": true }), "/decision"),
        (json!({ "decision": { "held": null }, "warning_shown": true }), "/decision"),
        (json!({ "decision": "held", "warning_shown": 1 }), "/warning_shown"),
        (json!({ "decision": "held", "warning_shown": true, "amount": null }), "/amount"),
        (json!({ "decision": "held", "warning_shown": true, "amount": 5 }), "/amount"),
        (
            json!({ "decision": "held", "warning_shown": true, "amount": { "value": 5, "currency": "VND" } }),
            "/amount/value",
        ),
        (json!({ "decision": "held", "warning_shown": true, "note": "x" }), "/note"),
        (amount("5000000.00", "VND"), "/amount/value"),
        (amount("0", "VND"), "/amount/value"),
        (amount("-1", "VND"), "/amount/value"),
        (amount("1000000000000000000", "VND"), "/amount/value"),
        (amount("5", "VNĐ"), "/amount/currency"),
        (amount("5", "vnd"), "/amount/currency"),
    ] {
        let refused = tell(&server, &id, "bank", &body).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer], "{body}");
    }
    tell(&server, "check_01h2xcejqtf2nbrexx3vqjhp41", "bank", &cancelled()).await.refused(404, "not_found");
    tell(&server, "flag_01h2xcejqtf2nbrexx3vqjhp41", "bank", &cancelled()).await.refused(404, "not_found");
    tell(&server, &id, "bank_b", &cancelled()).await.refused(404, "not_found");
    tell(&server, &id, "officer", &cancelled()).await.refused(403, "insufficient_scope");
    tell(&server, &id, "bank", &cancelled()).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn an_outcome_is_told_once_and_stands_in_the_log_with_what_was_answered() {
    let mut server = Server::start_with(0).await;
    let id = check(&server).await;
    let first = tell(&server, &id, "bank", &cancelled()).await.is(200);
    let told = first.json();
    assert_eq!((&told["check"], &told["decision"]), (&json!(id), &json!("cancelled_by_customer")));
    assert_eq!(told["amount"], cancelled()["amount"]);
    let again = tell(&server, &id, "bank", &cancelled()).await.is(200);
    assert_eq!(
        (again.body, again.headers["log-entry"].clone()),
        (first.body.clone(), first.headers["log-entry"].clone())
    );
    for other in [
        json!({ "decision": "completed", "warning_shown": true, "amount": cancelled()["amount"] }),
        json!({ "decision": "cancelled_by_customer", "warning_shown": false, "amount": cancelled()["amount"] }),
        json!({ "decision": "cancelled_by_customer", "warning_shown": true }),
    ] {
        tell(&server, &id, "bank", &other).await.refused(409, "conflict");
    }
    server.stop().await;
    server.start_again().await;
    let after = tell(&server, &id, "bank", &cancelled()).await.is(200);
    assert_eq!((&after.body, after.must("log-entry")), (&first.body, first.must("log-entry")));
    let entry = server.get(&format!("/v1/log/entries/{}", first.must("log-entry"))).by("auditor").send().await.is(200);
    let entry = entry.json();
    assert_eq!((&entry["act"], &entry["resource"]), (&json!("check.outcome"), &json!(id)));
    assert_eq!(entry["reference"], "cancelled_by_customer warned 5000000 VND");
    assert_eq!((&entry["verdict"], entry["flags"].as_array().unwrap().len()), (&json!("warn"), 1));
    server.finish().await;
}

#[tokio::test]
async fn of_outcomes_that_are_told_at_once_one_stands_and_the_others_learn_it() {
    let server = Server::start_with(0).await;
    let id = check(&server).await;
    let held = json!({ "decision": "held", "warning_shown": true });
    let same = (0..8).map(|_| tell(&server, &id, "bank", &held));
    let answers = futures_util::future::join_all(same).await;
    let first = &answers[0];
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body, answer.must("log-entry")),
            (200, &first.body, first.must("log-entry"))
        );
    }
    let other = check(&server).await;
    let decisions = ["held", "refused", "completed", "cancelled_by_customer"];
    let bodies = decisions.map(|decision| json!({ "decision": decision, "warning_shown": false }));
    let answers = futures_util::future::join_all(bodies.iter().map(|body| tell(&server, &other, "bank", body))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
    server.finish().await;
}
