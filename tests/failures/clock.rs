//! A wall clock that is wrong: the log's time never goes back, and the operator is told.

use crate::support::clock::{set, with_clock};
use crate::support::ledger::Ledger;
use crate::support::{Answer, Server, eventually};
use crate::tools::refused;
use crate::{FLAGS, about};
use canhbao::domain::Timestamp;
use canhbao::log::SKEW_MS_MAX;
use std::time::Duration;

const DAY_S: f64 = 86_400.0;
const HOUR_S: f64 = 3_600.0;
/// How far a gauge may lie beside what is expected: some starts and pauses.
const GAUGE_S: f64 = 30.0;

async fn check(server: &Server) -> Answer {
    let answer = server.post("/v1/checks").by("bank").json(&about("9000000000002")).send().await.is(200);
    assert_eq!(answer.json()["verdict"], "hold");
    answer
}

/// The latest time of all entries.
fn latest(server: &Server) -> Timestamp {
    Ledger::read(&server.data()).entries.iter().map(|entry| entry.at).max().unwrap()
}

async fn lag_is(server: &Server, expected: f64) {
    eventually(Duration::from_secs(10), "the gauge tells how far the wall clock lies behind", async || {
        let metrics = server.operations("/metrics").await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("canhbao_clock_lag_seconds "));
        let lag: Option<f64> = line.and_then(|lag| lag.parse().ok());
        lag.is_some_and(|lag| (lag - expected).abs() < GAUGE_S)
    })
    .await;
}

#[tokio::test]
async fn a_clock_a_day_behind_the_log_is_refused_unless_time_shall_go_on_from_there() {
    let mut server = Server::start_with(FLAGS).await;
    check(&server).await;
    server.stop().await;
    let (last, count) = (latest(&server), Ledger::read(&server.data()).entries.len());
    let clock = server.data().join("clock");
    set(&clock, "-1d");

    let ended = refused(with_clock(server.serve(), &clock)).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let told = ended.stderr.lines().last().unwrap();
    let wall: Timestamp = Timestamp::from_ms(last.as_ms() - 86_400_000);
    assert!(told.contains(&last.to_string()), "{told}: not the log's {last}");
    // To the minute, as the start took some seconds.
    let minute = |time: Timestamp| time.to_string()[..16].to_owned();
    let minutes = [minute(wall), minute(wall.plus_ms(60_000))];
    assert!(minutes.iter().any(|minute| told.contains(minute)), "{told}: not the clock's {wall}");
    assert!(told.contains("--go-on-from-log-time"), "{told}");
    assert_eq!(Ledger::read(&server.data()).entries.len(), count, "a refused start has written");

    let mut command = server.serve();
    command.arg("--go-on-from-log-time");
    server.start_by(with_clock(command, &clock)).await.unwrap();
    for _ in 0..3 {
        check(&server).await;
    }
    lag_is(&server, DAY_S).await;
    server.stop().await;
    let entries = Ledger::read(&server.data()).entries;
    assert!(entries.len() >= count + 4);
    for entry in &entries[count..] {
        assert!(entry.at >= last, "{} lies before {last}", entry.at);
        assert!(entry.at < last.plus_ms(120_000), "{} lies far behind {last}", entry.at);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_clock_set_back_while_running_neither_stops_checks_nor_sets_the_log_back() {
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    let clock = server.data().join("clock");
    set(&clock, "+0");
    server.start_by(with_clock(server.serve(), &clock)).await.unwrap();
    check(&server).await;
    lag_is(&server, 0.0).await;
    set(&clock, "-1h");
    for _ in 0..5 {
        check(&server).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lag_is(&server, HOUR_S).await;
    // A token that was made after it is good too.
    server.forget_token("bank");
    check(&server).await;
    server.stop().await;
    let mut latest = Timestamp::EPOCH;
    for entry in Ledger::read(&server.data()).entries {
        assert!(entry.at.plus_ms(SKEW_MS_MAX) >= latest, "{} lies before {latest}", entry.at);
        latest = latest.max(entry.at);
    }
    server.finish().await;
}
