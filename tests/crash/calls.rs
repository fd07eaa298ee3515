//! Each call to the disk that a fixed piece of work makes, from start to end, fails once. No failed call may cost an answer
//! that was given, or be taken for a good one.

use crate::support::chance::{Random, amount};
use crate::support::load::{about, proposal};
use crate::support::{Answer, Ask, Server};
use crate::{FLAGS, answers_rightly, log_key, verify};
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

const CALLS: [&str; 6] = ["openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate"];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// Of the failures so many, unless all are wanted.
const FAILURES: u64 = 8;
/// A start or an end that failed, and a commit that failed.
const CODES: [i32; 2] = [1, 70];

/// The n-th call of this name in each thread. strace counts them by thread, so that one run may fail one in each.
#[derive(Clone, Copy, Debug)]
struct Failure {
    call: &'static str,
    error: &'static str,
    nth: u64,
}

fn trace_of(server: &Server) -> PathBuf {
    server.data().with_extension("trace")
}

/// `canhbao serve` under a tracer that looks at the files of the data directory alone, and is no parent of the server.
fn traced(server: &Server, failure: Option<Failure>) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-e", &format!("trace={}", CALLS.join(","))]).arg("-o").arg(trace_of(server));
    if let Some(Failure { call, error, nth }) = failure {
        command.args(["-e", &format!("inject={call}:error={error}:when={nth}")]);
    }
    let mut paths = vec![server.data(), server.data().join("registry.db-journal")];
    add_all_below(&server.data(), &mut paths);
    for path in paths {
        command.arg("-P").arg(path);
    }
    let serve = server.serve();
    command.arg(serve.get_program()).args(serve.get_args());
    command
}

fn add_all_below(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_all_below(&path, paths);
        }
        paths.push(path);
    }
}

/// How often a thread made each call at most.
fn calls_counted(trace: &str) -> BTreeMap<&'static str, u64> {
    let mut by_thread: HashMap<(&str, &str), u64> = HashMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if let Some(call) = CALLS.into_iter().find(|known| *known == call) {
            *by_thread.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let call = CALLS.into_iter().find(|known| *known == call).unwrap();
        let known: &mut u64 = most.entry(call).or_default();
        *known = count.max(*known);
    }
    most
}

/// An answer that is no refusal; `None` if a 5xx or nothing came, which a failed call may lead to.
async fn asked(ask: Ask<'_>) -> Option<Answer> {
    let answer = ask.try_send().await.ok()?;
    assert!(matches!(answer.status, 200 | 201) || answer.status >= 500, "{answer:?}");
    (answer.status < 300).then_some(answer)
}

async fn token(server: &Server, name: &str) -> Option<String> {
    let credential = server.credential(name);
    let form = [("grant_type", "client_credentials")];
    let granted = asked(server.post("/oauth2/token").basic(&credential.id, &credential.secret).form(&form)).await?;
    Some(granted.json()["access_token"].as_str().unwrap().to_owned())
}

/// The fixed work: one thing after the other, so that it makes the same calls each time. Returns how much was answered.
async fn work(server: &Server) -> u64 {
    let mut answers = Vec::new();
    if let Some(bank) = token(server, "bank").await {
        for number in ["9000000000000", "9000000000001", "9000000000002", "9000000000003"] {
            answers.push(asked(server.post("/v1/checks").bearer(&bank).json(&about(number))).await);
        }
        if let Some(Some(check)) = answers.first() {
            let path = format!("/v1/checks/{}", check.json()["id"].as_str().unwrap());
            answers.push(asked(server.get(&path).bearer(&bank)).await);
        }
        let checks = json!({ "checks": vec![about("9000000000001"); 20] });
        answers.push(asked(server.post("/v1/checks/batch").bearer(&bank).json(&checks)).await);
    }
    if let Some(officer) = token(server, "officer").await {
        let raised = asked(server.post("/v1/flags").bearer(&officer).key("key-1").json(&proposal(1))).await;
        if let (Some(raised), Some(supervisor)) = (&raised, token(server, "supervisor").await) {
            let path = format!("{}/approve", raised.must("location"));
            let ask = server.post(&path).bearer(&supervisor).if_match(raised.must("etag"));
            answers.push(asked(ask).await);
        }
        answers.push(raised);
        answers.push(asked(server.get("/v1/flags").bearer(&officer)).await);
    }
    u64::try_from(answers.iter().flatten().count()).unwrap()
}

/// One run in which calls fail. Returns how many did.
async fn run(base: &Server, key: &str, failure: Option<Failure>) -> (usize, BTreeMap<&'static str, u64>) {
    let mut server = base.copied();
    let told = match server.start_by(traced(&server, failure)).await {
        Err(ended) => {
            assert!(ended.code.is_some_and(|code| CODES.contains(&code)), "{failure:?}: {ended}");
            assert!(!ended.stderr.is_empty(), "{failure:?}: nothing says why");
            format!("did not start, {:?}", ended.code)
        }
        Ok(()) => {
            let answered = work(&server).await;
            server.process().signal(Signal::SIGTERM);
            let (status, log) = server.ended().await;
            let is_known = status.success() || status.code().is_some_and(|code| CODES.contains(&code));
            assert!(is_known, "{failure:?}: {status}\n{log}");
            if failure.is_none() {
                assert!(status.success() && answered == 9, "{status}, {answered} answers:\n{log}");
            }
            format!("{answered} answers, {status}")
        }
    };
    verify(&server, key);
    let trace = std::fs::read_to_string(trace_of(&server)).unwrap();
    let failed = trace.matches("(INJECTED)").count();
    println!("{failure:?}: {failed} failed, {told}");
    server.start_by(server.serve()).await.unwrap();
    answers_rightly(&server).await;
    server.post("/v1/flags").by("officer").key("key-1").json(&proposal(1)).send().await.is(201);
    server.finish().await;
    (failed, calls_counted(&trace))
}

#[tokio::test]
async fn no_call_to_the_disk_that_fails_costs_an_answer_or_is_taken_for_a_good_one() {
    let mut random = Random::seeded();
    let mut base = Server::start_embedded(FLAGS).await;
    let key = log_key(&base).await;
    base.stop().await;
    let (_, counted) = run(&base, &key, None).await;
    println!("{counted:?}");
    for call in ["openat", "pwrite64", "fdatasync"] {
        assert!(counted.contains_key(call), "the work makes no {call}: {counted:?}");
    }
    let mut failures: Vec<Failure> = Vec::new();
    for (call, most) in counted {
        for error in ERRORS {
            failures.extend((1..=most).map(|nth| Failure { call, error, nth }));
        }
    }
    let all = u64::try_from(failures.len()).unwrap();
    for _ in amount(FAILURES, all).min(all)..all {
        failures.swap_remove(usize::try_from(random.below(u64::try_from(failures.len()).unwrap())).unwrap());
    }
    let mut reached = 0;
    for failure in &failures {
        let (failed, _) = run(&base, &key, Some(*failure)).await;
        reached += usize::from(failed > 0);
    }
    println!("{reached} of {} failures were reached", failures.len());
    // A checkpoint that the clock makes may come a call sooner or later, so that the last of the counted are not always made.
    assert!(reached * 4 >= failures.len() * 3, "the work is not the same each time");
    base.finish().await;
}
