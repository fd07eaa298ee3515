//! Moving an embedded registry into PostgreSQL: what arrives is what was there, however often it was interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use support::chance::Random;
use support::install_crypto;
use support::postgres::{Postgres, query};
use support::process::{BINARY, Process};

const LISTEN: [&str; 4] = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];

/// A directory in which `old` is an embedded registry with flags, lifts, clients and checks.
struct Place(tempfile::TempDir);

/// What outside checks see of a registry.
#[derive(Debug, PartialEq)]
struct Seen {
    verdicts: Vec<Value>,
    flag_state: Value,
    parties: usize,
}

impl Place {
    async fn new() -> (Self, Seen) {
        install_crypto();
        let place = Self(tempfile::tempdir().unwrap());
        let process = place.start(&["demo", "--data", "old", "--flags", "300"]).await;
        let caller = Caller { place: &place, data: "old", process: &process };
        let officer = caller.token("officer");
        let found = caller.check("9000000000001").await;
        let flag = found["results"][0]["flags"][0]["id"].as_str().unwrap().to_owned();
        let lifted = caller.post(&officer, &format!("/v1/flags/{flag}/lift"), &json!({ "reason": "a test" })).await;
        assert!(lifted["state"] == "lifted", "{lifted}");
        for number in 0..40 {
            caller.check(&format!("77000000{number:03}")).await;
        }
        let seen = caller.see(&flag).await;
        assert_eq!(seen.verdicts[0], "clear");
        fs::write(place.path("flag"), &flag).unwrap();
        assert!(process.terminate().await.0.success());
        (place, seen)
    }

    fn copy(&self) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        for name in ["old", "flag"] {
            assert!(Command::new("cp").arg("-a").arg(self.path(name)).arg(copy.path(name)).status().unwrap().success());
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        for name in ["DATA", "LISTEN", "METRICS_LISTEN", "CREDENTIAL", "SERVER", "CA", "STORE", "NODE"] {
            command.env_remove(format!("CANHBAO_{name}"));
        }
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }

