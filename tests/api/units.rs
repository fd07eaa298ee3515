//! Units: what a ward sees and does, what its city does, and flags that go from one to the other.

use crate::flags::{act, proposal, verdict};
use crate::support::{Answer, Server};
use crate::{account, with};
use serde_json::{Value, json};

const NUMBER: &str = "9100000000001";

async fn raise_by(server: &Server, by: &str, key: &str, body: &Value) -> Answer {
    server.post("/v1/flags").by(by).key(key).json(body).send().await
}

async fn raised_by(server: &Server, by: &str, key: &str, body: &Value) -> String {
    raise_by(server, by, key, body).await.is(201).json()["id"].as_str().unwrap().to_owned()
}

async fn status(server: &Server, by: &str, path: &str) -> u16 {
    server.get(path).by(by).send().await.status
}

async fn transfer(server: &Server, id: &str, by: &str, etag: u32, unit: &str, officer: &str) -> Answer {
    let body = json!({ "reason": "Lives there", "unit": unit, "officer": officer });
    let ask = server.post(&format!("/v1/flags/{id}/transfer")).by(by).if_match(&format!("\"{etag}\""));
    ask.json(&body).send().await
}

async fn listed(server: &Server, by: &str) -> Vec<String> {
    let page = server.get("/v1/flags?limit=200").by(by).send().await.is(200).json();
    page["items"].as_array().unwrap().iter().map(|flag| flag["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_ward_sees_its_own_flags_and_the_city_sees_and_approves_all() {
    let server = Server::start().await;
    let id = raised_by(&server, "ward_a", "k", &proposal(account(NUMBER), "warn")).await;
    let flag = format!("/v1/flags/{id}");
    let seen = server.get(&flag).by("ward_a").send().await.is(200).json();
    assert_eq!((&seen["unit"], &seen["officer"]), (&json!("hanoi-hoan-kiem"), &json!("demo-ward_a")));
    for path in [flag.clone(), format!("{flag}/history")] {
        assert_eq!(status(&server, "officer", &path).await, 200);
        server.get(&path).by("ward_b").send().await.refused(404, "not_found");
    }
    for what in ["lift", "renew"] {
        act(&server, &id, "ward_b", what, "\"1\"").await.refused(404, "not_found");
    }
    assert!(listed(&server, "ward_a").await.contains(&id));
    assert!(listed(&server, "officer").await.contains(&id));
    assert!(!listed(&server, "ward_b").await.contains(&id));
    let search = json!({ "subject": account(NUMBER) });
    for (by, found) in [("ward_a", 1), ("officer", 1), ("ward_b", 0)] {
        let page = server.post("/v1/flags/search").by(by).json(&search).send().await.is(200).json();
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{by}");
    }
    // The ward's own supervisor does not decide.
    for what in ["approve", "reject"] {
        act(&server, &id, "ward_a_supervisor", what, "\"1\"").await.refused(403, "insufficient_scope");
    }
    act(&server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "warn");
    // The unit above may lift what the ward owns.
    act(&server, &id, "officer", "lift", "\"2\"").await.is(200);
    // What the city owns the wards do not see.
    let city = raised_by(&server, "officer", "city", &proposal(account(NUMBER), "warn")).await;
    assert_eq!(status(&server, "ward_a", &format!("/v1/flags/{city}")).await, 404);
    server.finish().await;
}

#[tokio::test]
async fn the_pages_of_a_ward_hold_each_of_its_flags_once() {
    let server = Server::start().await;
    let mut raised = Vec::new();
    for key in 0..5 {
        raised.push(raised_by(&server, "ward_b", &key.to_string(), &proposal(account(NUMBER), "warn")).await);
    }
    raised.reverse();
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/flags?limit=2&state=proposed{cursor}");
        let page = server.get(&path).by("ward_b").send().await.is(200).json();
        ids.extend(page["items"].as_array().unwrap().iter().map(|flag| flag["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids, raised);
    server.finish().await;
}

#[tokio::test]
async fn a_coordinating_unit_sees_a_flag_and_changes_nothing() {
    let server = Server::start().await;
    let body = with(proposal(account(NUMBER), "warn"), "coordinating", json!(["hanoi-dong-da"]));
    let id = raised_by(&server, "ward_a", "k", &body).await;
    assert_eq!(status(&server, "ward_b", &format!("/v1/flags/{id}")).await, 200);
    assert!(listed(&server, "ward_b").await.contains(&id));
    act(&server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    act(&server, &id, "ward_b", "lift", "\"2\"").await.refused(403, "insufficient_scope");
    let none = json!({ "reason": "No longer", "changes": { "coordinating": [] } });
    let ask = server.post(&format!("/v1/flags/{id}/amend")).by("ward_a").if_match("\"2\"").json(&none);
    ask.send().await.is(200);
    assert_eq!(status(&server, "ward_b", &format!("/v1/flags/{id}")).await, 404);
    assert!(!listed(&server, "ward_b").await.contains(&id));
    server.finish().await;
}

#[tokio::test]
async fn a_transferred_flag_is_the_other_wards() {
    let server = Server::start().await;
    let body = with(proposal(account(NUMBER), "warn"), "coordinating", json!(["hanoi-dong-da"]));
    let id = raised_by(&server, "ward_a", "k", &body).await;
    for (unit, officer, pointer) in [
        ("970436", "demo-bank", "/unit"),
        ("nowhere", "demo-ward_b", "/unit"),
        ("hanoi-dong-da", "demo-ward_a", "/officer"),
        ("hanoi-dong-da", "nobody", "/officer"),
        ("hanoi-dong-da", "!", "/officer"),
        ("Hanoi", "demo-ward_b", "/unit"),
    ] {
        let refused = transfer(&server, &id, "ward_a", 1, unit, officer).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer]);
    }
    transfer(&server, &id, "ward_a", 1, "hanoi-hoan-kiem", "demo-ward_a").await.refused(422, "invalid_transition");
    transfer(&server, &id, "ward_b", 1, "hanoi-dong-da", "demo-ward_b").await.refused(403, "insufficient_scope");
    let given = transfer(&server, &id, "ward_a", 1, "hanoi-dong-da", "demo-ward_b").await.is(200).json();
    assert_eq!((&given["unit"], &given["officer"]), (&json!("hanoi-dong-da"), &json!("demo-ward_b")));
    assert_eq!(given["coordinating"], json!([]), "the owner coordinates nothing");
    assert_eq!(given["raised_by"]["client"], "demo-ward_a");
    assert_eq!(status(&server, "ward_a", &format!("/v1/flags/{id}")).await, 404);
    act(&server, &id, "supervisor", "approve", "\"2\"").await.is(200);
    act(&server, &id, "ward_b", "lift", "\"3\"").await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_flag_is_proposed_for_the_own_unit_or_one_below() {
    let server = Server::start().await;
    let body = |unit: &str| with(proposal(account(NUMBER), "warn"), "unit", unit);
    let below = raise_by(&server, "officer", "k", &body("hanoi-dong-da")).await.is(201).json();
    assert_eq!(below["unit"], "hanoi-dong-da");
    for (by, unit) in
        [("ward_a", "hanoi-police"), ("ward_a", "hanoi-dong-da"), ("officer", "970436"), ("officer", "no")]
    {
        let refused = raise_by(&server, by, "k2", &body(unit)).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), ["/unit"], "{by} for {unit}");
    }
    let coordinating = |units: Value| with(proposal(account(NUMBER), "warn"), "coordinating", units);
    for (units, pointer) in [
        (json!(["hanoi-dong-da", "momo"]), "/coordinating/1"),
        (json!(["hanoi-dong-da", "hanoi-dong-da"]), "/coordinating"),
        (json!(["hanoi-police"]), "/coordinating"),
        (json!(vec!["hanoi-dong-da"; 9]), "/coordinating"),
        (json!(null), "/coordinating"),
    ] {
        let refused = raise_by(&server, "officer", "k3", &coordinating(units)).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer]);
    }
    server.finish().await;
}

#[tokio::test]
async fn units_form_a_tree_of_at_most_four_levels() {
    let server = Server::start().await;
    let create = async |id: &str, role: &str, parent: &str| {
        let body = json!({ "id": id, "name": "A test", "role": role, "parent": parent });
        server.post("/v1/parties").by("operator").json(&body).send().await
    };
    let third = create("level-3", "police", "hanoi-dong-da").await.is(201).json();
    assert_eq!(third["parent"], "hanoi-dong-da");
    create("level-4", "police", "level-3").await.is(201);
    for (id, role, parent) in [
        ("level-5", "police", "level-4"),
        ("bank-x", "bank", "hanoi-police"),
        ("unit-x", "police", "970436"),
        ("unit-y", "police", "nowhere"),
        ("unit-z", "police", "unit-z"),
        ("unit-z", "police", "No"),
    ] {
        let refused = create(id, role, parent).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), ["/parent"], "{id}");
    }
    // It stays after a change of the party.
    let disabled = server.post("/v1/parties/level-4/disable").by("operator").if_match("\"1\"").send().await.is(200);
    assert_eq!(disabled.json()["parent"], "level-3");
    server.finish().await;
}
