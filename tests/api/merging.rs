//! `/v1/flags/merge`: near-duplicates become one flag, and no bank is answered otherwise because of it.

use crate::flags::{act, active, proposal, verdict};
use crate::support::{Answer, Server, eventually};
use crate::{account, with};
use serde_json::{Value, json};
use std::time::Duration;

const NUMBER: &str = "9100000000001";
const OTHER: &str = "9100000000002";

pub async fn raised_by(server: &Server, by: &str, key: &str, body: &Value) -> String {
    let raised = server.post("/v1/flags").by(by).key(key).json(body).send().await.is(201).json();
    raised["id"].as_str().unwrap().to_owned()
}

/// Raised by somebody and approved by the city.
pub async fn active_of(server: &Server, by: &str, key: &str, body: &Value) -> String {
    let id = raised_by(server, by, key, body).await;
    act(server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    id
}

pub fn of(id: &str, version: u32) -> Value {
    json!({ "id": id, "version": version })
}

pub async fn merge(server: &Server, by: &str, keep: Value, merge: &[Value]) -> Answer {
    let body = json!({ "keep": keep, "merge": merge, "reason": "Two wards raised it" });
    server.post("/v1/flags/merge").by(by).json(&body).send().await
}

/// Refused with this fault, and nothing has changed.
async fn is_refused(server: &Server, keep: Value, merged: &[Value], detail: &str) {
    let refused = merge(server, "officer", keep, merged).await.refused(422, "invalid_transition");
    assert_eq!(refused.json()["detail"], detail);
}

async fn read(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json()
}

async fn history(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/flags/{id}/history")).by("officer").send().await.is(200).json()
}

#[tokio::test]
async fn merged_flags_answer_as_before_and_their_histories_tell_of_it() {
    let mut server = Server::start().await;
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let linking = with(proposal(account(NUMBER), "hold"), "linked", json!([phone]));
    let other = active_of(&server, "ward_b", "b", &linking).await;
    let proposed = raised_by(&server, "ward_b", "p", &proposal(account(NUMBER), "block")).await;
    let kept = active_of(&server, "ward_a", "a", &proposal(account(NUMBER), "hold")).await;
    let asked = json!({ "subjects": [account(NUMBER), phone] });
    let answers = async || {
        let told = server.post("/v1/checks").by("bank").json(&asked).send().await.is(200).json();
        let results = told["results"].as_array().unwrap().iter();
        results.map(|result| (result["verdict"].clone(), result["flags"].as_array().unwrap().len())).collect::<Vec<_>>()
    };
    assert_eq!(answers().await, [(json!("hold"), 2), (json!("warn"), 1)]);
    let answered = merge(&server, "officer", of(&kept, 2), &[of(&other, 2), of(&proposed, 1)]).await.is(200);
    assert_eq!(answers().await, [(json!("hold"), 1), (json!("warn"), 1)]);
    let told = answered.json();
    assert_eq!((answered.must("etag"), &told), ("\"3\"", &read(&server, &kept).await));
    assert_eq!((&told["merged"], &told["coordinating"]), (&json!([other, proposed]), &json!(["hanoi-dong-da"])));
    assert_eq!((&told["linked"].as_array().unwrap().len(), &told["state"]), (&1, &json!("active")));
    for (id, version) in [(&other, 3), (&proposed, 2)] {
        let ended = read(&server, id).await;
        assert_eq!((&ended["state"], &ended["closing_cause"]), (&json!("lifted"), &json!("merged")));
        assert_eq!((&ended["merged_into"], &ended["version"]), (&json!(kept), &json!(version)));
    }
    for id in [&kept, &other, &proposed] {
        let told = history(&server, id).await;
        let last = told["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["act"], &last["by"]["client"]), (&json!("flag.merge"), &json!("demo-officer")));
        assert_eq!((&last["reason"], &told["correction"]), (&json!("Two wards raised it"), &Value::Null));
        assert_eq!(last["log_entry"], answered.must("log-entry"));
        // One entry, and whoever asks the log for any of the flags finds it.
        let asked = json!({ "act": "flag.merge", "flag": id });
        let found = server.post("/v1/log/search").by("auditor").json(&asked).send().await.is(200).json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{id}");
    }
    // The ward whose flags ended sees the one that is kept.
    server.get(&format!("/v1/flags/{kept}")).by("ward_b").send().await.is(200);
    act(&server, &other, "officer", "lift", "\"3\"").await.refused(422, "invalid_transition");
    server.kill().await;
    server.start_again().await;
    assert_eq!(verdict(&server, phone.clone()).await["verdict"], "warn");
    assert_eq!(verdict(&server, account(NUMBER)).await["results"][0]["flags"].as_array().unwrap().len(), 1);
    server.finish().await;
}

#[tokio::test]
async fn a_stale_version_or_a_flag_of_others_merges_nothing() {
    let server = Server::start().await;
    let body = proposal(account(NUMBER), "warn");
    let other =
        active_of(&server, "ward_b", "b", &with(body.clone(), "coordinating", json!(["hanoi-hoan-kiem"]))).await;
    let hidden = active_of(&server, "ward_b", "c", &body).await;
    let own = active_of(&server, "ward_a", "o", &body).await;
    let kept = active_of(&server, "ward_a", "a", &body).await;
    for (keep, merged) in [(1, 2), (3, 2), (2, 1), (2, 3)] {
        let refused = merge(&server, "officer", of(&kept, keep), &[of(&own, 2), of(&other, merged)]).await;
        refused.refused(412, "stale_version");
    }
    // A ward merges its own, neither what it coordinates nor what it does not see.
    merge(&server, "ward_a", of(&kept, 2), &[of(&own, 2), of(&other, 2)]).await.refused(403, "insufficient_scope");
    merge(&server, "ward_a", of(&other, 2), &[of(&kept, 2)]).await.refused(403, "insufficient_scope");
    merge(&server, "ward_a", of(&kept, 2), &[of(&hidden, 2)]).await.refused(404, "not_found");
    let unknown = kept.replacen("flag_0", "flag_1", 1);
    merge(&server, "officer", of(&unknown, 1), &[of(&kept, 2)]).await.refused(404, "not_found");
    for by in ["bank", "auditor", "operator"] {
        merge(&server, by, of(&kept, 2), &[of(&own, 2)]).await.refused(403, "insufficient_scope");
    }
    for (id, version) in [(&other, 2), (&hidden, 2), (&own, 2), (&kept, 2)] {
        assert_eq!(read(&server, id).await["version"], version, "what was refused changed something");
    }
    // Of two that merge the same at once one is first.
    let (of_kept, of_own) = ([of(&kept, 2)], [of(&own, 2)]);
    let first = merge(&server, "ward_a", of_kept[0].clone(), &of_own);
    let second = merge(&server, "ward_a", of_own[0].clone(), &of_kept);
    let (first, second) = tokio::join!(first, second);
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert!(statuses == [200, 412] || statuses == [200, 422], "{statuses:?}");
    server.finish().await;
}

#[tokio::test]
async fn what_would_change_an_answer_is_not_merged() {
    let server = Server::start().await;
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let warn = active(&server, "w", &proposal(account(NUMBER), "warn")).await;
    let hold = active(&server, "h", &proposal(account(NUMBER), "hold")).await;
    let block = active(&server, "b", &proposal(account(NUMBER), "block")).await;
    let linking = with(proposal(account(NUMBER), "warn"), "linked", json!([phone]));
    let linking = active(&server, "l", &linking).await;
    let proposed = raised_by(&server, "officer", "p", &proposal(account(NUMBER), "warn")).await;
    let stranger = active(&server, "s", &proposal(account(OTHER), "warn")).await;
    let is_refused = async |keep, merged, detail: &str| is_refused(&server, keep, &[merged], detail).await;
    let other = "/merge/0: it is another subject's than the flag that is kept";
    is_refused(of(&warn, 2), of(&stranger, 2), other).await;
    let more = "/merge/0: it weighs more than the flag that is kept; amend that one first, or keep this one";
    is_refused(of(&warn, 2), of(&hold, 2), more).await;
    let longer = "/merge/0: it lasts longer than the flag that is kept; renew that one first, or keep this one";
    is_refused(of(&hold, 2), of(&warn, 2), longer).await;
    let link = "/merge/0: it links to a subject that the flag that is kept would weigh more on; amend that one first";
    is_refused(of(&block, 2), of(&linking, 2), link).await;
    let weaker = "/merge/0: it is in force, and the flag that is kept is not; approve that one first";
    is_refused(of(&proposed, 1), of(&warn, 2), weaker).await;
    // What waits for another officer would be lost.
    let changes = json!({ "reason": "x", "changes": { "verdict": "hold" } });
    let ask = server.post(&format!("/v1/flags/{warn}/amend")).by("officer").if_match("\"2\"").json(&changes);
    ask.send().await.is(200);
    let waits = "an amendment of it waits; approve or reject it first";
    is_refused(of(&block, 2), of(&warn, 3), &format!("/merge/0: {waits}")).await;
    is_refused(of(&warn, 3), of(&proposed, 1), &format!("/keep: {waits}")).await;
    // A bank waits for an answer about this flag.
    let body = json!({ "text": "The account was taken over." });
    let filed = server.post(&format!("/v1/flags/{hold}/objections")).by("bank").key("o").json(&body).send().await;
    let objection = filed.is(201).json()["id"].as_str().unwrap().to_owned();
    let open = format!("/merge/0: {objection} is open; uphold or dismiss it first");
    is_refused(of(&block, 2), of(&hold, 2), &open).await;
    let answer = json!({ "answer": "It covers other days." });
    let ask = server.post(&format!("/v1/objections/{objection}/dismiss")).by("officer").if_match("\"1\"");
    ask.json(&answer).send().await.is(200);
    merge(&server, "officer", of(&block, 2), &[of(&hold, 2)]).await.is(200);
    is_refused(of(&block, 3), of(&hold, 3), "/merge/0: a flag that is lifted cannot be merged").await;
    is_refused(of(&hold, 3), of(&proposed, 1), "/keep: a flag that is lifted cannot be merged").await;
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "block");
    server.finish().await;
}

#[tokio::test]
async fn who_was_answered_with_a_merged_flag_is_told_that_it_was_wrong() {
    let server = Server::start().await;
    let merged = active_of(&server, "ward_b", "b", &proposal(account(NUMBER), "hold")).await;
    let proposed = raised_by(&server, "ward_b", "p", &proposal(account(NUMBER), "hold")).await;
    verdict(&server, account(NUMBER)).await;
    let kept = active_of(&server, "ward_a", "a", &proposal(account(NUMBER), "hold")).await;
    merge(&server, "officer", of(&kept, 2), &[of(&merged, 2), of(&proposed, 1)]).await.is(200);
    let wrong = json!({ "reason": "The account was taken over", "cause": "wrong" });
    let ask = server.post(&format!("/v1/flags/{kept}/lift")).by("officer").if_match("\"3\"").json(&wrong);
    ask.send().await.is(200);
    assert_eq!(verdict(&server, account(NUMBER)).await["verdict"], "clear");
    let completed = async || history(&server, &merged).await["correction"]["completed_at"] != Value::Null;
    eventually(Duration::from_secs(40), "a completed correction", completed).await;
    let told = history(&server, &merged).await["correction"]["parties"].clone();
    assert_eq!((&told[0]["party"], &told[0]["checks"]), (&json!("970436"), &json!(1)));
    assert_eq!(history(&server, &kept).await["correction"]["parties"], json!([]));
    assert_eq!(history(&server, &proposed).await["correction"], Value::Null, "it answered nobody");
    server.finish().await;
}

#[tokio::test]
async fn a_merged_flag_and_the_one_that_is_kept_are_found_wrong_in_either_order() {
    let server = Server::start().await;
    let wrong = json!({ "reason": "The account was taken over", "cause": "wrong" });
    let lift = async |(id, version): (&str, u32)| {
        let ask = server.post(&format!("/v1/flags/{id}/lift")).by("officer").if_match(&format!("\"{version}\""));
        ask.json(&wrong).send().await.is(200).json()
    };
    for (number, kept_first) in [(NUMBER, false), (OTHER, true)] {
        let merged = active_of(&server, "ward_b", number, &proposal(account(number), "hold")).await;
        verdict(&server, account(number)).await;
        let kept = active_of(&server, "ward_a", number, &proposal(account(number), "hold")).await;
        merge(&server, "officer", of(&kept, 2), &[of(&merged, 2)]).await.is(200);
        let both = [(merged.as_str(), 3), (kept.as_str(), 3)];
        let [first, second] = if kept_first { [both[1], both[0]] } else { both };
        lift(first).await;
        let told = history(&server, &merged).await["correction"].clone();
        assert_ne!(told, Value::Null, "{number}");
        assert_eq!(lift(second).await["closing_cause"], "wrong");
        assert_eq!(verdict(&server, account(number)).await["verdict"], "clear");
        let completed = async || history(&server, &merged).await["correction"]["completed_at"] != Value::Null;
        eventually(Duration::from_secs(40), "a completed correction", completed).await;
        let told = history(&server, &merged).await["correction"]["parties"].clone();
        assert_eq!((&told[0]["party"], &told[0]["checks"]), (&json!("970436"), &json!(1)), "{number}");
        assert_eq!(told.as_array().unwrap().len(), 1);
    }
    server.finish().await;
}

#[tokio::test]
async fn an_objection_to_a_merged_flag_is_not_upheld_while_another_one_goes_on_saying_the_same() {
    let server = Server::start().await;
    let file = async |flag: &str, key: &str| {
        let body = json!({ "text": "The account was taken over." });
        let filed = server.post(&format!("/v1/flags/{flag}/objections")).by("bank").key(key).json(&body).send().await;
        filed.is(201).json()["id"].as_str().unwrap().to_owned()
    };
    let uphold = async |objection: &str| {
        let ask = server.post(&format!("/v1/objections/{objection}/uphold")).by("officer").if_match("\"1\"");
        ask.json(&json!({ "answer": "He is a victim." })).send().await
    };
    let amend = async |id: &str, version: u32, changes: Value| {
        let body = json!({ "reason": "x", "changes": changes });
        let ask = server.post(&format!("/v1/flags/{id}/amend")).by("officer").if_match(&format!("\"{version}\""));
        ask.json(&body).send().await.is(200);
    };
    for (number, ends) in [(NUMBER, true), (OTHER, false)] {
        let body = proposal(account(number), "hold");
        let merged = active_of(&server, "ward_b", number, &body).await;
        verdict(&server, account(number)).await;
        let next = active_of(&server, "ward_a", number, &body).await;
        merge(&server, "officer", of(&next, 2), &[of(&merged, 2)]).await.is(200);
        let kept = active_of(&server, "officer", number, &body).await;
        merge(&server, "officer", of(&kept, 2), &[of(&next, 3)]).await.is(200);
        let objection = file(&merged, number).await;
        let goes_on = format!("the flag was merged into {kept}, which is active; lift or amend that one first");
        let refused = uphold(&objection).await.refused(422, "invalid_transition");
        assert_eq!(refused.json()["detail"], goes_on);
        // Other words change nothing for the holder.
        amend(&kept, 3, json!({ "reason": "Other words" })).await;
        assert_eq!(uphold(&objection).await.refused(422, "invalid_transition").json()["detail"], goes_on);
        assert_eq!(read(&server, &merged).await["closing_cause"], "merged", "what was refused changed something");
        if ends {
            act(&server, &kept, "officer", "lift", "\"4\"").await.is(200);
        } else {
            amend(&kept, 4, json!({ "verdict": "warn" })).await;
        }
        let upheld = uphold(&objection).await.is(200).json();
        assert_eq!((&upheld["remedy"], &upheld["flag_version"]), (&json!("ended_before"), &json!(4)));
        let told = history(&server, &merged).await["correction"]["parties"].clone();
        assert_eq!((&told[0]["party"], &told[0]["checks"]), (&json!("970436"), &json!(1)));
        let answer = if ends { "clear" } else { "warn" };
        assert_eq!(verdict(&server, account(number)).await["verdict"], answer);
    }
    server.finish().await;
}

#[tokio::test]
async fn proposals_are_merged_and_none_of_their_raisers_approves() {
    let server = Server::start().await;
    let phone = json!({ "kind": "phone", "number": "0912345678" });
    let linking = with(proposal(account(NUMBER), "hold"), "linked", json!([phone]));
    let other = raised_by(&server, "supervisor", "s", &linking).await;
    let kept = raised_by(&server, "officer_b", "o", &proposal(account(NUMBER), "warn")).await;
    let told = merge(&server, "officer", of(&kept, 1), &[of(&other, 1)]).await.is(200).json();
    assert_eq!((&told["state"], told["linked"].as_array().unwrap().len()), (&json!("proposed"), 1));
    act(&server, &kept, "supervisor", "approve", "\"2\"").await.refused(403, "insufficient_scope");
    assert_eq!(verdict(&server, phone).await["verdict"], "clear");
    server.finish().await;
}

#[tokio::test]
async fn a_malformed_merging_is_refused_with_its_place() {
    let server = Server::start().await;
    let kept = raised_by(&server, "officer", "k", &proposal(account(NUMBER), "warn")).await;
    let other = raised_by(&server, "officer", "o", &proposal(account(NUMBER), "warn")).await;
    let good = json!({ "keep": of(&kept, 1), "merge": [of(&other, 1)], "reason": "x" });
    let set = |name: &str, value: Value| with(good.clone(), name, value);
    let cases = [
        (json!({ "merge": [of(&other, 1)], "reason": "x" }), "/keep"),
        (json!({ "keep": of(&kept, 1), "reason": "x" }), "/merge"),
        (json!({ "keep": of(&kept, 1), "merge": [of(&other, 1)] }), "/reason"),
        (set("reason", json!("")), "/reason"),
        (set("reason", json!("x".repeat(2001))), "/reason"),
        (set("keep", json!(kept)), "/keep"),
        (set("keep", json!([kept, 1])), "/keep"),
        (set("keep", json!({ "id": kept })), "/keep/version"),
        (set("keep", json!({ "id": "x", "version": 1 })), "/keep/id"),
        (set("keep", of(&kept, 0)), "/keep/version"),
        (set("keep", with(of(&kept, 1), "state", "active")), "/keep/state"),
        (set("merge", json!([])), "/merge"),
        (set("merge", json!(vec![of(&other, 1); 17])), "/merge"),
        (set("merge", json!([of(&other, 1), "x"])), "/merge/1"),
        (set("merge", json!([of(&other, 1), of(&other, 1)])), "/merge/1/id"),
        (set("merge", json!([of(&kept, 1)])), "/merge/0/id"),
        (set("verdict", json!("warn")), "/verdict"),
    ];
    for (body, pointer) in cases {
        let refused = server.post("/v1/flags/merge").by("officer").json(&body).send().await;
        assert_eq!(refused.refused(400, "invalid_request").pointers(), [pointer], "{body:#}");
    }
    server.get("/v1/flags/merge").by("officer").send().await.refused(405, "method_not_allowed");
    server.finish().await;
}
