//! A disk that is slow, and more requests than fit: who cannot be answered is told so at once, and who was accepted is
//! answered.

use crate::load::together;
use crate::support::ledger::{Ledger, OVERLOADED};
use crate::support::{Answer, Server};
use crate::tools::{SlowDisk, configure};
use crate::{FLAGS, about, proposal};
use canhbao::clock::Stopwatch;
use canhbao::log::Act;
use std::time::Duration;

const QUEUE_RECORDS_MAX: usize = 4;
const BATCH_RECORDS_MAX: usize = 2;
const IN_FLIGHT_MAX: usize = 2;
const SYNC: Duration = Duration::from_secs(1);
/// Longer than a request may take.
const LONG_SYNC: Duration = Duration::from_secs(12);

async fn start(limits: &[(&str, usize)]) -> Server {
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    for (key, value) in limits {
        configure(&server.data(), "limits", key, i64::try_from(*value).unwrap());
    }
    server.start_by(server.serve()).await.unwrap();
    server
}

/// Checks that are sent at once, each with how long its answer took.
async fn checks_at_once(server: &Server, count: usize) -> Vec<(Answer, Duration)> {
    let check = async |_| {
        let watch = Stopwatch::start();
        let answer = server.post("/v1/checks").by("bank").json(&about("9000000000001")).send().await;
        (answer, watch.elapsed())
    };
    together((0..count).map(check)).await
}

/// Those that were refused must have been so early and in these words; returns how many were answered.
fn answered_or_refused_early(answers: Vec<(Answer, Duration)>, detail: &str) -> usize {
    let mut answered = 0;
    for (answer, took) in answers {
        if answer.status == 200 {
            answered += 1;
            continue;
        }
        let refused = answer.refused(503, "unavailable");
        assert_eq!((refused.must("retry-after"), &refused.json()["detail"]), ("1", &detail.into()));
        assert!(took < SYNC, "refused only after {took:?}");
    }
    answered
}

#[tokio::test]
async fn when_the_queue_is_full_checks_are_refused_at_once_and_the_accepted_are_answered() {
    let limits = [("queue_records_max", QUEUE_RECORDS_MAX), ("batch_records_max", BATCH_RECORDS_MAX)];
    let mut server = start(&limits).await;
    server.token("bank").await;
    let slow = SlowDisk::of(server.process(), SYNC).await;
    let answers = checks_at_once(&server, 20).await;
    drop(slow);
    let answered = answered_or_refused_early(answers, OVERLOADED[0]);
    let fit = QUEUE_RECORDS_MAX..=QUEUE_RECORDS_MAX + BATCH_RECORDS_MAX;
    assert!(fit.contains(&answered), "{answered} were answered");
    server.post("/v1/checks").by("bank").json(&about("9000000000001")).send().await.is(200);
    server.stop().await;
    let checks = Ledger::read(&server.data()).entries.iter().filter(|entry| entry.act == Act::Check).count();
    assert_eq!(checks, answered + 1);
    server.finish().await;
}

#[tokio::test]
async fn one_request_more_than_may_be_in_flight_is_refused_early() {
    let server = start(&[("in_flight_max", IN_FLIGHT_MAX)]).await;
    server.token("bank").await;
    let slow = SlowDisk::of(server.process(), SYNC).await;
    let answers = checks_at_once(&server, IN_FLIGHT_MAX + 3).await;
    drop(slow);
    assert_eq!(answered_or_refused_early(answers, OVERLOADED[1]), IN_FLIGHT_MAX);
    // Those that have been answered are in flight no more.
    for (answer, _) in checks_at_once(&server, IN_FLIGHT_MAX).await {
        answer.is(200);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_told_so_and_its_entry_stands_once() {
    let mut server = start(&[]).await;
    for name in ["bank", "officer"] {
        server.token(name).await;
    }
    let slow = SlowDisk::of(server.process(), LONG_SYNC).await;
    let raise = || server.post("/v1/flags").by("officer").key("once").json(&proposal(1));
    let watch = Stopwatch::start();
    let check = async || server.post("/v1/checks").by("bank").json(&about("9000000000001")).send().await;
    let (check, raised) = tokio::join!(check(), raise().send());
    let took = watch.elapsed();
    assert!((Duration::from_millis(9_500)..LONG_SYNC).contains(&took), "{took:?}");
    for answer in [&check, &raised] {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["detail"], "It took too long.");
        assert_eq!(answer.must("retry-after"), "1");
    }
    server.operations("/livez").await.is(200);
    server.operations("/readyz").await.is(200);
    drop(slow);
    // Whoever asks again with the key gets the first answer, now that it is written.
    let first = raise().send().await.is(201);
    let again = raise().send().await.is(201);
    assert_eq!((first.text(), first.must("log-entry")), (again.text(), again.must("log-entry")));
    server.stop().await;
    let ledger = Ledger::read(&server.data());
    for act in [Act::Check, Act::FlagRaise] {
        assert_eq!(ledger.since_set_up().filter(|entry| entry.act == act).count(), 1, "{act:?}");
    }
    server.finish().await;
}
