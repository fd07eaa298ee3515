//! A registry with a past, made through the front door: some thousand entries, checkpoints, a change of the log's key; what
//! an auditor kept of it; and what an attacker may have: an older copy, another registry's log, all the keys.

use crate::support::Server;
use crate::support::load::{about, proposal};
use crate::support::process::BINARY;
use crate::tree::Key;
use rusqlite::Connection;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const FLAGS: u64 = 20;
const CHECKS_AT_ONCE: usize = 900;
const AFTER_A_CHECKPOINT: Duration = Duration::from_millis(1_100);

pub struct Specimen {
    server: Server,
    older: Server,
    foreign: Server,
    /// The log's key as the auditor knows it, from before it changed.
    pub key: String,
    /// Checkpoints that the auditor kept: one from before, and the last.
    pub kept: Vec<String>,
    pub size: usize,
    pub origin: String,
}

/// A copy of the specimen's database, to be tampered with.
pub struct Victim<'s> {
    pub specimen: &'s Specimen,
    folder: tempfile::TempDir,
}

impl Specimen {
    pub async fn make() -> Self {
        let mut server = Server::start_with(FLAGS).await;
        let mut foreign = Server::start_with(FLAGS).await;
        let key = server.get("/.well-known/log-key").send().await.is(200).text().trim_end().to_owned();
        check(&server, 1).await;
        check(&foreign, 1).await;
        foreign.stop().await;
        tokio::time::sleep(AFTER_A_CHECKPOINT).await;
        let first = server.get("/log/main/checkpoint").by("auditor").send().await.is(200).text();
        server.stop().await;
        let older = server.copied();
        rotate_key(&server.data());
        server.start_by(server.serve()).await.unwrap();
        for number in 0..3 {
            check(&server, 1).await;
            let ask = server.post("/v1/flags").by("officer").key(&format!("key-{number}")).json(&proposal(number));
            ask.send().await.is(201);
            tokio::time::sleep(AFTER_A_CHECKPOINT).await;
        }
        server.stop().await;
        for handle in [&server, &older, &foreign] {
            settle(&handle.data());
        }
        let (size, last) = last_checkpoint(&server.data());
        let origin = key.split('+').next().unwrap().to_owned();
        Self { server, older, foreign, key, kept: vec![first, last], size, origin }
    }

    pub fn folder(&self) -> PathBuf {
        self.server.data()
    }

    pub fn database(&self) -> PathBuf {
        self.folder().join("registry.db")
    }

    pub fn older(&self) -> PathBuf {
        self.older.data().join("registry.db")
    }

    pub fn foreign(&self) -> PathBuf {
        self.foreign.data().join("registry.db")
    }

    /// The key that signs now, as only who broke into the machine has it.
    pub fn true_key(&self) -> Key {
        let last = self.kept.last().unwrap();
        for file in std::fs::read_dir(self.server.data().join("keys")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let Some(key) = Key::from_pem(&self.origin, &text) else { continue };
            let (size, root) = (last.lines().nth(1).unwrap(), last.lines().nth(2).unwrap());
            let root = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, root).unwrap();
            let note = key.checkpoint(size.parse().unwrap(), &root.try_into().unwrap());
            if last.lines().any(|line| Some(line) == note.lines().last()) {
                return key;
            }
        }
        panic!("no key file signs as the log does");
    }

    /// The older copy goes on by itself until it is longer than the log that it is a copy of. Its folder.
    pub async fn go_on_from_older(&mut self) -> PathBuf {
        self.older.start_by(self.older.serve()).await.unwrap();
        check(&self.older, self.size / CHECKS_AT_ONCE + 1).await;
        self.older.stop().await;
        settle(&self.older.data());
        self.older.data()
    }

    pub async fn leave(self) {
        self.older.leave().await;
        self.foreign.finish().await;
        self.server.finish().await;
    }
}

/// Entries by batches of checks.
async fn check(server: &Server, times: usize) {
    for _ in 0..times {
        let checks: Vec<_> = (0..CHECKS_AT_ONCE).map(|place| about(&format!("900000000000{}", place % 4))).collect();
        server.post("/v1/checks/batch").by("bank").json(&json!({ "checks": checks })).send().await.is(200);
    }
}

fn rotate_key(data: &Path) {
    let output = Command::new(BINARY).args(["log", "rotate-key", "--data"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Everything into the one file.
fn settle(data: &Path) {
    let database = Connection::open(data.join("registry.db")).unwrap();
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    database.close().unwrap();
    assert_eq!(busy, 0);
}

fn last_checkpoint(data: &Path) -> (usize, String) {
    let database = Connection::open(data.join("registry.db")).unwrap();
    let query = "SELECT place, note FROM log_checkpoint ORDER BY place DESC LIMIT 1";
    let (size, note): (i64, String) = database.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let entries: i64 = database.query_row("SELECT SUM(size) FROM log_batch", [], |row| row.get(0)).unwrap();
    assert_eq!(size, entries, "the last checkpoint does not cover the whole log");
    (usize::try_from(size).unwrap(), note)
}

impl<'s> Victim<'s> {
    pub fn of(specimen: &'s Specimen) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(specimen.database(), folder.path().join("registry.db")).unwrap();
        Self { specimen, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn database(&self) -> PathBuf {
        self.folder().join("registry.db")
    }

    /// As an attacker opens it: without triggers, and in no fear of power cuts.
    pub fn open(&self) -> Connection {
        let database = Connection::open(self.database()).unwrap();
        database.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF").unwrap();
        let mut statement = database.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").unwrap();
        let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        drop(statement);
        for trigger in triggers {
            database.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        database
    }
}
