//! Quotas: what their headers count, and what the log tells of those who exceed them.

use crate::support::ledger::Ledger;
use crate::support::{Answer, Server};
use crate::{about, account};
use canhbao::clock::Stopwatch;
use canhbao::log::Act;
use serde_json::json;
use std::time::Duration;

async fn check(server: &Server) -> Answer {
    server.post("/v1/checks").by("wallet").json(&about(account("9000000000000"))).send().await
}

/// `"checks";r=12;t=30` as policy, remaining and seconds.
fn rate_limit(answer: &Answer) -> (String, u64, u64) {
    let text = answer.must("ratelimit");
    let mut parts = text.split(';');
    let policy = parts.next().unwrap().trim_matches('"').to_owned();
    let mut number = |name: &str| parts.next().unwrap().strip_prefix(name).unwrap().parse().unwrap();
    (policy, number("r="), number("t="))
}

#[tokio::test]
async fn the_wallet_has_sixty_checks_a_minute_and_the_log_tells_who_was_refused() {
    let mut server = Server::start().await;
    server.token("wallet").await;
    let watch = Stopwatch::start();
    let mut answered = 0;
    let refused = loop {
        let answer = check(&server).await;
        assert_eq!(answer.must("ratelimit-policy"), r#""checks";q=60;w=60"#);
        let (policy, remaining, reset_s) = rate_limit(&answer);
        assert_eq!(policy, "checks");
        if answer.status == 429 {
            break answer;
        }
        answered += 1;
        // A token comes back each second, so the count may be that much behind.
        let back = watch.elapsed().as_secs() + 1;
        let expected = 60_u64.saturating_sub(answered);
        assert!((expected..=expected + back).contains(&remaining), "{remaining} after {answered}");
        assert_eq!(reset_s, 60 - remaining, "a second for each that is used");
    };
    assert!((60..=60 + watch.elapsed().as_secs() + 1).contains(&answered), "{answered} were answered");
    let refused = refused.refused(429, "rate_limited");
    assert_eq!(rate_limit(&refused).1, 0);
    let wait_s: u64 = refused.must("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait_s), "{wait_s}");
    let mut refusals = 1;
    while refusals < 5 {
        if check(&server).await.status == 429 {
            refusals += 1;
        }
    }
    tokio::time::sleep(Duration::from_secs(wait_s)).await;
    check(&server).await.is(200);
    server.post("/v1/checks").by("bank").json(&about(account("9000000000000"))).send().await.is(200);
    server.stop().await;
    let ledger = Ledger::read(&server.data());
    let told: Vec<_> = ledger.entries.iter().filter(|entry| entry.act == Act::Refused).collect();
    assert_eq!(told.iter().map(|entry| entry.count).sum::<u32>(), refusals);
    assert!(told.len() <= 2, "one entry a minute: {}", told.len());
    for entry in told {
        assert_eq!(entry.problem.as_deref(), Some("rate_limited"));
        assert_eq!((entry.party.as_str(), entry.client.as_str()), ("momo", "demo-wallet"));
    }
    server.finish().await;
}

#[tokio::test]
async fn refused_requests_show_and_use_the_quota_too() {
    let server = Server::start().await;
    let client = json!({ "client_id": "few", "party": "hanoi-police", "name": "Few", "scopes": ["flag.read", "flag.write"],
        "quotas": { "lists": { "quota": 4, "window_s": 3600 }, "writes": { "quota": 4, "window_s": 3600 },
            "checks": { "quota": 2, "window_s": 3600 } } });
    let made = server.post("/v1/clients").by("operator").json(&client).send().await.is(201).json();
    server.know("few", "few", made["client_secret"].as_str().unwrap());
    let left = |answer: Answer, status: u16, policy: &str, remaining: u64| {
        let answer = answer.is(status);
        let (told, r, _) = rate_limit(&answer);
        assert_eq!((told.as_str(), r), (policy, remaining));
    };
    left(server.get("/v1/flags?limit=0").by("few").send().await, 400, "lists", 3);
    left(server.get("/v1/flags/x").by("few").send().await, 404, "lists", 2);
    left(server.get("/v1/parties").by("few").send().await, 403, "lists", 1);
    left(server.get("/v1/flags?limit=1").by("few").send().await, 200, "lists", 0);
    left(server.get("/v1/flags?limit=1").by("few").send().await, 429, "lists", 0);
    left(server.post("/v1/flags").by("few").json(&json!({})).send().await, 400, "writes", 3);
    left(server.post("/v1/flags").by("few").raw("text/plain", "x").send().await, 415, "writes", 2);
    let lift = server.post("/v1/flags/flag_01h2xcejqtf2nbrexx3vqjhp41/lift").by("few");
    left(lift.json(&json!({ "reason": "x" })).send().await, 428, "writes", 1);
    let long = json!({ "case": "x".repeat(70_000) });
    left(server.post("/v1/flags").by("few").json(&long).send().await, 413, "writes", 0);
    // A flood of what is not allowed must not fill the log: after the quota it is counted.
    let check = || server.post("/v1/checks").by("few").json(&json!({}));
    left(check().send().await, 403, "checks", 1);
    left(check().send().await, 403, "checks", 0);
    left(check().send().await, 429, "checks", 0);
    server.finish().await;
}

#[tokio::test]
async fn tokens_have_a_quota_of_their_own() {
    let server = Server::start().await;
    let client = json!({ "client_id": "few-tokens", "party": "970436", "name": "Few", "scopes": ["check"],
        "quotas": { "token": { "quota": 2, "window_s": 3600 } } });
    let made = server.post("/v1/clients").by("operator").json(&client).send().await.is(201).json();
    server.know("few", "few-tokens", made["client_secret"].as_str().unwrap());
    for _ in 0..2 {
        server.new_token("few", None).await;
    }
    let credential = server.credential("few");
    let ask = server.post("/oauth2/token").basic(&credential.id, &credential.secret);
    let refused = ask.form(&[("grant_type", "client_credentials")]).send().await.refused(429, "rate_limited");
    assert!(refused.must("retry-after").parse::<u32>().unwrap() > 60);
    server.new_token("bank", None).await;
    server.finish().await;
}
