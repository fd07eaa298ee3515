//! A data directory with a log of its own making: thousands of entries in a second, through the log's own writer.

use crate::support::now;
use crate::support::process::BINARY;
use canhbao::config::Config;
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{CheckId, FlagId, RequestId, SubjectHash, Timestamp, Verdict};
use canhbao::log::{Act, End, Entry, EntrySubject, FlagVersion, Record, Resource};
use canhbao::server::{Home, OpenLog};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::RwLock;

/// One of so many checks is answered with a flag.
pub const CHECKS_A_HIT: u64 = 50;

/// What a command that has ended left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process that is being started holds what this one has open, the lock of a data directory too, until it is itself.
static STARTING: RwLock<()> = RwLock::new(());

/// Waits until nobody holds any more what was closed before.
pub fn let_go() {
    drop(STARTING.write().unwrap());
}

pub fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let starting = STARTING.read().unwrap();
    let child = command.spawn().unwrap();
    drop(starting);
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Ran { code: output.status.code(), stdout, stderr }
}

impl Ran {
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Ended so, in words that hold this, and printed no answer.
    #[track_caller]
    pub fn failed(self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.stderr.contains(words), "no {words:?} in {self:?}");
    }
}

#[track_caller]
pub fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

pub struct Registry(pub tempfile::TempDir);

impl Registry {
    pub fn init() -> Self {
        let registry = Self(tempfile::tempdir().unwrap());
        registry.canhbao(&["init", "data", "--registry", "registry.example"]).done();
        registry
    }

    /// An old part of as many entries under a checkpoint of their own, then a younger one. The time lies between them.
    pub async fn with(old: u64, young: u64) -> (Self, String) {
        let registry = Self::init();
        let between = registry.grow(old).await;
        registry.grow(young).await;
        (registry, between)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Runs in the directory that `data` lies in.
    pub fn canhbao(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(BINARY);
        for name in ["DATA", "LISTEN", "METRICS_LISTEN", "CREDENTIAL", "SERVER", "CA", "STORE", "NODE"] {
            command.env_remove(format!("CANHBAO_{name}"));
        }
        run(command.current_dir(self.0.path()).args(arguments))
    }

    /// The entries that are older than a time, into a file.
    pub fn archive(&self, before: &str, file: &str) -> Ran {
        self.canhbao(&["log", "archive", "--data", "data", "--before", before, "--to", file])
    }

    pub fn verify(&self, path: &str, more: &[&str]) -> Ran {
        let key = self.key();
        self.canhbao(&[&["log", "verify", path, "--key", &key], more].concat())
    }

    /// The log's key as the log itself announced it first.
    pub fn key(&self) -> String {
        let keys = canhbao::server::log_keys(&self.data(), "main").unwrap();
        keys.first().unwrap().to_string()
    }

    pub async fn grow(&self, entries: u64) -> String {
        grow(&self.data(), entries).await
    }

    pub fn copy(&self) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        run(Command::new("cp").arg("-a").arg(self.data()).arg(copy.data())).done();
        copy
    }

    pub fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.data().join("registry.db")).unwrap()
    }

    /// As an attacker opens it.
    pub fn without_triggers(&self) -> rusqlite::Connection {
        without_triggers(&self.data().join("registry.db"))
    }

    pub fn checkpoint(&self) -> String {
        let sql = "SELECT note FROM log_checkpoint ORDER BY place DESC LIMIT 1";
        self.sql().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn count(&self, sql: &str) -> u64 {
        self.sql().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    }
}

/// Appends checks to the log in a data directory; they end under a checkpoint. Returns a time after the last one.
pub async fn grow(data: &Path, entries: u64) -> String {
    const AT_ONCE: u64 = 2000;
    let directory = data.to_owned();
    // What opens or closes a shared database waits for it.
    let opening = move || {
        let home = Home::open(&directory).unwrap();
        let open = OpenLog::open(&home, &Config::read(&directory).unwrap()).unwrap();
        (home, open)
    };
    let (home, open) = tokio::task::spawn_blocking(opening).await.unwrap();
    let mut left = entries;
    while left > 0 {
        let records = left.min(AT_ONCE);
        let pending: Vec<_> =
            (0..records).map(|number| open.log.submit(record(open.clock.now(), number)).unwrap()).collect();
        for pending in pending {
            pending.durable().await.unwrap();
        }
        left -= records;
    }
    assert_eq!(open.log.close().await, End::Clean);
    tokio::task::spawn_blocking(move || drop((open, home))).await.unwrap();
    let_go();
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    let between = now();
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    between.to_string()
}

fn record(at: Timestamp, number: u64) -> Record {
    let random = canhbao::entropy::bytes16().unwrap();
    let (party, client) = (PartyId::parse("970436").unwrap(), ClientId::parse("core").unwrap());
    let mut entry = Entry::new(Act::Check, at, RequestId::mint(at, random), party, client);
    entry.resource = Some(Resource::Check(CheckId::mint(at, random)));
    entry.verdict = Some(Verdict::Clear);
    entry.answer_digest = Some([7; 32]);
    if number.is_multiple_of(CHECKS_A_HIT) {
        let flags = vec![FlagVersion { id: FlagId::from_bytes([0; 16]), version: 1 }];
        let (hash, verdict) = (SubjectHash::from_bytes([5; 32]), Some(Verdict::Warn));
        entry.verdict = verdict;
        entry.subjects = vec![EntrySubject { hash, verdict, flags }];
    }
    Record::reading(&entry).unwrap()
}

pub fn without_triggers(path: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut statement = database.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    triggers.iter().for_each(|trigger| database.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap());
    database
}

/// Changes a bit of a column of the last row of a table that a condition takes.
pub fn flip(database: &rusqlite::Connection, table: &str, column: &str, condition: &str, byte: usize) {
    let sql = format!("SELECT place, {column} FROM {table} WHERE {condition} ORDER BY place DESC LIMIT 1");
    let row = database.query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
    let (place, mut bytes) = row.unwrap();
    bytes[byte] ^= 1;
    let sql = format!("UPDATE {table} SET {column} = ?1 WHERE place = ?2");
    assert_eq!(database.execute(&sql, (bytes, place)).unwrap(), 1);
}