    async fn start(&self, arguments: &[&str]) -> Process {
        let command = self.command(&[arguments, &LISTEN[..]].concat());
        Process::try_start(command).await.unwrap_or_else(|ended| panic!("the server ended: {ended}"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn migrating(&self, url: &str) -> Command {
        self.command(&["migrate", "--from", "old", "--to", url, "--into", "new"])
    }

    #[track_caller]
    fn migrate(&self, url: &str) -> String {
        let output = self.migrating(url).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, url: &str, code: i32, words: &str) {
        let output = self.migrating(url).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && told.contains(words), "{:?} {told}", output.status);
        assert!(!self.path("old/moved").exists());
    }

    /// The registry in `new` is served, answers as before, and its log is good.
    async fn is_as_before(&self, before: &Seen) {
        let process = self.start(&["serve", "--data", "new"]).await;
        let caller = Caller { place: self, data: "new", process: &process };
        let flag = fs::read_to_string(self.path("flag")).unwrap();
        assert_eq!(&caller.see(&flag).await, before);
        assert!(process.terminate().await.0.success());
        let verified = self.run(&["log", "verify", "new", "--key", "old/keys/log-keys.txt"]);
        assert!(verified.status.success(), "{verified:?}");
        let output = self.run(&[&["serve", "--data", "old"], &LISTEN[..]].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && told.contains("was moved to"), "{told}");
    }
}

struct Caller<'a> {
    place: &'a Place,
    data: &'static str,
    process: &'a Process,
}

impl Caller<'_> {
    fn token(&self, client: &str) -> String {
        let credential = format!("{}/demo.json", self.data);
        let ca = "old/tls/ca.pem";
        let to = ["--credential", &credential, "--as", client, "--server", &self.process.url, "--ca", ca];
        let output = self.place.run(&[&["token"], &to[..]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn http(&self) -> reqwest::Client {
        support::client(&self.place.path("old/tls/ca.pem")).build().unwrap()
    }

    async fn get(&self, token: &str, path: &str) -> (Value, Option<String>) {
        let answer = self.http().get(format!("{}{path}", self.process.url)).bearer_auth(token).send().await.unwrap();
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        (answer.json().await.unwrap(), etag)
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Value {
        let resource = path.rsplit_once('/').unwrap().0;
        let etag = if path.ends_with("/lift") { self.get(token, resource).await.1 } else { None };
        let mut request = self.http().post(format!("{}{path}", self.process.url)).bearer_auth(token).json(body);
        if let Some(etag) = etag {
            request = request.header("If-Match", etag);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn check(&self, number: &str) -> Value {
        let subject = json!({ "kind": "account", "bank": "VCB", "number": number });
        self.post(&self.token("bank"), "/v1/checks", &json!({ "subjects": [subject] })).await
    }

    async fn see(&self, flag: &str) -> Seen {
        let mut verdicts = Vec::new();
        for number in ["9000000000001", "9000000000002", "9000000000003", "9000000000000"] {
            verdicts.push(self.check(number).await["verdict"].clone());
        }
        let (flag, _) = self.get(&self.token("officer"), &format!("/v1/flags/{flag}")).await;
        let (parties, _) = self.get(&self.token("operator"), "/v1/parties").await;
        Seen { verdicts, flag_state: flag["state"].clone(), parties: parties["items"].as_array().unwrap().len() }
    }
}

/// Whether a call ends well, unless it is killed after so long.
fn survives(mut command: Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    drop(child.kill());
    child.wait().unwrap().success()
}

fn registries(url: &str) -> usize {
    query(url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public' AND tablename = 'registry'", &[]).len()
}

fn change(path: &Path, statements: &str) {
    let database = rusqlite::Connection::open(path.join("registry.db")).unwrap();
    database.execute_batch(statements).unwrap();
}

#[tokio::test]
async fn a_registry_is_moved_whole_and_given_up_where_it_was() {
    let (place, before) = Place::new().await;
    let url = Postgres::shared().create_database();
    let told = place.migrate(&url);
    assert!(
        told.contains("flag: 315 rows, the same") && told.contains("demo.canhbao.example/main: entries 0"),
        "{told}"
    );
    assert!(place.migrate(&url).contains("moved before"), "a call again finds it done");
    place.is_as_before(&before).await;
}

#[tokio::test]
async fn a_file_whose_rows_are_not_all_taken_goes_with_its_registry() {
    let (place, _) = Place::new().await;
    let process = place.start(&["serve", "--data", "old"]).await;
    let caller = Caller { place: &place, data: "old", process: &process };
    let rows: String = (0..20_000).map(|row| format!("VCB,9{row:012},warn,mule,HN-1,R\n")).collect();
    let url = format!("{}/v1/imports", process.url);
    let ask = caller.http().post(url).bearer_auth(caller.token("officer")).header("idempotency-key", "file");
    let body = format!("bank,number,verdict,category,case,reason\n{rows}");
    let received = ask.header("content-type", "text/csv").body(body).send().await.unwrap();
    let id = received.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    process.kill().await;
    let waiting = |data: &str| place.path(data).join("imports").join(&id).exists();
    assert!(waiting("old"), "its rows were taken too soon");
    fs::write(place.path(&format!("old/imports/{id}.new")), "still coming in").unwrap();
    place.migrate(&Postgres::shared().create_database());
    assert!(waiting("new"));
    let process = place.start(&["serve", "--data", "new"]).await;
    let caller = Caller { place: &place, data: "new", process: &process };
    let (token, path) = (caller.token("officer"), format!("/v1/imports/{id}"));
    support::eventually(Duration::from_secs(90), "the rows are taken", async || {
        caller.get(&token, &path).await.0["state"] == "done"
    })
    .await;
    assert_eq!(caller.get(&token, &path).await.0["counts"]["accepted"], 20_000);
    assert!(process.terminate().await.0.success());
    assert!(!waiting("new"));
}

#[tokio::test]
async fn a_call_that_was_killed_is_repeated_and_ends_the_same() {
    let (place, before) = Place::new().await;
    let mut chance = Random::seeded();
    for _ in 0..6 {
        let (place, url) = (place.copy(), Postgres::shared().create_database());
        let mut killed = 0;
        while killed < 3 {
            let after = Duration::from_millis(chance.below(700));
            killed += 1;
            if survives(place.migrating(&url), after) {
                break;
            }
        }
        assert!(place.migrate(&url).contains("moved"));
        assert_eq!(registries(&url), 1);
        place.is_as_before(&before).await;
    }
}

#[tokio::test]
async fn what_was_moved_before_the_directory_was_made_is_taken_up() {
    let (place, before) = Place::new().await;
    let url = Postgres::shared().create_database();
    let copy = place.copy();
    copy.migrate(&url);
    // As a call leaves it that is killed right after its commit.
    place.migrate(&url);
    place.is_as_before(&before).await;
}

#[tokio::test]
async fn what_is_not_sound_or_not_empty_is_refused() {
    let (place, _) = Place::new().await;
    let postgres = Postgres::shared();
    let (url, other) = (postgres.create_database(), postgres.create_database());
    let tampered = place.copy();
    change(
        &tampered.path("old"),
        "DROP TRIGGER log_batch_is_never_updated; \
         UPDATE log_batch SET at_min = at_min + 1 WHERE place = (SELECT MAX(place) FROM log_batch)",
    );
    tampered.refused(&url, 1, "tampered with");
    assert_eq!(registries(&url), 0, "nothing is left in the database");
    let output = place.run(&["init", "another", "--store", &other, "--node", "first"]);
    assert!(output.status.success(), "{output:?}");
    place.refused(&other, 1, "not empty");
    // The same log beside another list is not the same registry.
    let changed = place.copy();
    place.copy().migrate(&url);
    change(&changed.path("old"), "UPDATE flag SET verdict = 'warn'");
    changed.refused(&url, 1, "not empty");
}

#[tokio::test]
async fn what_archived_checks_were_answered_with_is_moved_and_a_correction_finds_it() {
    const NUMBER: &str = "9000000000002";
    let (place, _) = Place::new().await;
    let mut flag = Value::Null;
    for _ in 0..2 {
        let process = place.start(&["serve", "--data", "old"]).await;
        let caller = Caller { place: &place, data: "old", process: &process };
        flag = caller.check(NUMBER).await["results"][0]["flags"][0]["id"].clone();
        let clear = json!({ "subjects": [{ "kind": "account", "bank": "VCB", "number": "9000000000000" }] });
        caller.post(&caller.token("bank"), "/v1/checks/batch", &json!({ "checks": vec![clear; 300] })).await;
        assert!(process.terminate().await.0.success());
    }
    let archive = ["log", "archive", "--data", "old", "--before", "2200-01-01", "--to", "archive"];
    let output = place.run(&archive);
    assert!(output.status.success(), "{output:?}");
    let url = Postgres::shared().create_database();
    let told = place.migrate(&url);
    let rows = told.lines().find_map(|line| line.strip_prefix("archived_answer: ")?.strip_suffix(" rows, the same"));
    assert!(rows.is_some_and(|rows| rows.parse::<u64>().unwrap() > 0), "{told}");
    let process = place.start(&["serve", "--data", "new"]).await;
    let caller = Caller { place: &place, data: "new", process: &process };
    caller.check(NUMBER).await;
    let (officer, flag) = (caller.token("officer"), format!("/v1/flags/{}", flag.as_str().unwrap()));
    let wrong = json!({ "reason": "The account was taken over", "cause": "wrong" });
    let lifted = caller.post(&officer, &format!("{flag}/lift"), &wrong).await;
    assert!(lifted["closing_cause"] == "wrong", "{lifted}");
    let (history, _) = caller.get(&officer, &format!("{flag}/history")).await;
    let (correction, checks) = (&history["correction"], &history["correction"]["parties"][0]["checks"]);
    // One by `Place::new`, and three here.
    assert_eq!((checks, &correction["log_from"]), (&json!(4), &json!("main/0")), "{correction}");
    assert!(process.terminate().await.0.success());
}
